"""The ggml type each tensor gets under a llama.cpp file type.

The rules are data: ``catalog/file_mixes.csv`` says, per file type and kind of tensor, which layers get which type
and when; ``catalog/quant_types.csv`` says how many bytes a block has. They follow ``src/llama-quant.cpp`` of
ggml-org/llama.cpp as it stood when the published files were made: fused query-key-value projections have a rule of
their own.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from recommender.errors import BadInputError
from recommender.estimate.tensor_table import FULL, HALF, KINDS, RULE, Ints, Mask, TensorTable
from recommender.paths import catalog_dir

__all__ = [
    "BlockType",
    "base_bits",
    "block_types",
    "file_types",
    "gguf_file_type",
    "layer_groups",
    "tensor_types",
    "type_bytes",
    "type_names",
    "unfit_share",
]


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


def layer_groups(table: TensorTable) -> Ints:
    """A number per tensor, shape (n,): tensors of one kind that have the same are alike to every rule about layers."""
    rules: dict[str, set[str]] = {}
    for rule in (rule for mix in _mixes().values() for rule in mix.rules if rule.layers != "all"):
        rules.setdefault(rule.kind, set()).add(rule.layers)
    groups = np.zeros(len(table), dtype=np.int64)
    for kind, ways in rules.items():
        rows = np.flatnonzero(_of_kind(kind, table) & (table.policy == RULE))
        for layers in ways:
            groups[rows] = 2 * groups[rows] + _in_layers(layers, table.index[rows], table.counted[rows])
    return groups


def unfit_share(table: TensorTable, quantization: str) -> tuple[float, int]:
    """Share of the weights to be quantized whose rows are no multiple of the base type's block, and that block.

    llama.cpp stores those in a larger type. Raises ``BadInputError`` for an unknown file type.
    """
    block = int(_type_columns().block[_mix(quantization).base])
    ruled = table.policy == RULE
    unfit = ruled & (table.row_length % block != 0)
    return float(table.elements[unfit].sum() / max(table.elements[ruled].sum(), 1)), block


def tensor_types(table: TensorTable, quantization: str, imatrix: bool) -> Ints:
    """The type of every tensor, as an index into ``type_names()``, shape (n,).

    ``imatrix``: whether the file was made with an importance matrix, which changes a few rules.
    Raises ``BadInputError`` for an unknown file type.
    """
    mix, columns = _mix(quantization), _type_columns()
    types = np.full(len(table), mix.base, dtype=np.int64)
    for rule in reversed(mix.rules):  # the first rule that fits wins, so it is applied last
        fits = _of_kind(rule.kind, table) & _in_layers(rule.layers, table.index, table.counted)
        types[fits & _applies(rule.when, table, imatrix)] = rule.type_id
    # A head whose rows do not fit the base type's block is Q8_0, whatever the mix says.
    if quantization not in _PLAIN and quantization != "I2_S":
        head = _of_kind("output", table)
        types[head & (table.row_length % columns.block[mix.base] != 0)] = columns.number["Q8_0"]
    types = np.where(table.row_length % columns.block[types] != 0, columns.fallback[types], types)
    types = np.where(table.row_length % columns.block[types] != 0, columns.number["F16"], types)
    half = columns.number[quantization if quantization in _PLAIN else "BF16"]
    return np.select([table.policy == FULL, table.policy == HALF], [columns.number["F32"], half], types)


def type_bytes(table: TensorTable, types: Ints) -> Ints:
    """Bytes of every tensor, shape (n,)."""
    columns = _type_columns()
    return table.elements // columns.block[types] * columns.block_bytes[types] + columns.extra[types]


def type_names() -> tuple[str, ...]:
    """Names of the numbers that ``tensor_types`` returns."""
    return tuple(block_types())


_PLAIN = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class _Columns:
    number: dict[str, int]
    block: Ints
    block_bytes: Ints
    extra: Ints
    fallback: Ints


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


def _applies(when: str, table: TensorTable, imatrix: bool) -> Mask | np.bool_:
    if when in ("", "imatrix", "no_imatrix"):
        return np.bool_(not when or imatrix == (when == "imatrix"))
    number = table.head_groups if when.startswith("groups") else table.n_expert
    compared = {
        "groups>=4": number >= 4,
        "experts>=4": number >= 4,
        "experts=8": number == 8,
        "experts!=8": number != 8,
    }
    return np.asarray(compared[when])


def _of_kind(kind: str, table: TensorTable) -> Mask:
    """Which tensors a rule for this kind means; a tied embedding is the output too."""
    if kind == "experts":
        return table.is_expert
    if kind == "output":
        return np.asarray(
            (table.kind == KINDS.index("output")) | ((table.kind == KINDS.index("token_embd")) & table.tied)
        )
    if kind == "token_embd":
        return np.asarray((table.kind == KINDS.index("token_embd")) & ~table.tied)
    return np.asarray(table.kind == KINDS.index(kind))


def _in_layers(layers: str, i: Ints, n: Ints) -> Mask:
    """Which tensors, the ``i``-th of ``n``, are in the layers that a rule names so."""
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
