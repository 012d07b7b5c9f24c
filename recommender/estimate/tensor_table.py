"""Tensors of any number of models as columns, with what llama.cpp's mixing rules look at.

Most layers of a model have the same tensors, so names are taken apart once per sort of layer; everything that differs
from layer to layer is arithmetic on whole columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recommender.estimate.architecture import Architecture
from recommender.estimate.blocks import Part, Tensor, draft_parts, layer_parts, layer_sorts, parts_outside
from recommender.estimate.gguf_header import tensor_entry_bytes

__all__ = ["FULL", "HALF", "KINDS", "OUTSIDE", "RULE", "Ints", "Mask", "TensorTable", "tensor_table"]

FULL, HALF, RULE = 0, 1, 2  # always F32; as converted (2 bytes); by the file type's rules
KINDS = (
    "other", "output", "token_embd", "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output",
    "ffn_up", "ffn_gate", "ffn_down",
)  # fmt: skip
VALUE_PARTS = ("attn_v", "attn_qkv", "attn_kv_b")
# Tensors that conversion keeps in F32 though they have two dimensions, and those that quantization leaves alone.
_FULL_NAMES = ("ffn_gate_inp", "ssm_conv1d", "shortconv.conv", "altup_correct_coef", "altup_predict_coef")
_HALF_NAMES = ("altup", "laurel", "per_layer_model_proj")
OUTSIDE = -1  # the layer of what belongs to none

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TensorTable:
    """Tensors in file order, one model's after another's; every array has shape (n,)."""

    model: Ints  # which of the models
    layer: Ints  # −1 outside the layers
    part: Ints  # which part of which sort of layer: tensors with the same number are alike
    row_length: Ints
    elements: Ints
    rows: Ints  # of one matrix: shape[1]
    entry_bytes: Ints  # in the file's tensor list, its name included
    kind: Ints  # of KINDS
    policy: Ints  # FULL, HALF or RULE
    is_expert: Mask
    is_head: Mask  # read whole for every token: the output, or the embedding where it is tied to it
    tied: Mask  # its model has no output tensor
    drafting: Mask  # of the blocks for multi-token prediction, which are loaded only for that
    index: Ints  # the layer, as most rules count it: earlier tensors of the same kind
    counted: Ints  # what ``index`` runs up to: the model's layers, or its value projections, fused ones included
    head_groups: Ints  # query heads per key head in the first layer
    n_expert: Ints
    part_names: tuple[str, ...]  # by ``part``

    def __len__(self) -> int:
        return len(self.model)

    @property
    def names(self) -> tuple[str, ...]:
        """GGUF names."""
        pairs = zip(self.layer.tolist(), self.part.tolist(), strict=True)
        names = self.part_names
        return tuple(names[part] if layer == OUTSIDE else f"blk.{layer}.{names[part]}" for layer, part in pairs)

    def take(self, rows: Ints | Mask) -> TensorTable:
        """The same columns for some tensors only."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "part_names"}
        return replace(self, **{name: column[rows] for name, column in columns.items()})


def tensor_table(archs: Sequence[Architecture]) -> TensorTable:
    """The tensors of some models in the order in which llama.cpp counts them: by layer, then by name."""
    blocks = _Blocks()
    for arch in archs:
        blocks.add_model(arch)
    sizes = np.array(blocks.sizes, dtype=np.int64)[blocks.sequence]
    starts = np.array(blocks.starts, dtype=np.int64)[blocks.sequence]
    ends = np.cumsum(sizes)
    part = np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
    model, layer = np.repeat(blocks.models, sizes), np.repeat(np.array(blocks.layers, dtype=np.int64), sizes)
    (
        row_length, elements, rows, entry_bytes, kind, policy, expert, value, by_layer, embedding,
    ) = np.ascontiguousarray(np.array(blocks.parts, dtype=np.int64).T)[:, part]  # fmt: skip
    facts = np.array([(a.n_layer, a.draft_layers, a.head_groups, a.n_expert, a.tied) for a in archs], dtype=np.int64)
    n_main, n_draft, head_groups, n_expert, tied = np.ascontiguousarray(facts.T)[:, model]
    n_values = np.bincount(model, value, len(archs)).astype(np.int64)[model]
    values = np.isin(kind, (KINDS.index("attn_v"), KINDS.index("attn_qkv")))
    inside = layer != OUTSIDE
    digits = np.char.str_len(np.arange(layer.max() + 1).astype(str))
    return TensorTable(
        model=model,
        layer=layer,
        part=part,
        row_length=row_length,
        elements=elements,
        rows=rows,
        entry_bytes=entry_bytes + np.where(inside, len("blk..") + digits[layer], 0),
        kind=kind,
        policy=policy,
        is_expert=expert > 0,
        is_head=(kind == KINDS.index("output")) | (embedding & tied > 0),
        tied=tied > 0,
        drafting=layer >= n_main,
        index=np.where((by_layer > 0) & inside & (n_expert > 1), layer, _earlier(model, kind, policy == RULE)),
        counted=np.where(values, n_values, n_main + n_draft),
        head_groups=head_groups,
        n_expert=n_expert,
        part_names=tuple(blocks.names),
    )


def _earlier(model: Ints, kind: Ints, ruled: Mask) -> Ints:
    """How many earlier tensors of the same model and kind the rules decide, for each tensor."""
    earlier = np.zeros(len(model), dtype=np.int64)
    for one in range(len(KINDS)):
        rows = np.flatnonzero(kind == one)
        before: Ints = np.cumsum(ruled[rows]) - ruled[rows]
        first = np.searchsorted(model[rows], model[rows])
        earlier[rows] = before - before[first]
    return earlier


class _Blocks:
    """Collects sorts of layers, and which model has which of them one after another."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.parts: list[tuple[int, ...]] = []  # row length, elements, rows, and what the name says
        self.starts: list[int] = []  # of each block among the parts
        self.sizes: list[int] = []
        self.sequence: list[int] = []  # blocks in file order, with …
        self.models: list[int] = []
        self.layers: list[int] = []

    def add_model(self, arch: Architecture) -> None:
        model = self.models[-1] + 1 if self.models else 0
        known: dict[tuple[object, ...], int] = {}
        blocks = [self._block(parts_outside(arch))]
        for i, sort in enumerate(layer_sorts(arch)):
            if sort not in known:
                known[sort] = self._block(layer_parts(arch, i))
            blocks.append(known[sort])
        if arch.draft_layers:
            blocks += [self._block(draft_parts(arch))] * arch.draft_layers
        self.sequence += blocks
        self.models += [model] * len(blocks)
        self.layers += range(OUTSIDE, len(blocks) - 1)

    def _block(self, parts: Sequence[Part]) -> int:
        self.starts.append(len(self.names))
        for name, shape in sorted(parts):
            self.names.append(name)
            rows = shape[1] if len(shape) > 1 else 1
            said = _said(name, tuple(min(size, 2) for size in shape))
            self.parts.append((shape[0], math.prod(shape), rows, *said))
        self.sizes.append(len(parts))
        return len(self.sizes) - 1


@cache
def _said(name: str, form: tuple[int, ...]) -> tuple[int, ...]:
    """What follows from a part's name and form, its shape with 2 for every larger number.

    Bytes in the tensor list, kind, policy, then 0 or 1: of experts, a value projection, in a feed-forward part, the
    embedding.
    """
    kind = _kind(name)
    # A dimension of 1 at the end does not count: GGUF drops it.
    full = max(form[1:], default=0) <= 1 or not name.endswith(".weight") or name.endswith("_norm.weight")
    full = full or any(part in name for part in _FULL_NAMES)
    policy = FULL if full else HALF if any(part in name for part in _HALF_NAMES) else RULE
    expert = len(form) > 2 and "_exps." in name
    value = any(f"{part}.weight" in name for part in VALUE_PARTS)
    facts = (expert, value, kind.startswith("ffn"), name == "token_embd.weight")
    return (tensor_entry_bytes(Tensor(name, form)), KINDS.index(kind), policy, *map(int, facts))


def _kind(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    for kind in ("attn_qkv", "attn_v", "attn_k", "attn_q", "attn_output"):
        if f"{kind}.weight" in name:
            return kind
    for kind in ("ffn_up", "ffn_gate", "ffn_down"):
        if kind in name:
            return kind
    return "other"
