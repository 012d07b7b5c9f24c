"""Decode speed, prefill speed, first-token time, answer time and load time of many candidates at once.

Time per token is a roofline (``roofline.py``) over exact bytes, with coefficients fitted per backend family and
hardware class (``scripts/fit_speed.py``). Each range holds 80% of measurements on devices the fit had not seen;
it widens where a runtime has no measurements of its own and where bandwidth or arithmetic is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.estimate.batching import batch_share
from recommender.estimate.columns import known_or_zero, look_up
from recommender.estimate.memory import memory_formula
from recommender.estimate.roofline import (
    Coefficients,
    DecodeTerms,
    Hardware,
    Work,
    batch_weight_bytes,
    decode_seconds,
    decode_terms,
    prefill_seconds,
    sustained_bandwidth,
)
from recommender.estimate.speed_hardware import Side, device_cpu, device_gpu, usual_threads
from recommender.estimate.speed_tables import SMALL_PARAMS, Backend, Ints, SpeedTables, speed_tables
from recommender.types import (
    Device,
    Floats,
    Kinds,
    MemoryColumns,
    RangeColumns,
    SettingsColumns,
    VariantColumns,
)

__all__ = ["SideTerms", "decode", "latency", "load_time", "prefill", "row_terms"]

# 80% of a normal distribution lies within this many standard deviations.
Z80 = 1.2816
# Reading less than this share of the layers for one token means routed experts.
MOE_SHARE = 0.75
# Whose coefficients rows are looked up with that do not run on a side; their times are then set to NaN.
ANY_FAMILY = "llama.cpp-cpu"
# Bytes per element of cache types; block formats carry a 2-byte scale per 32 values (ggml).
KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32}
KV_BYTES |= {"q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32}


def decode(
    variants: VariantColumns, settings: SettingsColumns, memory: MemoryColumns, device: Device, depth_tokens: Floats
) -> RangeColumns:
    """Tokens/s of generation, of each sequence, when ``depth_tokens`` (n,) are already in the context.

    ``settings.parallel`` sequences are decoded together: the weights are read once for all, so each gets less and
    all together more, an engine on a GPU by its ``batch_share``. Nothing else was fitted for that, so the range widens
    as for an engine without measurements.
    Callers estimating an answer pass the prompt plus half the answer. Layers that are not on the GPU
    (``memory.gpu_layers`` of ``memory.layers_total``) run on the CPU, and the two times add.
    NaN where the runtime does not run on the device or the model has no known size.
    """
    work = decode_work(variants, settings, np.asarray(depth_tokens, float))
    return _speed(variants, settings, memory, device, work, None)


def prefill(
    variants: VariantColumns, settings: SettingsColumns, memory: MemoryColumns, device: Device, prompt_tokens: Floats
) -> RangeColumns:
    """Tokens/s of processing a prompt of ``prompt_tokens`` (n,), as ``decode``."""
    prompt = np.maximum(np.asarray(prompt_tokens, float), 1.0)
    work = decode_work(variants, settings, prompt / 2)
    return _speed(variants, settings, memory, device, work, prompt)


def latency(
    prefill: RangeColumns,
    decode: RangeColumns,
    prompt_tokens: Floats,
    gen_tokens: Floats,
    sequences: Floats | float = 1.0,
) -> tuple[RangeColumns, RangeColumns]:
    """(ttft_s, answer_time_s): the first token comes after the prompt and one decode step.

    Of ``sequences`` users at once each finds the engine free for its prompt, but while it writes, every other user's
    prompt holds it up once. ``decode`` is what each of them gets.
    Bounds combine as independent errors do (root of the sum of squares), so a range is narrower than the sum of both.
    """
    reading = _seconds(prefill, prompt_tokens)
    first = _seconds(decode, np.ones_like(decode.value))
    writing = _seconds(decode, np.maximum(gen_tokens, 1.0))
    all_prompts = _seconds(prefill, prompt_tokens * np.maximum(sequences, 1.0))
    return _add(reading, first), _add(all_prompts, writing)


def load_time(
    variants: VariantColumns, memory: MemoryColumns, device: Device, disk_bytes_per_s: float | None = None
) -> RangeColumns:
    """Seconds to bring each file (n,) from disk into memory, sequentially; ``disk_bytes_per_s`` when it was measured.

    Without it the range spans what drives of this kind of device deliver. A file that is still in the page
    cache loads faster, which the low end does not promise. Memory beyond the file is only allocated: no time.
    """
    usual = speed_tables().fallback("disk", device.kind, "bandwidth_bytes_per_s")
    size = np.where(np.isfinite(variants.file_bytes), variants.file_bytes, memory.weights_bytes)
    seconds = size / (disk_bytes_per_s or usual.typical)
    spread = np.exp(Z80 * usual.log_spread)
    return RangeColumns(value=seconds, low=seconds / spread, high=seconds * spread)


def decode_work(
    variants: VariantColumns, settings: SettingsColumns, depth_tokens: Floats, tables: SpeedTables | None = None
) -> Work:
    """What one token at ``depth_tokens`` asks for, per row. Unknown shapes follow from size (``size_laws.csv``)."""
    known = tables or speed_tables()
    total = variants.params_total
    read = variants.read_bytes_per_token
    active = np.where(np.isfinite(variants.params_active), variants.params_active, total * read / variants.tensor_bytes)
    full = variants.k_full_elements_per_token + variants.v_full_elements_per_token
    full = _filled(full, "kv_elements_per_token", total, known)
    windowed = known_or_zero(variants.k_window_elements_per_token + variants.v_window_elements_per_token)
    inside = np.minimum(depth_tokens, known_or_zero(variants.window_tokens))
    cached = full * depth_tokens + windowed * inside
    element_bytes = look_up(settings.kv_types, lambda kind: KV_BYTES.get(kind, 2.0))
    n_layer = _filled(variants.n_layer, "n_layer", total, known)
    n_embd = _filled(variants.n_embd, "n_embd", total, known)
    embedding = _filled(variants.n_vocab * variants.n_embd, "embedding_elements", total, known)
    layers_bytes = variants.tensor_bytes - variants.input_embedding_bytes
    moe = np.asarray(read < MOE_SHARE * layers_bytes)
    # A tied output head is the embedding read whole, so all bytes are read; routed experts say nothing about it.
    untied = ~moe & (variants.tensor_bytes - read > 0.5 * variants.input_embedding_bytes)
    return Work(
        weight_bytes=read,
        stored_weight_bytes=variants.tensor_bytes,
        kv_bytes=cached * element_bytes + known_or_zero(variants.state_bytes),
        attention_flops=2.0 * cached,
        decode_flops=2.0 * active,
        # Neither the embedding nor the output head multiplies prompt tokens (the head only the last one).
        prompt_flops=2.0 * np.maximum(active - embedding * np.where(untied, 2.0, 1.0), 0.3 * active),
        n_layer=n_layer,
        width=n_layer * n_embd,
        moe=moe,
    )


def _filled(values: Floats, law: str, params_total: Floats, tables: SpeedTables) -> Floats:
    """Known values (n,), and what models of that size usually have where they are not."""
    known = np.isfinite(values)
    return values if known.all() else np.where(known, values, tables.size_law(law, params_total))


def _speed(
    variants: VariantColumns,
    settings: SettingsColumns,
    memory: MemoryColumns,
    device: Device,
    work: Work,
    prompt_tokens: Floats | None,
) -> RangeColumns:
    n = len(variants)
    sequences = np.maximum(settings.parallel, 1.0)
    batched = (sequences > 1) & (prompt_tokens is None)
    phase = "decode" if prompt_tokens is None else "prefill"
    seconds, log_low, log_high = np.zeros(n), np.zeros(n), np.zeros(n)
    for one in _sides(variants, settings, memory, device, phase):
        side, share, backends = one.side, one.share, one.backends
        if prompt_tokens is None:
            took = decode_seconds(work, one.hardware, one.coefficients, sequences)
        else:
            took = prefill_seconds(work, one.hardware, one.coefficients, prompt_tokens, settings.ubatch_tokens)
        if prompt_tokens is None:
            took = took / _shares(variants, sequences, side)
        runs = np.array([backend is not None for backend in backends])[one.runtime_of_row]
        took = np.where(runs, took, np.nan)
        unsure = Z80 * (side.bandwidth_spread if prompt_tokens is None else side.flops_spread)
        stand_in = np.array([b is not None and b.evidence == "none" for b in backends])[one.runtime_of_row]
        low, high = _log_range(one, unsure, stand_in | batched, variants.params_total, phase)
        used = share > 0
        seconds += np.where(used, share * took, 0.0)
        # With layers on both sides the wider range of the two holds.
        log_low = np.minimum(log_low, np.where(used, low, 0.0))
        log_high = np.maximum(log_high, np.where(used, high, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = (1.0 if prompt_tokens is None else prompt_tokens) / seconds
    rate = np.where(np.isfinite(rate) & (seconds > 0), rate, np.nan)
    return RangeColumns(value=rate, low=rate * np.exp(log_low), high=rate * np.exp(log_high))


def _log_range(
    one: _OnSide, unsure: float, stand_in: NDArray[np.bool_], params_total: Floats, phase: str
) -> tuple[Floats, Floats]:
    """How far the logarithm of a speed (n,) may be off, down and up: the fit's range, wider for small models, and what
    is not known of the hardware and the engine. Few rows differ in all of that, so it is worked out once for each."""
    tables = speed_tables()
    widths = tables.width(phase, one.side.accelerator, np.array([np.inf, 0.0]))  # of models that are not small, and are
    extra = np.hypot(unsure, np.array([0.0, Z80 * tables.stand_in_spread()]))
    of_row = (one.runtime_of_row * 2 + (params_total <= SMALL_PARAMS)) * 2 + stand_in
    low, high = (
        np.hypot(of_runtime[:, None, None] * widths[:, None], extra).ravel()[of_row]
        for of_runtime in (one.low, one.high)
    )
    return -low, high


def _shares(variants: VariantColumns, sequences: Floats, side: Side) -> Floats:
    """Share of the speed of ideal batching that each row (n,) reaches on a side; 1 for a single sequence."""
    if side.accelerator == "cpu" or not (sequences > 1).any():
        return np.ones(len(variants))
    names, index = variants.runtimes
    shares = np.array([batch_share(memory_formula(name)) for name in names])
    return np.where(sequences > 1, shares[index], 1.0)


@dataclass(frozen=True)
class _OnSide:
    """One side of the machine that does a share of the work; arrays have shape (n,)."""

    side: Side
    share: Floats  # of the layers
    hardware: Hardware
    coefficients: Coefficients
    low: Floats  # log offsets of the ranges, per distinct runtime
    high: Floats
    backends: list[Backend | None]  # per distinct runtime
    runtime_of_row: Ints


def _sides(
    variants: VariantColumns, settings: SettingsColumns, memory: MemoryColumns, device: Device, phase: str
) -> Iterator[_OnSide]:
    """The CPU and the GPU with what the fit says of them, where any row uses them."""
    tables = speed_tables()
    n = len(variants)
    cpu = device_cpu(tables, device)
    gpu = device_gpu(tables, device)
    layers = np.maximum(memory.layers_total, 1.0)
    on_gpu = np.clip(known_or_zero(memory.gpu_layers / layers), 0.0, 1.0) if gpu else np.zeros(n)
    # Fewer threads than usual do a share of the work; more than the cores do no more.
    usual = usual_threads(device, cpu)
    threads = cpu.flops * np.where(settings.threads > 0, np.minimum(settings.threads / usual, 1.0), 1.0)
    runtimes, runtime_of_row = variants.runtimes
    quant_classes, quant_of_row = classes_of(tables, variants.quantizations)
    for side, share in ((cpu, 1.0 - on_gpu), (gpu, on_gpu)):
        if side is None or not share.any():
            continue
        backends = [tables.backend(name, side.accelerator) for name in runtimes]
        keys = [(b.family if b else ANY_FAMILY, side.hardware_class) for b in backends]
        coefficients, low, high = tables.gather(keys, runtime_of_row, quant_classes, quant_of_row, phase)
        flops = threads if side.accelerator == "cpu" else np.full(n, side.flops)
        hardware = Hardware(np.full(n, side.bandwidth_bytes_per_s), flops, np.full(n, side.balance))
        yield _OnSide(side, share, hardware, coefficients, low, high, backends, runtime_of_row)


@dataclass(frozen=True)
class SideTerms:
    """What one side contributes to the time of a new token of one row: seconds and bytes, its share included."""

    accelerator: str
    share: float
    bandwidth_bytes_per_s: float  # nominal
    efficiency: float  # share of it that weights stream at
    read_bytes: float  # weights read per token
    cache_bytes: float
    reading_s: float
    arithmetic_s: float
    cache_s: float
    attention_s: float
    overhead_s: float

    @property
    def total_s(self) -> float:
        """Reading and arithmetic overlap in part (2-norm); the rest comes on top."""
        return math.hypot(self.reading_s, self.arithmetic_s) + self.cache_s + self.attention_s + self.overhead_s


def row_terms(
    variants: VariantColumns,
    settings: SettingsColumns,
    memory: MemoryColumns,
    device: Device,
    depth_tokens: Floats,
    row: int,
) -> tuple[SideTerms, ...]:
    """The terms of ``decode`` for one row, per side that does a part of it; none where its size is not known."""
    work = decode_work(variants, settings, np.asarray(depth_tokens, float))
    sequences = np.maximum(settings.parallel, 1.0)
    found = []
    for one in _sides(variants, settings, memory, device, "decode"):
        share = float(one.share[row])
        if share > 0 and math.isfinite(work.weight_bytes[row]):
            terms = decode_terms(work, one.hardware, one.coefficients, sequences)
            longer = 1.0 / float(_shares(variants, sequences, one.side)[row])
            nominal = one.side.bandwidth_bytes_per_s
            found.append(
                SideTerms(
                    one.side.accelerator,
                    share,
                    nominal,
                    float(sustained_bandwidth(one.hardware, one.coefficients)[row]) / (nominal * longer),
                    share * float(batch_weight_bytes(work, sequences)[row]),
                    share * float(work.kv_bytes[row]),
                    *(longer * share * float(getattr(terms, name)[row]) for name in DecodeTerms.__dataclass_fields__),
                )
            )
    return tuple(found)


def classes_of(tables: SpeedTables, quantizations: Kinds) -> tuple[list[str], Ints]:
    """Class of each distinct quantization ("q4" where the name is new), and per row its index."""
    names, inverse = quantizations
    labels = [tables.label(name) for name in names]
    return [label.quant_class if label else "q4" for label in labels], inverse


def _seconds(speed: RangeColumns, tokens: Floats) -> RangeColumns:
    count = np.asarray(tokens, float)
    return RangeColumns(value=count / speed.value, low=count / speed.high, high=count / speed.low)


def _add(first: RangeColumns, second: RangeColumns) -> RangeColumns:
    value = first.value + second.value
    low = value - np.hypot(first.value - first.low, second.value - second.low)
    high = value + np.hypot(first.high - first.value, second.high - second.value)
    return RangeColumns(value=value, low=low, high=high)
