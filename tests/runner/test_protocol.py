from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import BadInputError, DownloadError, RunError
from recommender.runner import Message, RunRequest, protocol
from recommender.types import Memory
from tests.runner.conftest import SETTINGS

REQUEST = RunRequest("m", "Q4_0", SETTINGS, model_path="x.gguf", messages=(Message("user", "hé\n"),))
MEMORY = Memory(1.0, 2.0, 3.0, 4.0, 10.0, provenance="measured here")


def test_a_request_comes_back_as_it_went() -> None:
    assert protocol.from_dict(RunRequest, json.loads(protocol.to_json(REQUEST))) == REQUEST


@pytest.mark.parametrize(
    "event",
    [
        protocol.Queued(3),
        protocol.Downloading("f", 1.0, 2.0, None),
        protocol.Loaded(MEMORY, 0.5, "b"),
        protocol.WarmUp(),
        protocol.Text('"\n\u2028ü'),
        protocol.Error("RunError", "no"),
    ],
)
def test_an_event_comes_back_as_it_went_and_is_one_line(event: protocol.Event) -> None:
    line = protocol.encode(event)
    assert len(line.splitlines()) == 1
    assert protocol.decode(line) == event


@given(st.text() | st.dictionaries(st.text(), st.integers()).map(str))
def test_a_line_that_is_no_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        protocol.decode(line)


@given(st.sampled_from(sorted(protocol.EVENTS)), st.dictionaries(st.text(max_size=5), st.integers(), min_size=1))
def test_an_event_with_unknown_fields_is_a_value_error(name: str, fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"unknown|missing"):
        protocol.decode(json.dumps({**fields, "?": 1, "event": name}))


def test_an_error_keeps_its_class() -> None:
    assert isinstance(protocol.error_from(protocol.Error("DownloadError", "x")), DownloadError)
    assert isinstance(protocol.error_from(protocol.Error("SystemExit", "x")), RunError)


def test_a_prompt_is_one_turn_of_the_user() -> None:
    question = replace(REQUEST, messages=(), prompt="hi").question()
    assert question is not None
    assert question.messages == (Message("user", "hi"),)
    assert replace(REQUEST, messages=()).question() is None


def test_a_request_that_fits_is_accepted() -> None:
    REQUEST.check()
    replace(REQUEST, repeats=0, prompt_tokens=10**6).check()
    with pytest.raises(BadInputError, match="needs a context of 1041, but it is 1024"):
        replace(REQUEST, prompt_tokens=1000, gen_tokens=40).check()
