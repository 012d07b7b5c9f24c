"""Answers as JSON and as text: valid JSON whatever the figures, and the numbers a person needs."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog import Catalog
from recommender.engine.estimate_rows import EstimateRequest, estimate_one
from recommender.engine.recommend import recommend
from recommender.present import answer_text, jsonable, recommendation_json, recommendation_text
from recommender.types import GIB, Device, Figure, Memory, Need

_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(_values)
def test_anything_becomes_valid_json(value: Any) -> None:
    json.loads(json.dumps(jsonable(value), allow_nan=False))


def test_what_is_not_finite_becomes_null_and_dataclasses_become_objects() -> None:
    figure = Figure(1.0, math.nan, math.inf, "estimated")
    assert jsonable(figure) == {"value": 1.0, "low": None, "high": None, "provenance": "estimated"}
    assert jsonable((np.float64(2.5), [Memory(1, 2, 3, 4, 10)]))[1][0]["total_bytes"] == 10


def test_a_recommendation_is_valid_json_with_every_part(catalog: Catalog, laptop: Device) -> None:
    for need in (Need(), Need(placement="any"), Need(min_decode_tokens_per_s=1e6)):
        answer = recommendation_json(recommend(laptop, need, catalog))
        again = json.loads(json.dumps(answer, allow_nan=False))
        assert {"picks", "near_misses", "alternatives", "pareto", "considered", "rejected", "device", "need"} <= set(
            again
        )


def test_the_text_shows_the_pick_its_reasons_and_the_command(catalog: Catalog, laptop: Device) -> None:
    answer = recommend(laptop, Need(), catalog, top=3)
    text = recommendation_text(answer)
    first = answer.picks[0]
    for part in (first.name, first.command, *first.reasons, answer.catalog_date):
        assert part in text


def test_an_empty_answer_says_which_rules_kept_how_many_out(catalog: Catalog, laptop: Device) -> None:
    answer = recommend(laptop, Need(min_decode_tokens_per_s=1e6), catalog)
    assert not answer.picks
    text = recommendation_text(answer)
    assert text.count("Nothing fits") == 1
    assert "decode speed: kept out" in text


def test_an_estimate_shows_each_part_with_range_and_provenance(catalog: Catalog, laptop: Device) -> None:
    text = answer_text(estimate_one(EstimateRequest("Qwen/Qwen3-4B", "Q4_K_M", laptop), catalog))
    for word in (
        "weights",
        "KV cache",
        "compute",
        "overhead",
        "decode",
        "prefill",
        "TTFT",
        "answer",
        "estimated",
        "to",
    ):
        assert word in text


def test_unknown_figures_are_called_unknown_not_zero(catalog: Catalog) -> None:
    bare = Device(id="bare", name="Something", kind="desktop", os="linux", arch="x86-64")
    answer = recommend(bare, Need(), catalog)
    assert "memory unknown" in recommendation_text(answer)
    assert recommendation_json(answer)["memory_budget_bytes"] is None
    assert GIB == 2**30
