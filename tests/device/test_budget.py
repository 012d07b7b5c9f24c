from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.device import memory_budget, preset, presets
from recommender.types import GIB, Device, Gpu

amounts = st.floats(0, 600 * GIB)
maybe = st.none() | amounts


@st.composite
def gpu_lists(draw: st.DrawFn) -> tuple[Gpu, ...]:
    def one() -> Gpu:
        return Gpu(
            name="GPU",
            vendor="nvidia",
            backend=draw(st.sampled_from(["", "cuda", "vulkan", "metal"])),
            memory_bytes=draw(maybe),
            memory_free_bytes=draw(maybe),
            unified=draw(st.booleans()),
        )

    return tuple(one() for _ in range(draw(st.integers(0, 3))))


@st.composite
def devices(draw: st.DrawFn) -> Device:
    return Device(
        id="d",
        name="D",
        kind=draw(st.sampled_from(["phone", "laptop", "desktop", "server", "sbc"])),
        os=draw(st.sampled_from(["linux", "windows", "macos", "android", "ios"])),
        arch="x86-64",
        ram_bytes=draw(maybe),
        ram_free_bytes=draw(maybe),
        gpus=draw(gpu_lists()),
        gpu_memory_fraction=draw(st.none() | st.floats(0, 1)),
    )


@given(devices())
def test_a_budget_is_never_negative_and_never_more_than_there_is(device: Device) -> None:
    budget = memory_budget(device)
    if budget.ram_bytes is not None:
        assert budget.ram_bytes >= 0
        assert device.ram_bytes is None or budget.ram_bytes <= device.ram_bytes
    if budget.gpu_bytes is not None:
        assert budget.gpu_bytes >= 0
        known = [gpu.memory_bytes for gpu in device.gpus if not gpu.unified and gpu.backend]
        if known and all(amount is not None for amount in known):
            assert budget.gpu_bytes <= sum(amount for amount in known if amount is not None) + 1
    if budget.unified and budget.gpu_bytes and budget.ram_bytes is not None:
        assert budget.gpu_bytes <= budget.ram_bytes
    assert budget.reasons


@given(devices(), amounts, amounts)
def test_more_free_memory_never_means_a_smaller_budget(device: Device, left: float, right: float) -> None:
    less, more = sorted((left, right))
    small = memory_budget(replace(device, ram_free_bytes=less))
    large = memory_budget(replace(device, ram_free_bytes=more))
    assert small.ram_bytes is not None
    assert large.ram_bytes is not None
    assert small.ram_bytes <= large.ram_bytes
    if small.gpu_bytes is not None and large.gpu_bytes is not None:
        assert small.gpu_bytes <= large.gpu_bytes


@given(amounts, amounts)
def test_more_free_memory_on_a_card_never_means_a_smaller_budget(left: float, right: float) -> None:
    less, more = sorted((left, right))
    device = preset("rtx-4090")
    budgets = [
        memory_budget(replace(device, gpus=(replace(device.gpus[0], memory_free_bytes=free),))).gpu_bytes
        for free in (less, more)
    ]
    assert budgets[0] is not None
    assert budgets[1] is not None
    assert budgets[0] <= budgets[1]


def test_a_phones_app_gets_a_share_and_the_reason_says_so() -> None:
    budget = memory_budget(preset("iphone-16-pro"))
    assert budget.ram_bytes == 4 * GIB
    assert any("50%" in reason and "8.0 GiB" in reason for reason in budget.reasons)


def test_a_macs_gpu_limit_is_part_of_its_ram() -> None:
    budget = memory_budget(preset("macbook-pro-m3-max", ram_gib=64))
    assert budget.unified
    assert budget.gpu_bytes == pytest.approx(48 * GIB)
    assert budget.ram_bytes is not None
    assert budget.ram_bytes > budget.gpu_bytes


def test_cards_of_another_backend_are_not_added() -> None:
    cuda = Gpu("A", "nvidia", "cuda", 8.0 * GIB, 7.0 * GIB)
    other = Gpu("B", "amd", "vulkan", 16.0 * GIB, 15.0 * GIB)
    budget = memory_budget(replace(preset("rtx-4060"), gpus=(cuda, other)))
    assert budget.gpu_bytes == 7 * GIB
    assert any("Not counted beside it: B" in reason for reason in budget.reasons)


def test_a_phones_gpu_that_no_runtime_here_uses_gives_no_gpu_memory() -> None:
    budget = memory_budget(preset("galaxy-s24"))
    assert budget.gpu_bytes == 0


def test_every_presets_reasons_name_their_numbers() -> None:
    for entry in presets():
        assert any("GiB" in reason for reason in memory_budget(preset(entry.id)).reasons), entry.id


def test_room_in_memory_is_the_gpus_share_only_where_a_gpu_that_shares_it_computes() -> None:
    mac, card = memory_budget(preset("macbook-pro-m3-max", ram_gib=64)), memory_budget(preset("rtx-4060"))
    assert mac.ram_room_bytes(on_gpu=True) == mac.gpu_bytes
    assert mac.ram_room_bytes(on_gpu=False) == mac.ram_bytes
    assert mac.gpu_room_bytes == 0
    assert card.ram_room_bytes(on_gpu=True) == card.ram_bytes
    assert card.gpu_room_bytes == card.gpu_bytes


def test_unknown_memory_has_room_for_anything() -> None:
    unknown = memory_budget(replace(preset("rtx-4060"), ram_bytes=None, ram_free_bytes=None))
    assert unknown.ram_room_bytes(on_gpu=False) == float("inf")
