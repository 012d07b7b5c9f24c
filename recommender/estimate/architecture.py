"""One model's numbers: what a GGUF file's metadata says about it, from the catalog's text.

A row of ``models.csv`` holds what every model card has; a row of ``architectures.csv`` holds the rest, and only
where it differs from what the architecture implies (``architecture_features.csv``). Lists of one value per layer
are written ``value*count;value…`` and repeat until every layer has one: ``1*5;0`` is five windowed layers, then
one that sees everything, over and over.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from recommender.errors import BadInputError
from recommender.paths import catalog_dir

__all__ = [
    "Architecture",
    "Features",
    "ShapeRefused",
    "architecture_from_row",
    "complete",
    "features",
    "merge_rows",
    "per_layer",
]


class ShapeRefused(BadInputError):
    """All numbers are there, and llama.cpp does not load a model of this shape."""


@dataclass(frozen=True)
class Features:
    """What an architecture id implies about a model's tensors: a row of ``architecture_features.csv``."""

    architecture: str
    mixer: str  # attention, mla (absorbed), mla_expanded
    recurrent: str  # "", shortconv, mamba2, mamba2_beside_attention, gated_delta
    norms: tuple[str, ...]
    norm_bias: bool
    qk_norm: str  # none, head (one head's width), full (the whole projection)
    qkv: str  # split or fused
    qkv_bias: bool
    out_bias: bool
    ffn: str  # gated, plain (two matrices), fused (gate and up in one)
    ffn_bias: bool
    experts: str  # none, all, after_dense (the first layers are dense)
    router_bias: str  # no, selection (added to the scores), router (of the projection)
    expert_bias: bool
    shared_experts: str  # none, plain, gated
    output: str  # either, tied, untied
    output_bias: bool
    embedding_norm: str  # no; "final": the last norm is stored as token_embd_norm
    extras: frozenset[str]
    window_layers: str
    recurrent_layers: str
    tokenizer: str


@dataclass(frozen=True)
class Architecture:
    """All numbers one model needs for exact bytes. Per-layer tuples have ``n_layer`` values.

    Widths are elements. ``n_head_kv`` and ``n_ff`` are 0 in layers without attention or feed-forward part;
    ``recurrent`` and ``windowed`` say which layers keep a state or only the last ``window_tokens``.
    """

    model_id: str
    features: Features
    n_layer: int
    n_embd: int
    n_vocab: int
    n_head: tuple[int, ...]
    n_head_kv: tuple[int, ...]
    head_dim: tuple[int, ...]  # of keys
    value_dim: tuple[int, ...]  # of values
    n_ff: tuple[int, ...]
    tied: bool
    rope_dim: int
    windowed: tuple[bool, ...]
    window_tokens: int
    recurrent: tuple[bool, ...]
    context_train: int
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_expert: int = 0
    n_ff_shared: int = 0  # all shared experts together
    n_dense_layers: int = 0  # leading layers without experts
    experts_fused: bool = False  # gate and up experts in one tensor
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    ssm_conv: int = 0
    ssm_inner: int = 0
    ssm_state: int = 0
    ssm_heads: int = 0
    ssm_groups: int = 0
    ssm_norm: bool = True
    conv_cache: int = 0  # short convolution's kernel
    kv_shared_layers: int = 0  # last layers that reuse an earlier layer's cache
    values_from_keys: bool = False  # layers that see everything have no value projection
    n_embd_per_layer: int = 0
    n_altup: int = 0
    laurel_rank: int = 0
    rope_factors: str = ""  # "", freqs or long
    draft_layers: int = 0  # blocks for multi-token prediction, in the file but not used to write token by token
    tokenizer: str = ""

    @property
    def id(self) -> str:
        """The architecture id as GGUF writes it."""
        return self.features.architecture

    @property
    def kv_layers(self) -> tuple[int, ...]:
        """Layers with a cache of their own."""
        last = self.n_layer - self.kv_shared_layers
        both = self.features.recurrent == "mamba2_beside_attention"
        return tuple(i for i in range(last) if self.n_head_kv[i] and (both or not self.recurrent[i]))

    @property
    def head_groups(self) -> int:
        """Query heads per key head in the first layer, as llama.cpp's mixing rules read it; 0 without attention."""
        return self.n_head[0] // self.n_head_kv[0] if self.n_head_kv[0] else 0


NUMBERS = ("n_layer", "n_embd", "n_head", "vocab_size")
_LEADING_NUMBER = re.compile(r"\s*(\d+)")


@cache
def features(architecture: str) -> Features:
    """The features of an architecture id. Raises ``BadInputError`` for an id without a row."""
    table = _feature_table()
    if architecture not in table:
        raise BadInputError(
            f"The layout of {architecture or 'a model without architecture'} is not known; "
            "add a row to catalog/architecture_features.csv."
        )
    return table[architecture]


def merge_rows(model: Mapping[str, str], architecture: Mapping[str, str] | None) -> dict[str, str]:
    """A models.csv row with the numbers of its architectures.csv row: that one's values win where it has any."""
    merged = dict(model)
    for key, value in (architecture or {}).items():
        if value and key not in ("model_id", "source"):
            merged[key] = value
    return merged


def per_layer(text: str, n_layer: int) -> tuple[int, ...]:
    """``n_layer`` values from ``value*count;value…``, repeated as needed. Raises ``BadInputError``."""
    values: list[int] = []
    for item in text.split(";"):
        value, _, count = item.partition("*")
        try:
            values += [int(value)] * (int(count) if count else 1)
        except ValueError:
            raise BadInputError(f"{text!r} is not a list of numbers per layer such as 1*5;0.") from None
    repeated = values * (n_layer // len(values) + 1)
    return tuple(repeated[:n_layer])


def complete(row: Mapping[str, str]) -> bool:
    """Whether the merged row has every number an exact layout needs."""
    try:
        architecture_from_row(row)
    except BadInputError:
        return False
    return True


def architecture_from_row(row: Mapping[str, str]) -> Architecture:
    """The architecture of a merged row of models.csv and architectures.csv (text values).

    Raises ``BadInputError`` when a number is missing or they contradict one another.
    """
    name = row.get("model_id", "")
    kind = features((row.get("architecture") or "").strip())
    missing = [key for key in NUMBERS if not (row.get(key) or "").strip()]
    if missing:
        raise BadInputError(f"{name}: the architecture is incomplete, {', '.join(missing)} missing.")
    n_layer, n_embd = _number(row, "n_layer"), _number(row, "n_embd")
    layers = _Layers(row, n_layer)
    n_head = layers.of("n_head")
    head_dim = layers.of("head_dim", default=n_embd // max(n_head[0], 1))
    windowed = _windowed(row, kind, n_layer)
    recurrent = _recurrent(row, kind, n_layer, layers)
    architecture = Architecture(
        model_id=name,
        features=_with_overrides(kind, row),
        n_layer=n_layer,
        n_embd=n_embd,
        n_vocab=_number(row, "vocab_size"),
        n_head=n_head,
        n_head_kv=layers.of("n_head_kv", default=n_head[0]),
        head_dim=head_dim,
        value_dim=layers.of("value_dim") if (row.get("value_dim") or "").strip() else head_dim,
        n_ff=layers.of("n_ff", default=0),
        tied=_tied(row, kind),
        rope_dim=_number(row, "rope_dim", head_dim[0]),
        windowed=windowed,
        window_tokens=_number(row, "sliding_window", 0),
        recurrent=recurrent,
        context_train=_number(row, "context_max", 32768),
        n_expert=_number(row, "n_expert", 0) if kind.experts != "none" else 0,
        n_expert_used=_number(row, "n_expert_used", 0),
        n_ff_expert=_number(row, "n_ff_expert", 0),
        n_ff_shared=_number(row, "n_ff_shared", 0),
        n_dense_layers=_number(row, "n_dense_layers", 0),
        experts_fused=row.get("experts_fused") == "yes",
        q_lora_rank=_number(row, "q_lora_rank", 0),
        kv_lora_rank=_number(row, "kv_lora_rank", 0),
        ssm_conv=_number(row, "ssm_conv", 0),
        ssm_inner=_number(row, "ssm_inner", 0),
        ssm_state=_number(row, "ssm_state", 0),
        ssm_heads=_number(row, "ssm_heads", 0),
        ssm_groups=_number(row, "ssm_groups", 0),
        ssm_norm=row.get("ssm_norm") != "no",
        conv_cache=_number(row, "conv_cache", 0),
        kv_shared_layers=_number(row, "kv_shared_layers", 0),
        values_from_keys=row.get("values_from_keys") == "yes",
        n_embd_per_layer=_number(row, "n_embd_per_layer", 0),
        n_altup=_number(row, "n_altup", 0),
        laurel_rank=_number(row, "laurel_rank", 0),
        rope_factors=row.get("rope_factors") or "",
        draft_layers=_number(row, "draft_layers", 0),
        tokenizer=row.get("tokenizer") or "",
    )
    _check(architecture)
    return architecture


class _Layers:
    """Reads per-layer columns of one row."""

    def __init__(self, row: Mapping[str, str], n_layer: int) -> None:
        self.row, self.n_layer = row, n_layer

    def of(self, key: str, default: int | None = None) -> tuple[int, ...]:
        text = (self.row.get(key) or "").strip()
        if ";" in text or "*" in text:
            return per_layer(text, self.n_layer)
        return (_number(self.row, key, default),) * self.n_layer


def _number(row: Mapping[str, str], key: str, default: int | None = None) -> int:
    text = (row.get(key) or "").strip()
    match = _LEADING_NUMBER.match(text)
    if match:
        return int(match.group(1))
    if text or default is None:
        raise BadInputError(f"{row.get('model_id', '')}: {key} should be a whole number, not {text!r}.")
    return default


def _windowed(row: Mapping[str, str], kind: Features, n_layer: int) -> tuple[bool, ...]:
    pattern = (row.get("window_layers") or "").strip() or kind.window_layers
    if not pattern or not _number(row, "sliding_window", 0):
        return (False,) * n_layer
    return tuple(bool(value) for value in per_layer(pattern, n_layer))


def _recurrent(row: Mapping[str, str], kind: Features, n_layer: int, layers: _Layers) -> tuple[bool, ...]:
    """Layers that keep a state. Where the feature row has no pattern, they are those without key heads."""
    if not kind.recurrent or kind.recurrent == "mamba2_beside_attention":
        return (bool(kind.recurrent),) * n_layer if kind.recurrent else (False,) * n_layer
    pattern = (row.get("recurrent_layers") or "").strip() or kind.recurrent_layers
    if pattern:
        return tuple(bool(value) for value in per_layer(pattern, n_layer))
    if ";" not in (row.get("n_head_kv") or ""):
        raise BadInputError(
            f"{row.get('model_id', '')}: which layers have attention is not known (n_head_kv per layer)."
        )
    heads, widths = layers.of("n_head_kv"), layers.of("n_ff", default=0)
    one_part = "one_part_per_layer" in kind.extras
    return tuple(not kv and not (one_part and width) for kv, width in zip(heads, widths, strict=True))


def _tied(row: Mapping[str, str], kind: Features) -> bool:
    if kind.output != "either":
        return kind.output == "tied"
    text = (row.get("tied_embeddings") or "").strip()
    if text not in ("yes", "no"):
        raise BadInputError(f"{row.get('model_id', '')}: whether the output head is tied is not known.")
    return text == "yes"


def _with_overrides(kind: Features, row: Mapping[str, str]) -> Features:
    """The architecture's features with a model's own answer to qkv_bias, qk_norm and such."""
    values: dict[str, Any] = dict(vars(kind))
    for key in ("qkv_bias", "out_bias", "norm_bias"):
        if row.get(key):
            values[key] = row[key] == "yes"
    for key in ("qk_norm", "qkv", "router_bias"):
        if row.get(key):
            values[key] = row[key]
    return Features(**values)


def _check(arch: Architecture) -> None:
    """Refuse what cannot be laid out; each reason names the missing number."""
    kind = arch.features
    if "heads_fill_width" in kind.extras and arch.n_head[0] * arch.head_dim[0] != arch.n_embd:
        raise ShapeRefused(
            f"{arch.model_id}: {arch.n_head[0]} heads of {arch.head_dim[0]} do not make {arch.n_embd}; "
            f"llama.cpp does not load {arch.id} in this shape."
        )
    needed = {
        "n_ff_expert": arch.n_expert and not arch.n_ff_expert,
        "n_expert_used": arch.n_expert and not arch.n_expert_used,
        "n_ff_shared": arch.n_expert and kind.shared_experts != "none" and not arch.n_ff_shared,
        "n_ff": not any(arch.n_ff) and not arch.n_expert,
        "n_ff (dense layers)": kind.experts == "after_dense" and arch.n_dense_layers and not arch.n_ff[0],
        "n_expert": kind.experts == "after_dense" and not arch.n_expert,
        "kv_lora_rank": kind.mixer != "attention" and not arch.kv_lora_rank,
        "ssm numbers": "mamba2" in kind.recurrent
        and not (arch.ssm_conv and arch.ssm_inner and arch.ssm_state and arch.ssm_heads and arch.ssm_groups),
        "delta-net numbers": kind.recurrent == "gated_delta"
        and not (arch.ssm_conv and arch.ssm_inner and arch.ssm_state and arch.ssm_heads and arch.ssm_groups),
        "conv_cache": kind.recurrent == "shortconv" and not arch.conv_cache,
        "n_embd_per_layer": "altup" in kind.extras and not arch.n_embd_per_layer,
        "sliding_window": bool(kind.window_layers) and kind.output == "tied" and not arch.window_tokens,
    }
    missing = [key for key, absent in needed.items() if absent]
    if missing:
        raise BadInputError(f"{arch.model_id}: the architecture is incomplete, {', '.join(missing)} missing.")


@cache
def _feature_table() -> dict[str, Features]:
    with open(catalog_dir() / "architecture_features.csv", newline="", encoding="utf-8") as file:
        return {row["architecture"]: _features_from(row) for row in csv.DictReader(file)}


def _features_from(row: Mapping[str, str]) -> Features:
    flags: dict[str, Any] = {
        key: row[key] == "yes" for key in ("norm_bias", "qkv_bias", "out_bias", "ffn_bias", "expert_bias")
    }
    texts: dict[str, Any] = {
        key: row[key]
        for key in (
            "architecture", "mixer", "recurrent", "qk_norm", "qkv", "ffn", "experts", "router_bias",
            "shared_experts", "output", "embedding_norm", "window_layers", "recurrent_layers", "tokenizer",
        )
    }  # fmt: skip
    return Features(
        **texts,
        **flags,
        norms=tuple(row["norms"].split(";")),
        output_bias=row["output_bias"] == "yes",
        extras=frozenset(filter(None, row["extras"].split(";"))),
    )
