"""What makes two machines the same hardware, as one short text."""

from __future__ import annotations

import re

from recommender.types import GIB, Device


def device_key(device: Device) -> str:
    """CPU, cores, RAM and GPUs of a machine: measurements with the same key were taken on the same hardware.

    RAM is rounded to whole GiB, because what the kernel keeps for itself changes with its version; free memory,
    names and operating system play no part.
    """
    cores = f"{device.physical_cores}c" if device.physical_cores else "?c"
    ram = f"{round(device.ram_bytes / GIB)}gib" if device.ram_bytes else "?gib"
    parts = [_slug(device.cpu_model) or device.arch, cores, ram]
    parts += sorted(_gpu(gpu.name, gpu.memory_bytes, gpu.unified) for gpu in device.gpus)
    return "|".join(parts)


def _gpu(name: str, memory_bytes: float | None, unified: bool) -> str:
    own = "" if unified or not memory_bytes else f"-{round(memory_bytes / GIB)}gib"
    return _slug(name) + own


def _slug(text: str) -> str:
    text = re.sub(r"\((?:r|tm)\)", "", text.casefold())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")
