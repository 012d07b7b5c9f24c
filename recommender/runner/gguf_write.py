"""Writes the front of a GGUF file: header, metadata and the tensor list.

The container is described in ``docs/gguf.md`` of ggml-org/ggml (version 3, little-endian).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["ALIGNMENT", "TensorEntry", "front", "padded"]

ALIGNMENT = 32
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9

Scalar = bool | int | float | str | bytes
Value = Scalar | Sequence[Scalar]


class TensorEntry(NamedTuple):
    """One tensor: name, shape with the row length first, ggml type number and size in bytes."""

    name: str
    shape: tuple[int, ...]
    type_number: int
    size_bytes: int


def front(metadata: Mapping[str, Value], tensors: Sequence[TensorEntry]) -> tuple[bytes, list[int], int]:
    """The bytes before the data, each tensor's offset in the file, and the file's size."""
    pieces = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    pieces += [_text(key) + _typed(value) for key, value in metadata.items()]
    offset, offsets = 0, []
    for tensor in tensors:
        dims = tensor.shape
        pieces.append(
            _text(tensor.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.type_number, offset)
        )
        offsets.append(offset)
        offset += padded(tensor.size_bytes)
    head = b"".join(pieces)
    head += bytes(padded(len(head)) - len(head))
    return head, [len(head) + start for start in offsets], len(head) + offset


def padded(size: int) -> int:
    """``size`` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Value) -> bytes:
    if isinstance(value, bool | int | float | str | bytes):
        return struct.pack("<I", _kind(value)) + _plain(value)
    kind = _kind(value[0]) if value else _STRING
    kind = _I32 if kind == _U32 else kind  # llama.cpp wants signed numbers in lists such as token types
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(map(_plain, value))


def _kind(value: Scalar) -> int:
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        return _U32
    return _F32 if isinstance(value, float) else _STRING


def _plain(value: Scalar) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<?", value)
    if isinstance(value, int):
        return struct.pack("<I", value)
    if isinstance(value, float):
        return struct.pack("<f", value)
    return _text(value)
