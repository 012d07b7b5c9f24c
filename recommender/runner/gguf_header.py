"""Reads the header of a GGUF file, within limits, and refuses what would crash or hang a runtime.

Anyone may hand us any file, so nothing in it is believed: every count, length and offset is checked against the
file's size and a fixed limit before it is used, and reading stops at a deadline. Layout of the format: ggml's
``docs/gguf.md``.
"""

from __future__ import annotations

import io
import math
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from recommender.errors import BadInputError, RunError
from recommender.runner.gguf_types import FILE_TYPES, TENSOR_TYPES

MAX_HEADER_BYTES = 256 * 1024**2  # the largest vocabularies with their merges take about 20 MiB
MAX_KEYS = 65_536
MAX_TENSORS = 262_144
MAX_TEXT_BYTES = 16 * 1024**2
MAX_ARRAY = 16_777_216
MAX_KEPT_ARRAY = 1_024  # longer ones (vocabularies) are only counted
MAX_NAME_BYTES = 64  # GGML_MAX_NAME
MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
MAX_SECONDS = 10.0

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_BLOCK = re.compile(r"blk\.(\d{1,9})\.")


@dataclass(frozen=True)
class TensorInfo:
    name: str
    shape: tuple[int, ...]  # the fastest-moving dimension first, as the file has it
    type_name: str  # "" when this program does not know the type
    size_bytes: int | None  # None when the type is unknown


@dataclass(frozen=True)
class GgufHeader:
    """What a file says about itself. ``None`` and "" mean that it does not say."""

    path: Path
    file_bytes: int
    version: int
    architecture: str
    name: str
    quantization: str  # a file type of llama.cpp, such as Q4_K_M
    context_tokens: int | None  # what the model was made for
    n_layer: int | None
    n_vocab: int | None
    has_chat_template: bool
    split_count: int  # 1 when the model is one file
    split_number: int  # 0 for the first part
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)  # arrays of text and long arrays appear as their length

    @property
    def tensor_bytes(self) -> int:
        """All tensors of this file whose type is known."""
        return sum(tensor.size_bytes or 0 for tensor in self.tensors)

    @property
    def params(self) -> int:
        """Weights in this file."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


def read_header(path: str | Path) -> GgufHeader:
    """Read and check the header of a GGUF file.

    Raises:
        BadInputError: there is no such file, or it cannot be read.
        RunError: it is not a GGUF file, it is damaged or truncated, or it holds values no real model has.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise BadInputError(f"{path} is a folder, not a GGUF file. Choose the file inside it.")
        if not path.is_file():
            raise BadInputError(f"{path} is not a file that can be run: it is a device or a pipe.")
        with path.open("rb", buffering=1024 * 1024) as stream:
            return _parse(path, Reader(stream, size, path.name))
    except FileNotFoundError as error:
        raise BadInputError(f"There is no file {path}. Check the path.") from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}. Check its permissions.") from error


def model_files(header: GgufHeader) -> tuple[Path, ...]:
    """All files of the model: the file itself, or every part of a split one.

    Raises ``RunError`` when a part is missing.
    """
    if header.split_count == 1:
        return (header.path,)
    found = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", header.path.name)
    if not found or int(found[2]) != header.split_count:
        raise RunError(
            f"{header.path.name} is part of a model in {header.split_count} files, but its name is not of the form "
            "name-00001-of-00005.gguf. Give the files the names they were published with."
        )
    parts = tuple(
        header.path.with_name(f"{found[1]}-{number:05d}-of-{found[2]}.gguf")
        for number in range(1, header.split_count + 1)
    )
    if header.split_number:
        raise BadInputError(f"{header.path.name} is a later part of a model. Choose its first part, {parts[0].name}.")
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise RunError(f"{missing[0]} is missing beside {header.path.name}. Fetch all {len(parts)} parts.")
    return parts


class Reader:
    """Reads a header piece by piece within the limits. ``position`` is in the file, ``size`` the whole file's."""

    def __init__(self, stream: BinaryIO, size: int, name: str, position: int = 0) -> None:
        self._stream, self.size, self._name = stream, size, name
        self.position = position
        self._deadline = time.monotonic() + MAX_SECONDS
        self._ticks = 0

    def bad(self, what: str) -> RunError:
        return RunError(f"{self._name} is not a usable GGUF file: {what}. Fetch it again, or choose another file.")

    def read(self, count: int) -> bytes:
        self._advance(count)
        data = self._stream.read(count)
        if len(data) != count:
            raise self.bad("it ends in the middle of its header")
        return data

    def skip(self, count: int) -> None:
        self._advance(count)
        self._stream.seek(count, io.SEEK_CUR)

    def _advance(self, count: int) -> None:
        self.position += count
        if self.position > self.size:
            raise self.bad("it ends in the middle of its header")
        if self.position > MAX_HEADER_BYTES:
            raise self.bad(f"its header is larger than {MAX_HEADER_BYTES // 1024**2} MiB")
        self._ticks += 1
        if self._ticks % 8192 == 0 and time.monotonic() > self._deadline:
            raise self.bad(f"its header takes longer than {MAX_SECONDS:.0f} s to read")

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.read(struct.calcsize("<" + code)))[0]

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        length = self.number("Q")
        if length > limit:
            raise self.bad(f"it has a text of {length} bytes")
        return self.read(length).decode("utf-8", errors="replace")

    def skip_text(self) -> None:
        length = self.number("Q")
        if length > MAX_TEXT_BYTES:
            raise self.bad(f"it has a text of {length} bytes")
        self.skip(length)

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise self.bad(f"it has a value of the unknown type {kind}")
        item, count = self.number("I"), self.number("Q")
        if count > MAX_ARRAY:
            raise self.bad(f"it has a list of {count} values")
        if item == _STRING:
            for _ in range(count):
                self.skip_text()
            return Length(count)
        if item not in _SCALARS:
            raise self.bad(f"it has a list of the unknown type {item}")
        width = struct.calcsize("<" + _SCALARS[item])
        if count > MAX_KEPT_ARRAY:
            self.skip(width * count)
            return Length(count)
        return struct.unpack(f"<{count}{_SCALARS[item]}", self.read(width * count))


class Length(int):
    """Stands for a list that was counted but not kept."""


def read_front(reader: Reader) -> tuple[int, int, int]:
    """Check the first 24 bytes; returns version, number of tensors and number of keys."""
    if reader.size < 24 or reader.read(4) != b"GGUF":
        raise reader.bad("it does not start like one")
    version = reader.number("I")
    if version not in (2, 3):
        newer = "big-endian" if version in (0x02000000, 0x03000000) else f"version {version} of the format"
        raise reader.bad(f"it is {newer}, and llama.cpp reads little-endian versions 2 and 3")
    tensor_count, key_count = reader.number("Q"), reader.number("Q")
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise reader.bad(f"it claims {tensor_count} tensors and {key_count} keys")
    return version, tensor_count, key_count


def _parse(path: Path, reader: Reader) -> GgufHeader:
    version, tensor_count, key_count = read_front(reader)
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.text(limit=65_535)
        if key in metadata:
            raise reader.bad(f"it has the key {_shown(key)} twice")
        metadata[key] = reader.value(reader.number("I"))
    split_count = _integer(reader, metadata, "split.count", most=100_000) or 1
    split_number = _integer(reader, metadata, "split.no", most=split_count - 1) or 0
    tensors = read_tensors(reader, tensor_count, metadata)
    architecture = ""
    if split_number == 0:  # later parts hold tensors only
        architecture = _check_model(reader, metadata, tensors, split_count)
    file_type = metadata.get("general.file_type")
    vocabulary = metadata.get("tokenizer.ggml.tokens")
    name = metadata.get("general.name")
    return GgufHeader(
        path=path,
        file_bytes=reader.size,
        version=version,
        architecture=architecture,
        name=name if isinstance(name, str) else "",
        quantization=FILE_TYPES.get(file_type, "") if isinstance(file_type, int) else "",
        context_tokens=_integer(reader, metadata, f"{architecture}.context_length"),
        n_layer=_integer(reader, metadata, f"{architecture}.block_count"),
        n_vocab=int(vocabulary) if isinstance(vocabulary, Length) else None,
        has_chat_template=isinstance(metadata.get("tokenizer.chat_template"), str),
        split_count=split_count,
        split_number=split_number,
        tensors=tensors,
        metadata=metadata,
    )


def read_tensors(
    reader: Reader, count: int, metadata: Mapping[str, Any], whole: bool = False
) -> tuple[TensorInfo, ...]:
    """The tensor list from the reader's position on; ``whole``: its tensors must also fill the file to its end."""
    alignment = _integer(reader, metadata, "general.alignment", most=2**20) or 32
    if alignment & (alignment - 1):
        raise reader.bad(f"its alignment of {alignment} is no power of two")
    found, ends, names = [], [], set()
    for _ in range(count):
        name = reader.text(limit=MAX_NAME_BYTES - 1)
        dimensions = reader.number("I")
        if name in names:
            raise reader.bad(f"it has the tensor {_shown(name)} twice")
        if not 1 <= dimensions <= 4:
            raise reader.bad(f"its tensor {_shown(name)} has {dimensions} dimensions")
        names.add(name)
        shape = struct.unpack(f"<{dimensions}Q", reader.read(8 * dimensions))
        kind, offset = reader.number("I"), reader.number("Q")
        if min(shape) == 0 or math.prod(shape) >= 2**62:
            raise reader.bad(f"its tensor {_shown(name)} has the shape {' × '.join(map(str, shape))}")
        if offset % alignment:
            raise reader.bad(f"its tensor {_shown(name)} starts at {offset}, which is not aligned to {alignment}")
        type_name, size = "", None
        if kind in TENSOR_TYPES:
            type_name, block, block_bytes = TENSOR_TYPES[kind]
            if shape[0] % block:
                raise reader.bad(f"its tensor {_shown(name)} has rows of {shape[0]}, which {type_name} cannot hold")
            size = math.prod(shape) // block * block_bytes
        found.append(TensorInfo(name, shape, type_name, size))
        ends.append(offset + (size or 0))
    data_start = -(-reader.position // alignment) * alignment
    needed = data_start + max(ends, default=0)
    if found and needed > reader.size:
        raise reader.bad(f"it is cut short: {reader.size} bytes of at least {needed}")
    if whole and (not 0 <= reader.size - needed < alignment or any(one.size_bytes is None for one in found)):
        raise reader.bad(f"its tensors end at {needed} of {reader.size} bytes")
    return tuple(found)


def _check_model(reader: Reader, metadata: Mapping[str, Any], tensors: tuple[TensorInfo, ...], split_count: int) -> str:
    """Refuse what the format allows but no language model has, and what would take the runtime down.

    Returns the architecture.
    """
    kind = metadata.get("general.type", "model")
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", architecture):
        raise reader.bad("it names no architecture")
    if kind == "adapter":
        raise reader.bad("it holds an adapter (LoRA), not a model")
    if kind == "mmproj" or architecture == "clip":
        raise reader.bad("it holds the image part of a vision model, not the language model")
    layers = _integer(reader, metadata, f"{architecture}.block_count", most=MAX_LAYERS)
    for key in ("embedding_length", "context_length"):
        _integer(reader, metadata, f"{architecture}.{key}", least=1)
    if layers is None:
        raise reader.bad("it does not say how many layers it has")
    if split_count == 1:
        blocks = {int(match[1]) for tensor in tensors if (match := _BLOCK.match(tensor.name))}
        if not blocks:
            raise reader.bad("it holds no layers; it may be a vocabulary only")
        if max(blocks) >= layers:
            raise reader.bad(f"it says {layers} layers but holds tensors for layer {max(blocks) + 1}")
        if max(blocks) + 1 < layers:
            raise reader.bad(f"it says {layers} layers but holds tensors for {max(blocks) + 1}")
    return architecture


def _integer(
    reader: Reader, metadata: Mapping[str, Any], key: str, least: int = 0, most: int = 2**31 - 1
) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, (bool, Length)) or not isinstance(value, int) or not least <= value <= most:
        raise reader.bad(f"its {_shown(key)} is {_shown(str(value))}")
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")
