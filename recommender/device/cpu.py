"""The processor: its name, cores, instruction sets, and how many threads this process may really use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recommender.device.host import Host, cpu_list, number

# What Linux, macOS and Windows call an instruction set → what the catalog calls it.
_X86_FLAGS = {
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}
_ARM_FLAGS = {
    "asimd": "neon",
    "neon": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
_MAC_FEATURES = {
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
# IsProcessorFeaturePresent's numbers, winnt.h.
_WINDOWS_FEATURES = {39: "avx", 40: "avx2", 41: "avx512", 19: "neon", 43: "dotprod", 46: "sve"}

# Arm's part numbers for the cores of common boards and servers (implementer, part) → name; Arm's MIDR documentation.
_ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd42"): "Cortex-A78AE",
}


@dataclass(frozen=True)
class Cpu:
    model: str = ""
    physical_cores: int | None = None
    performance_cores: int | None = None
    usable_threads: int | None = None
    isa: tuple[str, ...] = ()


def cpu(host: Host, quota_cpus: float | None = None) -> Cpu:
    """What is known of the processor without running anything slow; unknown stays unknown."""
    if host.system == "Linux":
        found = _linux(host)
    elif host.system == "Darwin":
        found = _macos(host)
    elif host.system == "Windows":
        found = _windows(host)
    else:
        found = Cpu()
    threads = [value for value in (host.affinity(), found.usable_threads) if value]
    if quota_cpus:
        threads.append(max(1, int(quota_cpus)))
    return Cpu(found.model, found.physical_cores, found.performance_cores, min(threads, default=None), found.isa)


def slow_cpu() -> Cpu:
    """py-cpuinfo's answer, for systems where the quick way finds nothing; it takes about a second."""
    import cpuinfo

    info = cpuinfo.get_cpu_info()
    flags = set(info.get("flags", ()))
    return Cpu(model=str(info.get("brand_raw", "")), isa=_named(flags, _X86_FLAGS | _ARM_FLAGS))


def _named(flags: set[str], names: dict[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for flag, name in names.items() if flag in flags))


def _linux(host: Host) -> Cpu:
    blocks = [_fields(block) for block in re.split(r"\n\s*\n", host.read("proc/cpuinfo")) if block.strip()]
    processors = [block for block in blocks if "processor" in block and block["processor"].isdigit()]
    first = processors[0] if processors else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    arm = "Features" in first or host.machine in ("aarch64", "arm64", "armv7l")
    isa = _named(flags, _ARM_FLAGS if arm else _X86_FLAGS)
    model = first.get("model name", "")
    if not model and first:
        model = _ARM_PARTS.get((first.get("CPU implementer", ""), first.get("CPU part", "")), "")
    return Cpu(
        model=re.sub(r"\s+", " ", model),
        physical_cores=_linux_cores(host, processors),
        performance_cores=_linux_performance_cores(host),
        usable_threads=len(processors) or None,
        isa=isa,
    )


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _linux_cores(host: Host, processors: list[dict[str, str]]) -> int | None:
    named = {(p.get("physical id", "0"), p["core id"]) for p in processors if "core id" in p}
    if named:
        return len(named)
    siblings = set()
    for path in host.glob("sys/devices/system/cpu/cpu[0-9]*/topology"):
        relative = path.relative_to(host.root).as_posix()
        members = host.read(f"{relative}/core_cpus_list") or host.read(f"{relative}/thread_siblings_list")
        if members:
            siblings.add(members)
    return len(siblings) or None


def _linux_performance_cores(host: Host) -> int | None:
    fast = cpu_list(host.read("sys/devices/cpu_core/cpus"))  # Intel's hybrids
    if fast:
        cores = {
            host.read(f"sys/devices/system/cpu/cpu{index}/topology/core_cpus_list") or str(index) for index in fast
        }
        return len(cores)
    capacities = [
        value
        for path in host.glob("sys/devices/system/cpu/cpu[0-9]*/cpu_capacity")
        if (value := host.number(path.relative_to(host.root).as_posix()))
    ]
    if capacities and min(capacities) < max(capacities):  # Arm's big and little cores
        return sum(value > max(capacities) / 2 for value in capacities)
    return None


def _macos(host: Host) -> Cpu:
    names = [
        "machdep.cpu.brand_string",
        "hw.physicalcpu",
        "hw.logicalcpu",
        "hw.perflevel0.physicalcpu",
        "machdep.cpu.features",
        "machdep.cpu.leaf7_features",
        *_MAC_FEATURES,
    ]
    known = sysctl(host, names)
    if host.machine in ("arm64", "aarch64"):
        isa = ("neon", *(name for key, name in _MAC_FEATURES.items() if known.get(key) == "1"))
    else:
        flags = f"{known.get('machdep.cpu.features', '')} {known.get('machdep.cpu.leaf7_features', '')}".casefold()
        isa = _named(set(flags.replace("avx1.0", "avx").split()), _X86_FLAGS)
    return Cpu(
        model=known.get("machdep.cpu.brand_string", ""),
        physical_cores=_whole(known.get("hw.physicalcpu")),
        performance_cores=_whole(known.get("hw.perflevel0.physicalcpu")),
        usable_threads=_whole(known.get("hw.logicalcpu")),
        isa=isa,
    )


def sysctl(host: Host, names: list[str]) -> dict[str, str]:
    """macOS's values by name, one call for all; names it does not know are left out."""
    known = {}
    # Without -i an unknown name would make the whole call fail.
    for line in host.run(["/usr/sbin/sysctl", "-i", *names]).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            known[key.strip()] = value.strip()
    return known


def _whole(text: str | None) -> int | None:
    value = number(text or "")
    return int(value) if value and value >= 1 else None


def _windows(host: Host) -> Cpu:
    if not host.real:
        return Cpu()
    import ctypes
    import winreg

    model = ""
    try:
        key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:  # type: ignore[attr-defined,unused-ignore]
            model = str(winreg.QueryValueEx(opened, "ProcessorNameString")[0]).strip()  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        pass
    present = ctypes.windll.kernel32.IsProcessorFeaturePresent  # type: ignore[attr-defined,unused-ignore]
    isa = tuple(name for feature, name in _WINDOWS_FEATURES.items() if present(feature))
    import psutil

    return Cpu(model, psutil.cpu_count(logical=False), None, psutil.cpu_count(), isa)
