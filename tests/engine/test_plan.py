"""A plan is what Find would say of the machine; more hardware never makes it worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog.store import Catalog
from recommender.device import preset, with_overrides
from recommender.engine.device_classes import Machine, class_of, device_classes, machines, usual_sizes
from recommender.engine.plan import Plan, plan, sentences, with_bandwidth
from recommender.engine.plan_steps import steps
from recommender.engine.recommend import judge_named, recommend
from recommender.errors import BadInputError, UnknownNameError
from recommender.plan_text import plan_json, plan_text
from recommender.types import GIB, Device, Need

few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODELS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "microsoft/Phi-4-mini-instruct")
FOUR_B = Need(models=("Qwen/Qwen3-4B",), min_decode_tokens_per_s=10.0)


def _some() -> list[Machine]:
    """Every tenth machine of the list: all kinds, and fast enough to be asked again and again."""
    return list(machines())[::10]


def _rank(found: Plan) -> float:
    return found.of_class.rank if found.of_class else float("inf")


targets = st.builds(
    lambda model, decode, answer, users, task: Need(
        task=task,
        models=(model,),
        min_decode_tokens_per_s=decode,
        max_answer_time_s=answer,
        users=users,
    ),
    st.sampled_from(MODELS),
    st.sampled_from([None, 2.0, 10.0, 40.0, 150.0]),
    st.sampled_from([None, 5.0, 30.0]),
    st.sampled_from([1, 8]),
    st.sampled_from(["chat", "summarize"]),
)


# ── classes ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_machine_of_the_list_has_a_class_and_every_class_a_reason() -> None:
    ranks = [one.rank for one in device_classes()]
    assert ranks == sorted(set(ranks))
    assert all(len(one.why) > 20 for one in device_classes())
    assert {one.of_class.id for one in machines()} == {one.id for one in device_classes()}


def test_what_cannot_be_bought_has_no_class(laptop: Device) -> None:
    assert class_of(replace(laptop, kind="browser")) is None


def test_more_gpu_memory_never_lowers_the_class(workstation: Device) -> None:
    found = [
        class_of(replace(workstation, gpus=(replace(workstation.gpus[0], memory_bytes=gib * GIB),)))
        for gib in (4, 8, 10, 12, 16, 24, 32, 80)
    ]
    ranks = [one.rank for one in found if one]
    assert len(ranks) == 8
    assert ranks == sorted(ranks)


def test_odd_sizes_are_not_usual() -> None:
    assert usual_sizes([8, 8, 8, 10, 16, 16, 16, 11, 11]) == [8, 16]


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────────


@given(need=targets)
@few
def test_every_planned_device_meets_the_target_when_recommend_is_asked(catalog: Catalog, need: Need) -> None:
    found = plan(need, catalog, among=_some())
    for one in found.found[:4]:
        answer = recommend(one.device, replace(need, all_quantizations=True), catalog)
        same = [
            pick
            for pick in answer.picks
            if (pick.quantization, pick.runtime) == (one.pick.quantization, one.pick.runtime)
        ]
        assert same
        estimate = same[0].estimate
        assert estimate == one.pick.estimate
        decode, answered = need.min_decode_tokens_per_s, need.max_answer_time_s
        assert decode is None or (estimate.decode_tokens_per_s and estimate.decode_tokens_per_s.value >= decode)
        assert answered is None or (estimate.answer_time_s and estimate.answer_time_s.value <= answered)


@given(need=targets, ram=st.sampled_from([1.0, 1.5, 4.0]), bandwidth=st.sampled_from([1.0, 1.3, 3.0]))
@few
def test_more_memory_or_bandwidth_never_makes_the_planned_class_worse(
    catalog: Catalog, need: Need, ram: float, bandwidth: float
) -> None:
    def better(device: Device) -> Device:
        more = with_overrides(device, ram_gib=(device.ram_bytes or GIB) / GIB * ram) if ram > 1 else device
        return with_bandwidth(more, bandwidth)

    # Each keeps its class: the same machines, only better.
    upgraded = [replace(one, devices=tuple(map(better, one.devices))) for one in _some()]
    assert _rank(plan(need, catalog, among=upgraded)) <= _rank(plan(need, catalog, among=_some()))


@given(need=targets, slower=st.sampled_from([0.2, 0.5, 1.0]))
@few
def test_asking_for_less_never_raises_the_class(catalog: Catalog, need: Need, slower: float) -> None:
    decode = need.min_decode_tokens_per_s
    less = replace(need, min_decode_tokens_per_s=decode * slower if decode else None, max_answer_time_s=None)
    assert _rank(plan(less, catalog, among=_some())) <= _rank(plan(need, catalog, among=_some()))


def test_the_class_is_the_first_in_which_any_machine_meets_the_target(catalog: Catalog) -> None:
    found = plan(FOUR_B, catalog)
    assert found.of_class is not None
    assert [one.rank for one in found.passed_over] == list(range(1, found.of_class.rank))
    places = [one.place for one in found.found]
    assert places == sorted(places)
    assert len(found.found) <= found.in_class
    assert len({one.device.name for one in found.found}) == len(found.found)


def test_a_machine_is_planned_with_the_least_memory_that_does(catalog: Catalog) -> None:
    for one in plan(FOUR_B, catalog).found:
        smaller = [size for size in one.machine.devices if (size.ram_bytes or 0) < (one.device.ram_bytes or 0)]
        for device in smaller:
            picks = recommend(device, FOUR_B, catalog).picks
            assert all(pick.quality < one.pick.quality for pick in picks) or not picks


def test_a_target_of_speed_never_rests_on_a_bandwidth_that_nobody_knows(catalog: Catalog) -> None:
    for one in plan(FOUR_B, catalog).found:
        gpus = [gpu for gpu in one.device.gpus if gpu.bandwidth_bytes_per_s]
        assert one.device.bandwidth_bytes_per_s or gpus


def test_a_quantization_that_ruins_the_model_does_not_count_unless_it_is_named(catalog: Catalog) -> None:
    found = plan(Need(models=("Qwen/Qwen3-8B",), min_decode_tokens_per_s=20.0), catalog)
    assert found.least_quality is not None
    assert all(one.pick.quality >= found.least_quality for one in found.found)
    named = plan(Need(models=("Qwen/Qwen3-8B",), quantizations=("Q2_K",), min_decode_tokens_per_s=20.0), catalog)
    assert named.found[0].pick.quality < found.least_quality
    assert _rank(named) <= _rank(found)


def test_any_model_of_a_quality_is_planned_for(catalog: Catalog) -> None:
    modest, good = (plan(Need(min_decode_tokens_per_s=10.0), catalog, least, among=_some()) for least in (35.0, 70.0))
    assert all(one.pick.quality >= 70 for one in good.found)
    assert _rank(modest) <= _rank(good)


# ── what it asks of the hardware ─────────────────────────────────────────────────────────────────────────────


@given(need=targets.filter(lambda need: need.min_decode_tokens_per_s is not None))
@few
def test_the_terms_add_up_and_the_bandwidth_just_meets_the_target(catalog: Catalog, need: Need) -> None:
    found = plan(need, catalog, among=_some())
    if found.needed is None:
        return
    first, needed = found.found[0], found.needed
    decode = first.pick.estimate.decode_tokens_per_s
    assert decode is not None
    assert needed.token_s == pytest.approx(1 / decode.value)
    assert needed.token_s == pytest.approx(sum(side.total_s for side in needed.terms))
    assert sum(side.share for side in needed.terms) == pytest.approx(1.0)
    for side in needed.terms:
        assert side.reading_s == pytest.approx(
            side.read_bytes / (side.bandwidth_bytes_per_s * side.efficiency), rel=0.35
        )  # routed experts stream a little slower
    assert needed.bandwidth_bytes_per_s is not None
    assert needed.has_bytes_per_s is not None
    assert needed.bandwidth_bytes_per_s <= needed.has_bytes_per_s * 1.01
    combination = (first.pick.model_id, first.pick.quantization or "", first.pick.runtime)
    factor = needed.bandwidth_bytes_per_s / needed.has_bytes_per_s
    just, less = (
        judge_named(with_bandwidth(first.device, factor * change), need, combination, catalog) for change in (1, 0.98)
    )
    assert just is not None
    assert not just.against
    assert factor < 0.011 or (less is not None and less.against)


# ── out of reach ─────────────────────────────────────────────────────────────────────────────────────────────


def test_out_of_reach_says_which_limit_and_what_came_nearest(catalog: Catalog) -> None:
    found = plan(Need(models=("Qwen/Qwen3-32B",), quantizations=("Q8_0",), min_decode_tokens_per_s=5000.0), catalog)
    assert found.of_class is None
    assert found.limit == "decode speed"
    assert found.nearest is not None
    text = " ".join(sentences(found))
    assert found.nearest.device.name in text
    assert "short by" in text
    assert len(found.passed_over) == len(device_classes())


@pytest.mark.parametrize(
    ("need", "least", "words"),
    [
        (Need(), None, "Name a model"),
        (Need(), 101.0, "0 to 100"),
        (Need(), 99.9, "Nothing published reaches"),
        (Need(models=("Qwen/Qwen3-4B",), users=0), None, "Users"),
        (Need(models=("Qwen/Qwen3-8B",), quantizations=("IQ1_S",)), None, "Nobody is recorded to publish IQ1_S"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(catalog: Catalog, need: Need, least: float | None, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        plan(need, catalog, least)


def test_an_unknown_model_brings_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match="Qwen/Qwen3-4B"):
        plan(Need(models=("Qwen/Qwen3-4",)), catalog)


# ── the next steps ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("preset_id", ["rtx-4060", "cpu-intel-core-i7-13700h", "macbook-pro-m2-max", "pixel-8"])
def test_a_step_changes_one_thing_and_never_makes_it_worse(catalog: Catalog, preset_id: str) -> None:
    device = preset(preset_id)
    need = Need(models=("Qwen/Qwen3-0.6B",))
    pick = recommend(device, need, catalog).picks[0]
    now, *after = steps(device, need, pick, catalog)
    assert now.device == device
    assert after
    assert now.decode == pick.estimate.decode_tokens_per_s
    for step in after:
        assert step.same_fits
        assert step.decode is not None
        assert now.decode is not None
        assert step.decode.value >= now.decode.value * 0.999
        assert step.largest is not None
        assert now.largest is not None
        assert step.largest.quality >= now.largest.quality
        assert step.best is not None
        assert now.best is not None
        assert step.best.quality >= now.best.quality - 1e-6
        changed = [
            step.device.ram_bytes != device.ram_bytes,
            [gpu.memory_bytes for gpu in step.device.gpus if not gpu.unified]
            != [gpu.memory_bytes for gpu in device.gpus if not gpu.unified],
            (step.device.bandwidth_bytes_per_s, [gpu.bandwidth_bytes_per_s for gpu in step.device.gpus])
            != (device.bandwidth_bytes_per_s, [gpu.bandwidth_bytes_per_s for gpu in device.gpus]),
        ]
        assert sum(changed) == 1, step.what


def test_more_gpu_memory_lets_a_larger_quantization_in(catalog: Catalog) -> None:
    device = preset("rtx-4060")
    need = Need(models=("Qwen/Qwen3-8B",), min_decode_tokens_per_s=20.0)
    pick = recommend(device, need, catalog).picks[0]
    found = steps(device, need, pick, catalog)
    more = next(step for step in found if step.what.startswith("GPU memory"))
    assert found[0].largest is not None
    assert more.largest is not None
    assert (more.largest.estimate.file_bytes or 0) > (found[0].largest.estimate.file_bytes or 0)


def test_text_and_json_say_the_same(catalog: Catalog) -> None:
    found = plan(FOUR_B, catalog, among=_some())
    bought = steps(found.found[0].device, found.need, found.found[0].pick, catalog)
    text, value = plan_text(found, bought), plan_json(found, bought)
    assert all(sentence in text for sentence in value["sentences"])
    assert value["class"]["name"] in text
    assert [step["what"] for step in value["steps"]] == [step.what for step in bought]
    assert "no prices" in text
