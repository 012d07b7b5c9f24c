from __future__ import annotations

import math
import random
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.remote_header import head_of
from recommender.catalog.sources import remote_header
from recommender.catalog.sources.remote_header import RemoteHeader, read_remote_header, template_abilities
from recommender.errors import RecommenderError
from recommender.estimate.architecture import Architecture, architecture_from_row, complete
from recommender.estimate.quantize import block_types
from recommender.estimate.tensors import parameters, table, tensors
from recommender.runner.gguf_header import read_tensors
from recommender.runner.gguf_metadata import metadata
from recommender.runner.gguf_write import TensorEntry, front
from tests.estimate.shapes import catalog_rows

BUDGET = 1_000_000


def of_ids() -> dict[str, Architecture]:
    """One complete model per architecture id."""
    found: dict[str, Architecture] = {}
    for row in catalog_rows().values():
        if complete(row):
            arch = architecture_from_row(row)
            found.setdefault(arch.id, arch)
    return found


ARCHITECTURES = of_ids()
PLAIN = ARCHITECTURES["qwen3"]


def reader(head: bytes) -> Callable[[int, int], bytes]:
    """Ranges of a file whose data are zeros."""
    return lambda start, count: head[start : start + count].ljust(count, b"\0")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_few_hundred_kilobytes_tell_the_exact_tensors(architecture: str) -> None:
    arch = ARCHITECTURES[architecture]
    head, total = head_of(arch, "Q4_K_M")
    found = read_remote_header(reader(head), total, "m-Q4_K_M.gguf", BUDGET)
    assert (found.exact, found.note) == (True, "")
    assert found.transferred_bytes <= BUDGET
    row = {**found.architecture, "model_id": arch.model_id}
    assert sorted(tensors(architecture_from_row(row))) == sorted(tensors(arch))
    assert found.params_total == parameters(arch)
    assert (found.thinking, found.tool_calling, found.quantization) == ("hybrid", "yes", "Q4_K_M")
    assert f"{found.transferred_bytes:,} bytes read" in found.source


def own_mix(arch: Architecture, sentencepiece: bool = False) -> tuple[bytes, int, bytes]:
    """A quantizer's own choice of types behind a vocabulary of unheard-of length; data are random at first."""
    columns = table(arch)
    shapes = {tensor.name: tensor.shape for tensor in tensors(arch)}
    entries = []
    for i, name in enumerate(columns.names):
        kind = "F32" if len(shapes[name]) < 2 or shapes[name][0] % 256 else ("Q6_K", "IQ4_XS", "Q5_K")[i % 3]
        block = block_types()[kind]
        size = math.prod(shapes[name]) // block.block * block.block_bytes
        entries.append(TensorEntry(name, shapes[name], block.gguf_number, size))
    keys = {key: value for key, value in metadata(arch, "Q4_K_M", "own").items() if key != "general.file_type"}
    count = arch.n_vocab
    keys["tokenizer.ggml.tokens"] = [f"{'word' * (i % 9)}{i}" for i in range(count)]
    keys["tokenizer.ggml.token_type"] = [1] * count
    keys["tokenizer.ggml.scores"] = [-float(i) for i in range(count)] if sentencepiece else [0.5]
    if not sentencepiece:
        keys["tokenizer.ggml.merges"] = [f"{i:x} {'ab' * (i % 5)}" for i in range(count)]
    keys["tokenizer.chat_template"] = "{% if tools %}" + "text of a template. " * 300
    keys["general.file_type"] = 15
    head, _, total = front(keys, entries)
    return head, total, random.Random(3).randbytes(1 << 20)


@pytest.mark.parametrize("sentencepiece", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "qwen3moe", "gpt-oss", "nemotron_h", "deepseek2"])
def test_a_mix_of_its_own_is_found_by_halving(architecture: str, sentencepiece: bool) -> None:
    arch = ARCHITECTURES[architecture]
    head, total, noise = own_mix(arch, sentencepiece)

    def read(start: int, count: int) -> bytes:
        data = head[start : start + count]
        while len(data) < count:
            data += noise[: count - len(data)]
        return data

    found = read_remote_header(read, total, "m-UD-Q4_K_XL.gguf", BUDGET)
    assert (found.exact, found.note) == (True, "")
    assert found.transferred_bytes <= BUDGET
    assert found.params_total == parameters(arch)
    assert found.tool_calling == "yes"


def test_a_short_header_is_found_in_what_was_read_first() -> None:
    head, total = small_head()
    found = read_remote_header(reader(head), total, "m.gguf", BUDGET)
    assert found.exact
    assert found.params_total == parameters(replace(PLAIN, n_vocab=1024))


def test_tensors_that_nobody_knows_make_it_inexact_and_are_named() -> None:
    head, total = head_of(PLAIN, "Q8_0")
    other = head.replace(b"blk.5.ffn_up.weight", b"blk.5.ffn_ux.weight")
    found = read_remote_header(reader(other), total, "m-Q8_0.gguf", BUDGET)
    assert not found.exact
    assert "blk.5.ffn_up.weight is missing" in found.note
    assert found.params_total == parameters(PLAIN)


@pytest.mark.parametrize("rising", [True, False])
def test_a_window_full_of_tensor_lists_is_read_a_few_times_at_most(
    rising: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, total = head_of(PLAIN, "Q4_K_M")
    listed = b"".join(struct.pack("<Q6sIQIQ", 6, b"a%05d" % i, 1, 8, 0, 32 * i * rising) for i in range(6000))
    tried: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        tried.append(1)
        return read_tensors(*arguments, **named)

    def read(start: int, count: int) -> bytes:
        return (head if start == 0 else listed * (count // len(listed) + 1))[:count]

    monkeypatch.setattr(remote_header, "read_tensors", counted)
    assert not read_remote_header(read, total, "m-Q4_K_M.gguf", BUDGET).exact
    assert len(tried) < 50  # each place was tried once, thousands in all, each to its end


def test_a_budget_is_never_exceeded_and_what_is_missing_is_said() -> None:
    head, total = head_of(PLAIN, "Q4_K_M")
    asked: list[int] = []

    def read(start: int, count: int) -> bytes:
        asked.append(count)
        return reader(head)(start, count)

    found = read_remote_header(read, total, "m-Q4_K_M.gguf", 300_000 - 1)
    assert sum(asked) == found.transferred_bytes < 300_000
    small = read_remote_header(read, total, "m-Q4_K_M.gguf", 66_000)
    assert not small.exact
    assert "tensor list was not found" in small.note
    assert small.architecture["n_layer"] == str(PLAIN.n_layer)
    assert small.architecture["tied_embeddings"] == ("yes" if PLAIN.tied else "no")


def test_tensors_that_do_not_fill_the_file_are_not_believed() -> None:
    head, total = head_of(PLAIN, "Q4_K_M")
    assert not read_remote_header(reader(head), total + 4096, "m-Q4_K_M.gguf", BUDGET).exact


def test_an_unknown_architecture_keeps_its_name_and_says_why() -> None:
    head, total = head_of(PLAIN, "Q8_0")
    other = head.replace(b"qwen3", b"qwenX")
    found = read_remote_header(reader(other), total, "m-Q8_0.gguf", BUDGET)
    assert found.architecture == {}
    assert "qwenX is not known" in found.note


def small_head() -> tuple[bytes, int]:
    return head_of(replace(PLAIN, n_vocab=1024), "Q8_0")


def test_a_file_cut_short_anywhere_gets_a_sentence() -> None:
    head, _ = small_head()
    for at in [*range(4097), 5000, 50_000]:
        answer(head[:at], at)


@pytest.mark.parametrize("claimed", [2**20, 2**40, 2**63], ids=["a million", "a trillion", "more than there are bytes"])
def test_what_a_header_claims_costs_no_more_memory_than_was_read(claimed: int) -> None:
    head, total = small_head()
    hostile = head[:8] + struct.pack("<QQ", claimed, claimed) + head[24:]
    tracemalloc.start()
    try:
        answer(hostile, total)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * BUDGET


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whatever_a_header_holds_the_answer_is_bounded(data: st.DataObject) -> None:
    head, total = small_head()
    changed = bytearray(head)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(head), 6000) - 8))
        changed[at : at + 8] = data.draw(st.one_of(st.binary(min_size=8, max_size=8), st.just(b"\xff" * 8)))
    answer(bytes(changed), total)


def answer(head: bytes, total: int) -> RemoteHeader | None:
    try:
        return read_remote_header(reader(head), total, "m-Q8_0.gguf", BUDGET)
    except RecommenderError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either way out is right
        return None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, ("", "")),
        ("{% if enable_thinking %}{{ tools }}{% endif %}", ("hybrid", "yes")),
        ("<think>\n{{ message }}", ("yes", "no")),
        ("{{ message }} stools", ("no", "no")),
    ],
)
def test_a_chat_template_tells_thinking_and_tools(template: str | None, expected: tuple[str, str]) -> None:
    assert template_abilities(template) == expected
