"""What a person says about a machine goes before what was found or listed."""

from __future__ import annotations

import math
from dataclasses import replace

from recommender.device import tables
from recommender.errors import BadInputError
from recommender.types import GIB, Device, Gpu


def with_overrides(
    device: Device,
    ram_gib: float | None = None,
    free_ram_gib: float | None = None,
    vram_gib: float | None = None,
    bandwidth_gb_s: float | None = None,
) -> Device:
    """``device`` with these values in place of its own; ``sources`` says "entered" for each.

    Args:
        ram_gib: total RAM, GiB. Free RAM follows unless it is given too: total less the operating system's reserve.
        free_ram_gib: RAM that a model may use, GiB.
        vram_gib: memory of the first GPU that has its own, GiB, taken as free; 0 removes all such GPUs. A machine
            that shares its memory takes it as the GPU's limit; one without a GPU cannot take it.
        bandwidth_gb_s: bandwidth of main memory, GB/s (10^9 bytes).

    Raises:
        BadInputError: a value that makes no sense.
    """
    for name, value in (
        ("RAM", ram_gib),
        ("free RAM", free_ram_gib),
        ("VRAM", vram_gib),
        ("bandwidth", bandwidth_gb_s),
    ):
        if value is not None and not (math.isfinite(value) and 0 <= value <= 65536):
            raise BadInputError(f"{value:g} makes no sense as {name}. Give a number such as 16.")
    if ram_gib == 0 or bandwidth_gb_s == 0:
        raise BadInputError("RAM and bandwidth must be more than 0.")
    sources = dict(device.sources)
    if ram_gib is not None:
        device = _with_ram(device, ram_gib * GIB)
        sources |= {"ram_bytes": "entered", "ram_free_bytes": "derived"}
    if free_ram_gib is not None:
        free = free_ram_gib * GIB
        if device.ram_bytes is not None and free > device.ram_bytes:
            raise BadInputError(
                f"{free_ram_gib:g} GiB free is more than the {device.ram_bytes / GIB:g} GiB of RAM. Give --ram-gib too."
            )
        device = replace(device, ram_free_bytes=free)
        sources["ram_free_bytes"] = "entered"
    if vram_gib is not None:
        device = _with_vram(device, vram_gib * GIB)
        sources["gpus"] = "entered"
    if bandwidth_gb_s is not None:
        shared = tuple(
            replace(gpu, bandwidth_bytes_per_s=bandwidth_gb_s * 1e9) if gpu.unified else gpu for gpu in device.gpus
        )
        device = replace(device, bandwidth_bytes_per_s=bandwidth_gb_s * 1e9, gpus=shared)
        sources["bandwidth_bytes_per_s"] = "entered"
    return replace(device, sources=sources)


def _with_ram(device: Device, total: float) -> Device:
    reserve = tables.limit("system_ram", os=device.os, kind=device.kind)
    free = max(0.0, total - (reserve.number * GIB if reserve else 0.0))
    share = device.gpu_memory_fraction
    if share is not None and device.unified_memory:
        rule = tables.limit("gpu_share", os=device.os, memory_gb=total / GIB)
        if rule is not None and device.sources.get("gpu_memory_fraction") == "derived":
            share = rule.number

    def resized(gpu: Gpu) -> Gpu:
        if not gpu.unified:
            return gpu
        return replace(gpu, memory_bytes=total * share if share is not None else None, memory_free_bytes=None)

    return replace(
        device, ram_bytes=total, ram_free_bytes=free, gpu_memory_fraction=share, gpus=tuple(map(resized, device.gpus))
    )


def _with_vram(device: Device, memory: float) -> Device:
    first = next((index for index, gpu in enumerate(device.gpus) if not gpu.unified), None)
    if first is not None:
        if memory == 0:
            return replace(device, gpus=tuple(gpu for gpu in device.gpus if gpu.unified))
        own = replace(device.gpus[first], memory_bytes=memory, memory_free_bytes=memory)
        return replace(device, gpus=(*device.gpus[:first], own, *device.gpus[first + 1 :]))
    if not device.gpus:
        raise BadInputError(f"{device.name} has no GPU whose memory could be set. Pick a device with one.")
    if memory == 0:
        return replace(device, gpus=())
    limited = replace(device.gpus[0], memory_bytes=memory, memory_free_bytes=memory)
    share = min(1.0, memory / device.ram_bytes) if device.ram_bytes else device.gpu_memory_fraction
    return replace(device, gpus=(limited, *device.gpus[1:]), gpu_memory_fraction=share)
