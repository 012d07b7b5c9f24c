from __future__ import annotations

from pathlib import Path

import pytest

from recommender.runner import noise

QUIET = (10.0, 10.1, 9.9)


def judge(
    load: float | None = 0.2, cpus: int = 4, steal: float | None = 0.0, others: float | None = 0.01, decode=QUIET
) -> str:
    return noise.reason(load, cpus, steal, others, decode)


def test_a_quiet_machine_is_not_noisy() -> None:
    assert judge() == ""


def test_unknown_counters_do_not_make_a_run_noisy() -> None:
    assert judge(load=None, steal=None, others=None) == ""


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"load": 4.1}, "load average 4.1 on 4 CPUs"),
        ({"steal": 0.03}, "3% of the CPU time went to other virtual machines"),
        ({"others": 0.25}, "other programs used 25% of the CPU"),
        ({"decode": (10.0, 12.0, 10.0)}, "the repeats differ by 20%"),
        ({"decode": (10.0, 10.0)}, "2 repeats, fewer than 3"),
    ],
)
def test_each_sign_of_noise_is_named_with_its_number(what: dict[str, object], reason: str) -> None:
    assert reason in judge(**what)


def test_several_signs_are_all_named() -> None:
    assert judge(load=9, steal=0.5).count(";") == 1


def test_the_probe_reads_this_machine() -> None:
    found = noise.NoiseProbe().finish([10.0, 10.0, 10.0])
    assert found.others_fraction is not None
    assert found.others_fraction >= 0
    assert found.noisy == bool(found.reason)


# ── heat ─────────────────────────────────────────────────────────────────────────────────────────────────────


def throttled_files(sysfs: Path, core: int, package: int) -> Path:
    """Two CPUs of one package, as Linux shows an Intel processor."""
    for cpu in ("cpu0", "cpu1"):
        folder = sysfs / cpu / "thermal_throttle"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core_throttle_count").write_text(f"{core if cpu == 'cpu1' else 0}\n")
        (folder / "package_throttle_count").write_text(f"{package}\n")
    (sysfs / "cpufreq").mkdir(exist_ok=True)
    return sysfs


@pytest.mark.parametrize(
    ("core", "package", "throttled", "reason"),
    [
        (7, 40, False, ""),
        (8, 40, True, "heat slowed the CPU down (1 throttle event)"),
        (7, 52, True, "heat slowed the CPU down (12 throttle events)"),
    ],
)
def test_a_run_in_which_the_throttle_counts_grew_is_noisy(
    tmp_path: Path, core: int, package: int, throttled: bool, reason: str
) -> None:
    probe = noise.NoiseProbe(sysfs_cpus=throttled_files(tmp_path, core=7, package=40))
    throttled_files(tmp_path, core, package)
    found = probe.finish(QUIET, work_is_ours=False)
    assert found.throttled is throttled
    assert ("heat" in found.reason) is throttled
    assert reason in found.reason
    assert found.noisy or not throttled


def test_where_no_counter_can_be_read_nobody_knows_whether_it_throttled(tmp_path: Path) -> None:
    (tmp_path / "cpu0" / "thermal_throttle").mkdir(parents=True)
    (tmp_path / "cpu0" / "thermal_throttle" / "core_throttle_count").write_text("not a number")
    assert noise.throttle_counts(tmp_path) == {}
    assert noise.throttling({}, {}, None) == (None, "")


def test_a_cpu_that_goes_offline_during_the_run_is_left_out() -> None:
    assert noise.throttling({"cpu0": 3, "cpu1": 3}, {"cpu0": 3}, None) == (False, "")


@pytest.mark.parametrize(
    ("printed", "throttled"),
    [
        ("CPU_Scheduler_Limit \t= 100\nCPU_Available_CPUs \t= 8\nCPU_Speed_Limit \t= 100\n", False),
        ("CPU_Scheduler_Limit \t= 100\nCPU_Available_CPUs \t= 8\nCPU_Speed_Limit \t= 71\n", True),
        ("Note: No thermal warning level has been recorded\n", None),
        ("", None),
    ],
)
def test_the_speed_limit_of_macos_says_whether_heat_holds_the_cpu_back(printed: str, throttled: bool | None) -> None:
    found, heat = noise.throttling({}, {}, noise.speed_limit_percent(printed))
    assert found is throttled
    assert heat == ("heat holds the CPU at 71% of its speed" if throttled else "")


def test_heat_alone_makes_a_run_noisy() -> None:
    assert noise.reason(0.2, 4, 0.0, 0.01, QUIET, "heat slowed the CPU down (3 throttle events)").startswith("heat")


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("Not Active, Not Active, Not Active\n", ()),
        ("Not Active, Active, Not Active\n", ("heat slowed the GPU down",)),
        ("Active, Active, Active\n", ("heat slowed the GPU down", "the power supply slowed the GPU down")),
        ("Not Active, Not Active, Not Active\nActive, Not Active, Not Active\n", ("heat slowed the GPU down",)),
        ("", None),
        ("[N/A], [N/A], [N/A]\n", None),
        ('Field "clocks_event_reasons.hw_thermal_slowdown" is not a valid field to query.\n', None),
    ],
)
def test_what_slows_a_gpu_down_is_read_from_its_own_tool(printed: str, found: tuple[str, ...] | None) -> None:
    assert noise.gpu_slowdowns(printed) == found


def test_a_hot_gpu_makes_a_run_noisy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(noise, "_slowdowns_printed", lambda: "Active, Not Active, Not Active\n")
    found = noise.NoiseProbe(uses_gpu=True, sysfs_cpus=tmp_path).finish([10.0, 10.0, 10.0], work_is_ours=False)
    assert found.throttled is True
    assert "heat slowed the GPU down" in found.reason
    assert not noise.NoiseProbe(sysfs_cpus=tmp_path).finish([10.0, 10.0, 10.0], work_is_ours=False).throttled
