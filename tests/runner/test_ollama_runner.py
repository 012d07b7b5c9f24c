from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recommender.errors import BadInputError, RunError, RuntimeMissingError, UnknownNameError
from recommender.runner import Job, RunManager, RunRequest, protocol
from recommender.runner.ollama_server import REHEARSAL_PREFIX, find_server, installed_models, remove_rehearsals
from recommender.runner.protocol import Message, Question
from recommender.runner.runners import make_runner
from recommender.types import MIB
from tests.runner.conftest import PATIENCE_S, SETTINGS, finished, until
from tests.runner.ollama_server import MODEL, Lines, OllamaStandIn, answer, layers
from tests.tiny_gguf import write_tiny_gguf

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


def test_a_server_on_all_addresses_is_asked_at_this_machines_own(
    server: OllamaStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url.replace("127.0.0.1", "0.0.0.0"))
    assert find_server().host == server.url


def test_no_proxy_is_asked_for_a_server_on_this_machine(server: OllamaStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert find_server().host == server.url


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
    assert job.measurement.prompt_tokens == 40  # a word is two tokens here


def test_a_tokenizer_of_bytes_never_fills_the_context(server: OllamaStandIn, manager: RunManager) -> None:
    """Where the server would cut the prompt, and count what is left."""

    def counted(body: dict[str, Any], chat: bool) -> Lines:
        tokens = min(len(body["prompt"]), body["options"]["num_ctx"])
        for line in answer(body, chat):
            known = {"prompt_eval_count": tokens} if isinstance(line, dict) and line.get("done") else {}
            yield {**line, **known} if isinstance(line, dict) else line

    server.lines = counted
    job = finished(manager.submit(replace(REQUEST, prompt_tokens=700)))
    assert job.measurement is not None
    assert 690 <= job.measurement.prompt_tokens <= 710


@pytest.mark.parametrize(("most", "refused"), [(1023, True), (1024, False), (None, False)])
def test_a_context_above_the_models_own_is_refused_as_ollama_would_lower_it(
    most: int | None, refused: bool, server: OllamaStandIn, manager: RunManager
) -> None:
    server.context_tokens = most
    job = finished(manager.submit(replace(REQUEST, repeats=1)))
    assert ("above the 1023 that tiny:latest was made for" in job.error) is refused
    assert (job.measurement is None) is refused


def test_context_and_threads_are_always_sent_and_no_prompt_is_sent_twice(
    server: OllamaStandIn, manager: RunManager
) -> None:
    finished(manager.submit(replace(REQUEST, settings=replace(SETTINGS, gpu_layers=-1))))
    bodies = timed(server)
    assert len(bodies) == 6  # two that tell how long a word is, the warm-up, three repeats
    for body in bodies:
        assert body["options"]["num_ctx"] == SETTINGS.context_tokens
        assert body["options"]["num_thread"] == SETTINGS.threads
        assert "num_gpu" not in body["options"]
        assert body["raw"] is True
    assert len({body["prompt"][:8] for body in bodies}) == 6


def test_the_answer_streams_with_the_persons_prompt(server: OllamaStandIn, manager: RunManager) -> None:
    job = finished(manager.submit(replace(REQUEST, repeats=0, prompt="Hi", answer_tokens=9)))
    assert job.text == "Hello world"
    answered = job.last(protocol.Answered)
    assert answered is not None
    assert (answered.prompt_tokens, answered.answer_tokens, answered.finish) == (30, 9, "length")
    (asked,) = (body for path, body in server.requests if path == "/api/chat")
    assert asked["messages"] == [{"role": "user", "content": "Hi"}]
    assert asked["options"]["num_ctx"] == SETTINGS.context_tokens


def test_a_text_may_hold_characters_that_end_lines_elsewhere(server: OllamaStandIn, manager: RunManager) -> None:
    said = "a\x85b\u2028c"

    def lines(body: dict[str, Any], chat: bool) -> Lines:
        yield {"message": {"role": "assistant", "content": said}}
        yield from answer(body, chat)

    server.lines = lines
    job = finished(manager.submit(replace(REQUEST, repeats=0, prompt="Hi")))
    assert (job.error, job.text) == ("", f"{said}Hello world")


def test_a_name_is_found_however_it_is_written(server: OllamaStandIn, manager: RunManager) -> None:
    assert finished(manager.submit(replace(REQUEST, file="Tiny", repeats=1))).error == ""
    assert not any(path == "/api/pull" for path, _ in server.requests)
    assert not server.loaded


def test_a_model_is_unloaded_after_the_run_unless_it_was_loaded_before(
    server: OllamaStandIn, manager: RunManager
) -> None:
    finished(manager.submit(REQUEST))
    assert not server.loaded
    server.loaded = True
    finished(manager.submit(REQUEST))
    assert server.loaded


def test_stop_in_mid_answer_closes_the_connection(server: OllamaStandIn, manager: RunManager) -> None:
    def endless(body: dict[str, Any], chat: bool) -> Lines:
        while not server.hold.wait(0.01):
            yield {"message": {"role": "assistant", "content": "more "}}

    server.lines = endless
    job = manager.submit(replace(REQUEST, repeats=0, prompt="Hi"))
    until(lambda: job.text)
    job.cancel()
    assert finished(job).state == "cancelled"
    assert server.gone.wait(PATIENCE_S)


PULLED = replace(REQUEST, file="qwen3:0.6b")


def then_installed(server: OllamaStandIn, name: str) -> None:
    """A pull ends with the model being there."""

    def lines() -> Lines:
        yield from layers()
        server.models = [*server.models, {**MODEL, "name": name, "model": name}]

    server.pull_lines = lines


def test_a_model_that_is_not_there_is_pulled_with_progress_layer_by_layer(
    server: OllamaStandIn, manager: RunManager
) -> None:
    then_installed(server, PULLED.file)
    seen: list[protocol.Event] = []
    job = finished(manager.submit(PULLED, seen.append))
    assert job.error == ""
    progress = [event for event in seen if isinstance(event, protocol.Downloading)]
    assert {event.file for event in progress} == {"layer 1a1a1a1a1a1a", "layer 2b2b2b2b2b2b"}
    for file, total in (("layer 1a1a1a1a1a1a", 400), ("layer 2b2b2b2b2b2b", 50)):
        done = [event.done_bytes for event in progress if event.file == file]
        assert done == sorted(done)
        assert (done[-1], progress[0].total_bytes) == (total, 400)
    assert any(isinstance(event, protocol.Verifying) for event in seen)
    assert job.measurement is not None
    assert job.measurement.file_name == PULLED.file


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"error": "pull model manifest: file does not exist"}], "not fetch qwen3:0.6b: .*file does not exist. Check"),
        ([*list(layers())[:3], {"error": "no space left on device"}], "not fetch qwen3:0.6b: no space left"),
        ([*list(layers())[:3], None], "broke off"),
        ([{"status": "pulling manifest"}], "without the model"),
        ([b"rubbish\n"], "does not speak like Ollama"),
    ],
)
def test_a_pull_that_fails_says_why(lines: list[Any], said: str, server: OllamaStandIn, manager: RunManager) -> None:
    server.pull_lines = lambda: iter(lines)
    job = finished(manager.submit(PULLED))
    assert job.state == "failed"
    assert re.search(said, job.error)


@pytest.mark.parametrize("total", [400, 0])
def test_a_pull_that_says_the_same_for_ever_is_left(total: int, server: OllamaStandIn, manager: RunManager) -> None:
    def endless() -> Lines:
        while not server.hold.wait(0.01):
            yield {"status": "pulling", "digest": "sha256:" + "1a" * 32, "total": total, "completed": 1}

    server.pull_lines = endless
    job = finished(manager.submit(replace(PULLED, longest_silence_s=1.0)))
    assert job.error == "Ollama said nothing of use for 1 s. Restart it, then try again."


def test_stop_during_a_pull_closes_the_connection(server: OllamaStandIn, manager: RunManager) -> None:
    def endless() -> Lines:
        while not server.hold.wait(0.01):
            yield {"status": "pulling", "digest": "sha256:" + "1a" * 32, "total": 400, "completed": 1}

    server.pull_lines = endless
    job = manager.submit(PULLED)
    until(lambda: job.last(protocol.Downloading))
    assert job.state == "downloading"
    job.cancel()
    assert finished(job).state == "cancelled"
    assert server.gone.wait(PATIENCE_S)


def test_a_file_is_copied_into_ollama_once(server: OllamaStandIn, manager: RunManager, tiny: Path) -> None:
    request = replace(REQUEST, file="rightsize-tiny", model_path=str(tiny))
    for _ in range(2):
        job = finished(manager.submit(request))
        assert job.error == ""
    assert list(server.blobs.values()) == [tiny.read_bytes()]
    assert sum(path.startswith("/api/blobs/") for path, _ in server.requests) == 1
    created = [body for path, body in server.requests if path == "/api/create"]
    assert created[0]["files"] == {tiny.name: next(iter(server.blobs))}
    assert any(model["model"] == "rightsize-tiny:latest" for model in server.models), "it stays for `ollama run`"
    assert job.measurement is not None
    assert f"sha256:{job.measurement.file_sha256}" == next(iter(server.blobs)), "the file's own, not its manifest's"


def test_a_file_that_ollama_takes_without_a_model_is_not_looked_for_elsewhere(
    server: OllamaStandIn, manager: RunManager, tiny: Path
) -> None:
    server.keeps_models = False
    job = finished(manager.submit(replace(REQUEST, file="rightsize-tiny", model_path=str(tiny))))
    assert "has no model of it" in job.error
    assert not any(path == "/api/pull" for path, _ in server.requests)


@pytest.mark.parametrize("lacks", ["takes_files", "takes_blobs"])
def test_an_old_server_that_takes_no_file_says_to_update(
    lacks: str, server: OllamaStandIn, manager: RunManager, tiny: Path
) -> None:
    setattr(server, lacks, False)
    job = finished(manager.submit(replace(REQUEST, file="rightsize-tiny", model_path=str(tiny))))
    assert "Update Ollama" in job.error


def test_a_model_in_several_files_is_refused(server: OllamaStandIn, manager: RunManager, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "split.gguf", tensors_per_file=8)
    job = finished(manager.submit(replace(REQUEST, file="rightsize-split", model_path=str(path))))
    assert "in several files, which Ollama does not take" in job.error


def test_what_a_rehearsal_made_is_removed_also_when_the_run_fails(
    server: OllamaStandIn, manager: RunManager, tiny: Path
) -> None:
    name = f"{REHEARSAL_PREFIX}abc"
    request = replace(REQUEST, file=name, model_path=str(tiny), rehearsal=True)
    assert finished(manager.submit(request)).error == ""
    assert server.models == [MODEL]
    server.lines = lambda body, chat: iter([{"error": "broken"}])
    assert finished(manager.submit(request)).state == "failed"
    assert server.models == [MODEL]


def test_of_the_rehearsals_of_others_only_old_ones_are_removed(server: OllamaStandIn) -> None:
    def made(name: str, at: datetime) -> dict[str, Any]:
        return {**MODEL, "model": f"{REHEARSAL_PREFIX}{name}:latest", "modified_at": at.isoformat()}

    now = datetime.now(UTC)
    running, left = made("running", now), made("left", now - timedelta(days=1))
    server.models = [MODEL, running, left, made("own", now)]
    remove_rehearsals(f"{REHEARSAL_PREFIX}own")
    assert server.models == [MODEL, running]


def test_a_copy_that_does_not_fit_is_refused_before_it_is_made(
    server: OllamaStandIn, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(REQUEST, file="rightsize-tiny", model_path=str(tiny))
    plan = make_runner("ollama").plan(request)
    assert (plan.disk_bytes, plan.problem) == (tiny.stat().st_size, "")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "Ollama copies the file" in make_runner("ollama").plan(request).problem
    monkeypatch.setenv("OLLAMA_HOST", "http://192.0.2.1:11434")
    assert make_runner("ollama").plan(request).problem == "", "the disk of another machine is not known"
    monkeypatch.setenv("OLLAMA_HOST", "http://[")
    assert "no address" in make_runner("ollama").plan(request).problem
    assert "no file" in make_runner("ollama").plan(replace(request, model_path="gone.gguf")).problem


def test_whether_a_server_is_there_is_told_with_advice(server: OllamaStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_runner("ollama").probe().ready
    for host, words in (("127.0.0.1:9", "ollama serve"), ("http://[", "no address")):
        monkeypatch.setenv("OLLAMA_HOST", host)
        found = make_runner("ollama").probe()
        assert not found.ready
        assert words in found.advice


def test_an_answer_that_the_server_breaks_off_keeps_its_text(server: OllamaStandIn, manager: RunManager) -> None:
    """As Ollama does after 30 equal tokens in a row: no last chunk, no counters."""
    server.lines = lambda body, chat: iter([{"message": {"role": "assistant", "content": "so "}}] * 31)
    job = finished(manager.submit(replace(REQUEST, repeats=0, prompt="Hi")))
    answered = job.last(protocol.Answered)
    assert job.error == ""
    assert answered is not None
    assert (answered.finish, answered.answer_tokens) == ("broken off", 31)
    assert job.text == "so " * 31


def test_a_slow_start_is_waited_for(server: OllamaStandIn, manager: RunManager) -> None:
    server.delay_s = 0.5
    job = finished(manager.submit(replace(REQUEST, repeats=1, longest_silence_s=30.0)))
    assert job.error == ""


def test_a_server_that_never_ends_its_answer_is_left(server: OllamaStandIn, manager: RunManager) -> None:
    def rubbish(body: dict[str, Any], chat: bool) -> Lines:
        while not server.hold.wait(0.01):
            yield b" " * 1000

    server.lines = rubbish
    job = finished(manager.submit(replace(REQUEST, longest_silence_s=1.0)))
    assert job.error == "Ollama said nothing of use for 1 s. Restart it, then try again."


def test_an_answer_of_nothing_is_left(server: OllamaStandIn, manager: RunManager) -> None:
    def nothing(body: dict[str, Any], chat: bool) -> Lines:
        while not server.hold.wait(0.01):
            yield {"response": ""}

    server.lines = nothing
    job = finished(manager.submit(replace(REQUEST, longest_silence_s=1.0)))
    assert job.error == "Ollama said nothing of use for 1 s. Restart it, then try again."


def test_a_line_without_an_end_is_left(server: OllamaStandIn, manager: RunManager) -> None:
    server.lines = lambda body, chat: itertools.repeat(b"x" * 2**20)
    job = finished(manager.submit(REQUEST))
    assert "a line without an end" in job.error
    assert server.gone.wait(PATIENCE_S)


@pytest.mark.parametrize(
    "told", [lambda: b" " * 17 * MIB, lambda: itertools.repeat(b" " * MIB), lambda: map(slowly, itertools.repeat(b" "))]
)
def test_a_quick_question_whose_answer_does_not_end_is_given_up(
    told: Callable[[], Any], server: OllamaStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommender.runner.ollama_server._QUICK_S", 1.0)
    server.version = told()
    with pytest.raises(RunError, match="does not end its answer"):
        find_server()


def slowly(piece: bytes) -> bytes:
    time.sleep(0.01)
    return piece


def test_an_answer_without_a_limit_is_cut_off(server: OllamaStandIn, manager: RunManager) -> None:
    def endless(body: dict[str, Any], chat: bool) -> Lines:
        while not server.hold.is_set():
            yield {"response": "more "}

    server.lines = endless
    job = finished(manager.submit(REQUEST))
    assert "more than was asked for" in job.error


def test_stop_and_a_kill_give_the_servers_memory_back(server: OllamaStandIn, manager: RunManager) -> None:
    def endless(body: dict[str, Any], chat: bool) -> Lines:
        while not server.hold.wait(0.01):
            yield {"message": {"role": "assistant", "content": "more "}}

    server.lines = endless
    for end in (Job.cancel, lambda job: os.kill(job.pid or 0, signal.SIGKILL)):
        job = manager.submit(replace(REQUEST, repeats=0, prompt="Hi", answer_tokens=100_000))
        until(lambda job=job: job.text)
        assert server.loaded
        end(job)
        finished(job)
        assert not server.loaded


def test_a_chat_streams_thinking_apart_and_can_be_stopped(server: OllamaStandIn, manager: RunManager) -> None:
    def thinks(body: dict[str, Any], chat: bool) -> Lines:
        yield {"message": {"role": "assistant", "content": "", "thinking": "hmm"}}
        while not server.hold.wait(0.01):
            yield {"message": {"role": "assistant", "content": "more "}}

    job = manager.submit(replace(REQUEST, repeats=1, keep_loaded=True))
    until(lambda: job.state == "chatting" or job.ended)
    assert job.measurement is not None
    server.lines = thinks
    job.ask(Question((Message("user", "Go"),), answer_tokens=100_000))
    until(lambda: job.turns[-1].text)
    assert job.turns[-1].thinking == "hmm"
    job.stop_answer()
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].answered is not None
    assert job.turns[-1].answered.finish == "stopped"
    assert server.gone.wait(PATIENCE_S), "the connection stays open"
    assert job.state == "chatting"
    server.lines = answer
    job.ask(Question((Message("user", "Again"),), answer_tokens=5))
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].text == "Hello world"
    job.close()
    finished(job)
    assert not server.loaded


@pytest.mark.parametrize(
    ("lines", "said"),
    [([{"error": "out of memory"}], "Ollama refused: out of memory"), ([None], "broke off"), ([b"[1]\n"], "not speak")],
)
def test_a_chat_outlives_a_question_that_went_wrong(
    lines: list[Any], said: str, server: OllamaStandIn, manager: RunManager
) -> None:
    job = manager.submit(replace(REQUEST, repeats=0, prompt="Hi", keep_loaded=True))
    until(lambda: job.state == "chatting" or job.ended)
    server.lines = lambda body, chat: iter([{"message": {"role": "assistant", "content": "We"}}, *lines])
    job.ask(Question((Message("user", "Go"),)))
    until(lambda: job.turns[-1].ended or job.ended)
    assert said in job.turns[-1].problem
    assert (job.turns[-1].text, job.state) == ("We", "chatting")
    server.lines = answer
    until(lambda: isinstance(job.events[-1], protocol.Ready))
    job.ask(Question((Message("user", "Again"),)))
    until(lambda: job.turns[-1].ended or job.ended)
    assert job.turns[-1].text == "Hello world"
    job.close()
    assert finished(job).state == "done"


def test_a_model_that_was_removed_meanwhile_is_told_of(server: OllamaStandIn, manager: RunManager) -> None:
    job = manager.submit(replace(REQUEST, repeats=0, prompt="Hi", keep_loaded=True))
    until(lambda: job.state == "chatting" or job.ended)
    server.models = []
    job.ask(Question((Message("user", "Go"),)))
    until(lambda: job.turns[-1].ended or job.ended)
    assert job.turns[-1].problem == "Ollama refused: model 'tiny:latest' not found (404). Its log may say more."


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"response": "He"}, {"error": "out of memory"}], r"^Ollama refused: out of memory\. Its log may say more\.$"),
        ([{"response": "He"}], "ended in the middle"),
        ([{"response": "He"}, None], "broke off"),
        ([{"response": "He"}, b"rubbish\n"], "does not speak like Ollama"),
        ([{"response": "He"}, b"[1]\n"], "does not speak like Ollama"),
        ([{"response": "", "done": True, "prompt_eval_count": 3}], "left out its counters"),
        ([{"done": True, "prompt_eval_count": 3, "prompt_eval_duration": 9, "eval_count": 1}], "wrote a single token"),
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
