"""A GGUF file's architecture from a few hundred KB of it: its first keys and, behind the vocabulary, its tensor list.

Between the numbers and the tensor list lie the vocabulary and its merges, up to 16 MiB. They are not read: where the
list ends follows from the file's size and from the bytes that its tensors take, which the numbers tell. What is found
there is believed only when it is a whole list whose tensors fill the file to its last byte.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recommender.errors import BadInputError, RunError
from recommender.estimate.architecture import Architecture, architecture_from_row
from recommender.estimate.gguf_architecture import architecture_row
from recommender.estimate.gguf_header import header_bytes, tensor_entry_bytes
from recommender.estimate.tensors import layout, parameters, tensors
from recommender.runner.gguf_header import Length, Reader, TensorInfo, read_front, read_tensors
from recommender.runner.gguf_types import FILE_TYPES
from recommender.runner.hub import quantization_in

Read = Callable[[int, int], bytes]

_HEAD_BYTES = (64 * 1024, 256 * 1024)  # the numbers come before the vocabulary
_BEFORE_BYTES = 64 * 1024  # read in front of the list: the chat template and keys that quantizing adds
_AFTER_BYTES = 8 * 1024
_MARGIN_BYTES = 96 * 1024  # how far a prediction from a vocabulary's usual size may be off
# What an architecture's models differ in without a word in the metadata.
_ONLY_IN_TENSORS: tuple[dict[str, str], ...] = (
    {},
    {"qkv_bias": "yes"},
    {"qkv_bias": "no"},
    {"ssm_norm": "no"},
    {"rope_factors": "freqs"},
    {"rope_factors": "long"},
    {"qk_norm": "head"},
    {"experts_fused": "yes"},
    {"values_from_keys": "yes"},
)
_SAME_SIZE_SHARE = 0.001
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{2,62}")
_TEMPLATE_KEY = b"tokenizer.chat_template"


@dataclass(frozen=True)
class RemoteHeader:
    """What a file's header tells. ``architecture`` is a row for ``architecture_from_row``; {} for an unknown id."""

    architecture: dict[str, str]
    source: str
    transferred_bytes: int
    params_total: int | None
    context_tokens: int | None
    quantization: str
    name: str
    chat_template: str | None
    thinking: str  # yes, no, hybrid or ""
    tool_calling: str  # yes, no or ""
    exact: bool
    note: str  # why it is not exact


def read_remote_header(read: Read, file_bytes: int, name: str, budget_bytes: int = 1_000_000) -> RemoteHeader:
    """Read as little of a GGUF file as its architecture takes.

    Args:
        read: gives ``count`` bytes from ``start``: one range request.
        file_bytes: the file's whole size.
        name: of the file, for messages and for its quantization where the header does not say it.
        budget_bytes: what is read at most.

    Raises:
        RunError: it is no GGUF file, or a damaged one.
    """
    source = _Counted(read, file_bytes, budget_bytes)
    metadata, tensor_count = _head(source, file_bytes, name)
    found = RemoteHeader(
        architecture={},
        source="",
        transferred_bytes=0,
        params_total=None,
        context_tokens=_whole(metadata, "context_length"),
        quantization=FILE_TYPES.get(_int(metadata.get("general.file_type")), "") or quantization_in(name),
        name=_text(metadata.get("general.name")),
        chat_template=None,
        thinking="",
        tool_calling="",
        exact=False,
        note="",
    )
    try:
        row = architecture_row(metadata)
        guesses = _guesses(row, tensor_count)
        if not guesses:
            architecture_from_row({**row, "tied_embeddings": "no"})
    except BadInputError as error:
        return _done(replace(found, note=str(error)), source, name)
    template = None
    for start, end in _places(guesses, found.quantization, file_bytes):
        window = source.window(start, end)
        if window is None:
            break
        template = _template(window) or template
        listed = _find(window, start, file_bytes, tensor_count, metadata, name)
        if listed:
            exact_row = architecture_row(metadata, [(one.name, one.shape) for one in listed])
            params = sum(_product(one.shape) for one in listed)
            found = replace(found, architecture=exact_row, exact=True, params_total=params)
            break
    else:
        window = None
    if not found.exact:
        found = _by_size(found, guesses, row, file_bytes)
    thinking, tools = template_abilities(template)
    found = replace(found, chat_template=template, thinking=thinking, tool_calling=tools)
    return _done(found, source, name)


def template_abilities(template: str | None) -> tuple[str, str]:
    """Whether a chat template lets a model think, and call tools: (yes, no, hybrid or "", yes, no or "")."""
    if not template:
        return "", ""
    thinking = "hybrid" if "enable_thinking" in template else "yes" if "<think>" in template else "no"
    return thinking, "yes" if re.search(r"\btools?\b", template) else "no"


class _Counted:
    """Range requests within a budget; what was read already is not read again."""

    def __init__(self, read: Read, file_bytes: int, budget_bytes: int) -> None:
        self._read, self._file_bytes, self._left = read, file_bytes, budget_bytes
        self.transferred_bytes = 0
        self.head = b""

    def more_head(self, until: int) -> bytes:
        until = min(until, self._file_bytes)
        if until > len(self.head):
            self.head += self._take(len(self.head), until - len(self.head))
        return self.head

    def window(self, start: int, end: int) -> bytes | None:
        """The bytes from ``start`` to ``end``; None where the budget does not allow it."""
        start, end = max(start, 0), min(end, self._file_bytes)
        if end <= len(self.head):
            return self.head[start:end]
        if end - start > self._left or end <= start:
            return None
        return self._take(start, end - start)

    def _take(self, start: int, count: int) -> bytes:
        self._left -= count
        self.transferred_bytes += count
        data = self._read(start, count)
        if len(data) != count:
            raise RunError(f"{len(data)} bytes came of {count}. Try again.")
        return data


def _head(source: _Counted, file_bytes: int, name: str) -> tuple[dict[str, Any], int]:
    """The keys up to the vocabulary, and the number of tensors."""
    for size in _HEAD_BYTES:
        data = source.more_head(size)
        reader = Reader(io.BytesIO(data), file_bytes, name)
        metadata: dict[str, Any] = {}
        tensor_count = -1
        try:
            _, tensor_count, keys = read_front(reader)
            for _ in range(keys):
                key = reader.text(limit=65_535)
                kind = reader.number("I")
                if key == "tokenizer.ggml.tokens":
                    item, count = reader.number("I"), reader.number("Q")
                    metadata[key] = Length(min(count, 2**31 - 1)) if item == 8 else Length(0)
                    return metadata, tensor_count
                metadata[key] = reader.value(kind)
            return metadata, tensor_count
        except RunError:
            if reader.position <= len(data) or len(data) >= min(file_bytes, _HEAD_BYTES[-1]):
                if tensor_count >= 0 and "general.architecture" in metadata and reader.position > len(data):
                    return metadata, tensor_count  # the vocabulary lies further behind; its size is then not known
                raise
    raise AssertionError  # the last size returns or raises


def _guesses(row: Mapping[str, str], tensor_count: int) -> list[Architecture]:
    """What the numbers may mean: head tied or not, and what only tensors tell; those of the right number of tensors."""
    found = []
    for tied in ("yes", "no"):
        for own in _ONLY_IN_TENSORS:
            try:
                found.append(architecture_from_row({**row, "tied_embeddings": tied, **own}))
            except BadInputError:
                continue
    different = {tensors(arch): arch for arch in reversed(found)}  # the first of those with the same tensors
    fitting = [arch for arch in found if different[tensors(arch)] is arch and len(tensors(arch)) == tensor_count]
    return fitting or found[:: len(_ONLY_IN_TENSORS)]


def _places(guesses: list[Architecture], quantization: str, file_bytes: int) -> Iterator[tuple[int, int]]:
    """Where the tensor list may be, the likeliest first: from the data's size, then from the header's usual size."""
    usual: list[tuple[int, int]] = []
    for arch in guesses:
        list_bytes = sum(tensor_entry_bytes(one) for one in tensors(arch))
        try:
            data_bytes = int(layout(arch, quantization).tensor_bytes)
        except BadInputError:
            data_bytes = 0
        if 0 < data_bytes < file_bytes:
            ends = file_bytes - data_bytes
            yield ends - list_bytes - _BEFORE_BYTES, ends + _AFTER_BYTES
        ends = header_bytes(arch, tensors(arch))
        usual.append((ends - list_bytes - _BEFORE_BYTES - _MARGIN_BYTES, ends + _MARGIN_BYTES))
    yield from usual


def _find(
    window: bytes, start: int, file_bytes: int, tensor_count: int, metadata: Mapping[str, Any], name: str
) -> tuple[TensorInfo, ...]:
    """The whole tensor list inside ``window``, where it is there and its tensors fill the file; () otherwise."""
    for match in _NAME.finditer(window):
        at = match.start() - 8
        if at < 0:
            continue
        (length,) = struct.unpack_from("<Q", window, at)
        if length != len(match[0]) and match[0][:length] != match[0]:
            continue
        stream = io.BytesIO(window[at:])
        reader = Reader(stream, file_bytes, name, position=start + at)
        try:
            return read_tensors(reader, tensor_count, metadata, whole=True)
        except (RunError, struct.error):
            continue
    return ()


def _template(window: bytes) -> str | None:
    at = window.find(_TEMPLATE_KEY)
    if at < 0:
        return None
    at += len(_TEMPLATE_KEY)
    if len(window) < at + 12:
        return None
    kind, length = struct.unpack_from("<IQ", window, at)
    text = window[at + 12 : at + 12 + length]
    return text.decode("utf-8", errors="replace") if kind == 8 and len(text) == length else None


def _by_size(found: RemoteHeader, guesses: list[Architecture], row: dict[str, str], file_bytes: int) -> RemoteHeader:
    """Without a tensor list: tied or not by which of the two makes a file of this size."""
    note = "the tensor list was not found within the bytes that may be read"
    for arch in guesses:
        try:
            expected = layout(arch, found.quantization).file_bytes
        except BadInputError:
            continue
        if abs(expected / file_bytes - 1) <= _SAME_SIZE_SHARE:
            tied = "yes" if arch.tied else "no"
            return replace(
                found,
                architecture={**row, "tied_embeddings": tied},
                params_total=parameters(arch),
                note=f"{note}; the numbers make a file of this size",
            )
    only = guesses[0] if len(guesses) == 1 else None
    known = {"tied_embeddings": "yes" if only.tied else "no"} if only else {}
    return replace(found, architecture={**row, **known}, note=note)


def _done(found: RemoteHeader, source: _Counted, name: str) -> RemoteHeader:
    count = source.transferred_bytes
    return replace(found, transferred_bytes=count, source=f"GGUF header of {name}, {count:,} bytes read")


def _whole(metadata: Mapping[str, Any], key: str) -> int | None:
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def _int(value: object) -> int:
    return value if isinstance(value, int) else -1


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for one in shape:
        total *= one
    return total
