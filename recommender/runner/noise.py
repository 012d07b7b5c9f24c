"""Was the machine quiet while we measured? The rule for marking a run noisy, in one place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

# The rule. A run is noisy when any of these is exceeded; its reason names each one that was.
MAX_STEAL_FRACTION = 0.02  # CPU time the hypervisor gave to others
MAX_OTHERS_FRACTION = 0.10  # CPU time of other processes, of all logical CPUs
MAX_LOAD_PER_CPU = 1.0  # load average of the last minute before the run: more runnable threads than CPUs
MAX_SPREAD = 0.15  # (fastest − slowest) ÷ median of the repeats' decode speed
MIN_REPEATS = 3  # fewer say nothing about the spread


@dataclass(frozen=True)
class Noise:
    """What else the machine did during the repeats. Fractions are of all logical CPUs; ``None`` where unreadable."""

    load_average_before: float | None
    load_average_after: float | None
    steal_fraction: float | None
    others_fraction: float | None
    reason: str  # "" when quiet

    @property
    def noisy(self) -> bool:
        return bool(self.reason)


class NoiseProbe:
    """Reads the counters when made and again in ``finish``."""

    def __init__(self) -> None:
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
        return Noise(
            load_average_before=self._load,
            load_average_after=_load_average(),
            steal_fraction=steal,
            others_fraction=others,
            reason=reason(self._load, self._cpus, steal, others, decode_tokens_per_s),
        )


def reason(
    load_average: float | None,
    cpus: int,
    steal_fraction: float | None,
    others_fraction: float | None,
    decode_tokens_per_s: Sequence[float],
) -> str:
    """Why a run counts as noisy, in a sentence with the numbers; "" when it was quiet."""
    found = []
    if load_average is not None and load_average > MAX_LOAD_PER_CPU * cpus:
        found.append(f"load average {load_average:.1f} on {cpus} CPUs before the run")
    if steal_fraction is not None and steal_fraction > MAX_STEAL_FRACTION:
        found.append(f"{steal_fraction:.0%} of the CPU time went to other virtual machines")
    if others_fraction is not None and others_fraction > MAX_OTHERS_FRACTION:
        found.append(f"other programs used {others_fraction:.0%} of the CPU")
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
