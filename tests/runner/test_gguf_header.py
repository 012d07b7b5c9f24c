from __future__ import annotations

import struct
import tempfile
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.errors import BadInputError, RecommenderError, RunError
from recommender.runner import gguf_header, read_header
from recommender.runner.gguf_types import FILE_TYPES, TENSOR_TYPES
from tests.tiny_gguf import N_LAYER, write_tiny_gguf


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def header(*pairs: bytes, tensors: int = 0, keys: int | None = None, version: int = 3) -> bytes:
    count = len(pairs) if keys is None else keys
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + b"".join(pairs)


def uint(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def name(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


def refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(RunError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith("bad.gguf is not a usable GGUF file: ")
    assert message.endswith("Fetch it again, or choose another file.")
    return message


def test_a_real_file_says_what_it_is(tiny: Path) -> None:
    found = read_header(tiny)
    assert (found.name, found.architecture, found.quantization) == ("Tiny", "llama", "Q8_0")
    assert (found.context_tokens, found.n_layer, found.n_vocab) == (2048, N_LAYER, 260)
    assert found.has_chat_template
    assert found.split_count == 1
    assert gguf_header.model_files(found) == (tiny,)


def test_tensors_are_as_an_independent_reader_has_them(tiny: Path) -> None:
    theirs = gguf.GGUFReader(tiny).tensors
    ours = read_header(tiny).tensors
    assert [tensor.name for tensor in ours] == [tensor.name for tensor in theirs]
    assert [tensor.size_bytes for tensor in ours] == [int(tensor.n_bytes) for tensor in theirs]
    assert [tensor.shape for tensor in ours] == [tuple(int(n) for n in tensor.shape) for tensor in theirs]


def test_block_sizes_are_those_of_the_reference_package() -> None:
    for number, (type_name, block, size) in TENSOR_TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (type_name, (block, size))


def test_file_types_are_those_of_the_reference_package() -> None:
    known = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    shared = FILE_TYPES.keys() & known.keys()
    assert len(shared) > 30
    assert {number: FILE_TYPES[number] for number in shared} == {number: known[number] for number in shared}


def test_every_cut_of_a_file_is_refused(tiny: Path, tmp_path: Path) -> None:
    data = tiny.read_bytes()
    for length in [*range(4097), *range(4098, 12_000, 61), len(data) - 1]:
        refused(tmp_path, data[:length])


def test_what_is_not_a_file_is_bad_input(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.gguf"):
        with pytest.raises(BadInputError):
            read_header(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "does not start like one"),
        (b"PK\x03\x04" * 100, "does not start like one"),
        (header(version=1), "version 1 of the format"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header(keys=2**40), "claims 0 tensors and 1099511627776 keys"),
        (header(tensors=2**63), "claims 9223372036854775808 tensors"),
        (header(keys=100), "ends in the middle"),
        (header(text("k" * 70_000)), "text of 70000 bytes"),
        (header(text("k") + struct.pack("<IQ", 8, 2**62)), "text of 4611686018427387904 bytes"),
        (header(text("k") + struct.pack("<I", 99)), "unknown type 99"),
        (header(text("k") + struct.pack("<IIQ", 9, 4, 2**50)), "list of 1125899906842624 values"),
        (header(text("k") + struct.pack("<IIQ", 9, 9, 1)), "list of the unknown type 9"),
        (header(text("k") + struct.pack("<IIQ", 9, 8, 2**20)), "ends in the middle"),
        (header(uint("k", 1), uint("k", 2)), "key 'k' twice"),
        (header(uint("k", 1)), "names no architecture"),
        (header(name("general.architecture", "a\nb")), "names no architecture"),
        (header(name("general.architecture", "clip")), "image part of a vision model"),
        (header(name("general.architecture", "llama"), name("general.type", "adapter")), "adapter"),
        (header(name("general.architecture", "llama")), "how many layers"),
        (header(name("general.architecture", "llama"), uint("llama.block_count", 10**6)), "is '1000000'"),
        (header(name("general.architecture", "llama"), name("llama.block_count", "3")), "is '3'"),
        (header(name("general.architecture", "llama"), uint("llama.block_count", 3)), "holds no layers"),
        (header(uint("general.alignment", 33)), "alignment of 33"),
    ],
)
def test_a_hostile_header_is_refused_with_its_reason(data: bytes, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, data + b"\0" * 64 if said != "ends in the middle" else data)


@pytest.mark.parametrize(
    ("dimensions", "kind", "offset", "said"),
    [
        ((), 0, 0, "0 dimensions"),
        ((1, 1, 1, 1, 1), 0, 0, "5 dimensions"),
        ((0,), 0, 0, "has the shape 0"),
        ((2**40, 2**40), 0, 0, "has the shape"),
        ((33,), 8, 0, "rows of 33, which Q8_0 cannot hold"),
        ((32,), 0, 7, "not aligned"),
        ((2**30,), 0, 0, "cut short"),
        ((32,), 0, 2**62, "cut short"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(
    dimensions: tuple[int, ...], kind: int, offset: int, said: str, tmp_path: Path
) -> None:
    tensor = text("blk.0.x") + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)
    pairs = (name("general.architecture", "llama"), uint("llama.block_count", 1))
    assert said in refused(tmp_path, header(*pairs, tensors=1) + tensor + b"\0" * 256)


def test_more_or_fewer_layers_than_tensors_are_refused(tmp_path: Path) -> None:
    for claimed, said in ((5, "says 5 layers but holds tensors for 2"), (1, "says 1 layers but holds tensors for")):
        path = write_tiny_gguf(tmp_path / "wrong.gguf", block_count=claimed)
        with pytest.raises(RunError, match=said):
            read_header(path)


def test_parts_of_a_split_model_are_found_and_a_missing_one_is_named(tmp_path: Path) -> None:
    first = write_tiny_gguf(tmp_path / "m.gguf", tensors_per_file=10)
    second, third = (tmp_path / f"m-0000{number}-of-00003.gguf" for number in (2, 3))
    found = read_header(first)
    assert (found.split_count, found.architecture) == (3, "llama")
    assert gguf_header.model_files(found) == (first, second, third)
    parts = [read_header(part) for part in (first, second, third)]
    whole = read_header(write_tiny_gguf(tmp_path / "whole.gguf"))
    assert sum(part.tensor_bytes for part in parts) == whole.tensor_bytes
    with pytest.raises(BadInputError, match=r"first part, m-00001-of-00003\.gguf"):
        gguf_header.model_files(parts[2])
    third.unlink()
    with pytest.raises(RunError, match=r"m-00003-of-00003\.gguf is missing"):
        gguf_header.model_files(found)
    renamed = first.rename(tmp_path / "model.gguf")
    with pytest.raises(RunError, match="names they were published with"):
        gguf_header.model_files(read_header(renamed))


@pytest.mark.parametrize(
    "hostile",
    [
        header(keys=65_536),
        header(tensors=262_144),
        header(text("k") + struct.pack("<IIQ", 9, 8, 16_000_000)),
        header(text("k") + struct.pack("<IIQ", 9, 4, 16_000_000)),
        header(text("k") + struct.pack("<IIQ", 9, 9, 2) + struct.pack("<IQ", 9, 2) * 1000),
        header(text("k") + struct.pack("<IQ", 8, 16_000_000)),
        header(text("k") + struct.pack("<IQ", 8, 4) + b"\xff\xfe\xff\xfe"),
    ],
    ids=["keys", "tensors", "list of texts", "list of numbers", "lists in lists", "a long text", "no UTF-8"],
)
def test_what_a_header_claims_costs_no_more_memory_than_the_file_has(hostile: bytes, tmp_path: Path) -> None:
    data = hostile + b"\0" * 4096
    tracemalloc.start()
    try:
        refused(tmp_path, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024**2


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_a_mutated_header_is_read_or_refused_and_nothing_else(tiny: Path, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(tiny.read_bytes())
    for position, new in changes:
        data[position : position + len(new)] = new
    read_or_refuse(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 4), st.integers(0, 4))
def test_random_bytes_after_the_magic_are_refused(data: bytes, tensors: int, keys: int) -> None:
    read_or_refuse(header(data, tensors=tensors, keys=keys))


def read_or_refuse(data: bytes) -> None:
    message = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        path.write_bytes(data)
        try:
            read_header(path)
        except RecommenderError as error:
            message = str(error)
    assert "\n" not in message
    assert len(message) < 600
