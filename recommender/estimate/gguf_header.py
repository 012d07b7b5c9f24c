"""The bytes of a GGUF file before its first tensor: header, metadata with the tokenizer, and the tensor list.

The container is described in ``docs/gguf.md`` of ggml-org/ggml: strings carry an 8-byte length, arrays a type and
a count, tensor entries a name, their dimensions, a type and an offset. What is in the metadata is not fixed by the
format, so the tokenizer's size comes from ``catalog/tokenizers.csv``: measured ones by vocabulary size, else the
bytes per token of their kind.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache

from recommender.estimate.architecture import Architecture
from recommender.estimate.blocks import Tensor
from recommender.paths import catalog_dir

__all__ = ["header_bytes", "tensor_entry_bytes", "tokenizer_bytes"]

ALIGNMENT = 32
FIXED_BYTES = 24  # magic, version, tensor count, key count


def header_bytes(arch: Architecture, tensors: Iterable[Tensor]) -> int:
    """Bytes before the first tensor's data, padded to the alignment."""
    entries = sum(tensor_entry_bytes(tensor) for tensor in tensors)
    kind = arch.tokenizer or arch.features.tokenizer
    size = FIXED_BYTES + entries + tokenizer_bytes(kind, arch.n_vocab) + metadata_bytes()
    return -(-size // ALIGNMENT) * ALIGNMENT


def tensor_entry_bytes(tensor: Tensor) -> int:
    """One entry of the tensor list: name, dimensions, type and offset."""
    dims = len(tensor.shape)
    while dims > 1 and tensor.shape[dims - 1] == 1:
        dims -= 1
    return 8 + len(tensor.name) + 4 + 8 * dims + 4 + 8


@cache
def tokenizer_bytes(kind: str, n_vocab: int) -> int:
    """Bytes of a tokenizer's token list, types, scores and merges.

    ``kind`` is a row's name in ``tokenizers.csv``, or bpe, spm or gemma4; then the measured one of the same kind
    nearest in size lends its bytes per token.
    """
    rows = _tokenizers()
    named = [row for row in rows if kind == row["tokenizer"]]
    same = named or [row for row in rows if row["kind"] == kind]
    for row in same:
        if named or n_vocab == int(row["vocab_size"]):
            return _bytes_of(row) + _padding(row, n_vocab)
    nearest = min(same, key=lambda row: abs(int(row["vocab_size"]) - n_vocab))
    return round(_bytes_of(nearest) * n_vocab / int(nearest["vocab_size"]))


@cache
def metadata_bytes() -> int:
    """Bytes of the other metadata: names, numbers and the chat template, as the median of measured files."""
    return next(int(row["other_bytes"]) for row in _tokenizers() if row["tokenizer"] == "other metadata")


def _bytes_of(row: dict[str, str]) -> int:
    parts = ("tokens_bytes", "scores_bytes", "types_bytes", "merges_bytes")
    return int(row["other_bytes"]) if row["other_bytes"] else sum(int(row[key] or 0) for key in parts)


def _padding(row: dict[str, str], n_vocab: int) -> int:
    """Tokens that only fill the vocabulary up are written as ``[PAD123456]``."""
    return max(n_vocab - int(row["vocab_size"]), 0) * (8 + 11 + 4)


@cache
def _tokenizers() -> tuple[dict[str, str], ...]:
    with open(catalog_dir() / "tokenizers.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
