from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from recommender.errors import BadInputError, RunError, RuntimeMissingError, UnknownNameError
from recommender.runner import RunManager, RunRequest, protocol
from recommender.runner.ollama_server import find_server, installed_models
from tests.runner.conftest import PATIENCE_S, SETTINGS, finished, until
from tests.runner.ollama_server import MODEL, OllamaStandIn

REQUEST = RunRequest(
    "tiny", "", SETTINGS, runtime="ollama", file="tiny", prompt_tokens=40, gen_tokens=16, device_key="key"
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaStandIn]:
    made = OllamaStandIn()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("OLLAMA_HOST", made.url)
    yield made
    made.hold.set()
    made.shutdown()
    made.server_close()


def timed(server: OllamaStandIn) -> list[dict[str, Any]]:
    return [body for path, body in server.requests if path == "/api/generate" and "options" in body]


def test_the_server_is_found_where_the_environment_says(server: OllamaStandIn) -> None:
    assert find_server().version == "0.30.1"
    assert find_server().host == server.url


def test_what_is_installed_is_listed(server: OllamaStandIn) -> None:
    (model,) = installed_models(find_server())
    assert (model.name, model.size_bytes, model.quantization) == ("tiny:latest", 1_234_567, "Q4_0")
    assert model.sha256 == MODEL["digest"]


def test_without_a_server_the_sentence_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    with pytest.raises(RuntimeMissingError, match=r"No Ollama server answers at http://127\.0\.0\.1:9.*ollama serve"):
        find_server()


@pytest.mark.parametrize("version", [b"<html>", ["0.30.1"], {"version": 3}, {}])
def test_something_else_on_that_port_is_told_apart(version: Any, server: OllamaStandIn) -> None:
    server.version = version
    with pytest.raises(RunError, match=r"not Ollama|does not speak like Ollama"):
        find_server()


def test_a_measurement_takes_the_servers_own_counters(server: OllamaStandIn, manager: RunManager) -> None:
    job = finished(manager.submit(REQUEST))
    assert job.error == ""
    measured = job.measurement
    assert measured is not None
    assert measured.prefill_tokens_per_s == pytest.approx(100)
    assert measured.decode_tokens_per_s == pytest.approx(20)
    assert measured.load_s == 0.5
    assert (measured.gen_tokens, measured.repeats, measured.runtime) == (16, 3, "ollama")
    assert (measured.quantization, measured.file_sha256) == ("Q4_0", MODEL["digest"])
    assert measured.peak_resident_bytes == 2_000_000
    assert measured.build == "Ollama 0.30.1"
    assert measured.device_key == "key"
    assert measured.memory is None


def test_the_prompt_is_as_long_in_tokens_as_asked(server: OllamaStandIn, manager: RunManager) -> None:
    job = finished(manager.submit(REQUEST))
    assert job.measurement is not None
    # A word is two tokens here, and the text that tells the repeats apart adds three words.
    assert 36 <= job.measurement.prompt_tokens <= 46


def test_context_and_threads_are_always_sent_and_no_prompt_is_sent_twice(
    server: OllamaStandIn, manager: RunManager
) -> None:
    finished(manager.submit(replace(REQUEST, settings=replace(SETTINGS, gpu_layers=-1))))
    bodies = timed(server)
    assert len(bodies) == 4
    for body in bodies:
        assert body["options"]["num_ctx"] == SETTINGS.context_tokens
        assert body["options"]["num_thread"] == SETTINGS.threads
        assert "num_gpu" not in body["options"]
        assert body["raw"] is True
    assert len({body["prompt"][:20] for body in bodies}) == 4


def test_the_answer_streams_with_the_persons_prompt(server: OllamaStandIn, manager: RunManager) -> None:
    job = finished(manager.submit(replace(REQUEST, repeats=0, prompt="Hi", answer_tokens=9)))
    assert job.text == "Hello world"
    answered = job.last(protocol.Answered)
    assert answered is not None
    assert (answered.prompt_tokens, answered.answer_tokens, answered.finish) == (30, 9, "length")
    assert server.requests[0][1]["messages"] == [{"role": "user", "content": "Hi"}]
    assert server.requests[0][1]["options"]["num_ctx"] == SETTINGS.context_tokens


def test_a_model_is_unloaded_after_the_run_unless_it_was_loaded_before(
    server: OllamaStandIn, manager: RunManager
) -> None:
    finished(manager.submit(REQUEST))
    assert not server.loaded
    server.loaded = True
    finished(manager.submit(REQUEST))
    assert server.loaded


def test_stop_in_mid_answer_closes_the_connection(server: OllamaStandIn, manager: RunManager) -> None:
    def endless(body: dict[str, Any], chat: bool) -> Iterator[dict[str, Any]]:
        while not server.hold.wait(0.01):
            yield {"message": {"role": "assistant", "content": "more "}}

    server.lines = endless
    job = manager.submit(replace(REQUEST, repeats=0, prompt="Hi"))
    until(lambda: job.text)
    job.cancel()
    assert finished(job).state == "cancelled"
    assert server.gone.wait(PATIENCE_S)


def test_a_model_that_is_not_there_says_how_to_pull_it(server: OllamaStandIn, manager: RunManager) -> None:
    job = finished(manager.submit(replace(REQUEST, file="qwen3:0.6b")))
    assert job.error == "Ollama has no model qwen3:0.6b. Fetch it with `ollama pull qwen3:0.6b`, then try again."


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"response": "He"}, {"error": "out of memory"}], "Ollama refused .*out of memory"),
        ([{"response": "He"}], "ended in the middle"),
        ([{"response": "He"}, b"rubbish\n"], "does not speak like Ollama"),
        ([{"response": "", "done": True, "prompt_eval_count": 3}], "left out its counters"),
    ],
)
def test_trouble_in_mid_answer_is_explained(
    lines: list[Any], said: str, server: OllamaStandIn, manager: RunManager
) -> None:

    server.lines = lambda body, chat: iter(lines)
    job = finished(manager.submit(REQUEST))
    assert job.state == "failed"
    assert re.search(said, job.error)


def test_a_request_without_a_model_or_with_another_runtime_is_refused(manager: RunManager) -> None:
    with pytest.raises(BadInputError, match="qwen3"):
        manager.submit(replace(REQUEST, file=""))
    with pytest.raises(UnknownNameError):
        manager.submit(replace(REQUEST, runtime="ollamma"))
