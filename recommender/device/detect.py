"""This machine as a ``Device``. What cannot be found out stays unknown; a machine never makes detection fail."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from recommender import paths
from recommender.device import cpu as _cpu
from recommender.device import gpu as _gpu
from recommender.device import memory as _memory
from recommender.device import tables
from recommender.device.cgroup import cgroup_limits
from recommender.device.host import Host
from recommender.device.match import essence, match_cpu
from recommender.types import GIB, Device, Gpu

THIS_MACHINE = "this-machine"  # the id that detection gives

_SYSTEMS = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
_ARCHES = {"x86_64": "x86-64", "amd64": "x86-64", "arm64": "arm64", "aarch64": "arm64"}
_MACS = {"macbook": "laptop", "macmini": "desktop", "imac": "desktop", "macpro": "workstation"}

# SMBIOS chassis types (DMTF DSP0134, 7.4.1) → kind of machine.
_CHASSIS = {
    **dict.fromkeys((3, 4, 5, 6, 7, 15, 16, 24), "desktop"),
    **dict.fromkeys((8, 9, 10, 14, 31, 32), "laptop"),
    **dict.fromkeys((11,), "phone"),
    **dict.fromkeys((30,), "tablet"),
    **dict.fromkeys((17, 22, 23, 28, 29), "server"),
    **dict.fromkeys((33, 34, 35, 36), "mini-pc"),
}
_VIRTUAL = re.compile(
    r"kvm|qemu|vmware|virtual|bochs|xen|hvm|amazon ec2|google compute|firecracker|openstack|parallels", re.I
)


def detect(runtime_devices: bool = False, host: Host | None = None) -> Device:
    """This machine, with the origin of every field in ``sources``.

    Args:
        runtime_devices: also ask llama.cpp which devices it sees (imports the binding; otherwise nothing heavy is
            imported).
        host: another machine to look at, for tests.

    Returns:
        A ``Device``; fields that could not be found out are ``None`` or empty and have no entry in ``sources``.
    """
    host = host or Host()
    limits = cgroup_limits(host)
    memory = _memory.memory(host, limits)
    processor = _cpu.cpu(host, limits.cpus)
    if host.real and host.system != "Darwin" and not processor.model and not processor.isa:
        slow = _cpu.slow_cpu()
        processor = replace(processor, model=slow.model, isa=slow.isa)
    gpus = _gpu.gpus(host, memory.total_bytes, memory.free_bytes)
    if runtime_devices and host.real:
        gpus = with_runtime_devices(gpus, _runtime_devices())

    operating_system = _SYSTEMS.get(host.system, host.system.casefold())
    kind, name = _identity(host, processor.model)
    bandwidth, bandwidth_origin = _bandwidth(host, processor, gpus)
    gpus = tuple(_shared_bandwidth(gpu, bandwidth) for gpu in gpus)
    unified = any(gpu.unified for gpu in gpus) and not any(not gpu.unified and gpu.backend for gpu in gpus)
    share = _gpu_fraction(operating_system, memory.total_bytes, gpus) if unified else None
    performance, performance_origin = _performance_cores(processor)
    npu_name, npu_tops = ("", None) if _is_virtual(host) else _npu(processor)

    device = Device(
        id=THIS_MACHINE,
        name=name,
        kind=kind,
        os=operating_system,
        arch=_ARCHES.get(host.machine.casefold(), host.machine.casefold()),
        cpu_model=processor.model,
        physical_cores=processor.physical_cores,
        performance_cores=performance,
        usable_threads=processor.usable_threads,
        isa=processor.isa,
        ram_bytes=memory.total_bytes,
        ram_free_bytes=memory.free_bytes,
        bandwidth_bytes_per_s=bandwidth,
        gpus=gpus,
        npu_name=npu_name,
        npu_tops=npu_tops,
        unified_memory=unified,
        gpu_memory_fraction=share,
        disk_free_bytes=_memory.disk_free_bytes(str(paths.models_dir())) if host.real else None,
        source="detected on this machine",
    )
    origins = {
        "bandwidth_bytes_per_s": bandwidth_origin,
        "performance_cores": performance_origin,
        "gpu_memory_fraction": "derived",
        "npu_name": "preset",
        "npu_tops": "preset",
    }
    sources = {
        field: origins.get(field, "detected")
        for field in Device.__dataclass_fields__
        if field not in ("id", "source", "sources") and getattr(device, field) not in (None, "", (), False)
    }
    return replace(device, sources=sources)


# ── what the machine is ──────────────────────────────────────────────────────────────────────────────────────


def _identity(host: Host, cpu_model: str) -> tuple[str, str]:
    """(kind, name). A virtual machine is a server; a board names itself in the device tree."""
    if host.system == "Darwin":
        from recommender.device.cpu import sysctl

        model = sysctl(host, ["hw.model"]).get("hw.model", "")
        # Newer models are all called "Mac15,9" and the like: then the battery tells.
        kind = next((kind for start, kind in _MACS.items() if model.casefold().startswith(start)), "")
        if not kind:
            battery = host.run(["/usr/sbin/ioreg", "-r", "-c", "AppleSmartBattery"])
            kind = "laptop" if re.search(r'"BatteryInstalled"\s*=\s*Yes', battery) else "desktop"
        return kind, f"Mac with {cpu_model}" if cpu_model else "This Mac"
    if host.system == "Windows":
        return ("laptop" if host.real and _has_battery() else "desktop"), cpu_model or "This computer"
    board = host.read("proc/device-tree/model")
    if board:
        return "sbc", board
    product = host.read("sys/class/dmi/id/product_name")
    vendor = host.read("sys/class/dmi/id/sys_vendor")
    named = product if product and product not in ("System Product Name", "To Be Filled By O.E.M.") else ""
    if vendor and named and not named.startswith(vendor.split()[0]):
        named = f"{vendor} {named}"
    if _is_virtual(host):
        return "server", f"Virtual machine ({cpu_model})" if cpu_model else "Virtual machine"
    chassis = host.number("sys/class/dmi/id/chassis_type")
    kind = _CHASSIS.get(int(chassis) if chassis else 0, "")
    if not kind:
        kind = "laptop" if host.glob("sys/class/power_supply/BAT*") else "desktop"
    return kind, named or cpu_model or "This computer"


def _is_virtual(host: Host) -> bool:
    """Whether a hypervisor lies beneath (a container on real hardware is not virtual)."""
    if host.system != "Linux":
        return False
    named = f"{host.read('sys/class/dmi/id/sys_vendor')} {host.read('sys/class/dmi/id/product_name')}"
    wsl = "microsoft" in host.read("proc/version").casefold()  # Windows' own Linux: the person's machine all the same
    return not wsl and bool(_VIRTUAL.search(named) or re.search(r"\bhypervisor\b", host.read("proc/cpuinfo")))


def _has_battery() -> bool:
    import psutil

    try:
        return psutil.sensors_battery() is not None
    except (OSError, RuntimeError, AttributeError, psutil.Error):
        return False


# ── figures that the machine does not state itself ───────────────────────────────────────────────────────────


def _bandwidth(host: Host, processor: _cpu.Cpu, gpus: tuple[Gpu, ...]) -> tuple[float | None, str]:
    """(bytes/s of main memory, its origin): the firmware's table of modules, else the catalog's row of this CPU."""
    for gpu in gpus:
        if gpu.unified and gpu.vendor == "apple" and gpu.bandwidth_bytes_per_s:
            return gpu.bandwidth_bytes_per_s, "preset"
    firmware = _memory.bandwidth_bytes_per_s(_memory.modules(host.read_bytes("sys/firmware/dmi/tables/DMI")))
    if firmware:
        return firmware, "derived"
    board = host.read("proc/device-tree/model")
    if not board and _is_virtual(host):
        return None, ""  # a share of a socket's bandwidth that nobody publishes
    rows = _board_rows(board) if board else match_cpu(processor.model)
    known = {float(row["cpu_mem_bw_gbs"]) for row in rows if row["cpu_mem_bw_gbs"]}
    if not known:
        return None, ""
    # Where one processor comes with slower and faster memory, the slower; a socket may hold less than its best.
    soldered = bool(board) or all(row["memory_type"].startswith("LPDDR") for row in rows if row["cpu_mem_bw_gbs"])
    certain = soldered and len(known) == 1 and not any(row["bandwidth_origin"] == "assumed" for row in rows)
    return min(known) * 1e9, "derived" if certain else "assumed"


def _board_rows(board: str) -> tuple[tables.Row, ...]:
    """Boards whose whole name is in what the device tree says, the most exact ones ("… Orin Nano … Super")."""
    words = essence(board)
    named = [
        (len(name), row)
        for row in tables.device_rows().values()
        if row["role"] == "machine" and row["kind"] == "sbc" and (name := essence(row["name"])) and name <= words
    ]
    most = max((count for count, _ in named), default=0)
    return tuple(row for count, row in named if count == most)


def _shared_bandwidth(gpu: Gpu, bandwidth: float | None) -> Gpu:
    if gpu.unified and gpu.bandwidth_bytes_per_s is None:
        return replace(gpu, bandwidth_bytes_per_s=bandwidth)
    return gpu


def _gpu_fraction(operating_system: str, ram_bytes: float | None, gpus: tuple[Gpu, ...]) -> float | None:
    first = next((gpu for gpu in gpus if gpu.unified), None)
    if first is None or not ram_bytes:
        return None
    if first.memory_bytes is not None:  # what the driver allows
        return min(1.0, first.memory_bytes / ram_bytes)
    if first.vendor == "nvidia":  # CUDA on an integrated GPU allocates from the whole RAM (NVIDIA, CUDA for Tegra)
        return 1.0
    rule = tables.limit("gpu_share", os=operating_system, memory_gb=ram_bytes / GIB)
    return rule.number if rule else None


def _performance_cores(processor: _cpu.Cpu) -> tuple[int | None, str]:
    if processor.performance_cores is not None:
        return processor.performance_cores, "detected"
    known = {row["cpu_perf_cores"] for row in match_cpu(processor.model) if row["cpu_perf_cores"]}
    if len(known) == 1:
        cores = int(known.pop())
        if processor.physical_cores is None or cores <= processor.physical_cores:
            return cores, "preset"
    return None, ""


def _npu(processor: _cpu.Cpu) -> tuple[str, float | None]:
    """The neural processor that belongs to this CPU, where every catalog row of it says the same."""
    rows = [row for row in match_cpu(processor.model) if row["npu_tops"]]
    names = {row["npu_name"] for row in rows if row["npu_name"]}
    tops = {float(row["npu_tops"]) for row in rows}
    return (names.pop() if len(names) == 1 else "", tops.pop() if len(tops) == 1 else None)


# ── what llama.cpp itself sees ───────────────────────────────────────────────────────────────────────────────


def _runtime_devices() -> list[dict[str, Any]]:
    try:
        import xllamacpp
    except (ImportError, OSError):
        return []
    try:
        return [dict(entry) for entry in xllamacpp.get_device_info()]
    except (RuntimeError, ValueError, OSError):
        return []


def with_runtime_devices(gpus: tuple[Gpu, ...], reported: list[dict[str, Any]]) -> tuple[Gpu, ...]:
    """``gpus`` with llama.cpp's own figures: its backend's name and its free memory, by the GPU's description."""
    result = list(gpus)
    for entry in reported:
        name, label = str(entry.get("description", "")), str(entry.get("name", ""))
        if "GPU" not in str(entry.get("type", "")) and not re.match(r"(CUDA|Vulkan|ROCm|Metal|MTL)", label):
            continue
        backend = next(
            (
                b
                for start, b in (("CUDA", "cuda"), ("ROCm", "rocm"), ("Vulkan", "vulkan"), ("M", "metal"))
                if label.startswith(start)
            ),
            "",
        )
        free = float(entry["memory_free"]) if entry.get("memory_free") else None
        total = float(entry["memory_total"]) if entry.get("memory_total") else None
        for index, gpu in enumerate(result):
            if _alike(gpu.name, name):
                result[index] = replace(
                    gpu,
                    backend=backend or gpu.backend,
                    memory_free_bytes=free or gpu.memory_free_bytes,
                    memory_bytes=total or gpu.memory_bytes,
                )
                break
        else:
            result.append(Gpu(name or label, "", backend, total, free, unified="IGPU" in str(entry.get("type", ""))))
    return tuple(result)


def _alike(left: str, right: str) -> bool:
    words = [set(re.findall(r"[a-z]*\d+[a-z]*", text.casefold())) for text in (left, right)]
    return bool(words[0] & words[1]) or left.casefold() == right.casefold()
