"""Each part of memory can be checked by hand from the numbers beside it."""

from __future__ import annotations

import re

import pytest

from recommender.catalog.store import Catalog
from recommender.engine.estimate_rows import EstimateRequest
from recommender.engine.explain_memory import explain_memory, explain_pick, explanation_text
from recommender.engine.recommend import recommend
from recommender.types import Device, Need


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", text)]


def test_the_cache_follows_from_its_own_sentence(catalog: Catalog, laptop: Device) -> None:
    request = EstimateRequest("Qwen/Qwen3-0.6B", "Q4_0", laptop, context_tokens=4096)
    _, parts = explain_memory(request, catalog)
    cache = next(part for part in parts if part.name == "KV cache")
    keys, values, tokens, _, per_element, *_ = _numbers(cache.how)
    assert cache.value_bytes == (keys + values) * tokens * per_element


def test_the_parts_add_up_to_the_total(catalog: Catalog, laptop: Device) -> None:
    request = EstimateRequest("Qwen/Qwen3-4B", "Q4_K_M", laptop, context_tokens=8192)
    answer, parts = explain_memory(request, catalog)
    by_name = {part.name: part.value_bytes for part in parts}
    summed = by_name["weights"] + by_name["KV cache"] + by_name["compute"] + by_name["overhead"]
    assert summed == pytest.approx(by_name["total"])
    assert "KV cache" in explanation_text(answer, parts)


def test_a_windowed_model_names_its_window(catalog: Catalog, laptop: Device) -> None:
    windowed = catalog.cursor().execute("SELECT model_id FROM shapes WHERE window_tokens > 0 LIMIT 1").fetchall()[0][0]
    request = EstimateRequest(windowed, "Q4_K_M", laptop, context_tokens=8192)
    _, parts = explain_memory(request, catalog)
    assert "a window of" in next(part for part in parts if part.name == "KV cache").how


def test_a_picks_parts_are_its_own_memory(catalog: Catalog, laptop: Device) -> None:
    pick = recommend(laptop, Need(), catalog, top=1).picks[0]
    parts = {part.name: part.value_bytes for part in explain_pick(pick, laptop, catalog)}
    assert pick.estimate.memory is not None
    assert parts["total"] == pick.estimate.memory.total_bytes
    assert parts["KV cache"] == pick.estimate.memory.kv_cache_bytes
