"""The same runs against a real Ollama server: the one at OLLAMA_HOST, or one of our own where `ollama` is on PATH."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from recommender.errors import RecommenderError
from recommender.runner import RunManager, RunRequest, protocol
from recommender.runner.ollama_server import (
    REHEARSAL_PREFIX,
    find_server,
    installed_models,
    is_loaded,
    remove_model,
)
from recommender.runner.protocol import Message, Question
from tests.runner.conftest import PATIENCE_S, SETTINGS, finished, until
from tests.tiny_gguf import write_tiny_gguf

NAMED, PROGRAM = os.environ.get("OLLAMA_HOST", ""), shutil.which("ollama")
pytestmark = pytest.mark.skipif(
    not (NAMED or PROGRAM), reason="no Ollama: OLLAMA_HOST is not set and `ollama` is not on PATH"
)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of our own: its address and its process."""
    assert PROGRAM is not None
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OLLAMA_HOST": address, "OLLAMA_MODELS": str(folder / "models")}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, (folder / "log.txt").read_text()
            with suppress(RecommenderError):
                find_server(address)
                break
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()
            time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if NAMED:
        yield NAMED
        return
    with serving(tmp_path_factory.mktemp("ollama")) as (address, _):
        yield address


@pytest.fixture
def request_(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunRequest]:
    """A run of a tiny model that the server is given; it is removed afterwards."""
    monkeypatch.setenv("OLLAMA_HOST", host)
    name = f"rightsize-test-{uuid.uuid4().hex[:8]}"
    path = write_tiny_gguf(tmp_path / "tiny.gguf", context_tokens=2**14)
    yield RunRequest(
        "tiny", "", SETTINGS, runtime="ollama", file=name, model_path=str(path), prompt_tokens=200, gen_tokens=64
    )
    with suppress(RecommenderError):
        remove_model(name)


def names() -> list[str]:
    return [model.name.removesuffix(":latest") for model in installed_models(find_server())]


def test_a_file_is_given_measured_unloaded_listed_and_removed(request_: RunRequest, manager: RunManager) -> None:
    job = finished(manager.submit(request_))
    assert job.error == ""
    found = job.measurement
    assert found is not None
    assert found.repeats == 3
    assert 190 <= found.prompt_tokens <= 210
    assert found.gen_tokens == 64
    assert found.decode_tokens_per_s > 0
    assert found.prefill_tokens_per_s > 0
    assert found.load_s > 0
    assert found.peak_resident_bytes is not None
    assert found.peak_resident_bytes > 100_000
    assert found.quantization == "Q8_0"
    assert not is_loaded(request_.file)
    assert request_.file in names()
    remove_model(request_.file)
    assert request_.file not in names()


def test_an_answer_streams_and_a_chat_follows(request_: RunRequest, manager: RunManager) -> None:
    job = manager.submit(replace(request_, repeats=0, prompt="Hello", answer_tokens=6, keep_loaded=True))
    until(lambda: job.state == "chatting" or job.ended)
    assert job.error == ""
    answered = job.last(protocol.Answered)
    assert answered is not None
    assert 0 < answered.answer_tokens <= 6
    assert is_loaded(request_.file)
    job.ask(Question((Message("user", "Hello"),), answer_tokens=10_000, temperature=0.0))
    until(lambda: job.turns[-1].pieces > 3)
    job.stop_answer()
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].answered is not None
    assert job.turns[-1].answered.finish == "stopped"
    job.ask(Question((Message("user", "More"),), answer_tokens=3))
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].problem == ""
    job.close()
    finished(job)
    until(lambda: not is_loaded(request_.file))


def test_stop_gives_the_server_back(request_: RunRequest, manager: RunManager) -> None:
    settings = replace(SETTINGS, context_tokens=2**14)
    job = manager.submit(replace(request_, settings=settings, repeats=0, prompt="Hi", answer_tokens=15_000))
    until(lambda: job.turns[0].pieces > 3)
    job.cancel()
    assert finished(job).state == "cancelled"
    until(lambda: not is_loaded(request_.file))
    assert finished(manager.submit(replace(request_, repeats=1))).error == ""


@pytest.mark.skipif(not PROGRAM, reason="a server of somebody else's is not killed: `ollama` is not on PATH")
def test_a_server_that_dies_in_mid_answer_ends_in_a_sentence(
    request_: RunRequest, manager: RunManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "own") as (address, process):
        monkeypatch.setenv("OLLAMA_HOST", address)
        settings = replace(SETTINGS, context_tokens=2**14)
        job = manager.submit(replace(request_, settings=settings, repeats=0, prompt="Hi", answer_tokens=15_000))
        until(lambda: job.turns[0].pieces > 3)
        for one in (process, *psutil.Process(process.pid).children()):  # what runs its models would live on
            one.kill()
        assert finished(job).state == "failed"
        assert re.search("broke off|No Ollama server", job.error)


def test_a_rehearsal_leaves_nothing_in_the_server(request_: RunRequest, manager: RunManager) -> None:
    name = f"{REHEARSAL_PREFIX}{uuid.uuid4().hex[:8]}"
    job = finished(manager.submit(replace(request_, file=name, rehearsal=True)))
    assert job.error == ""
    assert name not in names()


def test_a_model_that_does_not_exist_ends_in_a_sentence(request_: RunRequest, manager: RunManager) -> None:
    """The server looks it up at an address of its own on this machine, where nothing listens."""
    job = finished(manager.submit(replace(request_, model_path="", file="127.0.0.1:9/nobody/nothing:tag")))
    assert job.state == "failed"
    assert job.error.startswith("Ollama could not fetch")


def test_a_file_that_is_no_model_ends_in_a_sentence(request_: RunRequest, manager: RunManager, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(Path(request_.model_path).read_bytes()[:-5000])
    job = finished(manager.submit(replace(request_, model_path=str(path))))
    assert job.state == "failed"
    assert job.error.endswith(".")
