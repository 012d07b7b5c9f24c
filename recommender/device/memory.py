"""Main memory: how much there is, how much is free, and how fast it is where the machine says so."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from recommender.device.cgroup import CgroupLimits
from recommender.device.cpu import sysctl
from recommender.device.host import Host, number


@dataclass(frozen=True)
class Memory:
    total_bytes: float | None = None
    free_bytes: float | None = None  # what a new program can take without pushing others out
    contained: bool = False  # a container's limit is below what the machine has


def memory(host: Host, limits: CgroupLimits) -> Memory:
    """Total and free RAM of this machine, within the container's limit where there is one."""
    if host.system == "Linux":
        total, free = _linux(host)
    elif host.system == "Darwin" and not host.real:
        total, free = number(sysctl(host, ["hw.memsize"]).get("hw.memsize", "")), None
    elif host.real:
        total, free = _psutil()
    else:
        total, free = None, None
    contained = limits.memory_bytes is not None and (total is None or limits.memory_bytes < total)
    if contained:
        total = limits.memory_bytes
        known = [value for value in (free, limits.memory_free_bytes) if value is not None]
        free = min(known, default=None)
    return Memory(total, min(free, total) if free is not None and total is not None else free, contained)


def _linux(host: Host) -> tuple[float | None, float | None]:
    lines = host.read("proc/meminfo").splitlines()
    known: dict[str, float] = {}
    for line in lines:
        key, _, rest = line.partition(":")
        amount = number(rest.replace("kB", ""))
        if amount is not None:
            known[key] = amount * 1024.0
    free = known.get("MemAvailable")
    if free is None and "MemFree" in known:  # kernels before 3.14
        free = known["MemFree"] + known.get("Cached", 0.0) + known.get("Buffers", 0.0)
    return known.get("MemTotal"), free


def _psutil() -> tuple[float | None, float | None]:
    import psutil

    try:
        amount = psutil.virtual_memory()
    except (OSError, RuntimeError, psutil.Error):
        return None, None
    return float(amount.total), float(amount.available)


def disk_free_bytes(folder: str) -> float | None:
    """Free space where models would be stored: on the nearest folder above ``folder`` that exists."""
    import shutil
    from pathlib import Path

    here = Path(folder)
    for place in (here, *here.parents):
        try:
            return float(shutil.disk_usage(place).free)
        except OSError:
            continue
    return None


# ── the firmware's table of memory modules ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Module:
    """One populated slot of the SMBIOS table (structure type 17)."""

    size_bytes: float
    width_bits: int
    speed_mt_s: int
    channel: str  # "" when the labels of the slot do not say


def modules(table: bytes) -> tuple[Module, ...]:
    """Populated memory slots of a raw SMBIOS table; damaged structures end the reading.

    Layout: DMTF DSP0134, System Management BIOS reference specification, 7.18 Memory Device (type 17).
    """
    found = []
    at = 0
    while at + 4 <= len(table):
        kind, length = table[at], table[at + 1]
        if length < 4 or at + length > len(table):
            break
        end = table.find(b"\x00\x00", at + length)
        if end < 0:
            break
        strings = table[at + length : end].split(b"\x00")
        if kind == 17 and length >= 0x17:
            module = _module(table[at : at + length], strings)
            if module:
                found.append(module)
        at = end + 2
    return tuple(found)


def _module(raw: bytes, strings: list[bytes]) -> Module | None:
    width, size = struct.unpack_from("<HH", raw, 0x0A)
    if size in (0, 0xFFFF):
        return None
    if size == 0x7FFF and len(raw) >= 0x20:
        size_bytes = (struct.unpack_from("<I", raw, 0x1C)[0] & 0x7FFFFFFF) * 1024.0**2
    else:
        size_bytes = (size & 0x7FFF) * (1024.0 if size & 0x8000 else 1024.0**2)
    (rated,) = struct.unpack_from("<H", raw, 0x15)
    (configured,) = struct.unpack_from("<H", raw, 0x20) if len(raw) >= 0x22 else (0,)
    speed = configured if configured not in (0, 0xFFFF) else rated
    if speed in (0, 0xFFFF) or width in (0, 0xFFFF):
        return None
    label = " ".join(
        strings[index - 1].decode("ascii", "replace") for index in (raw[0x10], raw[0x11]) if 0 < index <= len(strings)
    )
    return Module(size_bytes, width, speed, _channel(label))


def _channel(label: str) -> str:
    """The channel that a slot's labels name: "ChannelA-DIMM0" → "0:A", "P1 CHANNEL B" → "1:B"."""
    letter = re.search(r"channel[\s_-]*([a-p0-9])(?![a-z])", label, re.I) or re.search(
        r"\bDIMM[_ ]?([A-P])\d\b", label, re.I
    )
    if not letter:
        return ""
    socket = re.search(r"\b(?:P|CPU|Proc(?:essor)?)[\s_]*(\d)\b", label, re.I)
    return f"{socket.group(1) if socket else '0'}:{letter.group(1).upper()}"


def bandwidth_bytes_per_s(found: tuple[Module, ...]) -> float | None:
    """Peak bandwidth: Σ over channels of width ÷ 8 × MT/s. ``None`` unless every populated slot names its channel."""
    if not found or any(not module.channel for module in found):
        return None
    channels: dict[str, Module] = {}
    for module in found:
        slowest = channels.get(module.channel)
        if slowest is None or module.speed_mt_s < slowest.speed_mt_s:
            channels[module.channel] = module
    return sum(module.width_bits / 8 * module.speed_mt_s * 1e6 for module in channels.values())
