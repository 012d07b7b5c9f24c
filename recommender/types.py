"""Frozen dataclasses that cross rooms.

Units are in the names: ``*_bytes``, ``*_s``, ``*_tokens``, ``*_per_s``. ``None`` means unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texts = NDArray[Any]

Priority = Literal["quality", "balanced", "speed", "smallest"]
Provenance = Literal["measured here", "measured on the same hardware", "estimated", "published", "rough estimate"]

GIB = 1024**3
MIB = 1024**2


# Upper bounds by total parameters; above the last is "Large", outside the range of small language models.
TIER_BOUNDS = (("Micro", 1.5e9), ("Small", 14e9), ("Medium", 31e9))


def tier_of(params_total: float) -> str:
    """The tier of a model with so many parameters in all."""
    return next((tier for tier, bound in TIER_BOUNDS if params_total < bound), "Large")


Kinds = tuple[list[str], NDArray[np.intp]]  # distinct texts, and for each row (n,) the index of its own


def distinct(values: Texts) -> Kinds:
    """Distinct texts in order of appearance, and for each row (n,) the index of its own."""
    texts = values.tolist()
    if texts and texts.count(texts[0]) == len(texts):
        return [str(texts[0])], np.zeros(len(texts), dtype=np.intp)
    known = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return [str(text) for text in known], np.fromiter(map(known.__getitem__, texts), dtype=np.intp, count=len(texts))


@dataclass(frozen=True)
class TextColumn:
    """Texts of n rows as few different ones: neither taking rows nor comparing looks at every text."""

    texts: tuple[str, ...]
    index: NDArray[np.intp]  # (n,), into ``texts``

    @classmethod
    def of(cls, values: Texts) -> TextColumn:
        texts, index = distinct(values)
        return cls(tuple(texts), index)

    def __getitem__(self, row: int) -> str:
        return self.texts[int(self.index[row])]

    def take(self, rows: NDArray[Any]) -> TextColumn:
        return TextColumn(self.texts, self.index[rows])

    def among(self, *wanted: str) -> NDArray[np.bool_]:
        """Which rows (n,) have one of these texts."""
        return np.array([text in wanted for text in self.texts], dtype=np.bool_)[self.index]


# ── what you have ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Gpu:
    """One accelerator. A GPU that shares the machine's RAM has ``unified=True``: its memory is counted once."""

    name: str
    vendor: str  # "nvidia", "amd", "intel", "apple", "qualcomm", "arm" or ""
    backend: str  # llama.cpp's backend for it: "cuda", "metal", "rocm", "vulkan"; "" when none is known
    memory_bytes: float | None
    memory_free_bytes: float | None
    bandwidth_bytes_per_s: float | None = None
    fp16_flops: float | None = None  # dense, matrix units where it has them
    compute_capability: str = ""  # "8.6"; NVIDIA only
    unified: bool = False


@dataclass(frozen=True)
class Device:
    """A machine to run models on: this one, a preset, or one that was typed in.

    ``sources`` says per field where its value comes from: "detected", "preset", "entered", "derived",
    "assumed", "lower bound" or "browser"; a field without an entry is unknown.
    """

    id: str
    name: str
    kind: str  # phone, tablet, laptop, desktop, mini-pc, workstation, server, sbc
    os: str  # linux, windows, macos, android, ios
    arch: str  # x86-64 or arm64
    cpu_model: str = ""
    physical_cores: int | None = None
    performance_cores: int | None = None
    usable_threads: int | None = None  # within affinity and the cgroup's quota
    isa: tuple[str, ...] = ()  # avx2, avx512, avx512_vnni, amx_int8, neon, dotprod, i8mm, sve …
    ram_bytes: float | None = None
    ram_free_bytes: float | None = None
    bandwidth_bytes_per_s: float | None = None  # of main memory
    gpus: tuple[Gpu, ...] = ()
    npu_name: str = ""
    npu_tops: float | None = None
    unified_memory: bool = False
    gpu_memory_fraction: float | None = None  # the share of unified memory a GPU may hold
    disk_free_bytes: float | None = None
    tdp_w: float | None = None
    source: str = ""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)


# ── what you need ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Task:
    """A row of ``catalog/tasks.csv``: which capabilities it weighs, and how long its texts are."""

    id: str
    name: str
    weights: Mapping[str, float]  # capability → weight; they sum to 1
    prompt_tokens: int
    answer_tokens: int
    thinking_tokens: int  # written by thinking models before the answer
    context_tokens: int  # enough for a normal session of this task
    roles: tuple[str, ...] = ("instruct", "thinking", "hybrid")  # of models made to answer it
    hybrid_thinks: bool = False  # a model that can do either thinks first on this task
    answer_good_s: float = 5.0  # an answer in this time could not feel faster
    answer_bad_s: float = 60.0  # an answer that takes this long is of no use
    needs_tools: bool = False
    source: str = ""


@dataclass(frozen=True)
class Need:
    """What the answer must satisfy. ``None`` and empty mean "no constraint"."""

    task: str = "chat"
    languages: tuple[str, ...] = ()  # ISO 639-1 codes
    context_tokens: int | None = None  # None: the task's own
    min_decode_tokens_per_s: float | None = None
    max_ttft_s: float | None = None
    max_answer_time_s: float | None = None
    memory_reserve_bytes: float = 0.0
    disk_reserve_bytes: float = 0.0
    commercial: bool = False
    offline: bool = False
    platform: str | None = None
    form_factor: str | None = None
    accelerator: str | None = None  # cpu, gpu or npu; None: whatever is best
    users: int = 1
    placement: str = "device"  # device, managed or any
    enterprise: tuple[str, ...] = ()  # sla, audit, rbac, support
    own_conversion: bool = False
    experimental: bool = False
    priority: Priority = "balanced"
    models: tuple[str, ...] = ()  # limit the catalog to these
    quantizations: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    all_quantizations: bool = False  # every quantization of a model, not the best one only


# ── a model's shape ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class KvShape:
    """What the cache holds, per sequence. Elements are summed over the layers that keep them.

    ``*_full`` layers keep every position, ``*_window`` layers only the last ``window_tokens``;
    ``state_bytes`` is what recurrent and convolution layers keep whatever the length (f32). ``v_*_even`` are the
    values' elements if every layer's were as wide as the widest layer's: llama.cpp stores them so without flash
    attention.
    """

    k_full_elements_per_token: float
    v_full_elements_per_token: float
    k_window_elements_per_token: float = 0.0
    v_window_elements_per_token: float = 0.0
    window_tokens: int = 0
    state_bytes: float = 0.0
    v_full_even_elements_per_token: float = 0.0
    v_window_even_elements_per_token: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Exact bytes of one model in one file type. All are sums over the same tensor list."""

    file_bytes: float  # tensors, padding, metadata and tokenizer
    tensor_bytes: float
    input_embedding_bytes: float  # a look-up: one row is read per token
    output_bytes: float  # the output head, read whole (the embedding again when tied)
    read_bytes_per_token: float  # active experts only, output head included
    bits_per_weight: float
    exact: bool  # False: rough, from parameters × bits
    repack_x86_bytes: float = 0.0  # tensors held twice: copied into llama.cpp's own layout on an AVX2 CPU, and mapped
    repack_arm_bytes: float = 0.0  # the same on an ARM CPU with dot-product instructions


@dataclass(frozen=True)
class VariantColumns:
    """Candidates as columns, one row per model × quantization × runtime. Every array has shape (n,).

    Text columns are object arrays; numbers are float64, NaN where unknown.
    """

    model_id: Texts
    quantization: Texts  # "" where managed
    runtime: Texts
    format: Texts  # gguf, mlx, onnx, safetensors, managed
    architecture: Texts
    file_bytes: Floats
    tensor_bytes: Floats
    input_embedding_bytes: Floats
    output_bytes: Floats
    read_bytes_per_token: Floats
    params_total: Floats
    params_active: Floats
    n_layer: Floats
    n_embd: Floats
    n_vocab: Floats
    n_head: Floats
    n_ff: Floats  # widest feed-forward row that is live at once
    k_full_elements_per_token: Floats
    v_full_elements_per_token: Floats
    k_window_elements_per_token: Floats
    v_window_elements_per_token: Floats
    window_tokens: Floats
    state_bytes: Floats
    exact: NDArray[np.bool_]
    repack_x86_bytes: Floats | None = None  # see Layout; None where the caller has no tensor list
    repack_arm_bytes: Floats | None = None
    v_full_even_elements_per_token: Floats | None = None  # see KvShape; None: as wide as they are
    v_window_even_elements_per_token: Floats | None = None

    def __len__(self) -> int:
        return len(self.model_id)

    # What depends on a text is looked up once per text, not once per row.

    @cached_property
    def runtimes(self) -> Kinds:
        return distinct(self.runtime)

    @cached_property
    def quantizations(self) -> Kinds:
        return distinct(self.quantization)

    @cached_property
    def models(self) -> Kinds:
        return distinct(self.model_id)

    def take(self, rows: NDArray[Any]) -> VariantColumns:
        """The same columns for some rows. Texts that were told apart stay so: some may then be of no row."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        taken = replace(self, **{name: column[rows] for name, column in every.items() if column is not None})
        kinds: dict[str, Kinds] = {name: known for name, known in vars(self).items() if name not in every}
        vars(taken).update({name: (texts, index[rows]) for name, (texts, index) in kinds.items()})
        return taken


@dataclass(frozen=True)
class SettingsColumns:
    """How each row would be run. Every array has shape (n,); ``gpu_layers`` −1 means "as many as fit"."""

    context_tokens: Floats
    kv_type: Texts  # f16, q8_0, q4_0 …: both K and V
    batch_tokens: Floats
    ubatch_tokens: Floats
    parallel: Floats
    threads: Floats
    gpu_layers: Floats
    flash_attn: NDArray[np.bool_]

    @cached_property
    def kv_types(self) -> Kinds:
        return distinct(self.kv_type)


@dataclass(frozen=True)
class MemoryColumns:
    """Memory by part, bytes, shape (n,). ``total = weights + kv_cache + compute + overhead``."""

    weights_bytes: Floats
    kv_cache_bytes: Floats
    compute_bytes: Floats  # compute and output buffers
    overhead_bytes: Floats  # the runtime itself
    total_bytes: Floats
    reclaimable_bytes: Floats  # mapped pages whose tensors were repacked elsewhere; inside weights_bytes
    gpu_bytes: Floats  # the part of total on GPUs with memory of their own
    gpu_layers: Floats  # layers on a GPU, output head counted as one
    layers_total: Floats  # n_layer + 1


@dataclass(frozen=True)
class RangeColumns:
    """A predicted quantity with the range that holds its stated share (80%), shape (n,)."""

    value: Floats
    low: Floats
    high: Floats


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Figure:
    """One number as it is shown: its value, its range and where it comes from."""

    value: float
    low: float
    high: float
    provenance: Provenance


# ggml types that llama.cpp accepts for the cache (common/arg.cpp, --cache-type-k).
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
OWN_FILE = "local/"  # how the id of a file of one's own begins: it is no repository on the Hub
BATCH_TOKENS, UBATCH_TOKENS = 2048, 512  # logical and physical; llama.cpp's own defaults (common/common.h)


@dataclass(frozen=True)
class Settings:
    context_tokens: int
    kv_type: str
    batch_tokens: int
    ubatch_tokens: int
    parallel: int
    threads: int
    gpu_layers: int
    flash_attn: bool


@dataclass(frozen=True)
class Memory:
    weights_bytes: float
    kv_cache_bytes: float
    compute_bytes: float
    overhead_bytes: float
    total_bytes: float
    reclaimable_bytes: float = 0.0
    gpu_bytes: float = 0.0
    provenance: Provenance = "estimated"

    @property
    def charged_bytes(self) -> float:
        """What must stay resident. Mapped pages that were repacked elsewhere can be dropped by the system any time."""
        return self.total_bytes - self.reclaimable_bytes


@dataclass(frozen=True)
class Estimate:
    file_bytes: float | None
    file_provenance: str  # "exact layout", "published file" or "rough estimate"
    memory: Memory | None  # None where managed
    prefill_tokens_per_s: Figure | None
    decode_tokens_per_s: Figure | None
    ttft_s: Figure | None
    answer_time_s: Figure | None
    load_s: Figure | None = None


@dataclass(frozen=True)
class ScorePart:
    """One part of a score. ``points = weight × value``; a pick's parts add up to its score."""

    name: str
    weight: float
    value: float  # 0–100
    points: float
    why: str


@dataclass(frozen=True)
class Pick:
    model_id: str
    name: str
    family: str
    tier: str
    quantization: str | None  # None where managed
    runtime: str
    settings: Settings | None
    estimate: Estimate
    quality: float  # 0–100, on this task
    quality_se: float
    quality_evidence: int  # how many benchmark scores support it
    score: float
    score_parts: tuple[ScorePart, ...]
    reasons: tuple[str, ...]
    command: str
    license: str
    file_repo: str = ""
    file_name: str = ""
    experimental: bool = False
    accelerator: str = ""  # what it computes on: cpu, cuda, rocm, metal, vulkan, npu, webgpu or managed


@dataclass(frozen=True)
class NearMiss:
    """A candidate that one rule kept out, and the smallest change that would let it in."""

    pick: Pick
    rule: str
    reason: str
    short_by: float
    unit: str
    change: str


@dataclass(frozen=True)
class Recommendation:
    device: Device
    need: Need
    task: Task
    context_tokens: int
    memory_budget_bytes: float | None
    gpu_budget_bytes: float | None
    picks: tuple[Pick, ...]  # best first
    alternatives: tuple[tuple[str, Pick], ...]  # ("Faster, weaker: …", pick)
    near_misses: tuple[NearMiss, ...]
    pareto: tuple[int, ...]  # indices into picks: no other is both better and faster
    considered: int
    rejected: Mapping[str, int]  # rule → how many it kept out
    catalog_date: str
    notes: tuple[str, ...] = ()


# ── what was measured ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Measurement:
    """One finished run. Speeds are medians over ``repeats``; lows and highs are the slowest and fastest."""

    id: str
    measured_at: str  # ISO 8601, UTC
    device_name: str
    device_key: str  # cpu + gpu + memory: the same hardware has the same key
    model_id: str
    quantization: str
    file_name: str
    file_sha256: str
    file_bytes: float
    runtime: str  # llama.cpp
    binding: str  # llama-cpp-python 0.3.36, xllamacpp 2026.10.11549 …
    build: str
    settings: Settings
    prompt_tokens: int
    gen_tokens: int
    repeats: int
    prefill_tokens_per_s: float
    prefill_low: float
    prefill_high: float
    decode_tokens_per_s: float
    decode_low: float
    decode_high: float
    ttft_s: float
    load_s: float
    memory: Memory | None
    peak_resident_bytes: float | None
    load_average_before: float | None
    load_average_after: float | None
    cpu_steal_fraction: float | None
    noisy: bool
    noise_reason: str = ""
    rehearsal: bool = False
    predicted_decode_tokens_per_s: float | None = None
    predicted_prefill_tokens_per_s: float | None = None
    predicted_ttft_s: float | None = None
    predicted_memory_bytes: float | None = None
