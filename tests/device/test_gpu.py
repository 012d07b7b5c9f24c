from __future__ import annotations

import pytest

from recommender.device.gpu import amd_is_integrated, apple_row, parse_nvidia_smi, windows_gpu
from recommender.types import GIB, MIB


def test_one_line_is_one_card_with_its_own_memory() -> None:
    found = parse_nvidia_smi(
        "NVIDIA RTX A4000, 16376, 15000, 8.6\nNVIDIA GeForce GTX 1080, 8192, 100, 6.1\n", None, None
    )
    assert [(gpu.name, gpu.memory_bytes, gpu.memory_free_bytes) for gpu in found] == [
        ("NVIDIA RTX A4000", 16376 * MIB, 15000 * MIB),
        ("NVIDIA GeForce GTX 1080", 8192 * MIB, 100 * MIB),
    ]


def test_a_gpu_without_memory_of_its_own_shares_the_ram() -> None:
    (gpu,) = parse_nvidia_smi("NVIDIA GB10, [N/A], [N/A], 12.1\n", 119.0 * GIB, 100.0 * GIB)
    assert gpu.unified
    assert (gpu.memory_bytes, gpu.memory_free_bytes) == (119 * GIB, 100 * GIB)


@pytest.mark.parametrize(
    "printed", ["", "\n", "No devices were found", "NVIDIA-SMI has failed because it couldn't communicate, a, b"]
)
def test_a_message_is_not_a_card(printed: str) -> None:
    assert parse_nvidia_smi(printed, None, None) == []


@pytest.mark.parametrize(
    ("device", "inside"),
    [
        ("15bf", True),
        ("1586", True),
        ("163f", True),
        ("98e4", True),
        ("744c", False),
        ("6860", False),
        ("", False),
        ("xyz", False),
    ],
)
def test_amds_numbers_tell_processors_from_cards(device: str, inside: bool) -> None:
    assert amd_is_integrated(device) is inside


def test_windows_64_bit_size_is_taken_so_a_32_gb_card_is_not_4() -> None:
    gpu = windows_gpu("NVIDIA GeForce RTX 5090", 32 * GIB, 64.0 * GIB)
    assert gpu is not None
    assert (gpu.memory_bytes, gpu.unified, gpu.backend) == (32 * GIB, False, "cuda")


@pytest.mark.parametrize(
    "name",
    [
        "AMD Radeon(TM) Graphics",
        "AMD Radeon 780M Graphics",
        "Intel(R) UHD Graphics 770",
        "Intel(R) Iris(R) Xe Graphics",
    ],
)
def test_windows_integrated_gpus_share_half_of_the_ram(name: str) -> None:
    gpu = windows_gpu(name, 512 * MIB, 32.0 * GIB)
    assert gpu is not None
    assert gpu.unified
    assert gpu.memory_bytes == 16 * GIB


@pytest.mark.parametrize(
    "name", ["AMD Radeon RX 7900 XTX", "AMD Radeon RX 6600", "Intel(R) Arc(TM) A770 Graphics", "AMD Radeon PRO W7900"]
)
def test_windows_cards_keep_their_own_memory(name: str) -> None:
    gpu = windows_gpu(name, 16 * GIB, 32.0 * GIB)
    assert gpu is not None
    assert not gpu.unified
    assert gpu.memory_bytes == 16 * GIB


def test_a_remote_display_is_no_gpu() -> None:
    assert windows_gpu("Microsoft Remote Display Adapter", None, None) is None


def test_a_chip_with_two_bandwidths_is_told_by_its_gpu_cores_or_not_at_all() -> None:
    row = apple_row("Apple M3 Max", 30)
    assert row is not None
    assert row["gpu_mem_bw_gbs"] == "300"
    assert apple_row("Apple M3 Max", None) is None
    assert apple_row("Apple M3 Max", 7) is None
    alike = apple_row("Apple M1", None)
    assert alike is not None
    assert alike["gpu_mem_bw_gbs"] == "68"
