from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recommender.runner import Job, RunManager, RunRequest
from recommender.types import Settings
from tests.tiny_gguf import write_tiny_gguf

# One thread: on a shared machine two of llama.cpp's spinning threads can wait for each other for seconds.
SETTINGS = Settings(
    context_tokens=1024,
    kv_type="f16",
    batch_tokens=512,
    ubatch_tokens=128,
    parallel=1,
    threads=1,
    gpu_layers=0,
    flash_attn=True,
)
PATIENCE_S = 120


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def finished(job: Job) -> Job:
    assert job.wait(PATIENCE_S)
    return job


def _binding(name: str, module: str, *marks: pytest.MarkDecorator) -> object:
    missing = pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{name} is not installed")
    return pytest.param(name, marks=[missing, *marks])


BINDINGS = [
    _binding("xllamacpp", "xllamacpp"),
    _binding("llama-cpp-python", "llama_cpp", pytest.mark.native),
]


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny-Q8_0.gguf")


@pytest.fixture
def manager() -> Iterator[RunManager]:
    made = RunManager()
    yield made
    made.close()


@pytest.fixture
def ask(tiny: Path):
    """Build a request for the tiny model; keywords replace fields."""

    def build(**changes: object) -> RunRequest:
        base = RunRequest("tiny", "Q8_0", SETTINGS, model_path=str(tiny), prompt_tokens=48, gen_tokens=12)
        return replace(base, **changes)  # type: ignore[arg-type]

    return build
