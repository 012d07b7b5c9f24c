"""What a browser sends is used only where it makes sense."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.ui.browser_outcome import REPEATS, Outcome, checked

GOOD: dict[str, Any] = {
    "token": "0123456789abcdef",
    "backend": "cpu",
    "threads": 2,
    "isolated": True,
    "load_s": 1.5,
    "fetched_bytes": 120864,
    "prompt_tokens": 512,
    "gen_tokens": 128,
    "prefill": [100.0, 110, 90.5],
    "decode": [10, 11.5, 9.0],
    "ttft_s": [5.0, 5.1, 4.9],
    "browser": "Chromium 156",
    "gpu": "",
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def _sensible(outcome: Outcome) -> bool:
    rates = (*outcome.prefill, *outcome.decode)
    times = (*outcome.ttft_s, outcome.load_s)
    return (
        all(math.isfinite(one) and 0 < one <= 1e6 for one in rates)
        and all(math.isfinite(one) and 0 < one <= 86_400 for one in times)
        and all(REPEATS[0] <= len(one) <= REPEATS[1] for one in (outcome.prefill, outcome.decode, outcome.ttft_s))
        and len(outcome.browser) <= 100
        and len(outcome.gpu) <= 100
        and outcome.runtime in ("wllama-cpu", "wllama-webgpu")
    )


def test_a_sound_result_is_taken() -> None:
    outcome = checked(GOOD)
    assert _sensible(outcome)
    assert (outcome.runtime, outcome.decode) == ("wllama-cpu", (10.0, 11.5, 9.0))


@given(ANYTHING)
def test_anything_else_is_a_sentence(value: object) -> None:
    with pytest.raises(BadInputError, match="makes no sense"):
        checked(value)


@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_a_field_with_anything_in_it_is_sound_or_refused(name: str, value: object) -> None:
    try:
        outcome = checked({**GOOD, name: value})
    except BadInputError:
        return
    assert _sensible(outcome)


@pytest.mark.parametrize(
    "change",
    [
        {"decode": [1e9, 1e9, 1e9]},
        {"decode": [math.nan, 1.0, 1.0]},
        {"decode": [10.0]},
        {"decode": [10.0] * 1000},
        {"prefill": [math.inf] * 3},
        {"ttft_s": [-1.0, 1.0, 1.0]},
        {"prompt_tokens": 10**9},
        {"threads": True},
        {"threads": "2"},
        {"backend": "llama.cpp"},
        {"browser": "x" * 101},
        {"token": "../../etc/passwd"},
        {"more": 1},
    ],
)
def test_what_is_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        checked({**GOOD, **change})
