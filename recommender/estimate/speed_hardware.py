"""What speed depends on in a machine: per side (CPU, GPU) its class, bandwidth and nominal arithmetic."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from recommender.estimate.speed_tables import SpeedTables
from recommender.types import Device, Gpu

# Less fp16 arithmetic than this per byte of bandwidth means that fp16 runs at a fraction of fp32 speed
# (GeForce 10 series: 1/64), and llama.cpp does not use it: the figure then says nothing about real speed.
MEANINGFUL_FLOPS_PER_BYTE = 8.0

# Best first. AVX-512 with bfloat16 came with faster integer dot products and two full-width units; AVX-VNNI marks
# hybrid designs, whose small cores count less.
INSTRUCTION_SETS = ("avx512_bf16", "avx512", "avx_vnni", "avx2", "avx", "i8mm", "dotprod", "neon", "scalar")

GPU_CLASSES = ("server", "workstation", "desktop", "laptop", "unified", "small", "legacy")
FIRST_WITH_MATRIX_UNITS = 7.0  # NVIDIA's compute capability
# Ratios of arithmetic to bandwidth further than this from the usual are not believed to matter more.
BALANCE_LIMIT = 5.0

FORMS = {
    "server": "server",
    "workstation": "server",
    "desktop": "desktop",
    "laptop": "laptop",
    "mini-pc": "laptop",
    "tablet": "small",
    "phone": "small",
    "sbc": "small",
    "edge-ai": "small",
    "browser": "laptop",
}


@dataclass(frozen=True)
class Side:
    """One side of a machine. ``spread`` is the log standard deviation that unknown figures add to a range."""

    accelerator: str  # cpu, cuda, metal, rocm, vulkan, …
    hardware_class: str
    bandwidth_bytes_per_s: float
    flops: float  # nominal for GPUs; the number of threads for CPUs
    balance: float  # flops per byte of bandwidth, relative to the usual for this kind of processor
    bandwidth_known: bool
    flops_known: bool
    bandwidth_spread: float
    flops_spread: float


def cpu_class(isa: Collection[str], kind: str) -> str:
    """Instruction set and form, such as ``avx2-laptop``: vector width sets arithmetic, form the power limit."""
    return f"{instruction_set(isa)}-{FORMS.get(kind, 'desktop')}"


def instruction_set(isa: Collection[str]) -> str:
    """The best vector instructions that llama.cpp has kernels for, one of ``INSTRUCTION_SETS``."""
    names = {name.casefold().replace("-", "_") for name in isa}
    return next((level for level in INSTRUCTION_SETS[:-1] if level in names), "scalar")


def gpu_class(accelerator: str, kind: str, name: str, unified: bool, compute_capability: str = "") -> str:
    """Form of a GPU, one of ``GPU_CLASSES``: NVIDIA's before matrix units are a class of their own."""
    if accelerator == "metal":
        return "small" if kind in ("phone", "tablet") else "unified"
    if unified:
        return "unified"
    generation = re.match(r"\d+(\.\d+)?", compute_capability)
    if generation and float(generation[0]) < FIRST_WITH_MATRIX_UNITS:
        return "legacy"
    if "laptop" in name.casefold() or "mobile" in name.casefold() or kind == "laptop":
        return "laptop"
    return kind if kind in ("server", "workstation") else "desktop"


def _balance(ratio: float, usual: float) -> float:
    """A ratio relative to the usual one, within the range that measured devices span."""
    return min(max(ratio / usual, 1 / BALANCE_LIMIT), BALANCE_LIMIT)


def counted_cores(isa: Collection[str], performance: float | None, physical: float | None) -> float | None:
    """Cores that stand for a CPU's arithmetic: all cores of x86 hybrids, whose split few sources give; elsewhere the
    performance cores, which llama.cpp runs on."""
    if instruction_set(isa) == "avx_vnni" and physical:
        return float(physical)
    cores = performance or physical
    return float(cores) if cores else None


def cpu_side(
    tables: SpeedTables, *, isa: Collection[str], kind: str, bandwidth: float | None, threads: float | None
) -> Side:
    """The CPU of a machine; what is unknown is replaced by what is usual for its kind, and widens the range."""
    usual_bandwidth = tables.fallback("cpu", kind, "bandwidth_bytes_per_s")
    usual_threads = tables.fallback("cpu", kind, "threads")
    return Side(
        accelerator="cpu",
        hardware_class=cpu_class(isa, kind),
        bandwidth_bytes_per_s=bandwidth or usual_bandwidth.typical,
        flops=threads or usual_threads.typical,
        balance=_balance(
            (threads or usual_threads.typical) / (bandwidth or usual_bandwidth.typical),
            tables.fallback("cpu", "any", "threads_per_byte").typical,
        ),
        bandwidth_known=bool(bandwidth),
        flops_known=bool(threads),
        bandwidth_spread=0.0 if bandwidth else usual_bandwidth.log_spread,
        flops_spread=0.0 if threads else usual_threads.log_spread,
    )


def gpu_side(
    tables: SpeedTables,
    *,
    accelerator: str,
    kind: str,
    name: str,
    unified: bool,
    bandwidth: float | None,
    flops: float | None,
    compute_capability: str = "",
) -> Side:
    """A GPU; unknown arithmetic follows from bandwidth by the usual ratio of its kind, and widens the range."""
    usual_bandwidth = tables.fallback(accelerator, kind, "bandwidth_bytes_per_s")
    usual_ratio = tables.fallback(accelerator, kind, "flops_per_byte")
    known_bandwidth = bool(bandwidth)
    bytes_per_s = bandwidth or usual_bandwidth.typical
    known_flops = bool(flops) and (flops or 0.0) >= MEANINGFUL_FLOPS_PER_BYTE * bytes_per_s
    nominal = (flops or 0.0) if known_flops else usual_ratio.typical * bytes_per_s
    return Side(
        accelerator=accelerator,
        hardware_class=gpu_class(accelerator, kind, name, unified, compute_capability),
        bandwidth_bytes_per_s=bytes_per_s,
        flops=nominal,
        balance=_balance(nominal / bytes_per_s, tables.fallback(accelerator, "any", "flops_per_byte").typical),
        bandwidth_known=known_bandwidth,
        flops_known=known_flops,
        bandwidth_spread=0.0 if known_bandwidth else usual_bandwidth.log_spread,
        flops_spread=0.0 if known_flops else usual_ratio.log_spread,
    )


def device_cpu(tables: SpeedTables, device: Device) -> Side:
    """The CPU side of a device."""
    threads = counted_cores(device.isa, device.performance_cores, device.physical_cores or device.usable_threads)
    return cpu_side(tables, isa=device.isa, kind=device.kind, bandwidth=device.bandwidth_bytes_per_s, threads=threads)


def usual_threads(device: Device, side: Side) -> float:
    """How many threads the fit's measurements of such a CPU ran with: its performance cores, where they are known."""
    return float(device.performance_cores or device.physical_cores or side.flops)


def device_gpu(tables: SpeedTables, device: Device) -> Side | None:
    """The device's fastest usable GPU, or None."""
    gpus = [gpu for gpu in device.gpus if gpu.backend]
    if not gpus:
        return None
    gpu = max(gpus, key=_rank)
    bandwidth = gpu.bandwidth_bytes_per_s or (device.bandwidth_bytes_per_s if gpu.unified else None)
    return gpu_side(
        tables,
        accelerator=gpu.backend,
        kind=device.kind,
        name=gpu.name,
        unified=gpu.unified,
        bandwidth=bandwidth,
        flops=gpu.fp16_flops,
        compute_capability=gpu.compute_capability,
    )


def _rank(gpu: Gpu) -> tuple[bool, float, float]:
    return (not gpu.unified, gpu.bandwidth_bytes_per_s or 0.0, gpu.memory_bytes or 0.0)
