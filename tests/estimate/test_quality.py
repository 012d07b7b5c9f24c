"""Abilities: one scale, gaps filled from relatives, more evidence makes surer."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import CatalogError
from recommender.estimate.evaluate_quality import additive_baseline, evaluate_quality, rank_correlation
from recommender.estimate.quality import THINKING_SUFFIX, Ability, fit_abilities
from recommender.estimate.quality_rows import CAPABILITIES, BenchmarkType, match_type, observations, read_types
from recommender.paths import catalog_dir

SIZES = {"0.5": 0.5e9, "1": 1e9, "2": 2e9, "4": 4e9, "8": 8e9, "16": 16e9, "32": 32e9}


def rows_of(name: str) -> list[dict[str, str]]:
    with (catalog_dir() / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1)
def shipped() -> dict[tuple[str, str], Ability]:
    found = fit_abilities(rows_of("benchmarks.csv"), rows_of("models.csv"))
    return {(ability.model_id, ability.capability): ability for ability in found}


def model(family: str, size: str, **extra: str) -> dict[str, str]:
    row = {
        "model_id": f"maker/{family}-{size}B",
        "family": family,
        "params_total": str(SIZES[size]),
        "role": "instruct",
    }
    return {**row, "thinking": "no", "release_date": "2025-01-01", **extra}


def score(model_id: str, benchmark: str, points: float, **extra: str) -> dict[str, str]:
    return {"model_id": model_id, "benchmark": benchmark, "score": str(points), "evaluator": "lab", **extra}


@lru_cache(maxsize=1)
def references() -> dict[str, BenchmarkType]:
    """A benchmark name for each reference type of the eight capabilities and of one language."""
    chosen: dict[str, tuple[str, BenchmarkType]] = {}
    for name in sorted({row["benchmark"] for row in rows_of("benchmarks.csv")}):
        kind = match_type(name, read_types())
        if kind is None or not kind.reference:
            continue
        if all(capability in (*CAPABILITIES, "lang:da") for capability in kind.capabilities):
            chosen.setdefault(kind.name, (name, kind))
    return dict(chosen.values())


def small_world(strength: dict[str, float] | None = None) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Two families over seven sizes; every reference benchmark grows with size."""
    strength = strength or {}
    models, benchmarks = [], []
    for family in ("aa", "bb"):
        for size in SIZES:
            row = model(family, size)
            models.append(row)
            for index, (name, kind) in enumerate(references().items()):
                z = 0.5 * np.log2(float(size)) - 0.4 + 0.1 * (index % 3) + strength.get(row["model_id"], 0.0)
                share = 1 / (1 + np.exp(-z))
                benchmarks.append(score(row["model_id"], name, kind.worst + (kind.best - kind.worst) * share))
    return models, benchmarks


def scores_of(found: list[Ability], capability: str) -> dict[str, Ability]:
    return {ability.model_id: ability for ability in found if ability.capability == capability}


def test_every_text_model_of_the_catalog_gets_every_capability_between_0_and_100() -> None:
    found = shipped()
    languages = {capability for _, capability in found if capability.startswith("lang:") and "@" not in capability}
    assert {"lang:en", "lang:de", "lang:zh", "lang:da"} <= languages
    for row in rows_of("models.csv"):
        if row["role"] == "embedding":
            continue
        for capability in (*CAPABILITIES, *languages):
            ability = found[row["model_id"], capability]
            assert 0 <= ability.score <= 100
            assert 0 < ability.standard_error < 35
            assert ability.evidence >= 0


def test_hybrid_models_have_their_abilities_with_and_without_thinking() -> None:
    found = shipped()
    hybrid = [row["model_id"] for row in rows_of("models.csv") if row["thinking"] == "hybrid"]
    gains = [found[name, f"math{THINKING_SUFFIX}"].score - found[name, "math"].score for name in hybrid]
    assert len(gains) > 10
    assert np.median(gains) > 5
    assert all(capability[-9:] != THINKING_SUFFIX or name in hybrid for name, capability in found)


def test_bigger_siblings_of_one_generation_are_not_ranked_below_much_smaller_ones() -> None:
    found = shipped()
    families: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in rows_of("models.csv"):
        if row["role"] != "embedding":
            families.setdefault((row["family"], row["role"], row["thinking"]), []).append(row)
    compared = worse = 0
    for rows in families.values():
        for small in rows:
            for big in rows:
                if float(big["params_total"]) >= 3 * float(small["params_total"]):
                    gap = found[big["model_id"], "general"].score - found[small["model_id"], "general"].score
                    compared += 1
                    worse += gap < -2
    assert compared > 40
    assert worse <= compared // 50


def test_evidence_rich_models_have_smaller_errors_than_models_without_any() -> None:
    found = [ability for ability in shipped().values() if ability.capability == "general"]
    rich = [ability.standard_error for ability in found if ability.evidence >= 10]
    none = [ability.standard_error for ability in found if ability.evidence == 0]
    assert np.median(rich) * 2 < np.median(none)


def test_a_second_fit_gives_the_same_figures() -> None:
    models, benchmarks = small_world()
    assert fit_abilities(benchmarks, models) == fit_abilities(benchmarks, models)


def test_the_order_of_the_rows_does_not_matter() -> None:
    models, benchmarks = small_world({"maker/aa-8B": 0.6})
    there = scores_of(fit_abilities(benchmarks, models), "code")
    back = scores_of(fit_abilities(benchmarks[::-1], models), "code")
    for name, ability in there.items():
        assert back[name].score == pytest.approx(ability.score, abs=0.05)


def test_a_model_that_scores_higher_everywhere_is_rated_higher_everywhere() -> None:
    models, benchmarks = small_world({"maker/aa-4B": 1.0})
    found = fit_abilities(benchmarks, models)
    for capability in CAPABILITIES:
        rated = scores_of(found, capability)
        assert rated["maker/aa-4B"].score > rated["maker/bb-4B"].score + 5


def test_a_model_without_scores_is_placed_by_its_size_between_its_siblings() -> None:
    models, benchmarks = small_world()
    hidden = [row for row in benchmarks if row["model_id"] != "maker/aa-4B"]
    rated = scores_of(fit_abilities(hidden, models), "general")
    assert rated["maker/aa-4B"].evidence == 0
    assert rated["maker/aa-1B"].score < rated["maker/aa-4B"].score < rated["maker/aa-16B"].score
    assert rated["maker/aa-4B"].standard_error > rated["maker/aa-8B"].standard_error


@settings(max_examples=4, deadline=None)  # a fit per example
@given(kept=st.lists(st.integers(min_value=1, max_value=len(references())), min_size=2, max_size=2, unique=True))
def test_more_evidence_never_makes_a_model_less_sure(kept: list[int]) -> None:
    few, many = sorted(kept)
    errors = []
    for count in (few, many):
        models, benchmarks = small_world()
        mine = [row for row in benchmarks if row["model_id"] == "maker/aa-2B"][:count]
        others = [row for row in benchmarks if row["model_id"] != "maker/aa-2B"]
        errors.append(scores_of(fit_abilities(others + mine, models), "general")["maker/aa-2B"].standard_error)
    assert errors[1] <= errors[0] + 0.05


def test_lower_is_better_rows_count_the_right_way_round() -> None:
    danish = next(kind for kind in read_types() if kind.capabilities == {"lang:da": 1.0})
    assert danish.ranks
    assert danish.share_of_score(1.2) > danish.share_of_score(4.5)
    rated = shipped()
    rank = {
        row["model_id"]: float(row["score"])
        for row in rows_of("benchmarks.csv")
        if row["benchmark"].endswith(": Danish")
    }
    known = [name for name in rank if (name, "lang:da") in rated]
    order = np.corrcoef([rank[name] for name in known], [rated[name, "lang:da"].score for name in known])[0, 1]
    assert order < -0.9


def test_a_figure_that_is_quoted_twice_counts_once() -> None:
    models, benchmarks = small_world()
    again = [{**row, "evaluator": "someone who copied it"} for row in benchmarks if row["model_id"] == "maker/aa-2B"]
    assert len(observations(benchmarks + again, models)) == len(observations(benchmarks, models))


def test_scores_of_quantized_models_and_of_pictures_are_left_out() -> None:
    models, benchmarks = small_world()
    name = models[0]["model_id"]
    extra = [score(name, "MMLU", 30.0, mode="instruct-quantised"), score(name, "DocVQA", 80.0)]
    assert len(observations(benchmarks + extra, models)) == len(observations(benchmarks, models))


def test_every_benchmark_name_of_the_catalog_is_known() -> None:
    types = read_types()
    unknown = {row["benchmark"] for row in rows_of("benchmarks.csv") if match_type(row["benchmark"], types) is None}
    assert not unknown


@given(
    share=st.floats(min_value=0, max_value=1),
    kind=st.sampled_from([kind for kind in read_types() if kind.name and not kind.ranks and not kind.judged]),
)
def test_points_and_shares_are_inverse(share: float, kind: BenchmarkType) -> None:
    points = float(kind.points(np.array([share]))[0])
    assert kind.share_of_score(points) == pytest.approx(share, abs=1e-9)


def test_a_bad_line_of_the_types_is_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_types.csv"
    path.write_text("benchmark,pattern,capabilities,worst,best,reference,why\nX,x,charm:1,0,100,,\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"benchmark_types.csv, line 2"):
        read_types(path)


def test_hidden_scores_are_predicted_better_than_by_model_and_benchmark_effects() -> None:
    table = evaluate_quality(rows_of("benchmarks.csv"), rows_of("models.csv"), seed=5, ranks=True)
    assert table.rows > 1000
    assert table.mean_abs_error <= 7.5
    assert table.mean_abs_error <= 0.8 * table.baseline_mean_abs_error
    assert table.rank_correlation >= 0.85
    assert 0.7 <= table.interval_share <= 0.9
    without = sum(part.rows for name, part in table.by_class.items() if name != "mean ranks")
    assert without == table.rows


def test_the_baseline_is_exact_on_scores_that_are_additive() -> None:
    models, _ = small_world()
    plain = [name for name, kind in references().items() if not kind.ranks and not kind.judged][:6]
    rows = [
        score(row["model_id"], name, 30 + 2 * m + 3 * b) for m, row in enumerate(models) for b, name in enumerate(plain)
    ]
    data = observations(rows, models)
    visible = np.ones(len(data), dtype=np.bool_)
    told = np.array([float(rows[index]["score"]) for index in data.row])
    assert np.abs(additive_baseline(data, visible) - told).max() < 3


def test_rank_correlation_sees_order_within_groups_only() -> None:
    truth = np.array([1.0, 2, 3, 4, 5, 101, 102, 103, 104, 105])
    group = np.array([0] * 5 + [1] * 5)
    assert rank_correlation(truth, truth**2, group) == pytest.approx(1)
    assert rank_correlation(truth, np.r_[-truth[:5], -truth[5:]], group) == pytest.approx(-1)
