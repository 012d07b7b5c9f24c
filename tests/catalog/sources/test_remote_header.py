from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.remote_header import head_of
from recommender.catalog.sources.remote_header import RemoteHeader, read_remote_header, template_abilities
from recommender.errors import RecommenderError
from recommender.estimate.architecture import Architecture, architecture_from_row, complete
from recommender.estimate.tensors import parameters, tensors
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


@pytest.mark.parametrize("at", [*range(0, 4096, 7), 5000, 50_000])
def test_a_file_cut_short_anywhere_gets_a_sentence(at: int) -> None:
    head, _ = small_head()
    answer(head[:at], at)


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
