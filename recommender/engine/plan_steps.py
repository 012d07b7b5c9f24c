"""What one more step of RAM, of GPU memory or of bandwidth buys on a device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recommender.device import ram_options, with_overrides
from recommender.device.tables import device_rows
from recommender.engine.device_classes import Machine, machines, usual_sizes
from recommender.engine.plan import main_bandwidth
from recommender.engine.recommend import judge_named, recommend
from recommender.engine.words import size
from recommender.types import GIB, Device, Figure, Need, Pick

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

# Less than this much more bandwidth is no step.
_A_STEP = 1.1
_CLOSER_LOOK = 5  # models


@dataclass(frozen=True)
class Step:
    """The device as it is, or with one more step of one thing, and what runs then."""

    what: str  # "As it is", "RAM 16 → 32 GiB" …
    device: Device
    decode: Figure | None  # of the same model, quantization and runtime
    answer: Figure | None
    same_fits: bool
    largest: Pick | None  # the best quantization of the same model that meets the need
    best: Pick | None  # the best model of all that meets it


def steps(device: Device, need: Need, pick: Pick, catalog: Catalog) -> tuple[Step, ...]:
    """The device as it is and, where there is one, each next step; picks are judged as ``recommend`` judges them.

    Args:
        need: the target; its models and quantizations are left aside where larger ones are looked for.
        pick: the combination whose speed is followed.
    """
    ways = [("As it is", device)]
    ways += [way for way in (_more_ram(device), _more_gpu_memory(device), _faster_memory(device, pick)) if way]
    return tuple(_step(what, stepped, need, pick, catalog) for what, stepped in ways)


def _step(what: str, device: Device, need: Need, pick: Pick, catalog: Catalog) -> Step:
    same = judge_named(device, need, (pick.model_id, pick.quantization or "", pick.runtime), catalog)
    widest = replace(need, priority="quality", quantizations=(), all_quantizations=False)
    of_model = recommend(device, replace(widest, models=(pick.model_id,), all_quantizations=True), catalog).picks
    # Of each model the pick is its best by score; of the best models, the quantization of the best quality is meant.
    every = sorted(recommend(device, replace(widest, models=()), catalog).picks, key=_quality_then_size)[-_CLOSER_LOOK:]
    best = tuple(dict.fromkeys(pick.model_id for pick in every))
    closer = replace(widest, models=best, all_quantizations=True)
    every_closer = recommend(device, closer, catalog).picks if best else ()
    estimate = same.pick.estimate if same else None
    return Step(
        what,
        device,
        estimate.decode_tokens_per_s if estimate else None,
        estimate.answer_time_s if estimate else None,
        same is not None and not same.against,
        max(of_model, key=_quality_then_size, default=None),
        max(every_closer, key=_quality_then_size, default=None),
    )


def _quality_then_size(pick: Pick) -> tuple[float, float]:
    """Better first; of equal quality the smaller file."""
    return (round(pick.quality, 6), -(pick.estimate.file_bytes or 0.0))


def _of_kind(device: Device) -> Sequence[Machine]:
    return [one for one in machines() if one.devices[0].kind == device.kind]


def _next(values: Sequence[float], now: float) -> float | None:
    """The next usual size above ``now``; an odd one where no usual one is left."""
    return next((value for value in (*usual_sizes(values), *sorted(values)) if value > now * 1.01), None)


def _more_ram(device: Device) -> tuple[str, Device] | None:
    if device.ram_bytes is None:
        return None
    now = device.ram_bytes / GIB
    sold = ram_options(device.id) if device.id in device_rows() else ()
    more = next((value for value in sold if value > now), None)
    if more is None:
        more = _next(
            [one.ram_bytes / GIB for machine in _of_kind(device) for one in machine.devices if one.ram_bytes], now
        )
        note = ", which other machines of its kind have"
    else:
        note = ", as it is sold too"
    if more is None:
        return None
    return f"RAM {now:g} → {more:g} GiB{note}", with_overrides(device, ram_gib=more)


def _more_gpu_memory(device: Device) -> tuple[str, Device] | None:
    own = [gpu for gpu in device.gpus if not gpu.unified and gpu.memory_bytes]
    if not own:
        return None
    now = own[0].memory_bytes or 0.0
    sizes = [
        gpu.memory_bytes
        for machine in _of_kind(device)
        for gpu in machine.devices[0].gpus[:1]
        if not gpu.unified and gpu.memory_bytes
    ]
    more = _next(sizes, now)
    if more is None:
        return None
    gpus = tuple(
        replace(
            gpu,
            memory_bytes=more,
            memory_free_bytes=None if gpu.memory_free_bytes is None else more - (now - gpu.memory_free_bytes),
        )
        if not gpu.unified and gpu.memory_bytes == now
        else gpu
        for gpu in device.gpus
    )
    each = f" on each of {len(own)} GPUs" if len(own) > 1 else ""
    return f"GPU memory {size(now)} → {size(more)}{each}, the same GPU otherwise", replace(device, gpus=gpus)


def _faster_memory(device: Device, pick: Pick) -> tuple[str, Device] | None:
    """The next faster memory that a machine of this kind has, the processor unchanged."""
    now = main_bandwidth(device, pick)
    if now is None:
        return None
    on_card = now != device.bandwidth_bytes_per_s
    mine = _memory_type(device, on_card)
    known = []
    for machine in _of_kind(device):
        one = machine.devices[0]
        speeds = [gpu.bandwidth_bytes_per_s for gpu in one.gpus if not gpu.unified] if on_card else []
        if not on_card and not any(not gpu.unified for gpu in one.gpus):
            speeds = [one.bandwidth_bytes_per_s]
        kind = _memory_type(one, on_card)
        known += [(speed, kind, one.name) for speed in speeds if speed and kind and kind != mine]
    newer = [one for one in known if _generation(one[1]) >= _generation(mine)]
    faster = min((one for one in newer if one[0] >= now * _A_STEP), default=None)
    if faster is None:
        return None
    speed, kind, name = faster
    what = f"Bandwidth {now / 1e9:.0f} → {speed / 1e9:.0f} GB/s: {kind}, as in {name}"
    if on_card:
        gpus = tuple(gpu if gpu.unified else replace(gpu, bandwidth_bytes_per_s=speed) for gpu in device.gpus)
        return what, replace(device, gpus=gpus)
    return what, with_overrides(device, bandwidth_gb_s=speed / 1e9)


def _memory_type(device: Device, on_card: bool) -> str:
    """The type of a card's memory, or of main memory; a whole machine's row has only that of main memory."""
    row = device_rows().get(device.id)
    if row is None or (row["role"] == "card") != on_card:
        return ""
    return row["memory_type"]


def _generation(kind: str) -> tuple[int, str]:
    """ "LPDDR5X-8533" → (5, "x"): which memory came later among those of one family."""
    found = re.search(r"(?:DDR|HBM)(\d)([xe]?)", kind, re.IGNORECASE)
    return (int(found[1]), found[2].casefold()) if found else (0, "")
