"""Was the machine quiet while we measured? The rule for marking a run noisy, in one place."""

from __future__ import annotations

import contextlib
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# The rule. A run is noisy when any of these is exceeded; its reason names each one that was.
MAX_STEAL_FRACTION = 0.02  # CPU time the hypervisor gave to others
MAX_OTHERS_FRACTION = 0.10  # CPU time of other processes, of all logical CPUs
MAX_LOAD_PER_CPU = 1.0  # load average of the last minute before the run: more runnable threads than CPUs
MAX_SPREAD = 0.15  # (fastest − slowest) ÷ median of the repeats' decode speed
MIN_REPEATS = 3  # fewer say nothing about the spread
FULL_SPEED_PERCENT = 100  # macOS holds the CPU below this when it is hot

_SYSFS_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Noise:
    """What else the machine did during the repeats. Fractions are of all logical CPUs; ``None`` where unreadable."""

    load_average_before: float | None
    load_average_after: float | None
    steal_fraction: float | None
    others_fraction: float | None
    reason: str  # "" when quiet
    throttled: bool | None = None  # heat slowed the CPU down, or heat or power an NVIDIA GPU

    @property
    def noisy(self) -> bool:
        return bool(self.reason)


class NoiseProbe:
    """Reads the counters when made and again in ``finish``.

    Args:
        uses_gpu: whether layers may run on a GPU, which is then asked too.
        sysfs_cpus: where Linux keeps what it knows of each CPU.
    """

    def __init__(self, uses_gpu: bool = False, sysfs_cpus: Path = _SYSFS_CPUS) -> None:
        self._uses_gpu = uses_gpu
        self._sysfs_cpus = sysfs_cpus
        self._throttles = throttle_counts(sysfs_cpus)
        self._cpus = psutil.cpu_count() or 1
        self._load = _load_average()
        self._times = psutil.cpu_times()
        self._own = _own_cpu_s()
        self._clock = time.monotonic()

    def finish(self, decode_tokens_per_s: Sequence[float], work_is_ours: bool = True) -> Noise:
        """Judge the time since the probe was made; ``decode_tokens_per_s`` are the repeats.

        ``work_is_ours=False``: a server does the work, so other processes being busy is no noise.
        """
        wall_s = max(time.monotonic() - self._clock, 1e-9)
        now = psutil.cpu_times()
        capacity_s = wall_s * self._cpus
        steal = None
        if hasattr(now, "steal"):
            steal = max(0.0, now.steal - self._times.steal) / capacity_s
        busy_s = _busy_s(now) - _busy_s(self._times)
        others = max(0.0, busy_s - (_own_cpu_s() - self._own)) / capacity_s if work_is_ours else None
        throttled, heat = throttling(self._throttles, throttle_counts(self._sysfs_cpus), _speed_limit_percent())
        if self._uses_gpu and (slowed := gpu_slowdowns(_slowdowns_printed())) is not None:
            throttled = bool(throttled or slowed)
            heat = "; ".join(filter(None, (heat, *slowed)))
        return Noise(
            load_average_before=self._load,
            load_average_after=_load_average(),
            steal_fraction=steal,
            others_fraction=others,
            reason=reason(self._load, self._cpus, steal, others, decode_tokens_per_s, heat),
            throttled=throttled,
        )


def reason(
    load_average: float | None,
    cpus: int,
    steal_fraction: float | None,
    others_fraction: float | None,
    decode_tokens_per_s: Sequence[float],
    heat: str = "",
) -> str:
    """Why a run counts as noisy, in a sentence with the numbers; "" when it was quiet.

    ``heat`` says how it slowed the CPU down, "" when it did not or nobody knows.
    """
    found = []
    if load_average is not None and load_average > MAX_LOAD_PER_CPU * cpus:
        found.append(f"load average {load_average:.1f} on {cpus} CPUs before the run")
    if steal_fraction is not None and steal_fraction > MAX_STEAL_FRACTION:
        found.append(f"{steal_fraction:.0%} of the CPU time went to other virtual machines")
    if others_fraction is not None and others_fraction > MAX_OTHERS_FRACTION:
        found.append(f"other programs used {others_fraction:.0%} of the CPU")
    if heat:
        found.append(heat)
    if len(decode_tokens_per_s) < MIN_REPEATS:
        found.append(f"{len(decode_tokens_per_s)} repeats, fewer than {MIN_REPEATS}")
    elif spread(decode_tokens_per_s) > MAX_SPREAD:
        found.append(f"the repeats differ by {spread(decode_tokens_per_s):.0%}")
    return "; ".join(found)


def spread(values: Sequence[float]) -> float:
    """(largest − smallest) ÷ median."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return (ordered[-1] - ordered[0]) / middle if middle else float("inf")


def throttle_counts(sysfs_cpus: Path = _SYSFS_CPUS) -> dict[str, int]:
    """How often heat has slowed down each core and package since the system started, by file; empty where unreadable.

    Linux counts it on Intel's processors only (Documentation/admin-guide/thermal/intel_thermal_throttle.rst).
    """
    counts: dict[str, int] = {}
    for path in sysfs_cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"):
        with contextlib.suppress(OSError, ValueError):
            counts[str(path)] = int(path.read_text())
    return counts


def speed_limit_percent(printed: str) -> int | None:
    """The share of its full speed that macOS lets the CPU run at, from what ``pmset -g therm`` prints.

    ``None`` where it names no limit: none has been recorded since the system started.
    """
    found = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", printed)
    return int(found[1]) if found else None


def throttling(
    before: Mapping[str, int], after: Mapping[str, int], limit_percent: int | None
) -> tuple[bool | None, str]:
    """Whether heat slowed the CPU down, ``None`` where nothing could be read, and how in words ("" when it did not).

    Args:
        before: :func:`throttle_counts` before the run; a processor's CPUs all count its events, so the one that
            counted most is taken, not the sum.
        after: the same after the run.
        limit_percent: :func:`speed_limit_percent` after the run.
    """
    grown = [after[name] - before[name] for name in before.keys() & after.keys()]
    if grown and max(grown) > 0:
        return True, f"heat slowed the CPU down ({max(grown)} throttle {'event' if max(grown) == 1 else 'events'})"
    if limit_percent is not None and limit_percent < FULL_SPEED_PERCENT:
        return True, f"heat holds the CPU at {limit_percent}% of its speed"
    return (False if grown or limit_percent is not None else None), ""


_GPU_REASONS = {
    "clocks_event_reasons.hw_thermal_slowdown": "heat slowed the GPU down",
    "clocks_event_reasons.sw_thermal_slowdown": "heat slowed the GPU down",
    "clocks_event_reasons.hw_power_brake_slowdown": "the power supply slowed the GPU down",
}


def gpu_slowdowns(printed: str) -> tuple[str, ...] | None:
    """Why NVIDIA's GPUs run below their clocks just now, from what nvidia-smi prints for ``_GPU_REASONS`` without a
    header, a line per card; ``None`` where it says nothing.

    A card at its power limit is not among them: that is how it is meant to run.
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in printed.splitlines()]
    rows = [row for row in rows if len(row) == len(_GPU_REASONS) and {"Active", "Not Active"} & set(row)]
    if not rows:
        return None
    found = [why for row in rows for cell, why in zip(row, _GPU_REASONS.values(), strict=True) if cell == "Active"]
    return tuple(dict.fromkeys(found))


def _slowdowns_printed() -> str:
    from recommender.device.gpu import nvidia_smi

    return nvidia_smi(",".join(_GPU_REASONS))


def _speed_limit_percent() -> int | None:
    if platform.system() != "Darwin":
        return None
    # Not at the top: it would be in the worker's memory before the model is.
    from recommender.device.host import run_command

    return speed_limit_percent(run_command(["/usr/bin/pmset", "-g", "therm"]))


def _load_average() -> float | None:
    try:
        return float(psutil.getloadavg()[0])
    except OSError:
        return None


def _busy_s(times: object) -> float:
    # Not "nice"-adjusted: guest time is already inside user, and steal is judged on its own.
    idle = {"idle", "iowait", "steal", "guest", "guest_nice"}
    return float(sum(value for name, value in times._asdict().items() if name not in idle))  # type: ignore[attr-defined]


def _own_cpu_s() -> float:
    own = psutil.Process().cpu_times()
    return float(own.user + own.system)
