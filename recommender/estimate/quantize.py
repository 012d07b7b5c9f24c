"""The ggml type each tensor gets under a llama.cpp file type.

The rules are data: ``catalog/file_mixes.csv`` says, per file type and kind of tensor, which layers get which type
and when; ``catalog/quant_types.csv`` says how many bytes a block has. They follow ``src/llama-quant.cpp`` of
ggml-org/llama.cpp as it stood when the published files were made: fused query-key-value projections have a rule of
their own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import BadInputError
from recommender.estimate.blocks import Tensor
from recommender.paths import catalog_dir

__all__ = [
    "BlockType",
    "TensorTable",
    "base_bits",
    "block_types",
    "file_types",
    "gguf_file_type",
    "tensor_table",
    "tensor_types",
    "type_bytes",
    "type_names",
    "unfit_share",
]

FULL, HALF, RULE = 0, 1, 2  # always F32; as converted (2 bytes); by the file type's rules
KINDS = (
    "other", "output", "token_embd", "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output",
    "ffn_up", "ffn_gate", "ffn_down",
)  # fmt: skip
VALUE_PARTS = ("attn_v", "attn_qkv", "attn_kv_b")
# Tensors that conversion keeps in F32 though they have two dimensions, and those that quantization leaves alone.
_FULL_NAMES = ("ffn_gate_inp", "ssm_conv1d", "shortconv.conv", "altup_correct_coef", "altup_predict_coef")
_HALF_NAMES = ("altup", "laurel", "per_layer_model_proj")
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class BlockType:
    """A ggml type: ``block`` elements of a row are stored in ``block_bytes``; ``tensor_extra`` once per tensor.

    ``scale_offsets`` are the places of the half-precision scales in a block.
    """

    name: str
    block: int
    block_bytes: int
    tensor_extra: int
    gguf_number: int
    scale_offsets: tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    kind: str
    layers: str
    when: str
    type_id: int


@dataclass(frozen=True)
class FileMix:
    base: int
    rules: tuple[Rule, ...]
    gguf_id: int


@dataclass(frozen=True)
class TensorTable:
    """A model's tensors as columns, in file order; what the rules need to know is worked out once.

    ``index`` is the layer as most rules count it, ``counter`` the number of earlier tensors of the same kind.
    """

    names: tuple[str, ...]
    row_length: NDArray[np.int64]
    elements: NDArray[np.int64]
    rows: NDArray[np.int64]  # of one matrix: shape[1]
    kind: NDArray[np.int64]
    policy: NDArray[np.int64]
    is_expert: NDArray[np.bool_]
    index: NDArray[np.int64]
    counter: NDArray[np.int64]
    n_layer: int
    n_values: int  # value projections, fused ones included
    head_groups: int
    n_expert: int


@cache
def block_types() -> dict[str, BlockType]:
    """ggml types by name, from ``catalog/quant_types.csv``."""
    with open(catalog_dir() / "quant_types.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "tensor_type"]
    return {
        row["name"]: BlockType(
            row["name"],
            int(row["block_size"]),
            int(row["bytes_per_block"]),
            int(row["bytes_per_tensor"] or 0),
            int(row["gguf_type"]),
            tuple(int(offset) for offset in row["scale_offsets"].split(";") if offset),
        )
        for row in rows
    }


def file_types() -> tuple[str, ...]:
    """The GGUF file types that have a rule set, most bits first."""
    return tuple(_mixes())


def base_bits(quantization: str) -> float:
    """Bits per weight of a file type's base type, which most of its tensors have."""
    item = list(block_types().values())[_mix(quantization).base]
    return 8.0 * item.block_bytes / item.block


def gguf_file_type(quantization: str) -> int:
    """The number that GGUF's ``general.file_type`` has for a file type."""
    return _mix(quantization).gguf_id


def tensor_table(tensors: Sequence[Tensor], n_layer: int, head_groups: int, n_expert: int) -> TensorTable:
    """Columns of ``tensors`` in the order in which llama.cpp counts them: by layer, then by name."""
    ordered = sorted(tensors, key=_order)
    kinds = [_kind(tensor.name) for tensor in ordered]
    policies = np.array([_policy(tensor) for tensor in ordered])
    counts: dict[int, int] = {}
    index, counter = [], []
    for tensor, kind, policy in zip(ordered, kinds, policies, strict=True):
        seen = counts.get(kind, 0)
        match = _LAYER.match(tensor.name)
        by_name = n_expert > 1 and KINDS[kind].startswith("ffn") and match
        index.append(int(match.group(1)) if match and by_name else seen)
        counter.append(seen)
        if policy == RULE:
            counts[kind] = seen + 1
    values = sum(any(f"{part}.weight" in tensor.name for part in VALUE_PARTS) for tensor in ordered)
    return TensorTable(
        names=tuple(tensor.name for tensor in ordered),
        row_length=np.array([tensor.shape[0] for tensor in ordered], dtype=np.int64),
        elements=np.array([int(np.prod(tensor.shape)) for tensor in ordered], dtype=np.int64),
        rows=np.array([tensor.shape[1] if len(tensor.shape) > 1 else 1 for tensor in ordered], dtype=np.int64),
        kind=np.array(kinds, dtype=np.int64),
        policy=policies,
        is_expert=np.array([len(tensor.shape) > 2 and "_exps." in tensor.name for tensor in ordered]),
        index=np.array(index, dtype=np.int64),
        counter=np.array(counter, dtype=np.int64),
        n_layer=n_layer,
        n_values=values,
        head_groups=head_groups,
        n_expert=n_expert,
    )


def unfit_share(table: TensorTable, quantization: str) -> tuple[float, int]:
    """Share of the weights to be quantized whose rows are no multiple of the base type's block, and that block.

    llama.cpp stores those in a larger type. Raises ``BadInputError`` for an unknown file type.
    """
    block = int(_type_columns().block[_mix(quantization).base])
    ruled = table.policy == RULE
    unfit = ruled & (table.row_length % block != 0)
    return float(table.elements[unfit].sum() / max(table.elements[ruled].sum(), 1)), block


def tensor_types(table: TensorTable, quantization: str, imatrix: bool) -> NDArray[np.int64]:
    """The type of every tensor, as an index into ``type_names()``, shape (n,).

    ``imatrix``: whether the file was made with an importance matrix, which changes a few rules.
    Raises ``BadInputError`` for an unknown file type.
    """
    mix, columns = _mix(quantization), _type_columns()
    types = np.full(len(table.names), mix.base, dtype=np.int64)
    tied = not bool(np.any(table.kind == KINDS.index("output")))
    for rule in reversed(mix.rules):  # the first rule that fits wins, so it is applied last
        if _applies(rule.when, table, imatrix):
            types[_of_kind(rule.kind, table, tied) & _in_layers(rule.layers, table)] = rule.type_id
    # A head whose rows do not fit the base type's block is Q8_0, whatever the mix says.
    if quantization not in _PLAIN and table.n_layer and quantization != "I2_S":
        head = _of_kind("output", table, tied)
        types[head & (table.row_length % columns.block[mix.base] != 0)] = columns.number["Q8_0"]
    types = np.where(table.row_length % columns.block[types] != 0, columns.fallback[types], types)
    types = np.where(table.row_length % columns.block[types] != 0, columns.number["F16"], types)
    half = columns.number[quantization if quantization in _PLAIN else "BF16"]
    return np.select([table.policy == FULL, table.policy == HALF], [columns.number["F32"], half], types)


def type_bytes(table: TensorTable, types: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of every tensor, shape (n,)."""
    columns = _type_columns()
    return table.elements // columns.block[types] * columns.block_bytes[types] + columns.extra[types]


def type_names() -> tuple[str, ...]:
    """Names of the numbers that ``tensor_types`` returns."""
    return tuple(block_types())


Mask = NDArray[np.bool_]
_PLAIN = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class _Columns:
    number: dict[str, int]
    block: NDArray[np.int64]
    block_bytes: NDArray[np.int64]
    extra: NDArray[np.int64]
    fallback: NDArray[np.int64]


@cache
def _type_columns() -> _Columns:
    types = list(block_types().values())
    number = {item.name: i for i, item in enumerate(types)}
    fallback = np.arange(len(types))
    for row in _mix_rows():
        if row["tensor_kind"] == "fallback":
            fallback[number[row["when"]]] = number[row["tensor_type"]]
    return _Columns(
        number,
        np.array([item.block for item in types]),
        np.array([item.block_bytes for item in types]),
        np.array([item.tensor_extra for item in types]),
        fallback,
    )


@cache
def _mix_rows() -> tuple[dict[str, Any], ...]:
    with open(catalog_dir() / "file_mixes.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def _mixes() -> dict[str, FileMix]:
    number = {name: i for i, name in enumerate(block_types())}
    base = {row["file_type"]: row for row in _mix_rows() if row["tensor_kind"] == "base"}
    rules: dict[str, list[Rule]] = {name: [] for name in base}
    for row in _mix_rows():
        if row["tensor_kind"] not in ("base", "fallback"):
            rule = Rule(row["tensor_kind"], row["layers"], row["when"], number[row["tensor_type"]])
            rules[row["file_type"]].append(rule)
    return {
        name: FileMix(number[row["tensor_type"]], tuple(rules[name]), int(row["gguf_file_type"]))
        for name, row in base.items()
    }


def _mix(quantization: str) -> FileMix:
    try:
        return _mixes()[quantization]
    except KeyError:
        raise BadInputError(
            f"{quantization!r} is not a GGUF file type with known rules; known are {', '.join(file_types())}."
        ) from None


def _applies(when: str, table: TensorTable, imatrix: bool) -> bool:
    return {
        "": True,
        "imatrix": imatrix,
        "no_imatrix": not imatrix,
        "groups>=4": table.head_groups >= 4,
        "experts>=4": table.n_expert >= 4,
        "experts=8": table.n_expert == 8,
        "experts!=8": table.n_expert != 8,
    }[when]


def _of_kind(kind: str, table: TensorTable, tied: bool) -> Mask:
    if kind == "experts":
        return table.is_expert
    if kind == "output":
        return np.asarray((table.kind == KINDS.index("output")) | ((table.kind == KINDS.index("token_embd")) & tied))
    if kind == "token_embd":
        return np.asarray((table.kind == KINDS.index("token_embd")) & (not tied))
    return np.asarray(table.kind == KINDS.index(kind))


def _in_layers(layers: str, table: TensorTable) -> Mask:
    values = np.isin(table.kind, (KINDS.index("attn_v"), KINDS.index("attn_qkv")))
    i, n = table.index, np.where(values, table.n_values, table.n_layer)
    if layers == "all":
        return np.ones(len(i), dtype=np.bool_)
    if layers.startswith("first:"):
        return np.asarray(i < int(layers.removeprefix("first:")))
    if layers == "first_eighth":
        return np.asarray(i < n // 8)
    if layers == "first_sixteenth":
        return np.asarray(i < n // 16)
    if layers == "middle":
        return np.asarray((i >= n // 8) & (i < 7 * n // 8))
    # "more_bits": the first and last eighth and every third layer between
    return np.asarray((i < n // 8) | (i >= 7 * n // 8) | ((i - n // 8) % 3 == 2))


def _order(tensor: Tensor) -> tuple[int, str]:
    match = _LAYER.match(tensor.name)
    return (int(match.group(1)) if match else -1, tensor.name)


def _kind(name: str) -> int:
    if name == "output.weight":
        return KINDS.index("output")
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return KINDS.index("token_embd")
    for kind in ("attn_qkv", "attn_v", "attn_k", "attn_q", "attn_output"):
        if f"{kind}.weight" in name:
            return KINDS.index(kind)
    for kind in ("ffn_up", "ffn_gate", "ffn_down"):
        if kind in name:
            return KINDS.index(kind)
    return KINDS.index("other")


def _policy(tensor: Tensor) -> int:
    name = tensor.name
    # A dimension of 1 at the end does not count: GGUF drops it.
    flat = sum(size > 1 for size in tensor.shape[1:]) == 0
    if flat or not name.endswith(".weight") or name.endswith("_norm.weight"):
        return FULL
    if any(part in name for part in _FULL_NAMES):
        return FULL
    return HALF if any(part in name for part in _HALF_NAMES) else RULE
