from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from recommender.calibrated import calibration_here
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.store import Catalog
from recommender.device import device_key
from recommender.errors import RunError
from recommender.runner import Job, Message, RunManager, RunRequest, openai_runner, protocol
from recommender.runner.openai_runner import models_at
from recommender.runner.protocol import Question
from recommender.types import Device
from tests.runner import openai_server
from tests.runner.conftest import PATIENCE_S, SETTINGS, finished, until
from tests.runner.openai_server import KEY, OpenAiStandIn, chunk

SHORT_S = 2.0
HELLO = Question((Message("user", "Hello"),), answer_tokens=5)


def started() -> Iterator[OpenAiStandIn]:
    made = OpenAiStandIn()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.hold.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def server() -> Iterator[OpenAiStandIn]:
    yield from started()


@pytest.fixture
def another_server() -> Iterator[OpenAiStandIn]:
    yield from started()


@pytest.fixture
def request_to(server: OpenAiStandIn) -> Callable[..., RunRequest]:
    """Build a request to the stand-in; keywords replace fields."""

    def build(**changes: Any) -> RunRequest:
        base = RunRequest(
            "tiny",
            "",
            SETTINGS,
            runtime="openai",
            endpoint=server.url,
            api_key=KEY,
            file="tiny",
            prompt_tokens=100,
            gen_tokens=20,
            device_name="box",
            device_key="key",
        )
        return replace(base, **changes)

    return build


def processes() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "recommender.runner.openai_runner" in one.cmdline()]


def chatting(job: Job) -> Job:
    until(lambda: job.state == "chatting" or job.ended)
    assert job.error == ""
    return job


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_measurement_takes_the_servers_counts_and_this_machines_clock(request_to: Any, manager: RunManager) -> None:
    job = finished(manager.submit(request_to()))
    assert job.error == ""
    measured = job.measurement
    assert measured is not None
    assert (measured.gen_tokens, measured.repeats, measured.runtime, measured.file_name) == (20, 3, "openai", "tiny")
    assert 95 <= measured.prompt_tokens <= 105
    # A step takes at least so long; how much longer is up to this machine.
    assert 1 < measured.decode_tokens_per_s < 2 / openai_server.STEP_S
    assert measured.ttft_s > openai_server.FIRST_S / 2
    assert measured.prefill_tokens_per_s < 2 * measured.prompt_tokens / openai_server.FIRST_S
    assert measured.load_s >= 0
    assert (measured.memory, measured.file_bytes, measured.peak_resident_bytes) == (None, 0.0, None)
    assert measured.build.startswith("http://127.0.0.1:")


def test_the_tasks_counts_are_measured_as_well(request_to: Any, manager: RunManager) -> None:
    request = request_to(task_counts=protocol.TokenCounts(60, 8), repeats=1)
    job = finished(manager.submit(request))
    assert [one.gen_tokens for one in job.measurements] == [20, 8]


def test_no_two_prompts_begin_with_the_same_word(server: OpenAiStandIn, request_to: Any, manager: RunManager) -> None:
    finished(manager.submit(request_to()))
    first = [body["messages"][0]["content"].split()[0] for body in server.requests]
    assert len(set(first)) == len(first) >= 4


def test_it_corrects_no_estimate(
    request_to: Any, manager: RunManager, laptop: Device, catalog: Catalog, tmp_path: Path
) -> None:
    job = finished(manager.submit(request_to(repeats=1, device_key=device_key(laptop))))
    assert job.measurement is not None
    assert job.measurement.device_key == ""
    measured = replace(job.measurement, model_id="Qwen/Qwen3-0.6B", quantization="Q4_0", noisy=False)
    assert calibration_here(laptop, catalog, [measured]) is None
    # Nor would it if it were taken for one of this machine: no such runtime is estimated.
    assert calibration_here(laptop, catalog, [replace(measured, device_key=device_key(laptop))]) is None
    store = MeasurementStore(tmp_path / "measurements.duckdb")
    store.add(measured)
    assert store.all(device_key(laptop)) == ()
    assert store.get(measured.id) == measured


@pytest.mark.parametrize("endpoint", ["{url}", "http://{user}:{key}@{host}/v1"])
def test_the_key_is_in_nothing_that_is_kept_or_shown(
    endpoint: str, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    host = server.url.removeprefix("http://").removesuffix("/v1")
    request = request_to(
        endpoint=endpoint.format(url=server.url, user="me", key=KEY, host=host), repeats=1, prompt="Hi"
    )
    assert "api_key" not in repr(request)
    events: list[protocol.Event] = []
    for problem in (None, (403, {"error": {"message": f"{KEY} may not do this"}})):
        server.problem = problem
        job = finished(manager.submit(request, events.append))
        assert KEY not in job.error
    assert KEY not in repr(events)
    assert KEY not in "".join(str(asdict(one)) for one in job.measurements)


# ── dialects ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("refused", "refusal"),
    [
        ({"ignore_eos"}, 400),
        ({"ignore_eos", "max_tokens"}, 400),
        ({"ignore_eos", "max_tokens", "temperature", "seed"}, 400),
        ({"ignore_eos", "seed", "stream_options", "max_completion_tokens"}, 422),
    ],
)
def test_what_a_server_refuses_is_left_out_from_then_on(
    refused: set[str], refusal: int, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.refused, server.refusal = frozenset(refused), refusal
    job = finished(manager.submit(request_to(repeats=1, prompt="Hi")))
    assert (job.state, job.error) == ("done", "")
    assert job.measurement is not None
    assert job.measurement.gen_tokens == 20
    accepted = [not body.keys() & refused for body in server.requests]
    assert accepted == sorted(accepted)
    assert ("pieces" in job.measurement.build) == ("stream_options" in refused)


def test_a_measurement_asks_for_tokens_to_the_limit_and_an_answer_does_not(
    server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    finished(manager.submit(request_to(repeats=1, prompt="Hi", temperature=0.5, seed=3)))
    *timed, answered = server.requests
    assert all(body["ignore_eos"] and body["temperature"] == 0 for body in timed)
    assert "ignore_eos" not in answered
    assert (answered["temperature"], answered["seed"], answered["max_tokens"]) == (0.5, 3, 256)


def test_a_question_that_is_refused_changes_nothing_for_the_next(
    server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.refused = frozenset({"max_tokens"})
    job = chatting(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=3, keep_loaded=True)))
    server.problem = (400, {"error": {"message": "the prompt is too long"}})
    job.ask(HELLO)
    until(lambda: job.turns[-1].ended)
    assert "the prompt is too long" in job.turns[-1].problem
    server.problem = None
    job.ask(HELLO)
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].problem == ""
    assert "stream_options" in server.requests[-1]
    job.close()


def test_without_a_report_of_its_tokens_the_pieces_are_counted(
    server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.usage = lambda body: None
    job = finished(manager.submit(request_to()))
    assert job.measurement is not None
    assert job.measurement.gen_tokens == 20
    assert job.measurement.build.endswith("tokens counted by pieces of text")


@pytest.mark.parametrize(
    "usage",
    [
        {},
        [],
        "many",
        7,
        {"prompt_tokens": "12", "completion_tokens": None},
        {"prompt_tokens": -3, "completion_tokens": True},
        {"prompt_tokens": 10**400, "completion_tokens": 1.5, "completion_tokens_details": [1]},
    ],
)
def test_odd_reports_of_tokens_are_no_reports(
    usage: Any, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.usage = lambda body: usage
    job = finished(manager.submit(request_to(repeats=1)))
    assert job.error == ""
    assert job.measurement is not None
    assert job.measurement.gen_tokens == 20
    assert job.measurement.build.endswith("tokens counted by pieces of text")


def test_chunks_that_lack_nearly_everything_are_passed_over(
    server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.chunks = openai_server.leaves_holes
    job = finished(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=3)))
    assert (job.error, job.text) == ("", "one one one ")


def test_two_tokens_are_enough_to_measure(server: OpenAiStandIn, request_to: Any, manager: RunManager) -> None:
    server.chunks = openai_server.says_two_words
    server.usage = lambda body: {"prompt_tokens": 50, "completion_tokens": 2}
    job = finished(manager.submit(request_to(repeats=1)))
    assert job.error == ""
    assert job.measurement is not None
    assert job.measurement.gen_tokens == 2


# ── answers and chats ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "Hm. "}, {"content": "Yes."}],
        [{"reasoning": "Hm. "}, {"content": "Yes."}],
        [{"content": "<thi"}, {"content": "nk>Hm. </think>\n\nYes."}],
    ],
)
def test_thinking_comes_apart_from_the_answer(
    deltas: list[dict[str, str]], server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.chunks = lambda body: iter([*map(chunk, deltas), chunk({}, "stop")])
    job = finished(manager.submit(request_to(repeats=0, prompt="Hi")))
    assert (job.turns[0].thinking, job.text) == ("Hm. ", "Yes.")


def test_a_chat_goes_on_until_it_is_closed(server: OpenAiStandIn, request_to: Any, manager: RunManager) -> None:
    job = chatting(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=3, keep_loaded=True)))
    assert job.text == "one one one "
    job.ask(HELLO)
    until(lambda: job.turns[-1].ended)
    found = job.turns[-1].answered
    assert found is not None
    assert (found.prompt_tokens, found.answer_tokens, found.finish) == (2, 5, "length")
    job.close()
    assert (finished(job).state, job.error, processes()) == ("done", "", [])


def test_an_answer_can_be_stopped_and_the_next_one_comes(
    server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    job = chatting(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=3, keep_loaded=True)))
    server.chunks = server.never_stops
    job.ask(replace(HELLO, answer_tokens=100_000))
    until(lambda: job.turns[-1].text)
    job.stop_answer()
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].answered is not None
    assert job.turns[-1].answered.finish == "stopped"
    assert server.gone.wait(PATIENCE_S)
    server.chunks = openai_server.answer
    job.ask(HELLO)
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].text == "one " * 5
    job.close()


def test_a_server_in_trouble_does_not_end_the_chat(server: OpenAiStandIn, request_to: Any, manager: RunManager) -> None:
    job = chatting(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=3, keep_loaded=True)))
    for chunks in (openai_server.hangs_up, openai_server.sends_rubbish, openai_server.answer):
        server.chunks = chunks
        job.ask(HELLO)
        until(lambda: job.turns[-1].ended)
    assert [bool(turn.problem) for turn in job.turns] == [False, True, True, False]
    job.close()


@pytest.mark.parametrize("behaviour", ["says_nothing", "never_stops"])
def test_stop_ends_the_run_whatever_the_server_does(
    behaviour: str, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.chunks = getattr(server, behaviour)
    job = manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=100_000))
    until(lambda: server.requests)
    job.cancel()
    assert processes() == []
    assert finished(job).state == "cancelled"


# ── servers that do it wrong ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("says_all_at_once", "in one piece.*Turn streaming on"),
        ("says_no_word", "without a word"),
        ("thinks_unseen", r"used up \d+ tokens without a word"),
        ("stops_short", "broke off in the middle"),
        ("hangs_up", "broke off in the middle"),
        ("ends_in_an_error", r"broke off .*: the GPU is lost \(key …\)\."),
        ("sends_rubbish", "does not speak OpenAI's protocol"),
        ("sends_no_json", "does not speak OpenAI's protocol"),
        ("sends_other_json", "does not speak OpenAI's protocol"),
    ],
)
def test_a_bad_answer_is_explained(
    behaviour: str, said: str, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.chunks = getattr(openai_server, behaviour)
    server.usage = lambda body: None
    job = finished(manager.submit(request_to()))
    assert (job.state, processes()) == ("failed", [])
    assert re.search(said, job.error)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("says_nothing", "did not answer in time|said nothing of use for 2 s"),
        ("only_keeps_alive", "said nothing of use for 2 s"),
        ("never_ends_a_line", "said nothing of use for 2 s"),
        ("has_nothing_in_its_chunks", "said nothing of use for 2 s"),
        ("never_stops", "does not keep to 16 tokens"),
    ],
)
def test_an_answer_without_an_end_is_ended(
    behaviour: str, said: str, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.chunks = getattr(server, behaviour)
    job = finished(manager.submit(request_to(longest_silence_s=SHORT_S)))
    assert (job.state, processes()) == ("failed", [])
    assert re.search(said, job.error)


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(request_to: Any, manager: RunManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        job = finished(manager.submit(request_to(endpoint=endpoint, longest_silence_s=SHORT_S)))
    assert (job.state, processes()) == ("failed", [])
    assert re.search("did not answer in time|said nothing of use for 2 s", job.error)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ((429, {"error": {"message": "Slow\x07 down."}}), r"refused \(429\): Slow down\. Wait a while"),
        ((503, {"error": {"message": "Loading model"}}), r"refused \(503\): Loading model\. Wait a while"),
        ((500, b"<html>Oh no</html>"), r"refused \(500\): <html>Oh no</html>\. Look at its log"),
        ((400, {"error": {"message": "no such thing"}}), r"refused \(400\): no such thing\."),
        ((400, {"detail": ["odd"]}), r"refused \(400\): .*odd"),
        ((418, b""), r"refused \(418\): "),
    ],
)
def test_a_refusal_is_told(
    problem: tuple[int, Any], said: str, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.problem = problem
    job = finished(manager.submit(request_to()))
    assert (job.state, processes()) == ("failed", [])
    assert re.search(said, job.error)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (("text/html", b"<!doctype html>\n<p>Welcome</p>"), "does not speak OpenAI's protocol.*/v1"),
        (("application/json", b'{"choices": [{"message": {"content": "Hello"}}]}'), "in one piece"),
        (("application/octet-stream", bytes(range(256))), "does not speak OpenAI's protocol"),
    ],
)
def test_something_else_than_a_stream_is_told_apart(
    page: tuple[str, bytes], said: str, server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.page = page
    assert re.search(said, finished(manager.submit(request_to())).error)


def test_a_model_that_thinks_where_nobody_sees_it_is_not_measured(
    server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.usage = lambda body: {
        **openai_server.counts(body),
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
    assert "thinks where it cannot be seen (12 tokens)" in finished(manager.submit(request_to())).error
    job = finished(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=20)))
    answered = job.last(protocol.Answered)
    assert answered is not None
    assert answered.answer_tokens == 8


# ── addresses and keys ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"api_key": "wrong"}, "refused the key"),
        ({"api_key": ""}, "refused the key"),
        ({"api_key": "schlüssel"}, "has a character that no key has"),
        ({"file": "huge"}, "has no model huge"),
        ({"endpoint": "http://127.0.0.1:9/v1"}, r"No server answers at http://127\.0\.0\.1:9/v1"),
        ({"endpoint": "http://[half/v1"}, "is no address"),
        ({"endpoint": "http://"}, "is no address"),
    ],
)
def test_a_wrong_address_model_or_key_is_explained(
    changes: dict[str, str], said: str, request_to: Any, manager: RunManager
) -> None:
    assert re.search(said, finished(manager.submit(request_to(**changes))).error)


def test_an_address_without_v1_is_tried_as_it_is(server: OpenAiStandIn, request_to: Any, manager: RunManager) -> None:
    job = finished(manager.submit(request_to(endpoint=server.url.removesuffix("/v1"))))
    assert "often ending in /v1" in job.error


def test_a_key_that_was_copied_with_its_line_end_works(request_to: Any, manager: RunManager) -> None:
    job = finished(manager.submit(request_to(api_key=f" {KEY}\n", repeats=0, prompt="Hi", answer_tokens=2)))
    assert (job.error, job.text) == ("", "one one ")


def test_neither_prompt_nor_key_follows_a_redirect(
    server: OpenAiStandIn, another_server: OpenAiStandIn, request_to: Any, manager: RunManager
) -> None:
    server.elsewhere = another_server.url
    job = finished(manager.submit(request_to()))
    assert f"sends requests on to {another_server.url}. Enter that address." in job.error
    with pytest.raises(RunError, match=re.escape(f"sends requests on to {another_server.url}. Enter")):
        models_at(server.url, KEY)
    assert another_server.requests == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: OpenAiStandIn, request_to: Any, manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert models_at(server.url, KEY) == ("tiny", "other")
    assert finished(manager.submit(request_to(repeats=0, prompt="Hi", answer_tokens=2))).error == ""


def test_the_models_of_a_server_are_listed(server: OpenAiStandIn) -> None:
    assert models_at(server.url, KEY) == ("tiny", "other")
    server.models = {"data": [{"id": "tiny"}, {"id": None}]}
    assert models_at(server.url, KEY) == ("tiny",)


@pytest.mark.parametrize("models", [b"<html>Welcome</html>", {"data": None}, {"data": [3]}, [], {}, "models"])
def test_a_list_that_is_none_is_explained(models: Any, server: OpenAiStandIn) -> None:
    server.models = models
    with pytest.raises(RunError, match="does not speak OpenAI's protocol"):
        models_at(server.url, KEY)


@pytest.mark.parametrize(
    ("behaviour", "limit", "value"),
    [("only_keeps_alive", "_LIST_S", 0.3), ("never_ends_a_line", "_LONGEST_LIST_BYTES", 10**6)],
)
def test_a_list_without_an_end_is_cut_off(
    behaviour: str, limit: str, value: float, server: OpenAiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_runner, limit, value)
    server.models = getattr(server, behaviour)
    with pytest.raises(RunError, match="does not end"):
        models_at(server.url, KEY)


@pytest.mark.parametrize(
    ("endpoint", "key", "said"),
    [
        ("{url}", "wrong", "refused the key"),
        ("{url}/more", KEY, "has no list of models.*often ending in /v1"),
        ("http://127.0.0.1:9", KEY, "No server answers"),
        ("here", KEY, "is no address"),
        ("http://exa mple/v1", KEY, "correct the address"),
    ],
)
def test_models_that_cannot_be_listed_are_explained(endpoint: str, key: str, said: str, server: OpenAiStandIn) -> None:
    with pytest.raises(RunError, match=said):
        models_at(endpoint.format(url=server.url), key)


# ── a real server ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def llama_server(tiny: Path) -> Iterator[str]:
    """The address of a llama-server with the tiny model."""
    program = Path(__file__).with_name("real_llama_server.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(tiny), KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = next((line.strip() for line in process.stdout if line.startswith("http://")), "")
        assert address, "llama-server did not start"
        yield f"{address}/v1"
        process.kill()


@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_a_real_llama_server_is_measured_and_chatted_with(
    llama_server: str, request_to: Any, manager: RunManager
) -> None:
    assert models_at(llama_server, KEY) == ("tiny",)
    with pytest.raises(RunError, match="refused the key"):
        models_at(llama_server, "wrong")
    request = request_to(endpoint=llama_server, prompt_tokens=600, gen_tokens=64, keep_loaded=True)
    job = chatting(manager.submit(request))
    measured = job.measurement
    assert measured is not None
    assert measured.gen_tokens == 64
    assert measured.prompt_tokens == pytest.approx(600, rel=0.1)
    assert measured.build == llama_server
    assert measured.ttft_s > 0
    assert measured.decode_low <= measured.decode_tokens_per_s <= measured.decode_high
    job.ask(replace(HELLO, answer_tokens=40, temperature=0.0))
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].problem == ""
    assert job.turns[-1].text
    job.ask(Question((Message("user", "word " * 2000),)))
    until(lambda: job.turns[-1].ended)
    assert re.search(r"refused \(400\): .*context", job.turns[-1].problem)
    job.close()
    assert finished(job).state == "done"
