"""Where a candidate would compute: what of a runtime's accelerators its format, its model and the need leave."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.engine.runtime_rules import GPU_ACCELERATORS, RuntimeOnDevice
from recommender.engine.words import count
from recommender.runtimes import tables
from recommender.runtimes.platforms import npu_makers, npu_name
from recommender.types import Device, Need

if TYPE_CHECKING:
    from recommender.engine.candidates import Candidates

NPU, CPU = "npu", "cpu"


@dataclass(frozen=True)
class Placement:
    """What each row computes on: ``names`` at ``index`` (n,); "" where nothing is left."""

    names: tuple[str, ...]
    index: NDArray[np.intp]

    def at(self, row: int) -> str:
        return self.names[int(self.index[row])]

    def among(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Whether each row computes on one of these, shape (n,)."""
        return np.array([name in names for name in self.names], dtype=np.bool_)[self.index]

    def take(self, rows: NDArray[np.int64]) -> Placement:
        return Placement(self.names, self.index[rows])

    def moved(self, rows: NDArray[np.int64], name: str) -> Placement:
        """With some rows on another accelerator."""
        names = self.names if name in self.names else (*self.names, name)
        index = self.index.copy()
        index[rows] = names.index(name)
        return Placement(names, index)


def of_kind(runtime: str, form: str, quantization: str, found: Sequence[str]) -> tuple[str, ...]:
    """Which of the accelerators ``found`` a runtime uses for one format and quantization, best first.

    All of them where its row names none; an NPU only where the row names it.
    """
    row = tables.format_row(runtime, form, quantization)
    if row is None or not row.accelerators:
        return tuple(name for name in found if name != NPU)
    return tuple(name for name in found if name in row.accelerators)


def npu_reason(runtime: str, name: str, model_id: str, device: Device, context_tokens: int) -> str:
    """Why a runtime cannot run a model on this device's NPU, or "".

    An NPU runs what was compiled for it: without a variant or a published recipe for the maker's NPU there is none.
    """
    makers = npu_makers(device)
    fitting = [row for row in tables.npu_models(runtime).get(model_id, ()) if row.npu in makers]
    if not fitting:
        which = npu_name(makers[0]) if makers else "this NPU"
        return f"{name} has no variant of {model_id} for {which}"
    longest = max((row.context_tokens or context_tokens for row in fitting), default=0)
    if longest < context_tokens:
        return f"the variant of {model_id} for this NPU reads {count(longest)} tokens, {count(context_tokens)} asked"
    return ""


def choose(found: Sequence[str], wanted: str | None, npu_fits: bool) -> str:
    """The accelerator to use of those a kind can use: the best, or the asked one; "" where that is not among them."""
    if "managed" in found:
        return "managed"
    if npu_fits and NPU in found and wanted in (None, NPU):
        return NPU
    if wanted == NPU:
        return ""
    if wanted == "gpu":
        return next((name for name in found if name in GPU_ACCELERATORS), "")
    return next((name for name in found if name != NPU and wanted in (None, name)), "")


def of_rows(
    rows: Candidates,
    runtimes: Mapping[str, RuntimeOnDevice],
    device: Device,
    need: Need,
    context_tokens: int,
) -> Placement:
    """What each row would compute on."""
    found = [of_kind(runtime, form, name, runtimes[runtime].accelerators) for runtime, form, name in rows.kinds]
    of_kinds = [choose(names, need.accelerator, False) for names in found]
    names = tuple(dict.fromkeys((*of_kinds, "")))
    chosen = Placement(names, np.array([names.index(name) for name in of_kinds], dtype=np.intp)[rows.kind])
    able = np.array([NPU in names and need.accelerator in (None, NPU) for names in found], dtype=np.bool_)
    if not able.any():
        return chosen
    on_npu = [
        row
        for row in np.flatnonzero(able[rows.kind])
        if not npu_reason(str(rows.variants.runtime[row]), "", str(rows.variants.model_id[row]), device, context_tokens)
    ]
    return chosen.moved(np.array(on_npu, dtype=np.int64), NPU)


def seen_from(accelerator: str, device: Device) -> Device:
    """The device as a candidate on this accelerator uses it: a GPU through Vulkan in place of its own back end."""
    if accelerator != "vulkan" or all(gpu.backend in ("", accelerator) for gpu in device.gpus):
        return device
    return replace(device, gpus=tuple(replace(gpu, backend=accelerator) if gpu.backend else gpu for gpu in device.gpus))
