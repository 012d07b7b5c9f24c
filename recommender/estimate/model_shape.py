"""Bytes and shape of a measured model: exact where the catalog knows its layout, from parameters and bits elsewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recommender.errors import BadInputError
from recommender.estimate.architecture import architecture_from_row
from recommender.estimate.kv import kv_shape
from recommender.estimate.quantize import file_types
from recommender.estimate.speed_tables import Label, SpeedTables
from recommender.estimate.tensors import layout

# Embeddings of files below this many bits are kept at 8 bits or less; above it they keep the file's own type.
EMBEDDING_BITS_LIMIT = 8.5


@dataclass(frozen=True)
class ModelShape:
    """What the speed formulas need of one model in one quantization. Bytes unless the name says otherwise."""

    model_id: str
    params_total: float
    params_active: float  # NaN where dense
    stored_bytes: float
    read_bytes: float  # per generated token
    input_embedding_bytes: float
    n_layer: float
    n_embd: float
    n_vocab: float
    kv_full: float  # K and V elements per token over layers that keep every position
    kv_window: float
    window_tokens: float
    state_bytes: float
    exact: bool


def model_shape(
    model: Mapping[str, str], label: Label | None, quantization: str, model_bytes: float | None, params_active: float
) -> ModelShape:
    """The shape of a catalog model: exact where its architecture is complete and the quantization has rules.

    Args:
        model: a models.csv row merged with its architectures.csv row.
        label: bits and class of the quantization, for types without rules.
        quantization: a GGUF file type, or another runtime's name for one.
        model_bytes: the measured file's own size, which wins over computed bytes.
        params_active: what the row says; the catalog's own figure wins.
    """
    try:
        arch = architecture_from_row(model)
    except BadInputError:
        return _listed_shape(model, label, model_bytes, params_active)
    plain = layout(arch, "F16")
    exact = quantization in file_types()
    found = layout(arch, quantization) if exact else plain
    bits = 16.0 if label is None else label.bits_per_weight
    stored = found.tensor_bytes if exact else plain.tensor_bytes * bits / 16
    scale = (model_bytes or stored) / found.tensor_bytes
    kv = kv_shape(arch)
    return ModelShape(
        model_id=model["model_id"],
        params_total=plain.tensor_bytes / 2,
        params_active=plain.read_bytes_per_token / 2,
        stored_bytes=found.tensor_bytes * scale,
        read_bytes=found.read_bytes_per_token * scale,
        input_embedding_bytes=found.input_embedding_bytes * scale,
        n_layer=float(arch.n_layer),
        n_embd=float(arch.n_embd),
        n_vocab=plain.output_bytes / 2 / arch.n_embd,
        kv_full=kv.k_full_elements_per_token + kv.v_full_elements_per_token,
        kv_window=kv.k_window_elements_per_token + kv.v_window_elements_per_token,
        window_tokens=float(kv.window_tokens),
        state_bytes=kv.state_bytes,
        exact=exact,
    )


def _listed_shape(
    model: Mapping[str, str], label: Label | None, model_bytes: float | None, params_active: float
) -> ModelShape:
    """From the numbers that models.csv has when the architecture is not complete."""
    total = _number(model, "params_total")
    active = _number(model, "params_active")
    if not math.isfinite(active):
        active = params_active
    n_layer, n_embd, vocab = (_number(model, key) for key in ("n_layer", "n_embd", "vocab_size"))
    head_dim = _number(model, "head_dim")
    if not math.isfinite(head_dim):
        head_dim = n_embd / _number(model, "n_head")
    kv = 2 * n_layer * _number(model, "n_head_kv") * head_dim
    window, share = _window(model.get("sliding_window") or "")
    bits = 8 * model_bytes / total if model_bytes else (label.bits_per_weight if label else math.nan)
    stored = model_bytes or total * bits / 8
    embedding = vocab * n_embd * (bits if bits > 2 * EMBEDDING_BITS_LIMIT else min(bits, EMBEDDING_BITS_LIMIT)) / 8
    untied = model.get("tied_embeddings") != "yes"
    read = stored * active / total if math.isfinite(active) else stored
    if untied and math.isfinite(embedding):
        read -= min(embedding, 0.4 * read)
    return ModelShape(
        model_id=model["model_id"],
        params_total=total,
        params_active=active,
        stored_bytes=stored,
        read_bytes=read,
        input_embedding_bytes=embedding if math.isfinite(embedding) else 0.0,
        n_layer=n_layer,
        n_embd=n_embd,
        n_vocab=vocab,
        kv_full=kv * (1 - share),
        kv_window=kv * share if math.isfinite(kv) else 0.0,
        window_tokens=window,
        state_bytes=0.0,
        exact=False,
    )


def rough_shape(
    tables: SpeedTables, params_total: float, params_active: float, label: Label | None, model_bytes: float | None
) -> ModelShape:
    """The shape of a model that the catalog lacks: bytes from parameters and bits, the rest from size laws."""
    size = np.array([params_total])
    laws = ("n_layer", "n_embd", "kv_elements_per_token", "embedding_elements")
    n_layer, n_embd, kv, embedding = (float(tables.size_law(name, size)[0]) for name in laws)
    bits = 8 * model_bytes / params_total if model_bytes else (label.bits_per_weight if label else math.nan)
    stored = model_bytes or params_total * bits / 8
    read = stored * params_active / params_total if math.isfinite(params_active) else stored
    return ModelShape(
        model_id="",
        params_total=params_total,
        params_active=params_active,
        stored_bytes=stored,
        read_bytes=read,
        input_embedding_bytes=embedding * min(bits, EMBEDDING_BITS_LIMIT) / 8,
        n_layer=n_layer,
        n_embd=n_embd,
        n_vocab=embedding / n_embd,
        kv_full=kv,
        kv_window=0.0,
        window_tokens=0.0,
        state_bytes=0.0,
        exact=False,
    )


def _window(text: str) -> tuple[float, float]:
    """(window tokens, share of layers that use it) from text such as ``512; 5 local : 1 global``."""
    match = re.match(r"\s*(\d+)\s*;\s*(\d+) local : (\d+) global", text)
    if not match:
        return 0.0, 0.0
    size, local, full = (float(part) for part in match.groups())
    return size, local / (local + full)


def _number(row: Mapping[str, str], key: str) -> float:
    text = (row.get(key) or "").strip()
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
