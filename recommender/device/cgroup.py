"""A container's own limits (Linux control groups, versions 1 and 2): memory and processor time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from recommender.device.host import Host, number

# Version 1 writes "no limit" as a number near 2^63; anything this large is not a limit.
_UNLIMITED_BYTES = 2.0**60


@dataclass(frozen=True)
class CgroupLimits:
    memory_bytes: float | None = None  # the tightest limit on the way up
    memory_free_bytes: float | None = None  # what is left below it, page cache that can go counted as free
    cpus: float | None = None  # processor time per second, in processors


def cgroup_limits(host: Host) -> CgroupLimits:
    """The tightest limits of this process's group and every group above it."""
    folders = {"v2": [], "memory": [], "cpu": []}  # type: dict[str, list[str]]
    for line in host.read("proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        if not controllers:
            folders["v2"] += _upwards("sys/fs/cgroup", path)
        for controller in controllers.split(","):
            if controller in ("memory", "cpu"):
                folders[controller] += _upwards(f"sys/fs/cgroup/{controller}", path)
                if controller == "cpu":
                    folders[controller] += _upwards("sys/fs/cgroup/cpu,cpuacct", path)
    folders["v2"] = folders["v2"] or ["sys/fs/cgroup"]

    memory = [
        found
        for folder in folders["v2"]
        if (found := _memory(host, folder, "memory.max", "memory.current", "inactive_file"))
    ]
    memory += [
        found
        for folder in folders["memory"] or ["sys/fs/cgroup/memory"]
        if (found := _memory(host, folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    ]
    cpus = [quota for folder in folders["v2"] if (quota := _quota_v2(host, folder))]
    cpus += [quota for folder in folders["cpu"] or ["sys/fs/cgroup/cpu"] if (quota := _quota_v1(host, folder))]
    return CgroupLimits(
        memory_bytes=min((limit for limit, _ in memory), default=None),
        memory_free_bytes=min((free for _, free in memory), default=None),
        cpus=min(cpus, default=None),
    )


def _upwards(mount: str, path: str) -> list[str]:
    """``path`` below the mount and each folder above it, the mount itself last (a container often sees only that)."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    return ["/".join([mount, *parts[:depth]]) for depth in range(len(parts), -1, -1)]


def _memory(host: Host, folder: str, limit_file: str, usage_file: str, cache_key: str) -> tuple[float, float] | None:
    limit = host.number(f"{folder}/{limit_file}")
    if limit is None or not 0 < limit < _UNLIMITED_BYTES:
        return None
    used = host.number(f"{folder}/{usage_file}") or 0.0
    for line in host.read(f"{folder}/memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == cache_key:
            used -= number(value) or 0.0
    return limit, min(limit, max(0.0, limit - max(0.0, used)))


def _quota_v2(host: Host, folder: str) -> float | None:
    quota, _, period = host.read(f"{folder}/cpu.max").partition(" ")
    return _ratio(number(quota), number(period))


def _quota_v1(host: Host, folder: str) -> float | None:
    return _ratio(host.number(f"{folder}/cpu.cfs_quota_us"), host.number(f"{folder}/cpu.cfs_period_us"))


def _ratio(quota: float | None, period: float | None) -> float | None:
    return quota / period if quota and period and quota > 0 and period > 0 else None
