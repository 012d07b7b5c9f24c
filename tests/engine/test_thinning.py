"""What is kept of a large catalog: the best of each size, and nothing that the question rules out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog import Catalog
from recommender.engine.ability import abilities
from recommender.engine.candidates import CandidateCache, Question, question
from recommender.engine.scoring import scoring_numbers
from recommender.engine.thinning import best_by_size
from recommender.types import Floats, Need

GB = 1e9


@pytest.fixture(scope="module")
def variants(catalog: Catalog) -> dict[int, tuple[int, str, int, str, float, float, str]]:
    found = catalog.cursor().execute(
        "SELECT v.variant_id, m.rowid, v.format, round(4 * log2(greatest(v.tensor_bytes, 1)))::INTEGER, v.quantization,"
        " coalesce(v.tensor_bytes, 0), coalesce(q.points, 0), v.availability, m.role"
        " FROM variants v JOIN models m USING (model_id) LEFT JOIN quant_losses q USING (model_id, quantization)"
    )
    return {row[0]: row[1:] for row in found.fetchall()}


def asked(catalog: Catalog, need: Need, budget_bytes: float, per_class: int = 24) -> Question:
    numbers = scoring_numbers() | {"prune_per_size_class": per_class}
    return question(need, catalog.task(need.task), ("llama.cpp", "ollama"), (), budget_bytes, numbers)


def quality_of(catalog: Catalog, one: Question) -> Floats:
    return abilities(catalog, one.weights, one.languages, one.language_weight, one.hybrid_thinks).quality


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    task=st.sampled_from(["chat", "code", "reasoning"]),
    budget_gb=st.floats(0.5, 100),
    per_class=st.integers(1, 40),
    convert=st.booleans(),
    quantizations=st.sampled_from([(), ("Q4_K_M",), ("Q8_0", "IQ3_M")]),
)
def test_of_each_size_the_best_are_kept(
    catalog: Catalog,
    variants: dict[int, tuple[int, str, int, str, float, float, str]],
    task: str,
    budget_gb: float,
    per_class: int,
    convert: bool,
    quantizations: tuple[str, ...],
) -> None:
    need = Need(task=task, own_conversion=convert, quantizations=quantizations)
    one = asked(catalog, need, budget_gb * GB, per_class)
    quality = quality_of(catalog, one)
    kept = set(best_by_size(catalog, one, quality))
    inside, outside = defaultdict(list), defaultdict(list)
    for variant, (model, form, size, name, tensor_bytes, points, availability, role) in variants.items():
        allowed = role in one.roles and tensor_bytes <= one.largest_bytes and not np.isnan(quality[model])
        allowed = allowed and (convert or availability != "convert")
        allowed = allowed and (not quantizations or name in quantizations)
        assert allowed or variant not in kept
        if allowed:
            (inside if variant in kept else outside)[form, size].append(quality[model] - points)
    assert inside
    assert all(len(values) <= per_class for values in inside.values())
    for group, values in outside.items():
        assert len(inside[group]) == per_class
        assert max(values) <= min(inside[group])


def test_a_catalog_that_is_thinned_to_nothing_lost_has_the_same_candidates(catalog: Catalog) -> None:
    plain = asked(catalog, Need(task="chat"), 16 * GB)
    thinned = replace(plain, prune_above_models=1, prune_per_size_class=10_000)
    all_rows, few_rows = CandidateCache().get(catalog, plain), CandidateCache().get(catalog, thinned)
    assert len(few_rows.variants) > 100
    assert set(
        zip(few_rows.variants.model_id, few_rows.variants.quantization, few_rows.variants.runtime, strict=True)
    ) == set(zip(all_rows.variants.model_id, all_rows.variants.quantization, all_rows.variants.runtime, strict=True))
    assert few_rows.quality.tolist() == all_rows.quality.tolist()


def test_named_models_are_never_thinned(catalog: Catalog) -> None:
    model = "Qwen/Qwen3-4B"
    one = replace(asked(catalog, Need(task="chat", models=(model,)), 1000 * GB), prune_above_models=1)
    found = CandidateCache().get(catalog, replace(one, prune_per_size_class=0))
    assert set(found.variants.model_id) == {model}
