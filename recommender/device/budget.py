"""What a model may really use of a machine's memory: what is free, not what there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recommender.device import tables
from recommender.types import GIB, Device, Gpu


@dataclass(frozen=True)
class Budget:
    """Bytes that a model may use. ``None`` means unknown.

    ``unified``: GPU and processor share one memory, so ``gpu_bytes`` is a part of ``ram_bytes``, not beside it.
    """

    ram_bytes: float | None
    gpu_bytes: float | None  # 0 without a usable GPU
    unified: bool
    disk_bytes: float | None
    reasons: tuple[str, ...]  # sentences with the numbers, one per step

    def ram_room_bytes(self, on_gpu: bool) -> float:
        """Main memory for a model: what is free, or a GPU's share of it where a GPU that shares it computes.

        Infinite when unknown, so that nothing is left out for it.
        """
        ram = math.inf if self.ram_bytes is None else self.ram_bytes
        return min(ram, self.gpu_bytes) if on_gpu and self.unified and self.gpu_bytes else ram

    @property
    def gpu_room_bytes(self) -> float:
        """What GPUs with memory of their own may hold; 0 when there is none or its size is unknown."""
        return 0.0 if self.unified else self.gpu_bytes or 0.0


def _gib(amount: float) -> str:
    return f"{amount / GIB:.1f} GiB"


def memory_budget(device: Device) -> Budget:
    """Free RAM, what the GPUs can hold, and free disk.

    RAM is what was found free, or the total less what the operating system keeps; on phones no more than the share
    that one app gets. GPU memory is the free part of the cards that work together (one backend); for a GPU that
    shares the RAM it is the operating system's share, never more than what is free.
    """
    reasons: list[str] = []
    ram = _ram(device, reasons)
    cards = [gpu for gpu in device.gpus if not gpu.unified and gpu.backend]
    if cards:
        return Budget(ram, _cards(device, cards, reasons), False, device.disk_free_bytes, tuple(reasons))
    shared = [gpu for gpu in device.gpus if gpu.unified and gpu.backend]
    if shared:
        return Budget(ram, _shared(device, shared[0], ram, reasons), True, device.disk_free_bytes, tuple(reasons))
    reasons.append("No GPU that a runtime here can use.")
    return Budget(ram, 0.0, device.unified_memory, device.disk_free_bytes, tuple(reasons))


def _ram(device: Device, reasons: list[str]) -> float | None:
    total = device.ram_bytes
    if device.ram_free_bytes is not None:
        ram = max(0.0, device.ram_free_bytes)
        if total is not None:
            ram = min(ram, max(0.0, total))
        if device.sources.get("ram_free_bytes") == "derived" and total is not None:
            reasons.append(f"{_gib(total)} RAM less {_gib(total - ram)} for the operating system: {_gib(ram)}.")
        else:
            of_total = f" of {_gib(total)}" if total is not None else ""
            reasons.append(f"{_gib(ram)}{of_total} RAM are free.")
    elif total is not None:
        reserve = tables.limit("system_ram", os=device.os, kind=device.kind)
        kept = reserve.number * GIB if reserve else 0.0
        ram = max(0.0, total - kept)
        reasons.append(f"{_gib(total)} RAM less {_gib(total - ram)} for the operating system: {_gib(ram)}.")
    else:
        reasons.append("How much RAM there is is unknown.")
        return None
    share = tables.limit("app_share", os=device.os, kind=device.kind)
    if share is not None and total is not None and share.number * total < ram:
        ram = share.number * total
        reasons.append(f"One app may use about {share.number:.0%} of {_gib(total)} RAM: {_gib(ram)}.")
    return ram


def _cards(device: Device, cards: list[Gpu], reasons: list[str]) -> float | None:
    together = [gpu for gpu in cards if gpu.backend == cards[0].backend]
    free = [_card_free(device, gpu) for gpu in together]
    known = [amount for amount in free if amount is not None]
    if not known:
        reasons.append(f"How much memory {cards[0].name} has is unknown.")
        return None
    for gpu, amount in zip(together, free, strict=True):
        if amount is not None:
            total = f" of {_gib(gpu.memory_bytes)}" if gpu.memory_bytes is not None else ""
            reasons.append(f"{_gib(amount)}{total} are free on {gpu.name}.")
    if len(known) > 1:
        reasons.append(f"Layers are spread over {len(known)} GPUs: {_gib(sum(known))}.")
    left = [gpu.name for gpu in device.gpus if gpu not in together]
    if left:
        reasons.append(f"Not counted beside it: {', '.join(dict.fromkeys(left))}.")
    return sum(known)


def _card_free(device: Device, gpu: Gpu) -> float | None:
    if gpu.memory_free_bytes is not None:
        free = max(0.0, gpu.memory_free_bytes)
        return min(free, max(0.0, gpu.memory_bytes)) if gpu.memory_bytes is not None else free
    if gpu.memory_bytes is None:
        return None
    reserve = tables.limit("vram_reserve", os=device.os, kind=device.kind)
    return max(0.0, gpu.memory_bytes - (reserve.number * GIB if reserve else 0.0))


def _shared(device: Device, gpu: Gpu, ram: float | None, reasons: list[str]) -> float | None:
    limits = [] if ram is None else [ram]
    if gpu.memory_free_bytes is not None:
        limits.append(max(0.0, gpu.memory_free_bytes))
    if device.gpu_memory_fraction is not None and device.ram_bytes is not None:
        limits.append(max(0.0, device.gpu_memory_fraction * device.ram_bytes))
        reasons.append(
            f"{gpu.name} shares the RAM and may hold {device.gpu_memory_fraction:.0%} of {_gib(device.ram_bytes)}."
        )
    elif gpu.memory_bytes is not None:
        limits.append(max(0.0, gpu.memory_bytes))
        reasons.append(f"{gpu.name} shares the RAM and may hold {_gib(gpu.memory_bytes)}.")
    else:
        reasons.append(f"{gpu.name} shares the RAM.")
    return min(limits, default=None)
