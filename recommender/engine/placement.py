"""Where a candidate would compute: what of a runtime's accelerators its format, its model and the need leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recommender.engine.runtime_rules import GPU_ACCELERATORS, RuntimeOnDevice
from recommender.engine.words import count
from recommender.runtimes import tables
from recommender.runtimes.platforms import npu_makers, npu_name
from recommender.types import Device, Need, Texts

if TYPE_CHECKING:
    from recommender.engine.candidates import Candidates

NPU, CPU = "npu", "cpu"


def of_kind(runtime: str, form: str, quantization: str, found: Sequence[str]) -> tuple[str, ...]:
    """Which of the accelerators ``found`` a runtime uses for one format and quantization, best first."""
    row = tables.format_row(runtime, form, quantization)
    return tuple(name for name in found if row is None or not row.accelerators or name in row.accelerators)


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
) -> Texts:
    """What each row would compute on, shape (n,); "" where nothing is left."""
    found = [of_kind(runtime, form, name, runtimes[runtime].accelerators) for runtime, form, name in rows.kinds]
    chosen = np.array([choose(names, need.accelerator, False) for names in found], dtype=object)[rows.kind]
    able = np.array([NPU in names and need.accelerator in (None, NPU) for names in found], dtype=np.bool_)
    for row in np.flatnonzero(able[rows.kind]):
        runtime, model = str(rows.variants.runtime[row]), str(rows.variants.model_id[row])
        if not npu_reason(runtime, runtime, model, device, context_tokens):
            chosen[row] = NPU
    return chosen


def seen_from(accelerator: str, device: Device) -> Device:
    """The device as a candidate on this accelerator uses it.

    No NPU's speed is known to the fit: it reads the same memory as the CPU, whose speed stands in for it.
    """
    if accelerator in (CPU, NPU):
        return replace(device, gpus=())
    if accelerator == "vulkan":
        gpus = (replace(gpu, backend=accelerator) if gpu.backend else gpu for gpu in device.gpus)
        return replace(device, gpus=tuple(gpus))
    return device
