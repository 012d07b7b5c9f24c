from __future__ import annotations

import pytest

from recommender.device import memory_budget, preset, presets, ram_options
from recommender.device.tables import device_rows, limit
from recommender.errors import BadInputError, UnknownNameError
from recommender.types import GIB, Device

KINDS = {"phone", "tablet", "laptop", "desktop", "mini-pc", "workstation", "server", "sbc"}
SYSTEMS = {"linux", "windows", "macos", "android", "ios"}
ORIGINS = {"detected", "preset", "entered", "derived", "assumed", "lower bound"}


def every() -> list[Device]:
    return [preset(entry.id, os=system) for entry in presets() for system in entry.os_options]


def test_there_are_at_least_250_machines_each_with_a_source() -> None:
    assert len(presets()) >= 250
    assert len({entry.id for entry in presets()}) == len(presets())
    assert len({entry.name for entry in presets()}) == len(presets())
    for entry in presets():
        assert entry.source.strip(), entry.id
        assert entry.confidence.strip(), entry.id


def test_every_preset_on_every_system_is_a_whole_machine() -> None:
    for device in every():
        assert device.kind in KINDS, device.id
        assert device.os in SYSTEMS, device.id
        assert device.arch in {"x86-64", "arm64", "riscv64"}, device.id
        assert device.ram_bytes, device.id
        assert device.ram_bytes >= 0.25 * GIB, device.id
        assert device.source, device.id
        assert set(device.sources.values()) <= ORIGINS, device.id
        assert set(device.sources) <= set(Device.__dataclass_fields__), device.id
        budget = memory_budget(device)
        assert budget.ram_bytes is not None, device.id
        assert 0 <= budget.ram_bytes < device.ram_bytes, device.id
        assert budget.gpu_bytes is not None or device.gpus[0].memory_bytes is None, device.id


def test_every_kind_of_device_that_the_page_offers_exists() -> None:
    assert {entry.kind for entry in presets()} == KINDS


def test_numbers_lie_where_real_machines_are() -> None:
    for device in every():
        if device.bandwidth_bytes_per_s is not None:
            assert 1e9 <= device.bandwidth_bytes_per_s <= 3e12, device.id
        if device.physical_cores is not None:
            assert 1 <= device.physical_cores <= 256, device.id
        for gpu in device.gpus:
            if gpu.bandwidth_bytes_per_s is not None:
                assert 1e9 <= gpu.bandwidth_bytes_per_s <= 10e12, device.id
            if gpu.fp16_flops is not None:
                assert 1e11 <= gpu.fp16_flops <= 5e15, device.id
            if gpu.memory_bytes is not None:
                assert 0.2 * GIB <= gpu.memory_bytes <= 512 * GIB, device.id


def test_derived_bandwidth_is_transfers_times_width() -> None:
    checked = 0
    for row in device_rows().values():
        if row["bandwidth_origin"] == "derived" and row["memory_mt_s"]:
            formula = float(row["memory_mt_s"]) * float(row["memory_bus_bits"]) / 8 / 1000
            assert float(row["cpu_mem_bw_gbs"]) == pytest.approx(formula, rel=0.012), row["id"]
            checked += 1
    assert checked > 100


def test_every_bandwidth_says_where_it_comes_from() -> None:
    for row in device_rows().values():
        assert bool(row["cpu_mem_bw_gbs"]) == bool(row["bandwidth_origin"]), row["id"]


def test_a_machine_made_of_a_chip_names_a_chip_that_exists() -> None:
    for row in device_rows().values():
        assert not row["chip"] or row["chip"] in device_rows(), row["id"]


def test_a_machine_with_several_sizes_of_ram_assumes_the_usual_one_and_says_so() -> None:
    device = preset("macbook-air-m3")
    assert ram_options("macbook-air-m3") == (8.0, 16.0, 24.0)
    assert device.ram_bytes == 16 * GIB
    assert device.sources["ram_bytes"] == "assumed"
    chosen = preset("macbook-air-m3", ram_gib=24)
    assert (chosen.ram_bytes, chosen.sources["ram_bytes"]) == (24 * GIB, "preset")


def test_a_size_that_is_not_sold_is_what_the_person_entered() -> None:
    assert preset("macbook-air-m3", ram_gib=20).sources["ram_bytes"] == "entered"


def test_the_default_size_is_one_of_the_choices() -> None:
    for entry in presets():
        assert entry.ram_gib_options, entry.id
        assert entry.ram_gib_default in entry.ram_gib_options, entry.id
        assert list(entry.ram_gib_options) == sorted(entry.ram_gib_options), entry.id


def test_a_card_gets_a_host_that_is_marked_assumed() -> None:
    device = preset("rtx-4060")
    assert device.kind == "desktop"
    for field in ("ram_bytes", "physical_cores", "bandwidth_bytes_per_s"):
        assert device.sources[field] == "assumed", field
    assert device.gpus[0].memory_bytes == 8 * GIB
    assert device.gpus[0].backend == "cuda"


def test_several_cards_are_several_gpus() -> None:
    device = preset("azure-nd96asr-v4")
    assert len(device.gpus) == 8
    assert {gpu.memory_bytes for gpu in device.gpus} == {40 * GIB}


def test_free_memory_of_a_preset_is_the_total_less_the_systems_reserve() -> None:
    device = preset("thinkpad-t480", ram_gib=16, os="windows")
    reserve = limit("system_ram", os="windows", kind="laptop")
    assert reserve is not None
    assert device.ram_free_bytes == (16 - reserve.number) * GIB
    assert device.sources["ram_free_bytes"] == "derived"


@pytest.mark.parametrize(("ram_gib", "share"), [(8, 2 / 3), (16, 2 / 3), (64, 0.75), (128, 0.75)])
def test_apples_gpu_share_depends_on_the_size_of_memory(ram_gib: float, share: float) -> None:
    assert preset("apple-m1-ultra-64gpu", ram_gib=ram_gib).gpu_memory_fraction == pytest.approx(share, abs=1e-3)


def test_a_slow_half_precision_unit_does_not_hide_the_single_precision_rate() -> None:
    flops = preset("gtx-1080").gpus[0].fp16_flops
    assert flops is not None
    assert flops == pytest.approx(8.873e12, rel=0.01)


def test_an_unknown_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="rtx-4060"):
        preset("rtx-4061")
    with pytest.raises(UnknownNameError):
        preset("apple-m2-max-38gpu-cpu")  # only an anchor for measurements


def test_ram_and_systems_that_a_machine_cannot_have_are_refused_with_a_sentence() -> None:
    for ram in (0, -4, float("nan"), float("inf"), 1e9):
        with pytest.raises(BadInputError, match="RAM"):
            preset("rtx-4060", ram_gib=ram)
    with pytest.raises(BadInputError, match="runs macos, not linux"):
        preset("macbook-air-m3", os="linux")


def test_every_kind_and_system_in_use_has_a_reserve() -> None:
    for entry in presets():
        for system in entry.os_options:
            assert limit("system_ram", os=system, kind=entry.kind) is not None, (entry.id, system)


def test_sources_name_no_package_hosts_and_no_lost_repositories() -> None:
    for row in device_rows().values():
        text = f"{row['source']} {row['notes']}".casefold()
        for word in ("pypi.org", "npmjs", "repository not recorded", "http://", "https://"):
            assert word not in text, row["id"]
