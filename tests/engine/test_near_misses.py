"""A near miss breaks exactly the rule it names, and the change it names admits it."""

from __future__ import annotations

import dataclasses
import re

import pytest

from recommender.catalog import Catalog
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.types import GIB, Device, NearMiss, Need, Recommendation

LIMITED = Need(
    task="summarize", context_tokens=40000, min_decode_tokens_per_s=6.0, max_ttft_s=90.0, max_answer_time_s=150.0
)


def _only(need: Need, miss: NearMiss) -> Need:
    """The same need for this one model, quantization and runtime."""
    pick = miss.pick
    return dataclasses.replace(
        need,
        models=(pick.model_id,),
        quantizations=(pick.quantization,) if pick.quantization else (),
        runtimes=(pick.runtime,),
    )


def _relaxed(device: Device, need: Need, miss: NearMiss, context_tokens: int) -> tuple[Device, Need]:
    """Device and need after the named change, with the numbers of ``short_by``."""
    short = miss.short_by
    if miss.rule == "memory":
        assert device.ram_free_bytes is not None
        assert device.ram_bytes is not None
        larger = max(device.ram_bytes, device.ram_free_bytes + short + 1)
        return dataclasses.replace(device, ram_bytes=larger, ram_free_bytes=device.ram_free_bytes + short + 1), need
    if miss.rule == "disk":
        assert device.disk_free_bytes is not None
        return dataclasses.replace(device, disk_free_bytes=device.disk_free_bytes + short + 1), need
    if miss.rule == "context":
        return device, dataclasses.replace(need, context_tokens=context_tokens - int(short))
    if miss.rule == "decode speed":
        assert need.min_decode_tokens_per_s is not None
        return device, dataclasses.replace(need, min_decode_tokens_per_s=need.min_decode_tokens_per_s - short - 1e-6)
    if miss.rule == "first token":
        assert need.max_ttft_s is not None
        return device, dataclasses.replace(need, max_ttft_s=need.max_ttft_s + short + 1e-6)
    if miss.rule == "answer time":
        assert need.max_answer_time_s is not None
        return device, dataclasses.replace(need, max_answer_time_s=need.max_answer_time_s + short + 1e-6)
    if miss.rule == "licence":
        return device, dataclasses.replace(need, commercial=False)
    if miss.rule == "tools":
        return device, dataclasses.replace(need, task="chat")
    if miss.rule == "published":
        return device, dataclasses.replace(need, own_conversion=True)
    raise AssertionError(f"no test knows how to apply the change of the rule {miss.rule}: {miss.change}")


def _fits(answer: Recommendation, miss: NearMiss) -> bool:
    wanted = (miss.pick.model_id, miss.pick.quantization, miss.pick.runtime)
    return wanted in [(pick.model_id, pick.quantization, pick.runtime) for pick in answer.picks]


CASES = [
    (LIMITED, 12.0, 200.0),
    (Need(task="code", min_decode_tokens_per_s=25.0, max_answer_time_s=100.0), 6.0, 200.0),
    (Need(task="tools", commercial=True, context_tokens=16384, max_answer_time_s=60.0), 8.0, 9.0),
    (Need(task="chat", max_ttft_s=2.0, max_answer_time_s=300.0), 3.0, 4.0),
]


@pytest.mark.parametrize(("need", "free_gib", "disk_gib"), CASES)
def test_the_named_change_and_nothing_else_admits_a_near_miss(
    catalog: Catalog, laptop: Device, need: Need, free_gib: float, disk_gib: float
) -> None:
    device = dataclasses.replace(laptop, ram_free_bytes=free_gib * GIB, disk_free_bytes=disk_gib * GIB)
    answer = recommend(device, need, catalog)
    assert answer.near_misses
    for miss in answer.near_misses:
        assert not _fits(recommend(device, _only(need, miss), catalog), miss), miss.pick.model_id
        changed, relaxed = _relaxed(device, need, miss, answer.context_tokens)
        assert _fits(recommend(changed, _only(relaxed, miss), catalog), miss), f"{miss.pick.model_id}: {miss.change}"


@pytest.mark.parametrize(("need", "free_gib", "disk_gib"), CASES)
def test_reasons_carry_the_numbers_of_their_rule(
    catalog: Catalog, laptop: Device, need: Need, free_gib: float, disk_gib: float
) -> None:
    device = dataclasses.replace(laptop, ram_free_bytes=free_gib * GIB, disk_free_bytes=disk_gib * GIB)
    for miss in recommend(device, need, catalog).near_misses:
        numbers = re.findall(r"\d[\d,.]*", miss.reason)
        if miss.unit:
            assert miss.short_by > 0
            assert len(numbers) >= 2, miss.reason
        assert miss.change


def test_a_model_that_fits_in_another_quantization_is_no_near_miss(catalog: Catalog, laptop: Device) -> None:
    answer = recommend(laptop, Need(), catalog)
    fitting = {pick.model_id for pick in answer.picks}
    assert not fitting & {miss.pick.model_id for miss in answer.near_misses}


def test_one_near_miss_per_model_and_no_rule_takes_more_than_half(catalog: Catalog, laptop: Device) -> None:
    misses = recommend(laptop, LIMITED, catalog).near_misses
    assert len({miss.pick.model_id for miss in misses}) == len(misses) <= 8
    rules = [miss.rule for miss in misses]
    assert all(rules.count(rule) <= 4 for rule in rules)


def test_what_needs_far_more_memory_did_not_just_miss(catalog: Catalog) -> None:
    device = preset("raspberry-pi-5", 8)
    answer = recommend(device, Need(), catalog)
    assert answer.memory_budget_bytes is not None
    for miss in answer.near_misses:
        if miss.rule == "memory":
            assert miss.short_by <= answer.memory_budget_bytes


def test_an_outdated_model_is_no_near_miss_while_its_successor_fits(catalog: Catalog, laptop: Device) -> None:
    for need in (Need(), LIMITED, Need(task="code", priority="quality")):
        answer = recommend(laptop, need, catalog)
        fitting = {pick.model_id for pick in answer.picks}
        for miss in answer.near_misses:
            successor = catalog.model(miss.pick.model_id).superseded_by
            assert successor not in fitting, f"{miss.pick.model_id} is superseded by {successor}"
