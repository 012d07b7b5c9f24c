"""The list of picks: one per model, few per base, current models, honest alternatives, a true Pareto front."""

from __future__ import annotations

from collections import Counter

import pytest

from recommender.catalog import Catalog
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.engine.scoring import PARTS, priorities, scoring_numbers, weights
from recommender.errors import BadInputError
from recommender.types import Device, Need, Recommendation

DEVICES = ("cpu-intel-core-i7-13700h", "rtx-4060", "macbook-air-m3", "galaxy-s24")


@pytest.fixture(params=DEVICES)
def answer(request: pytest.FixtureRequest, catalog: Catalog) -> Recommendation:
    return recommend(preset(request.param), Need(task="teach"), catalog)


def test_each_model_appears_once(answer: Recommendation) -> None:
    ids = [pick.model_id for pick in answer.picks]
    assert ids
    assert len(ids) == len(set(ids))


def test_few_models_of_one_base_are_shown(catalog: Catalog, answer: Recommendation) -> None:
    models = [catalog.model(pick.model_id) for pick in answer.picks]
    per_base = Counter(model.base_model or model.model_id for model in models)
    assert max(per_base.values()) <= scoring_numbers()["max_per_base"]


def test_no_superseded_model_is_shown_beside_its_successor(catalog: Catalog, answer: Recommendation) -> None:
    shown = {pick.model_id for pick in answer.picks}
    assert not [model for model in shown if catalog.model(model).superseded_by in shown]


def test_only_models_made_to_answer_are_picked(catalog: Catalog, answer: Recommendation) -> None:
    roles = {catalog.model(pick.model_id).role for pick in answer.picks}
    assert roles <= set(answer.task.roles)
    assert not roles & {"base", "embedding", "vision"}


def test_the_best_score_comes_first_and_what_is_too_weak_last(answer: Recommendation) -> None:
    least = scoring_numbers()["least_quality"]
    ranks = [(pick.quality >= least, pick.score) for pick in answer.picks]
    assert ranks == sorted(ranks, reverse=True)
    assert len({strong for strong, _ in ranks}) == 2, "the shipped catalog has models of both kinds"


def test_the_parts_of_a_score_add_up_to_it(answer: Recommendation) -> None:
    for pick in answer.picks:
        assert tuple(part.name for part in pick.score_parts) == PARTS
        assert sum(part.points for part in pick.score_parts) == pytest.approx(pick.score)
        for part in pick.score_parts:
            assert part.points == pytest.approx(part.weight * part.value)
            assert 0 <= part.value <= 100
            assert part.why
        assert 0 <= pick.quality <= 100


def test_the_parts_of_memory_add_up_to_its_total(answer: Recommendation) -> None:
    for pick in answer.picks:
        memory = pick.estimate.memory
        assert memory is not None
        parts = memory.weights_bytes + memory.kv_cache_bytes + memory.compute_bytes + memory.overhead_bytes
        assert parts == pytest.approx(memory.total_bytes)
        assert 0 <= memory.reclaimable_bytes < memory.total_bytes


def test_every_figure_has_its_range_and_says_that_it_is_an_estimate(answer: Recommendation) -> None:
    for pick in answer.picks:
        estimate = pick.estimate
        figures = (estimate.prefill_tokens_per_s, estimate.decode_tokens_per_s, estimate.ttft_s, estimate.answer_time_s)
        for figure in figures:
            if figure is not None:
                assert 0 < figure.low <= figure.value <= figure.high
                assert figure.provenance == "estimated"


def test_the_pareto_front_is_what_no_other_pick_beats_in_both(answer: Recommendation) -> None:
    speeds = {
        index: pick.estimate.decode_tokens_per_s.value
        for index, pick in enumerate(answer.picks)
        if pick.estimate.decode_tokens_per_s
    }
    front = {
        index
        for index, speed in speeds.items()
        if not any(
            answer.picks[other].quality >= answer.picks[index].quality
            and theirs >= speed
            and (answer.picks[other].quality, theirs) != (answer.picks[index].quality, speed)
            for other, theirs in speeds.items()
        )
    }
    assert set(answer.pareto) == front


def test_alternatives_keep_their_word(answer: Recommendation) -> None:
    first = answer.picks[0]
    assert first.estimate.answer_time_s is not None
    for trade, pick in answer.alternatives:
        kind, _, rest = trade.partition(":")
        assert f"{pick.quality:.0f} instead of {first.quality:.0f}" in rest
        if kind == "Faster, weaker":
            assert pick.estimate.answer_time_s is not None
            assert pick.estimate.answer_time_s.value < first.estimate.answer_time_s.value
            assert pick.quality < first.quality
        else:
            assert kind.startswith("Better")
            assert pick.quality > first.quality


def test_a_better_alternative_called_slower_is_slower(catalog: Catalog) -> None:
    for device in DEVICES:
        for priority in priorities():
            answer = recommend(preset(device), Need(priority=priority), catalog)  # type: ignore[arg-type]
            first = answer.picks[0].estimate.answer_time_s
            for trade, pick in answer.alternatives:
                if trade.startswith("Better, slower"):
                    other = pick.estimate.answer_time_s
                    assert first is not None
                    assert other is not None
                    assert other.value > first.value


def test_the_first_pick_says_what_it_beat_and_the_next_what_beat_them(answer: Recommendation) -> None:
    first, second = answer.picks[:2]
    assert any(reason.startswith("It beats") and second.name in reason for reason in first.reasons)
    assert any("behind" in reason and first.name in reason for reason in second.reasons)


def test_every_quantization_is_listed_when_asked(catalog: Catalog, laptop: Device) -> None:
    need = Need(models=("Qwen/Qwen3-4B",), all_quantizations=True)
    names = {pick.quantization for pick in recommend(laptop, need, catalog).picks}
    assert len(names) > 5


def test_a_model_that_was_asked_for_is_shown_though_it_is_outdated(catalog: Catalog, laptop: Device) -> None:
    old = next(model for model in catalog.models() if model.superseded_by and model.role == "instruct")
    found = recommend(laptop, Need(models=(old.model_id, old.superseded_by)), catalog)
    shown = {pick.model_id for pick in found.picks} | {miss.pick.model_id for miss in found.near_misses}
    assert old.model_id in shown


def test_a_managed_service_has_no_quantization_memory_or_settings(catalog: Catalog, laptop: Device) -> None:
    answer = recommend(laptop, Need(placement="managed"), catalog)
    assert answer.picks
    for pick in answer.picks:
        assert pick.quantization is None
        assert pick.settings is None
        assert pick.estimate.memory is None
        assert pick.command


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("priority", priorities())
def test_the_weights_of_a_priority_sum_to_one(priority: str) -> None:
    assert sum(weights(priority).values()) == pytest.approx(1)
    assert set(weights(priority)) == set(PARTS)


def test_each_priority_weighs_its_own_part_most_among_priorities() -> None:
    assert max(priorities(), key=lambda name: weights(name)["quality"]) == "quality"
    assert max(priorities(), key=lambda name: weights(name)["speed"]) == "speed"
    assert max(priorities(), key=lambda name: weights(name)["memory"]) == "smallest"


def test_an_unknown_priority_brings_the_real_ones() -> None:
    with pytest.raises(BadInputError, match="quality"):
        weights("qualty")


def test_more_quality_at_the_same_cost_never_scores_less(catalog: Catalog, laptop: Device) -> None:
    """Among picks that are all alike in speed, memory and runtime parts, a better one scores more."""
    picks = recommend(laptop, Need(all_quantizations=True), catalog).picks
    values = [({part.name: part.value for part in pick.score_parts}, pick.score) for pick in picks]
    pairs = [
        (one, other)
        for one in values
        for other in values
        if all(one[0][name] >= other[0][name] for name in PARTS) and one[0]["quality"] > other[0]["quality"]
    ]
    assert pairs
    assert all(one[1] > other[1] for one, other in pairs)
