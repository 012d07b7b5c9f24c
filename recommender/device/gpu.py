"""Graphics processors of this machine: name, memory, what of it is free, and which of them share the RAM."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from recommender.device import tables
from recommender.device.host import Host, number, run_command
from recommender.device.match import match_gpu
from recommender.device.presets import usable_flops
from recommender.types import GIB, MIB, Gpu

_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel", "0x5143": "qualcomm"}
_QUERY = "name,memory.total,memory.free,compute_cap"
_SMI_PLACES = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi", r"C:\Windows\System32\nvidia-smi.exe")


_INTEGRATED_NAMES = re.compile(
    r"\b(uhd|iris|hd graphics|adreno|mali|vega \d+|radeon \d{3}m|radeon \d{4}s)\b|\bradeon( \w+)? graphics\b"
    r"|^intel graphics$|\bcustom gpu\b|\b(renoir|cezanne|lucienne|barcelo|rembrandt|phoenix|raphael|strix|krackan)\b"
)

# What firmware carves out for the screen alone is at most this much; more is meant for computing.
_SMALLEST_CARVE_OUT_BYTES = 2 * GIB


def gpus(host: Host, ram_bytes: float | None, ram_free_bytes: float | None) -> tuple[Gpu, ...]:
    """Every GPU that is found, cards with memory of their own first, the one with the most free memory leading.

    A GPU that is part of the processor never leads while there is a card, and is marked ``unified``.
    """
    found: list[tuple[Gpu, bool]] = []  # with whether it is part of the processor
    if host.system == "Darwin":
        found += [(gpu, gpu.unified) for gpu in _apple(host, ram_bytes)]
    else:
        found += [(gpu, gpu.unified) for gpu in nvidia(host, ram_bytes, ram_free_bytes)]
        if host.system == "Linux":
            found += _linux_drm(host, ram_bytes, ram_free_bytes, skip_nvidia=bool(found))
        elif host.system == "Windows" and host.real:
            found += _windows(ram_bytes, skip_nvidia=bool(found))
    if not all(inside for _, inside in found):
        # Beside a card, a processor's GPU is never a second card, whatever was carved out for it.
        found = [(replace(gpu, unified=True) if inside else gpu, inside) for gpu, inside in found]
    return tuple(sorted((_with_figures(gpu) for gpu, _ in found), key=_rank))


def _rank(gpu: Gpu) -> tuple[bool, bool, float]:
    memory = gpu.memory_free_bytes if gpu.memory_free_bytes is not None else gpu.memory_bytes
    return gpu.unified, not gpu.backend, -(memory or 0.0)


def is_integrated_name(name: str) -> bool:
    """Whether a GPU of this name is part of a processor, by the catalog or by what such parts are called."""
    row = match_gpu(name)
    if row is not None:
        return row["unified_memory"] == "y"
    folded = name.casefold().replace("(tm)", "").replace("(r)", "")
    return bool(_INTEGRATED_NAMES.search(folded)) and not re.search(r"\b(rx|pro|instinct|rtx|gtx)\b", folded)


def _with_figures(gpu: Gpu) -> Gpu:
    """Bandwidth and compute from the catalog where the name matches a row; what was found stays."""
    memory_gib = None if gpu.unified or gpu.memory_bytes is None else gpu.memory_bytes / GIB
    row = match_gpu(gpu.name, memory_gib)
    if row is None:
        return gpu
    bandwidth = float(row["gpu_mem_bw_gbs"]) * 1e9 if row["gpu_mem_bw_gbs"] and not gpu.unified else None
    return replace(
        gpu,
        bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s or bandwidth,
        fp16_flops=gpu.fp16_flops or usable_flops(row),
        compute_capability=gpu.compute_capability or row["gpu_compute_capability"],
    )


# ── NVIDIA, by its own tool ──────────────────────────────────────────────────────────────────────────────────


def nvidia(host: Host, ram_bytes: float | None, ram_free_bytes: float | None) -> list[Gpu]:
    """NVIDIA's GPUs as nvidia-smi lists them, one entry per card; none when the tool is missing or fails."""
    if host.system == "Linux" and not (
        host.glob("proc/driver/nvidia/version") or host.glob("dev/nvidia*") or host.glob("usr/lib/wsl/lib/nvidia-smi")
    ):
        return []
    # Only the first that exists: a tool that hangs once would hang again.
    place = next((place for place in _SMI_PLACES if not host.real or shutil.which(place)), "")
    if not place:
        return []
    printed = host.run([place, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"])
    return parse_nvidia_smi(printed, ram_bytes, ram_free_bytes)


def nvidia_smi(query: str) -> str:
    """What NVIDIA's tool prints of this machine's cards, a line each; "" when it is missing or fails."""
    place = next((place for place in _SMI_PLACES if shutil.which(place)), "")
    return run_command([place, f"--query-gpu={query}", "--format=csv,noheader,nounits"]) if place else ""


def parse_nvidia_smi(printed: str, ram_bytes: float | None, ram_free_bytes: float | None) -> list[Gpu]:
    """One ``Gpu`` per line of nvidia-smi's CSV; one without a memory size of its own (Jetson, GB10) shares the RAM."""
    found = []
    for line in csv.reader(printed.splitlines(), skipinitialspace=True):
        if len(line) < 3 or not line[0].strip() or "fail" in line[0].casefold():
            continue
        total, free = number(line[1]), number(line[2])
        capability = line[3].strip() if len(line) > 3 and re.fullmatch(r"\d+\.\d+", line[3].strip()) else ""
        unified = total is None or total <= 0
        name = line[0].strip()
        found.append(
            Gpu(
                name=name,
                vendor="nvidia",
                backend="cuda",
                memory_bytes=ram_bytes if unified or total is None else total * MIB,
                memory_free_bytes=ram_free_bytes if unified else free * MIB if free is not None else None,
                compute_capability=capability,
                unified=unified,
            )
        )
    return found


# ── Linux, by what the kernel's drivers publish ──────────────────────────────────────────────────────────────


def _linux_drm(
    host: Host, ram_bytes: float | None, ram_free_bytes: float | None, skip_nvidia: bool
) -> list[tuple[Gpu, bool]]:
    found: list[tuple[Gpu, bool]] = []
    for card in host.glob("sys/class/drm/card[0-9]*"):
        if not re.fullmatch(r"card\d+", card.name):
            continue
        folder = (card / "device").relative_to(host.root).as_posix()
        vendor = _VENDORS.get(host.read(f"{folder}/vendor"), "")
        if vendor == "amd":
            found.append((_amd(host, folder, ram_free_bytes), amd_is_integrated(_device_id(host, folder))))
        elif vendor == "intel":
            gpu = _intel(host, folder, card, ram_bytes, ram_free_bytes)
            found.append((gpu, gpu.unified))
        elif vendor == "nvidia" and not skip_nvidia:
            # Without NVIDIA's own driver no runtime here can use it; it is still named.
            name = _pci_name(host, folder) or "NVIDIA GPU without its driver"
            found.append((Gpu(name, vendor, "", None, None), False))
    return found


def _device_id(host: Host, folder: str) -> str:
    return host.read(f"{folder}/device").removeprefix("0x")


def _amd(host: Host, folder: str, ram_free_bytes: float | None) -> Gpu:
    device = _device_id(host, folder)
    carved = host.number(f"{folder}/mem_info_vram_total")
    used = host.number(f"{folder}/mem_info_vram_used") or 0.0
    carved_free = None if carved is None else max(0.0, carved - used)
    name = _amd_name(host, folder, device) or "AMD Radeon GPU"
    if not amd_is_integrated(device):
        return Gpu(name, "amd", _amd_backend(host), carved, carved_free)
    mapped = host.number(f"{folder}/mem_info_gtt_total")
    mapped_used = host.number(f"{folder}/mem_info_gtt_used") or 0.0
    mapped_free = None if mapped is None else max(0.0, mapped - mapped_used)
    return integrated(name, "amd", carved, carved_free, mapped, mapped_free, ram_free_bytes)


def integrated(
    name: str,
    vendor: str,
    carved: float | None,
    carved_free: float | None,
    mapped: float | None,
    mapped_free: float | None,
    ram_free_bytes: float | None,
) -> Gpu:
    """A processor's own GPU, its memory counted once.

    Firmware may carve out a part of the RAM for it, which the operating system then no longer sees; the driver may
    map a share of what is left. Where the carve-out is the larger part (96 of 128 GB on Strix Halo, say), it is that
    GPU's own memory; otherwise it works in the shared part, which comes out of free RAM.
    """
    if carved is not None and carved >= (mapped or 0.0) and carved >= _SMALLEST_CARVE_OUT_BYTES:
        return Gpu(name, vendor, "vulkan", carved, carved_free)
    free = mapped_free if ram_free_bytes is None or mapped_free is None else min(mapped_free, ram_free_bytes)
    return Gpu(name, vendor, "vulkan", mapped, free, unified=True)


def amd_is_integrated(device_id: str) -> bool:
    """Whether this is an APU's: AMD numbers those below 0x2000 and at 0x98xx–0x99xx (libdrm, data/amdgpu.ids)."""
    try:
        value = int(device_id, 16)
    except ValueError:
        return False
    return value < 0x2000 or 0x9800 <= value <= 0x99FF


def _amd_backend(host: Host) -> str:
    return "rocm" if host.glob("opt/rocm*/bin") or host.glob("opt/rocm*/lib") else "vulkan"


def _amd_name(host: Host, folder: str, device: str) -> str:
    stated = host.read(f"{folder}/product_name")
    if stated:
        return stated
    revision = host.read(f"{folder}/revision").removeprefix("0x")
    for line in host.read("usr/share/libdrm/amdgpu.ids").splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3 and _same_hex(parts[0], device) and _same_hex(parts[1], revision):
            return parts[2]
    return _pci_name(host, folder)


def _same_hex(left: str, right: str) -> bool:
    return bool(left and right) and left.casefold().lstrip("0") == right.casefold().lstrip("0")


def _intel(host: Host, folder: str, card: Path, ram_bytes: float | None, ram_free_bytes: float | None) -> Gpu:
    name = _pci_name(host, folder) or "Intel GPU"
    slot = _pci_slot(host, folder, card)
    own = host.number(f"{folder}/tile0/physical_vram_size_bytes") or host.number(f"{folder}/lmem_total_bytes")
    if own or (slot and not slot.endswith("00:02.0")):
        return Gpu(name, "intel", "vulkan", own, host.number(f"{folder}/lmem_avail_bytes"))
    share = tables.limit("gpu_share", os="linux")
    total = ram_bytes * share.number if share and ram_bytes is not None else None
    return Gpu(name, "intel", "vulkan", total, ram_free_bytes, unified=True)


def _pci_slot(host: Host, folder: str, card: Path) -> str:
    for line in host.read(f"{folder}/uevent").splitlines():
        key, _, value = line.partition("=")
        if key == "PCI_SLOT_NAME":
            return value
    try:
        return (card / "device").resolve().name
    except OSError:
        return ""


def _pci_name(host: Host, folder: str) -> str:
    """The GPU's name in the system's list of PCI devices, where that is installed."""
    vendor = host.read(f"{folder}/vendor").removeprefix("0x").casefold()
    device = host.read(f"{folder}/device").removeprefix("0x").casefold()
    if not vendor or not device:
        return ""
    for place in ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids"):
        listed = host.read(place)
        start = f"\n{listed}".find(f"\n{vendor}  ")
        if start < 0:
            continue
        found = re.compile(rf"\n\t{device}  ([^\n]+)|\n(?=[0-9a-f]{{4}}  )").search(listed, start + 1)
        if found and found.group(1):
            brand = {"10de": "NVIDIA", "1002": "AMD", "8086": "Intel"}.get(vendor, "")
            bracket = re.search(r"\[([^\]]+)\]", found.group(1))
            return f"{brand} {bracket.group(1) if bracket else found.group(1)}".strip()
    return ""


# ── macOS ────────────────────────────────────────────────────────────────────────────────────────────────────


def _apple(host: Host, ram_bytes: float | None) -> list[Gpu]:
    if host.machine not in ("arm64", "aarch64"):
        return _mac_cards(host)
    from recommender.device.cpu import sysctl

    known = sysctl(host, ["machdep.cpu.brand_string", "iogpu.wired_limit_mb"])
    chip = known.get("machdep.cpu.brand_string", "Apple silicon")
    counted = re.search(
        r'"gpu-core-count"\s*=\s*(\d+)', host.run(["/usr/sbin/ioreg", "-r", "-d", "1", "-c", "AGXAccelerator"])
    )
    cores = int(counted.group(1)) if counted else None
    row = apple_row(chip, cores)
    raised = number(known.get("iogpu.wired_limit_mb", ""))
    limit = tables.limit("gpu_share", os="macos", memory_gb=(ram_bytes or 0.0) / GIB)
    memory = raised * MIB if raised else ram_bytes * limit.number if ram_bytes and limit else None
    return [
        Gpu(
            name=f"{chip} ({cores}-core GPU)" if cores else f"{chip} GPU",
            vendor="apple",
            backend="metal",
            memory_bytes=memory,
            memory_free_bytes=None,
            bandwidth_bytes_per_s=float(row["gpu_mem_bw_gbs"]) * 1e9 if row and row["gpu_mem_bw_gbs"] else None,
            fp16_flops=usable_flops(row) if row else None,
            unified=True,
        )
    ]


def apple_row(chip: str, gpu_cores: int | None) -> tables.Row | None:
    """The row of an Apple chip with this many GPU cores; without the count only if all rows agree on bandwidth."""
    rows = [row for row in tables.device_rows().values() if row["role"] == "chip" and row["cpu_model"] == chip]
    if gpu_cores is not None:
        exact = [row for row in rows if row["gpu_name"].startswith(f"{gpu_cores}-core")]
        return exact[0] if exact else None
    return rows[0] if len({row["cpu_mem_bw_gbs"] for row in rows}) == 1 else None


def _mac_cards(host: Host) -> list[Gpu]:
    """An Intel Mac's GPUs; llama.cpp's Metal backend is not supported there, so no backend is named."""
    try:
        listed = json.loads(host.run(["/usr/sbin/system_profiler", "SPDisplaysDataType", "-json"]) or "{}")
    except ValueError:
        return []
    entries = listed.get("SPDisplaysDataType", []) if isinstance(listed, dict) else []
    found = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        name = str(entry.get("sppci_model", ""))
        size = re.match(r"(\d+)\s*(GB|MB)", str(entry.get("spdisplays_vram", "")))
        memory = float(size.group(1)) * (GIB if size.group(2) == "GB" else MIB) if size else None
        vendor = next((known for known in ("amd", "intel", "nvidia") if known in name.casefold()), "")
        vendor = vendor or ("amd" if "radeon" in name.casefold() else "")
        if name:
            found.append(Gpu(name, vendor, "", memory, None, unified=vendor == "intel"))
    return found


# ── Windows, by the display drivers' registry keys ───────────────────────────────────────────────────────────


def _windows(ram_bytes: float | None, skip_nvidia: bool) -> list[tuple[Gpu, bool]]:
    """The 64-bit memory size of each display driver; the older 32-bit one stops at 4 GB and is not read."""
    import winreg

    found = []
    root = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
    for index in range(16):
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{root}\{index:04d}") as key:  # type: ignore[attr-defined,unused-ignore]
                name = str(winreg.QueryValueEx(key, "DriverDesc")[0])  # type: ignore[attr-defined,unused-ignore]
                try:
                    size = winreg.QueryValueEx(key, "HardwareInformation.qwMemorySize")[0]  # type: ignore[attr-defined,unused-ignore]
                except OSError:
                    size = None
        except OSError:
            continue
        gpu = windows_gpu(name, size, ram_bytes)
        if gpu and not (skip_nvidia and gpu.vendor == "nvidia"):
            found.append((gpu, is_integrated_name(gpu.name)))
    return found


def windows_gpu(name: str, size: object, ram_bytes: float | None) -> Gpu | None:
    """One display driver of Windows as a ``Gpu``; ``None`` for remote and software displays."""
    folded = name.casefold()
    marks = {
        "nvidia": ("nvidia", "geforce"),
        "amd": ("amd", "radeon"),
        "intel": ("intel",),
        "qualcomm": ("adreno", "qualcomm"),
    }
    vendor = next((vendor for vendor, words in marks.items() if any(word in folded for word in words)), "")
    if not vendor:
        return None
    memory = float(size) if isinstance(size, int) and size > 0 else None
    backend = {"nvidia": "cuda", "amd": "vulkan", "intel": "vulkan", "qualcomm": ""}[vendor]
    if not is_integrated_name(name):
        return Gpu(name, vendor, backend, memory, None)
    share = tables.limit("gpu_share", os="windows")
    mapped = ram_bytes * share.number if share and ram_bytes is not None else None
    if vendor == "amd":
        return integrated(name, vendor, memory, None, mapped, None, None)
    return Gpu(name, vendor, backend, mapped, None, unified=True)
