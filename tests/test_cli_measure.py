"""`recommender measure --endpoint`: a server measured from the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from recommender.catalog.measurements import MeasurementStore
from recommender.cli import main
from tests.runner.openai_server import KEY, OpenAiStandIn

WITH_KEY = ("--key-variable", "A_SERVERS_KEY")
COUNTS = ("--repeats", "2", "--prompt-tokens", "32", "--gen-tokens", "8")


@pytest.fixture
def server() -> Iterator[OpenAiStandIn]:
    made = OpenAiStandIn()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.hold.set()
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SERVERS_KEY", KEY)


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any, str]:
    code = main(("measure", *argv, "--json"))
    said = capsys.readouterr()
    return code, json.loads(said.out), said.out + said.err


def test_a_server_is_measured_under_the_catalogs_name_and_kept(
    server: OpenAiStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("--endpoint", server.url, "--served", "tiny", "--model", "Qwen/Qwen3-0.6B", "--quant", "Q8_0", *WITH_KEY)
    code, value, _ = ask(capsys, *names, *COUNTS)
    assert code == 0
    assert (value["model_id"], value["quantization"], value["runtime"]) == ("Qwen/Qwen3-0.6B", "Q8_0", "openai")
    assert value["decode_tokens_per_s"] > 0
    assert value["predicted_decode_tokens_per_s"] is None
    assert next(iter(MeasurementStore().all())).id == value["id"]
    assert {body["model"] for body in server.requests} == {"tiny"}


def test_the_only_model_of_a_server_need_not_be_named(
    server: OpenAiStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    server.models = {"object": "list", "data": [{"id": "tiny"}]}
    code, value, _ = ask(capsys, "--endpoint", server.url, *WITH_KEY, *COUNTS)
    assert code == 0
    assert value["model_id"] == "tiny"


def test_of_several_models_one_must_be_named(server: OpenAiStandIn, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, _ = ask(capsys, "--endpoint", server.url, *WITH_KEY)
    assert code == 2
    assert "tiny, other" in value["error"]
    assert "--served" in value["error"]


def test_the_key_comes_from_the_environment_and_is_not_printed(
    server: OpenAiStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = ask(capsys, "--endpoint", server.url, "--served", "tiny", *WITH_KEY, *COUNTS)
    assert code == 0
    assert KEY not in said


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("--endpoint", "http://127.0.0.1:9/v1", "--file", "x.gguf"), "--file"),
        (("--served", "tiny", "--model", "Qwen/Qwen3-0.6B"), "--endpoint"),
        (("--endpoint", "http://127.0.0.1:9/v1", "--key-variable", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    argv: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, value, _ = ask(capsys, *argv)
    assert code == 2
    assert word in value["error"]


def test_a_server_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, value, _ = ask(capsys, "--endpoint", "http://127.0.0.1:9/v1", *COUNTS)
    assert code == 1
    assert "No server answers" in value["error"]
