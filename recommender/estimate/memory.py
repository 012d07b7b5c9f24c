"""Memory by part for many candidates at once, per runtime and, for llama.cpp, per binding.

llama.cpp's rules are read from its source (``src/llama-kv-cache*.cpp``, ``llama-context.cpp``, ``llama-model.cpp``)
and checked against its load log in ``catalog/load_log_grid.csv``. Those of the other runtimes come from their
documents and are less sure; the numbers, each with its source, are in ``catalog/runtime_memory.csv``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recommender.errors import BadInputError
from recommender.estimate import compute_buffer
from recommender.estimate.columns import among, known_or_zero, look_up
from recommender.estimate.quantize import block_types
from recommender.paths import catalog_dir
from recommender.types import Device, Floats, MemoryColumns, SettingsColumns, VariantColumns

__all__ = [
    "BINDINGS",
    "kv_bytes_per_element",
    "kv_cache_bytes",
    "memory",
    "memory_formula",
    "process_bytes",
    "runtime_number",
]

Mask = NDArray[np.bool_]
CELL_PADDING = 256  # llama.cpp rounds the cells of every cache up to this
FLOAT_BYTES = 4.0
LLAMA_CPP = ("llama.cpp", "ollama", "lm-studio", "docker-model-runner", "lemonade", "bitnet.cpp", "wllama")
GPU_ONLY = ("vllm", "webllm")
# How each binding reserves: whether windowed layers keep the whole context, and logits of how many tokens.
BINDINGS = {"xllamacpp": (False, "parallel"), "llama-cpp-python": (True, "batch")}


@dataclass(frozen=True)
class _Split:
    """Where the layers are: on a GPU with memory of its own, and how many."""

    gpu_layers: Floats  # output head counted as one
    layers_total: Floats
    on_gpu: Floats  # share of the blocks on the GPU
    head_on_gpu: Mask


def memory(
    variants: VariantColumns,
    settings: SettingsColumns,
    device: Device,
    gpu_budget_bytes: float,
    binding: str = "xllamacpp",
) -> MemoryColumns:
    """Memory of every row, bytes, shape (n,); NaN for managed rows.

    ``settings.context_tokens`` is what one sequence may hold; ``parallel`` sequences each get that many.
    ``gpu_budget_bytes`` is what GPUs with memory of their own may hold. ``gpu_layers`` −1 puts as many layers there
    as fit; with a GPU that shares the machine's memory all of them are on it and are counted in ``total_bytes``.
    ``binding`` says how llama.cpp is called, "xllamacpp" (as llama-server does: logits of the last token of each
    sequence) or "llama-cpp-python" (its ``Llama`` class: logits of a whole batch, windowed layers at full length).

    Raises ``BadInputError`` for an unknown binding.
    """
    if binding not in BINDINGS:
        raise BadInputError(f"{binding!r} is not a binding of llama.cpp; known are {', '.join(BINDINGS)}.")
    llama = among(variants.runtimes, LLAMA_CPP)
    here = among(variants.runtimes, ("llama.cpp",))
    full_window = here & BINDINGS[binding][0]
    whole_batch = here & (BINDINGS[binding][1] == "batch")

    kv = kv_cache_bytes(variants, settings, full_window, llama)
    compute = compute_buffer.llama_cpp(variants, settings, whole_batch, full_window)
    compute = np.where(llama, compute, _other_compute(variants, settings))
    overhead = _overhead(variants, binding)
    weights = variants.tensor_bytes.copy()
    split = _split(variants, settings, device, gpu_budget_bytes, kv, compute, weights)

    # A tied head on a GPU is a second copy: the embedding stays in main memory for look-ups.
    second_head = np.where(llama & split.head_on_gpu & _is_tied(variants), variants.output_bytes, 0.0)
    repacked = np.where(llama, _repacked(variants, device) * (1.0 - split.on_gpu), 0.0)
    weights = weights + second_head + repacked
    weights = weights + np.where(llama, 0.0, _weights_copy(variants) * variants.tensor_bytes)

    blocks = variants.tensor_bytes - np.maximum(variants.input_embedding_bytes, 0.0) - _own_head(variants)
    gpu = split.on_gpu * (blocks + kv) + np.where(split.head_on_gpu, variants.output_bytes, 0.0)
    gpu = gpu + np.where(split.gpu_layers > 0, compute + _gpu_context(variants), 0.0)
    if _discrete(device) is None:  # a GPU that shares the memory has none of its own
        gpu = np.zeros(len(variants))
    else:
        overhead = overhead + np.where(split.gpu_layers > 0, _gpu_context(variants), 0.0)
    overhead = overhead + _left_free(variants, weights + kv + compute + overhead)
    managed = among(variants.runtimes, ("azure-ai-foundry",))
    nothing = np.where(managed, np.nan, 0.0)
    total = weights + kv + compute + overhead + nothing
    whole_gpu = among(variants.runtimes, GPU_ONLY) & (split.gpu_layers > 0) & (_discrete(device) is not None)
    return MemoryColumns(
        weights_bytes=weights + nothing,
        kv_cache_bytes=kv + nothing,
        compute_bytes=compute + nothing,
        overhead_bytes=overhead + nothing,
        total_bytes=total,
        reclaimable_bytes=repacked + nothing,
        gpu_bytes=np.where(whole_gpu, total, gpu) + nothing,
        gpu_layers=split.gpu_layers + nothing,
        layers_total=split.layers_total + nothing,
    )


def kv_bytes_per_element(kv_type: str) -> float:
    """Bytes of one cached element: 2 for f16, 34/32 for q8_0, 18/32 for q4_0 …; ``BadInputError`` for others."""
    found = block_types().get(kv_type.upper())
    if found is None:
        raise BadInputError(f"{kv_type!r} is not a type a cache can have; try f16, q8_0 or q4_0.")
    return found.block_bytes / found.block


def kv_cache_bytes(variants: VariantColumns, settings: SettingsColumns, full_window: Mask, padded: Mask) -> Floats:
    """Keys, values and recurrent state of all sequences, bytes, shape (n,).

    ``full_window``: windowed layers keep the whole context; ``padded``: the runtime rounds cells up as llama.cpp does.
    """
    per_element = look_up(settings.kv_types, kv_bytes_per_element)
    cells = np.where(padded, _pad(settings.context_tokens), settings.context_tokens)
    wanted = np.minimum(cells, variants.window_tokens + settings.ubatch_tokens)
    window = np.where(full_window, cells, np.where(padded, _pad(wanted), np.minimum(cells, variants.window_tokens)))
    even = padded & ~settings.flash_attn
    full = variants.k_full_elements_per_token + _widened(
        variants.v_full_elements_per_token, variants.v_full_even_elements_per_token, even
    )
    windowed = variants.k_window_elements_per_token + _widened(
        variants.v_window_elements_per_token, variants.v_window_even_elements_per_token, even
    )
    elements = full * cells + windowed * window
    return np.asarray(settings.parallel * (elements * per_element + variants.state_bytes), dtype=np.float64)


def memory_formula(runtime: str) -> str:
    """The engine whose rules :func:`memory` follows for a runtime; those with the same differ in their process only."""
    return "llama.cpp" if runtime in LLAMA_CPP else runtime


def process_bytes(runtime: str, binding: str = "xllamacpp") -> float:
    """What a runtime takes before any model is loaded."""
    name = f"llama.cpp:{binding}" if runtime == "llama.cpp" else runtime
    return runtime_number(name, "process") + runtime_number(runtime, "graph_bytes")


def runtime_number(runtime: str, part: str) -> float:
    """A number of ``catalog/runtime_memory.csv``; 0 where it has none."""
    return _runtime_numbers().get((runtime, part), 0.0)


def _widened(own: Floats, even: Floats | None, applies: Mask) -> Floats:
    """Values of layers of unequal width, padded where ``applies``."""
    return own if even is None else np.where(applies, np.fmax(own, even), own)


def _pad(tokens: Floats) -> Floats:
    return np.asarray(np.ceil(tokens / CELL_PADDING) * CELL_PADDING, dtype=np.float64)


def _is_tied(variants: VariantColumns) -> Mask:
    """Rows whose head is the embedding, told from their bytes: then one of the two is not in the tensors again.

    Where not all tensors are read (experts), the two being equal must do; untied ones in one type look the same.
    """
    twice = variants.read_bytes_per_token + variants.input_embedding_bytes - variants.tensor_bytes
    read_whole = variants.read_bytes_per_token + variants.input_embedding_bytes > 0.9 * variants.tensor_bytes
    same = (variants.output_bytes > 0) & (variants.input_embedding_bytes >= variants.output_bytes)
    return np.asarray(np.where(read_whole, twice > 0.5 * variants.output_bytes, True) & same)


def _own_head(variants: VariantColumns) -> Floats:
    return np.where(_is_tied(variants), 0.0, variants.output_bytes)


def _repacked(variants: VariantColumns, device: Device) -> Floats:
    columns = variants.repack_arm_bytes if device.arch == "arm64" else variants.repack_x86_bytes
    return np.zeros(len(variants)) if columns is None else known_or_zero(columns)


def _discrete(device: Device) -> object | None:
    return next((gpu for gpu in device.gpus if gpu.backend and not gpu.unified), None)


def _split(
    variants: VariantColumns,
    settings: SettingsColumns,
    device: Device,
    budget: float,
    kv: Floats,
    compute: Floats,
    weights: Floats,
) -> _Split:
    """Layers on the GPU. llama.cpp puts the output head there first, then blocks from the last one down."""
    total = variants.n_layer + 1.0
    unified = any(gpu.backend and gpu.unified for gpu in device.gpus)
    none = np.zeros(len(variants))
    if _discrete(device) is None or not budget > 0:
        layers = np.where(settings.gpu_layers < 0, total if unified else none, np.minimum(settings.gpu_layers, total))
        if not unified:
            layers = none
        on_gpu = np.clip(np.maximum(layers - 1.0, 0.0) / variants.n_layer, 0.0, 1.0)
        return _Split(layers, total, on_gpu, np.zeros(len(variants), dtype=np.bool_))
    head = variants.output_bytes
    block = (weights - variants.input_embedding_bytes - _own_head(variants) + kv) / variants.n_layer
    room = budget - compute - head - _gpu_context(variants)
    fitting = np.where(room >= 0, 1.0 + np.floor(np.maximum(room, 0.0) / block), 0.0)
    layers = np.where(settings.gpu_layers < 0, fitting, settings.gpu_layers)
    whole = among(variants.runtimes, GPU_ONLY) & (settings.gpu_layers != 0)  # 0 says that the CPU computes
    layers = np.clip(np.where(whole, total, layers), 0.0, total)
    return _Split(layers, total, np.maximum(layers - 1.0, 0.0) / variants.n_layer, np.asarray(layers >= 1))


def _other_compute(variants: VariantColumns, settings: SettingsColumns) -> Floats:
    """Activations of the largest step of a runtime that is not llama.cpp: its tokens × the widest live row."""
    step = _numbers(variants, "activation_tokens", _numbers(variants, "prefill_step_tokens", settings.ubatch_tokens))
    tokens = np.minimum(step, settings.context_tokens * settings.parallel)
    live = 2.0 * variants.n_embd + 2.0 * variants.n_ff
    return np.asarray(tokens * live * 2.0 + settings.parallel * variants.n_vocab * FLOAT_BYTES, dtype=np.float64)


def _overhead(variants: VariantColumns, binding: str) -> Floats:
    return look_up(variants.runtimes, lambda name: process_bytes(name, binding))


def _gpu_context(variants: VariantColumns) -> Floats:
    llama = among(variants.runtimes, LLAMA_CPP)
    return np.where(llama, runtime_number("llama.cpp", "gpu_context"), 0.0)


def _weights_copy(variants: VariantColumns) -> Floats:
    return _numbers(variants, "weights_copy")


def _left_free(variants: VariantColumns, needed: Floats) -> Floats:
    """vLLM takes no more than its share of the GPU: the rest must be there too."""
    share = _numbers(variants, "usable_fraction", np.ones(len(variants)))
    return np.asarray(needed * (1.0 / share - 1.0), dtype=np.float64)


def _numbers(variants: VariantColumns, part: str, default: Floats | None = None) -> Floats:
    found = look_up(variants.runtimes, lambda name: _runtime_numbers().get((name, part), np.nan))
    return np.where(np.isnan(found), 0.0 if default is None else default, found)


@cache
def _runtime_numbers() -> dict[tuple[str, str], float]:
    with open(catalog_dir() / "runtime_memory.csv", newline="", encoding="utf-8") as file:
        return {(row["runtime"], row["part"]): float(row["value"]) for row in csv.DictReader(file)}
