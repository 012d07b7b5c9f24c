"""A GGUF file's architecture from a few hundred KB of it: its first keys and, behind the vocabulary, its tensor list.

Between the numbers and the tensor list lie the vocabulary and its merges, up to 16 MiB. They are not read: where the
list ends follows from the file's size and from the bytes that its tensors take, which the numbers tell. What is found
there is believed only when it is a whole list whose tensors fill the file to its last byte.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recommender.errors import BadInputError, RunError
from recommender.estimate.architecture import Architecture, architecture_from_row
from recommender.estimate.gguf_architecture import architecture_row, unlike
from recommender.estimate.gguf_header import tensor_entry_bytes
from recommender.estimate.tensors import layout, parameters, tensors
from recommender.runner.gguf_header import MAX_HEADER_BYTES, Length, Reader, TensorInfo, read_front, read_tensors
from recommender.runner.gguf_types import FILE_TYPES
from recommender.runner.hub import quantization_in

Read = Callable[[int, int], bytes]

_HEAD_BYTES = (64 * 1024, 256 * 1024)  # the numbers come before the vocabulary
_BEFORE_BYTES = 64 * 1024  # read in front of the list: the chat template and keys that quantizing adds
_AFTER_BYTES = 8 * 1024
_PROBE_BYTES = 16 * 1024
_SLICE_BYTES = 4 * 1024
_LONGEST_LIST_BYTES = 128 * 1024
_FEW = 4  # entries or texts in a row that are no accident
_LARGEST_TOKEN_KIND = 6  # llama.cpp's token types
_TEXT_SHARE = 0.9
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
_ENTRY = re.compile(rb"(?=[\x01-\x3f]\x00{7}[A-Za-z_])")  # a name's length and its beginning
_TEXT_IN_LIST = re.compile(rb"(?=[\x01-\xff]\x00{7}[^\x00])")
_PRINTABLE = frozenset(b"\t\n\r" + bytes(range(32, 127)))
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_MOST_LISTS = 8
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
    for start, end in _places(source, guesses, found.quantization, tensor_count):
        window = source.window(start, end)
        if window is None:
            break
        template = _template(window) or template
        if listed := _find(window, start, file_bytes, tensor_count, metadata, name):
            found = _believed(found, metadata, listed)
            break
    if not found.exact and not found.note:
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
        self._read, self.file_bytes, self._left = read, file_bytes, budget_bytes
        self.transferred_bytes = 0
        self.head = b""

    def more_head(self, until: int) -> bytes:
        until = min(until, self.file_bytes)
        if until > len(self.head):
            self.head += self._take(len(self.head), until - len(self.head))
        return self.head

    def window(self, start: int, end: int) -> bytes | None:
        """The bytes from ``start`` to ``end``; None where the budget does not allow it."""
        start, end = max(start, 0), min(end, self.file_bytes)
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


def _places(
    source: _Counted, guesses: list[Architecture], quantization: str, tensor_count: int
) -> Iterator[tuple[int, int]]:
    """Where the tensor list may be: in what was read already, where the data's size says, and else by halving."""
    file_bytes, seen = source.file_bytes, len(source.head)
    yield 0, seen
    longest = 0
    for arch in guesses:
        list_bytes = sum(tensor_entry_bytes(one) for one in tensors(arch))
        longest = max(longest, list_bytes)
        try:
            ends = file_bytes - int(layout(arch, quantization).tensor_bytes)
        except BadInputError:
            continue
        if min(seen, file_bytes // 2) < ends < MAX_HEADER_BYTES:
            yield max(ends - list_bytes - _BEFORE_BYTES, 0), min(ends + _AFTER_BYTES, file_bytes)
    if place := _by_halving(source, min(longest, _LONGEST_LIST_BYTES), tensor_count):
        yield place


def _by_halving(source: _Counted, list_bytes: int, tensor_count: int) -> tuple[int, int] | None:
    """Where the vocabulary turns into data, from a few probes between the first keys and the largest header.

    For files whose quantizer has a mix of its own, so that the data's size is not known. None without a budget.
    """
    low, high = len(source.head), min(source.file_bytes, MAX_HEADER_BYTES)
    while high - low > _BEFORE_BYTES:
        middle = (low + high) // 2
        probe = source.window(middle, middle + _PROBE_BYTES)
        if probe is None:
            return None
        if _lists(probe, min(tensor_count, _FEW), anywhere=True):
            low = high = middle
            break
        low, high = (middle, high) if _is_metadata(probe) else (low, middle)
    start, end = low - list_bytes - _BEFORE_BYTES, high + _PROBE_BYTES + list_bytes + _AFTER_BYTES
    return max(start, 0), min(end, source.file_bytes)


def _is_metadata(probe: bytes) -> bool:
    """Whether a piece of the file is a vocabulary, its kinds or scores, or a text, rather than weights."""
    texts, last = 0, -1
    for match in _TEXT_IN_LIST.finditer(probe):
        texts, last = texts + (match.start() == last), match.start() + 8 + probe[match.start()]
    if texts >= _FEW:
        return True
    piece = probe[:_SLICE_BYTES]
    if max(piece) <= _LARGEST_TOKEN_KIND:  # all zero too: some writers give every token the score 0
        return True
    if sum(byte in _PRINTABLE for byte in piece) > _TEXT_SHARE * len(piece):
        return True
    scores = [struct.unpack_from(f"<{(len(piece) - at) // 4}f", piece, at) for at in range(4)]
    return any(all(value.is_integer() and abs(value) < 2**24 for value in one) for one in scores)


def _find(
    window: bytes, start: int, file_bytes: int, tensor_count: int, metadata: Mapping[str, Any], name: str
) -> tuple[TensorInfo, ...]:
    """The whole tensor list inside ``window``, where it is there and its tensors fill the file; () otherwise."""
    for at in _lists(window, tensor_count):
        reader = Reader(io.BytesIO(window[at:]), file_bytes, name, position=start + at)
        try:
            return read_tensors(reader, tensor_count, metadata, whole=True)
        except (RunError, struct.error):
            continue
    return ()


def _lists(window: bytes, tensor_count: int, anywhere: bool = False) -> list[int]:
    """Where a list of so many entries may begin, a few places at most; ``anywhere``: or go on.

    Every entry is looked at once and linked to the one behind it, so that the time does not grow with the square of
    what a made-up file puts there.
    """
    behind: dict[int, tuple[int, int]] = {}  # an entry's place → its offset in the data, and the place behind it
    for match in _ENTRY.finditer(window):
        at = match.start()
        dimensions = at + 8 + window[at]
        if dimensions + 4 > len(window) or not 1 <= (count := _U32.unpack_from(window, dimensions)[0]) <= 4:
            continue
        end = dimensions + 4 + 8 * count + 12
        if end <= len(window):
            behind[at] = (_U64.unpack_from(window, end - 8)[0], end)
    length: dict[int, int] = {}  # entries from this place on, each with a larger offset than the one before
    for at in sorted(behind, reverse=True):
        offset, end = behind[at]
        length[at] = 1 + (length[end] if end in behind and behind[end][0] > offset else 0)
    starts = [at for at, (offset, _) in behind.items() if (anywhere or offset == 0) and length[at] >= tensor_count > 0]
    return starts[:_MOST_LISTS]


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


def _believed(found: RemoteHeader, metadata: Mapping[str, Any], listed: tuple[TensorInfo, ...]) -> RemoteHeader:
    """What a whole tensor list says; exact where the catalog's rules for the architecture make the same tensors."""
    shapes = [(one.name, one.shape) for one in listed]
    found = replace(found, params_total=sum(math.prod(one.shape) for one in listed))
    try:
        row = architecture_row(metadata, shapes)
        note = unlike(architecture_from_row(row), shapes)
    except BadInputError as error:
        return replace(found, note=str(error))
    told = f"the file's tensors are not the usual ones: {note}" if note else ""
    return replace(found, architecture=row, exact=not note, note=told)


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
