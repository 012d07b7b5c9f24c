"""Damaged, hostile and too large model files through the real runtimes: each gets a sentence, the app lives on."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import psutil
import pytest

from recommender.errors import OutOfMemoryError, RecommenderError
from recommender.runner import RunManager, RunRequest
from recommender.runner.gguf_header import read_header
from tests.runner.conftest import PATIENCE_S, SETTINGS, finished
from tests.tiny_gguf import write_tiny_gguf

Ask = Callable[..., RunRequest]


def test_a_file_that_says_a_million_layers_gets_a_sentence(ask: Ask, tmp_path: Path, manager: RunManager) -> None:
    path = write_tiny_gguf(tmp_path / "huge.gguf", block_count=10**6)
    job = finished(manager.submit(ask(model_path=str(path))))
    assert job.state == "failed"
    assert "huge.gguf is not a usable GGUF file" in job.error
    assert "'llama.block_count' is '1000000'" in job.error


def test_a_file_that_aborts_the_runtime_takes_only_its_own_process(
    ask: Ask, tmp_path: Path, manager: RunManager, binding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_experts(writer: gguf.GGUFWriter) -> None:
        writer.add_expert_count(10**6)

    path = write_tiny_gguf(tmp_path / "abort.gguf", extra=add_experts)
    job = finished(manager.submit(ask(binding=binding, model_path=str(path))))
    assert job.state == "failed"
    assert "crashed (SIGABRT) in its own process" in job.error
    assert "GGML_ASSERT" in job.error
    assert finished(manager.submit(ask(binding=binding))).state == "done"


def test_a_file_the_runtime_refuses_gets_its_reason(
    ask: Ask, tmp_path: Path, manager: RunManager, binding: str
) -> None:
    path = write_tiny_gguf(tmp_path / "new.gguf", architecture="nobodyknowsme")
    job = finished(manager.submit(ask(binding=binding, model_path=str(path))))
    assert "architecture 'nobodyknowsme', which this build of llama.cpp does not know" in job.error


def test_a_truncated_file_gets_a_sentence(ask: Ask, tiny: Path, tmp_path: Path, manager: RunManager) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny.read_bytes()[:-5000])
    job = finished(manager.submit(ask(model_path=str(path))))
    assert "cut short" in job.error


@pytest.mark.skipif(sys.platform != "linux", reason="limits a child's memory as Linux does")
def test_memory_that_runs_out_while_loading_gets_a_sentence(
    ask: Ask, tmp_path: Path, manager: RunManager, binding: str
) -> None:
    import resource

    path = write_tiny_gguf(tmp_path / "long.gguf", context_tokens=2**23)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    # The cache wants 4 GiB more than nothing; a child inherits the limit.
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 3 * 1024**3, hard))
    try:
        settings = replace(SETTINGS, context_tokens=2**23, kv_type="f32")
        job = finished(manager.submit(ask(binding=binding, model_path=str(path), settings=settings)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert job.state == "failed"
    assert "Memory ran out while long.gguf was loading" in job.error
    assert isinstance(job.exception, OutOfMemoryError)


def test_mutated_headers_each_end_in_a_sentence_or_an_answer(
    ask: Ask, tiny: Path, tmp_path: Path, manager: RunManager
) -> None:
    """What our own reader lets pass goes to the real runtime, in a process of its own."""
    whole = tiny.read_bytes()
    header = whole.index(b"blk.0.attn_norm.weight") + 200
    chance = random.Random(7)
    path = tmp_path / "mutant.gguf"
    ends = Counter[str]()
    for _ in range(150):
        mutant = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(header)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path.write_bytes(mutant)
        try:
            read_header(path)
        except RecommenderError as error:
            ends["refused" if str(error).endswith(".") else str(error)] += 1
            continue
        job = manager.submit(ask(model_path=str(path), repeats=0, prompt="Hi", answer_tokens=1))
        if not job.wait(PATIENCE_S):
            job.cancel()
        ends[job.state] += 1
        assert job.state in ("done", "failed"), job.state
        assert job.error.endswith(".") is (job.state == "failed"), job.error
    assert set(ends) == {"refused", "done", "failed"}, ends
    assert ends["refused"] > 15, ends
    assert ends["done"] > 15, ends
