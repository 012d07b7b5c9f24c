"""Each runtime behind the same interface: whether it is there, what a run will cost, and its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recommender import paths
from recommender.errors import BadInputError, Cancelled
from recommender.runner import RunManager, hub, runners
from recommender.runner.protocol import RUNTIMES, RunRequest
from recommender.runner.runners import make_runner
from recommender.types import GIB
from tests.runner.conftest import SETTINGS, finished

WANTED = RunRequest("m", "Q4_0", SETTINGS, repo="owner/model", file="m-Q4_0.gguf", expected_file_bytes=2.0 * GIB)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "models_dir", lambda: tmp_path)
    return tmp_path


def test_every_runtime_that_can_be_asked_for_has_a_runner() -> None:
    for runtime in RUNTIMES:
        assert make_runner(runtime).probe().name


def test_a_file_that_is_not_here_is_planned_with_its_size(models: Path) -> None:
    plan = make_runner("llama.cpp").plan(WANTED)
    assert (plan.download_bytes, plan.disk_bytes, plan.problem) == (2.0 * GIB, 2.0 * GIB, "")


def test_what_an_interrupted_download_left_is_not_fetched_again(models: Path) -> None:
    part = hub.part_path(WANTED.repo, hub.RemoteFile(WANTED.file, int(2 * GIB), "ab" * 32))
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    assert make_runner("llama.cpp").plan(WANTED).download_bytes == 2.0 * GIB - 1000


def test_a_file_here_costs_nothing(models: Path) -> None:
    plan = make_runner("llama.cpp").plan(replace(WANTED, model_path="/some/file.gguf"))
    assert (plan.download_bytes, plan.disk_bytes) == (0.0, 0.0)


def test_a_full_disk_is_a_problem_before_the_click(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "free_disk_bytes", lambda: int(GIB))
    problem = make_runner("llama.cpp").plan(WANTED).problem
    assert "short by 1.25 GiB" in problem


def test_without_a_binding_the_advice_says_how_to_add_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.runner.bindings.available_bindings", lambda: ())
    found = make_runner("llama.cpp").probe()
    assert not found.ready
    assert "pip install" in found.advice


def test_a_runner_that_was_stopped_before_it_began_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners.child, "start", lambda *_: pytest.fail("a process was started"))
    runner = make_runner("llama.cpp")
    runner.stop()
    with pytest.raises(Cancelled):
        runner.run(replace(WANTED, model_path="/some/file.gguf"), lambda event: None)


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": "openai", "endpoint": "", "file": "m"},
        {"runtime": "openai", "endpoint": "ftp://127.0.0.1", "file": "m"},
        {"runtime": "openai", "endpoint": "http://127.0.0.1/v1", "file": ""},
        {"runtime": "ollama", "file": ""},
        {"runtime": "abacus"},
    ],
)
def test_a_request_that_names_no_model_or_address_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises((BadInputError, LookupError)):
        replace(WANTED, **changes).check()  # type: ignore[arg-type]


def test_a_chat_alone_is_a_result(ask, manager: RunManager) -> None:
    job = manager.submit(ask(repeats=0, keep_loaded=True, idle_s=0.1))
    assert finished(job).state == "done"
    assert job.error == ""
