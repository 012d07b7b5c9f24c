"""What a model × quantization × runtime takes and how fast it is, for many candidates at once.

The parts have modules of their own: ``tensors`` (exact bytes), ``memory``, ``speed``, ``calibrate``, ``quality``.
"""

from __future__ import annotations

from dataclasses import dataclass

from recommender.estimate import speed
from recommender.estimate.calibrate import Calibration
from recommender.estimate.memory import memory
from recommender.estimate.rough import with_rough_shapes
from recommender.types import Device, Floats, MemoryColumns, RangeColumns, SettingsColumns, VariantColumns

__all__ = ["Estimates", "estimate_columns"]


@dataclass(frozen=True)
class Estimates:
    """Everything estimated for a set of rows; arrays have shape (n,), NaN for managed rows."""

    memory: MemoryColumns
    decode: RangeColumns  # tokens per second of each sequence, in the middle of the answer
    prefill: RangeColumns  # tokens per second
    ttft: RangeColumns  # s
    answer_time: RangeColumns  # s
    load: RangeColumns  # s, from disk to ready


def estimate_columns(
    variants: VariantColumns,
    settings: SettingsColumns,
    device: Device,
    gpu_budget_bytes: float,
    prompt_tokens: Floats,
    gen_tokens: Floats,
    depth_tokens: Floats | None = None,
    binding: str = "xllamacpp",
    calibration: Calibration | None = None,
) -> Estimates:
    """Memory, speeds and times for every row.

    Args:
        gpu_budget_bytes: what GPUs with memory of their own may hold.
        prompt_tokens, gen_tokens: shape (n,); thinking tokens count as generated.
        depth_tokens: how full the context is while decoding; by default the middle of the answer.
        binding: which binding of llama.cpp would run it ("xllamacpp" or "llama-cpp-python").
        calibration: what measurements on this hardware say; ``None`` leaves the fitted prior alone.
    """
    variants = with_rough_shapes(variants)
    needed = memory(variants, settings, device, gpu_budget_bytes, binding)
    depth = prompt_tokens + gen_tokens / 2 if depth_tokens is None else depth_tokens
    decode = speed.decode(variants, settings, needed, device, depth)
    prefill = speed.prefill(variants, settings, needed, device, prompt_tokens)
    if calibration is not None:
        decode = calibration.decode(decode, variants, needed.gpu_layers)
        prefill = calibration.prefill(prefill, variants, needed.gpu_layers)
    ttft, answer_time = speed.latency(prefill, decode, prompt_tokens, gen_tokens, settings.parallel)
    return Estimates(needed, decode, prefill, ttft, answer_time, speed.load_time(variants, needed, device))
