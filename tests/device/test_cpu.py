from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.device.cpu import cpu
from recommender.device.host import cpu_list
from tests.device.machines import cpuinfo, linux


def test_threads_of_one_core_are_one_physical_core(tmp_path: Path) -> None:
    found = cpu(linux(tmp_path, {"proc/cpuinfo": cpuinfo("Some CPU", 4, threads_per_core=2)}))
    assert (found.physical_cores, found.usable_threads) == (4, 8)


def test_two_sockets_are_two_sets_of_cores(tmp_path: Path) -> None:
    assert cpu(linux(tmp_path, {"proc/cpuinfo": cpuinfo("Some CPU", 4, sockets=2)})).physical_cores == 8


def test_a_containers_quota_limits_the_threads_but_not_the_cores(tmp_path: Path) -> None:
    found = cpu(linux(tmp_path, {"proc/cpuinfo": cpuinfo("Some CPU", 8)}), quota_cpus=2.5)
    assert (found.physical_cores, found.usable_threads) == (8, 2)
    assert cpu(linux(tmp_path, {}), quota_cpus=0.4).usable_threads == 1


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx2 avx512f avx512_vnni amx_int8 amx_tile", ("avx2", "avx512", "avx512_vnni", "amx_int8")),
        ("sse4_2", ()),
        ("avx avx2 avx_vnni", ("avx", "avx2", "avx_vnni")),
    ],
)
def test_instruction_sets_have_the_catalogs_names(tmp_path: Path, flags: str, expected: tuple[str, ...]) -> None:
    assert cpu(linux(tmp_path, {"proc/cpuinfo": cpuinfo("CPU", 1, flags=flags)})).isa == expected


def test_arm_features_have_the_catalogs_names(tmp_path: Path) -> None:
    text = (
        "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16 sve sve2\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n"
    )
    found = cpu(linux(tmp_path, {"proc/cpuinfo": text}, machine="aarch64"))
    assert found.model == "Neoverse-V2"
    assert found.isa == ("neon", "dotprod", "i8mm", "bf16", "sve", "sve2")


def test_intels_hybrid_says_which_cores_are_fast(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"sys/devices/cpu_core/cpus": "0-3", "proc/cpuinfo": cpuinfo("Core", 6, 1)}
    files |= {
        f"sys/devices/system/cpu/cpu{n}/topology/core_cpus_list": f"{n // 2 * 2}-{n // 2 * 2 + 1}" for n in range(4)
    }
    assert cpu(linux(tmp_path, files)).performance_cores == 2


def test_arms_little_cores_are_told_by_their_capacity(tmp_path: Path) -> None:
    capacities = (250, 250, 250, 250, 800, 800, 800, 1024)
    files: dict[str, str | bytes] = {
        f"sys/devices/system/cpu/cpu{n}/cpu_capacity": str(value) for n, value in enumerate(capacities)
    }
    assert cpu(linux(tmp_path, files, machine="aarch64")).performance_cores == 4


@given(st.sets(st.integers(0, 300), max_size=20))
def test_a_kernel_list_of_processors_reads_back(wanted: set[int]) -> None:
    assert cpu_list(",".join(str(index) for index in sorted(wanted))) == wanted


@given(st.text())
def test_any_text_is_a_kernel_list_without_failing(text: str) -> None:
    assert all(isinstance(index, int) for index in cpu_list(text))


def test_a_range_of_processors_is_inclusive() -> None:
    assert cpu_list("0-2,5,x,7-") == {0, 1, 2, 5, 7}
