from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.device import presets, search
from recommender.device.match import match_cpu, match_gpu


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("RTX 4090", "rtx-4090"),
        ("rtx4060", "rtx-4060"),
        ("rtx 4060 laptop", "rtx-4060-laptop"),
        ("4060 ti 16gb", "rtx-4060-ti-16gb"),
        ("M3 Max 40-core", "apple-m3-max-40gpu"),
        ("macbook air m2", "macbook-air-m2"),
        ("mac mini m4 pro", "mac-mini-m4-pro"),
        ("iPad Pro M4", "ipad-pro-m4"),
        ("iphone 15 pro", "iphone-15-pro"),
        ("pixel 9 pro", "pixel-9-pro"),
        ("galaxy s24 ultra", "galaxy-s24-ultra"),
        ("raspberry pi 5", "raspberry-pi-5"),
        ("pi 4", "raspberry-pi-4"),
        ("steam deck oled", "steam-deck-oled"),
        ("7900 xtx", "rx-7900-xtx"),
        ("framework desktop", "ryzen-ai-max-395"),
        ("thinkpad x1 carbon gen 12", "thinkpad-x1-carbon-gen12"),
        ("beelink ser8", "beelink-ser8"),
        ("g5.xlarge", "aws-g5-xlarge"),
        ("surface pro 11", "surface-pro-11"),
        ("jetson orin nano", "jetson-orin-nano"),
        ("h100", "h100-pcie-80gb"),
    ],
)
def test_well_known_names_find_their_machine(text: str, first: str) -> None:
    assert first in [preset.id for preset in search(text, 3)]


def test_a_processors_name_finds_it() -> None:
    assert {"cpu-amd-ryzen-7-7840hs", "ryzen-7-7840hs"} <= {preset.id for preset in search("Ryzen 7 7840HS")}


def test_an_exact_name_comes_first() -> None:
    assert search("RTX 4090")[0].id == "rtx-4090"
    assert search("iPhone 16")[0].id == "iphone-16"


def test_an_unfinished_last_word_finds_too() -> None:
    assert any(preset.id == "steam-deck-lcd" for preset in search("steam de"))


def test_nothing_typed_lists_everything_and_nonsense_nothing() -> None:
    assert len(search("")) == len(presets())
    assert search("zzzz qqqq") == ()


@given(st.text(max_size=60))
def test_any_text_can_be_searched(text: str) -> None:
    assert len(search(text, 5)) <= 5


def test_every_machine_is_found_by_its_own_name_and_id() -> None:
    for preset in presets():
        assert preset.id in {found.id for found in search(preset.name)}, preset.name
        assert preset.id in {found.id for found in search(preset.id)}, preset.id


@pytest.mark.parametrize(
    ("name", "memory_gib", "row"),
    [
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8, "rtx-4060-laptop"),
        ("NVIDIA RTX A4000", 16, "rtx-a4000"),
        ("Tesla T4", 15, "t4"),
        ("NVIDIA A100-SXM4-80GB", 80, "a100-sxm-80gb"),
        ("NVIDIA A100-PCIE-40GB", 40, "a100-pcie-40gb"),
        ("NVIDIA H100 80GB HBM3", 79.6, "h100-sxm-80gb"),
        ("NVIDIA H100 PCIe", 79.6, "h100-pcie-80gb"),
        ("NVIDIA RTX 6000 Ada Generation", 48, "rtx-6000-ada"),
        ("Quadro RTX 6000", 24, "quadro-rtx-6000"),
        ("NVIDIA GeForce RTX 4060 Ti", 16, "rtx-4060-ti-16gb"),
        ("NVIDIA GeForce GTX 1060 6GB", 6, "gtx-1060-6-gb"),
        ("AMD Radeon RX 7900 XTX", 24, "rx-7900-xtx"),
        ("Intel(R) Arc(TM) A770 Graphics", 16, "arc-a770"),
    ],
)
def test_what_a_driver_calls_a_gpu_finds_its_row(name: str, memory_gib: float, row: str) -> None:
    found = match_gpu(name, memory_gib)
    assert found is not None
    assert found["id"] == row


@pytest.mark.parametrize(
    ("name", "memory_gib"),
    [
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", 8),
        ("NVIDIA GeForce GTX 1060 3GB", 3),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 16),
        ("AMD Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M", 24),
        ("AMD Radeon Graphics", None),
        ("NVIDIA GeForce RTX 3050 6GB Laptop GPU", 6),
        ("Tesla P100-PCIE-16GB", 16),
        ("", None),
    ],
)
def test_a_near_relative_is_not_taken_for_the_card(name: str, memory_gib: float | None) -> None:
    assert match_gpu(name, memory_gib) is None


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("AMD Ryzen 9 7950X 16-Core Processor", "cpu-amd-ryzen-9-7950x"),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", "cpu-intel-core-i7-1165g7"),
        ("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", "cpu-amd-ryzen-7-7840hs"),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", "ryzen-ai-max-395"),
        ("Apple M4 Pro", "apple-m4-pro-16gpu"),
        ("Intel(R) Core(TM) Ultra 7 155H", "core-ultra-7-155h"),
    ],
)
def test_what_the_system_calls_a_cpu_finds_its_rows(model: str, row: str) -> None:
    assert row in [found["id"] for found in match_cpu(model)]


@pytest.mark.parametrize(
    "model", ["Intel(R) Xeon(R) Processor", "", "QEMU Virtual CPU version 2.5+", "AMD Ryzen 7 5800X4D"]
)
def test_an_unknown_cpu_matches_nothing(model: str) -> None:
    assert match_cpu(model) == ()


def test_a_7950x3d_is_not_a_7950x() -> None:
    assert [row["id"] for row in match_cpu("AMD Ryzen 9 7950X3D 16-Core Processor")] == ["cpu-amd-ryzen-9-7950x3d"]
