from __future__ import annotations

import pytest

from recommender.device import memory_budget, preset, with_overrides
from recommender.errors import BadInputError
from recommender.types import GIB


def test_without_values_nothing_changes() -> None:
    assert with_overrides(preset("rtx-4060")) == preset("rtx-4060")


def test_ram_that_was_entered_moves_free_memory_and_the_gpus_share_with_it() -> None:
    device = with_overrides(preset("macbook-pro-m3-max", ram_gib=48), ram_gib=16)
    assert device.ram_bytes == 16 * GIB
    assert device.ram_free_bytes == 12.5 * GIB
    assert device.sources["ram_bytes"] == "entered"
    assert device.gpu_memory_fraction == pytest.approx(2 / 3, abs=1e-3)
    assert memory_budget(device).gpu_bytes == pytest.approx(16 * GIB * 0.6667)


def test_free_ram_that_was_entered_is_the_budget() -> None:
    device = with_overrides(preset("thinkpad-t480"), free_ram_gib=5)
    assert memory_budget(device).ram_bytes == 5 * GIB
    assert device.sources["ram_free_bytes"] == "entered"


def test_vram_that_was_entered_is_taken_as_free() -> None:
    device = with_overrides(preset("rtx-4060"), vram_gib=6)
    assert memory_budget(device).gpu_bytes == 6 * GIB
    assert device.sources["gpus"] == "entered"


def test_no_vram_means_no_card() -> None:
    assert with_overrides(preset("rtx-4060"), vram_gib=0).gpus == ()


def test_vram_of_a_shared_memory_machine_is_its_gpus_limit() -> None:
    device = with_overrides(preset("ryzen-ai-max-395", ram_gib=128), vram_gib=112)
    assert memory_budget(device).gpu_bytes == 112 * GIB
    assert memory_budget(device).unified


def test_bandwidth_that_was_entered_also_holds_for_a_gpu_that_shares_the_memory() -> None:
    device = with_overrides(preset("macbook-air-m3"), bandwidth_gb_s=90)
    assert device.bandwidth_bytes_per_s == 90e9
    assert device.gpus[0].bandwidth_bytes_per_s == 90e9
    card = with_overrides(preset("rtx-4060"), bandwidth_gb_s=90)
    assert card.gpus[0].bandwidth_bytes_per_s == 272e9


@pytest.mark.parametrize(
    "values",
    [
        {"ram_gib": -1},
        {"ram_gib": 0},
        {"ram_gib": float("nan")},
        {"free_ram_gib": -0.1},
        {"free_ram_gib": 999},
        {"vram_gib": float("inf")},
        {"bandwidth_gb_s": 0},
        {"bandwidth_gb_s": -5},
    ],
)
def test_values_that_make_no_sense_are_refused_with_a_sentence(values: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match=r"\.$"):
        with_overrides(preset("rtx-4060"), **values)


def test_vram_of_a_machine_without_a_gpu_is_refused() -> None:
    with pytest.raises(BadInputError, match="has no GPU"):
        with_overrides(preset("vps-2c-4gb"), vram_gib=8)
