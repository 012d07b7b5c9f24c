from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recommender.device.cgroup import CgroupLimits, cgroup_limits
from recommender.device.memory import bandwidth_bytes_per_s, disk_free_bytes, memory, modules
from recommender.types import GIB
from tests.device.machines import linux, meminfo


def module(size_mib: int, speed: int, locator: str, bank: str = "", width: int = 64, configured: int = 0) -> bytes:
    """One SMBIOS type 17 structure with its strings."""
    raw = bytearray(0x22)
    raw[0], raw[1] = 17, 0x22
    struct.pack_into("<HHH", raw, 0x08, width + 8, width, size_mib)
    raw[0x10], raw[0x11] = 1, 2 if bank else 0
    struct.pack_into("<H", raw, 0x15, speed)
    struct.pack_into("<H", raw, 0x20, configured)
    strings = locator.encode() + (b"\x00" + bank.encode() if bank else b"")
    return bytes(raw) + strings + b"\x00\x00"


def test_two_channels_add_up_and_the_configured_speed_counts() -> None:
    table = module(16384, 5600, "Controller0-ChannelA-DIMM0", configured=5200) + module(
        16384, 5600, "Controller1-ChannelB-DIMM0", configured=5200
    )
    assert bandwidth_bytes_per_s(modules(table)) == 2 * 8 * 5200e6


def test_two_modules_on_one_channel_are_one_channel() -> None:
    table = module(8192, 3200, "DIMM_A1", "P0 CHANNEL A") + module(8192, 2666, "DIMM_A2", "P0 CHANNEL A")
    assert bandwidth_bytes_per_s(modules(table)) == 8 * 2666e6


def test_a_slot_that_does_not_name_its_channel_leaves_the_bandwidth_unknown() -> None:
    table = module(8192, 3200, "ChannelA-DIMM0") + module(8192, 3200, "Bottom-Slot 2(right)")
    assert bandwidth_bytes_per_s(modules(table)) is None
    assert bandwidth_bytes_per_s(()) is None


def test_empty_slots_and_modules_without_a_speed_are_left_out() -> None:
    table = module(0, 3200, "ChannelA-DIMM0") + module(8192, 0, "ChannelB-DIMM0")
    assert modules(table) == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_memory_table_without_failing(table: bytes) -> None:
    modules(table)


@given(st.binary(max_size=120), st.integers(0, 49))
def test_a_cut_table_is_read_as_far_as_it_goes(tail: bytes, cut: int) -> None:
    whole = module(8192, 3200, "ChannelA-DIMM0")
    assert len(modules(whole + whole[:cut])) == 1
    assert len(modules(whole + tail)) >= 1


def test_a_container_may_use_its_limit_less_what_it_uses_page_cache_not_counted(tmp_path: Path) -> None:
    host = linux(
        tmp_path,
        {
            "proc/meminfo": meminfo(64, 60),
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": str(4 * GIB),
            "sys/fs/cgroup/memory.current": str(3 * GIB),
            "sys/fs/cgroup/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\n",
            "sys/fs/cgroup/cpu.max": "150000 100000",
        },
    )
    limits = cgroup_limits(host)
    assert limits.cpus == 1.5
    found = memory(host, limits)
    assert (found.total_bytes, found.free_bytes, found.contained) == (4 * GIB, 3 * GIB, True)


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    host = linux(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/memory.max": str(2 * GIB),
            "sys/fs/cgroup/outer/memory.current": "0",
            "sys/fs/cgroup/outer/inner/memory.max": "max",
            "sys/fs/cgroup/outer/cpu.max": "max 100000",
            "sys/fs/cgroup/outer/inner/cpu.max": "400000 100000",
        },
    )
    limits = cgroup_limits(host)
    assert (limits.memory_bytes, limits.cpus) == (2 * GIB, 4.0)


def test_version_1_writes_no_limit_as_a_huge_number(tmp_path: Path) -> None:
    base: dict[str, str | bytes] = {
        "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }
    assert cgroup_limits(linux(tmp_path / "free", base)) == CgroupLimits()
    limited = base | {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB // 4),
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
    }
    limits = cgroup_limits(linux(tmp_path / "limited", limited))
    assert (limits.memory_bytes, limits.memory_free_bytes, limits.cpus) == (GIB, 0.75 * GIB, 2.0)


def test_a_limit_above_the_machines_memory_changes_nothing(tmp_path: Path) -> None:
    host = linux(tmp_path, {"proc/meminfo": meminfo(8, 6), "sys/fs/cgroup/memory.max": str(64 * GIB)})
    found = memory(host, cgroup_limits(host))
    assert (found.total_bytes, found.free_bytes, found.contained) == (8 * GIB, 6 * GIB, False)


def test_free_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert disk_free_bytes(str(tmp_path / "not" / "yet" / "there")) == disk_free_bytes(str(tmp_path))
