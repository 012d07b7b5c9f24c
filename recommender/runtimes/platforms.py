"""Does a runtime run on a machine, and on what part of it? Rows of ``runtime_platforms.csv`` against a ``Device``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from recommender.runtimes.tables import Platform
from recommender.types import Device, Gpu

_OS_NAMES = {"linux": "Linux", "windows": "Windows", "macos": "macOS", "android": "Android", "ios": "iOS"}
_ACCELERATOR_NAMES = {
    "cpu": "a CPU",
    "cuda": "an NVIDIA GPU (CUDA)",
    "rocm": "an AMD GPU (ROCm)",
    "metal": "an Apple GPU (Metal)",
    "vulkan": "a GPU with Vulkan",
    "npu": "an NPU",
    "webgpu": "a GPU with WebGPU",
}
# What the makers call their NPUs, and what rows of the table call them: a device's NPU or processor name tells which
# it is. AMD's first generation (XDNA) is another machine than its second, and "Ryzen AI" processors have the second.
_NPU_WORDS = {
    "qualcomm": ("hexagon", "qualcomm", "snapdragon"),
    "amd-xdna2": ("xdna 2", "xdna2", "ryzen ai"),
    "intel": ("intel", "ai boost", "core ultra"),
}
_NPU_NAMES = {"qualcomm": "a Qualcomm NPU", "amd-xdna2": "an AMD NPU (XDNA 2)", "intel": "an Intel NPU"}
# Without a model number in its name nobody can tell which GPU it is.
_NUMBERED = re.compile(r"\d{2}")
# Every 64-bit Arm processor has these (Arm Architecture Reference Manual, A64: Advanced SIMD is not optional there).
_ARM64_BASELINE = frozenset({"neon"})
# How far a row got before it failed; the furthest gives the most useful reason.
_OS, _ARCH, _FORM, _ACCELERATOR, _DETAIL = range(5)


def accelerators(rows: Sequence[Platform], device: Device, experimental: bool = False) -> tuple[str, ...]:
    """What a runtime with these rows can compute on, best first; empty when it does not run there."""
    allowed = ("yes", "experimental") if experimental else ("yes",)
    fitting = [row for row in rows if row.support in allowed and not _against(row, device)]
    fitting.sort(key=lambda row: row.support != "yes")
    return tuple(dict.fromkeys(row.accelerator for row in fitting))


def reason(name: str, rows: Sequence[Platform], device: Device, experimental: bool = False) -> str:
    """Why a runtime with these rows does not run on a machine, or ""."""
    if accelerators(rows, device, experimental):
        return ""
    refused = [row for row in rows if row.support == "no" and not _against(row, device)]
    if refused:
        return f"{name} does not run on {_os(device.os)}: {refused[0].note}"
    if not experimental and accelerators(rows, device, experimental=True):
        only = next(row for row in rows if row.support == "experimental" and not _against(row, device))
        note = f" ({only.note})" if only.note else ""
        return f"{name} on {_os(device.os)} is experimental{note}"
    rows = [row for row in rows if row.support == "yes" or (experimental and row.support == "experimental")]
    failures = [found for row in rows if (found := _against(row, device))]
    if not failures:
        return f"{name} is not known to run anywhere"
    stage = max(found[0] for found in failures)
    if stage == _OS:
        systems = dict.fromkeys(_os(row.os) for row in rows)
        return f"{name} runs on {listing(systems)}, not on {_os(device.os)}"
    if stage == _ARCH:
        kinds = dict.fromkeys(row.arch for row in rows if row.os in (device.os, "any"))
        return f"{name} on {_os(device.os)} needs {listing(kinds, 'or')}, and this device is {device.arch}"
    if stage == _FORM:
        needed = dict.fromkeys(found[1] for found in failures if found[0] == _FORM)
        return f"{name} on {_os(device.os)} is for a {listing(needed, 'or')}, and this is a {device.kind}"
    if stage == _ACCELERATOR:
        needed = dict.fromkeys(found[1] for found in failures if found[0] == _ACCELERATOR)
        return f"{name} on {_os(device.os)} needs {listing(needed, 'or')}, which this device lacks"
    return f"{name} needs {next(found[1] for found in failures if found[0] == _DETAIL)}"


def capability_reason(what: str, least: str, device: Device) -> str:
    """Why no NVIDIA GPU of this machine has compute capability ``least``, or "". An unknown one passes."""
    if not least:
        return ""
    short = _below(least, [gpu for gpu in device.gpus if _has(gpu, "cuda")])
    return f"{what} needs {short}" if short else ""


def listing(names: Iterable[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def _os(os: str) -> str:
    return _OS_NAMES.get(os, os)


def _against(row: Platform, device: Device) -> tuple[int, str] | None:
    """The stage at which a row fails and what it would need, or ``None`` when it fits."""
    if row.os not in (device.os, "any"):
        return _OS, _os(row.os)
    if row.arch not in (device.arch, "any"):
        return _ARCH, row.arch
    if row.form_factors and device.kind not in row.form_factors:
        return _FORM, listing(row.form_factors, "or")
    if not _accelerated(row, device):
        return _ACCELERATOR, _needed(row)
    if row.accelerator == "cuda":
        short = _below(row.min_compute_capability, [gpu for gpu in device.gpus if _has(gpu, "cuda")])
        if short:
            return _DETAIL, short
    left_out = _left_out_gpu(row, device) if row.amd_gpus else ""
    if left_out:
        return _DETAIL, f"a GPU that it supports with {row.accelerator.upper()}, and {left_out} is none"
    missing = _missing_instructions(row, device)
    if missing:
        return _DETAIL, f"a processor with {listing(missing)}, which this one lacks"
    return None


def _needed(row: Platform) -> str:
    if row.accelerator == "npu" and row.vendors:
        return listing([_NPU_NAMES.get(vendor, vendor) for vendor in row.vendors], "or")
    return _ACCELERATOR_NAMES.get(row.accelerator, row.accelerator)


def _accelerated(row: Platform, device: Device) -> bool:
    if row.accelerator in ("cpu", "any"):
        return True
    if row.accelerator == "npu":
        return _has_npu(row, device)
    if row.accelerator == "webgpu" and not device.gpus and not row.vendors:
        return device.kind in ("phone", "tablet")  # every phone has a GPU, listed or not
    return any(_has(gpu, row.accelerator) and _made_by(gpu.vendor, row.vendors) for gpu in device.gpus)


def _has(gpu: Gpu, accelerator: str) -> bool:
    if accelerator == "cuda":
        return gpu.backend == "cuda" or (gpu.vendor == "nvidia" and not gpu.backend)
    if accelerator == "vulkan":
        return gpu.backend in ("vulkan", "cuda", "rocm")  # their drivers come with Vulkan
    if accelerator == "webgpu":
        return bool(gpu.vendor)  # a graphics unit nobody could name has no driver to count on
    return gpu.backend == accelerator


def _made_by(vendor: str, vendors: tuple[str, ...]) -> bool:
    return not vendors or not vendor or vendor in vendors


def _left_out_gpu(row: Platform, device: Device) -> str:
    """The name of an AMD GPU that the row does not support when none of the device's is supported, else "".

    A name that does not tell which GPU it is passes.
    """
    gpus = [gpu.name for gpu in device.gpus if _has(gpu, row.accelerator)]
    if any(not _NUMBERED.search(name) or re.search(row.amd_gpus, name) for name in gpus):
        return ""
    return gpus[0] if gpus else ""


def npu_name(maker: str) -> str:
    """What a maker's NPU is called in a sentence."""
    return _NPU_NAMES.get(maker, "this NPU")


def _has_npu(row: Platform, device: Device) -> bool:
    """An NPU of a maker the row names: software for one maker's NPU never runs on another's."""
    if not device.npu_name and device.npu_tops is None:
        return False
    return bool(set(npu_makers(device)) & set(row.vendors))


def npu_makers(device: Device) -> tuple[str, ...]:
    """Whose NPU it may be, by its name and the processor's; a generation of its own counts as a maker."""
    text = f"{device.npu_name} {device.cpu_model}".casefold()
    return tuple(maker for maker, words in _NPU_WORDS.items() if any(word in text for word in words))


def _below(least: str, gpus: Sequence[Gpu]) -> str:
    """The sentence's end when every GPU's compute capability is known and too low, else ""."""
    if not least or not gpus or any(not gpu.compute_capability for gpu in gpus):
        return ""
    best = max(gpus, key=lambda gpu: _version(gpu.compute_capability))
    if _version(best.compute_capability) >= _version(least):
        return ""
    return f"compute capability {least} or newer, and {best.name} has {best.compute_capability}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _missing_instructions(row: Platform, device: Device) -> list[str]:
    """Instruction sets a row needs and the processor is known not to have. An unknown processor passes."""
    known = set(device.isa) | (_ARM64_BASELINE if device.arch == "arm64" else frozenset())
    return [name for name in row.isa_required if name not in known] if device.isa else []
