from __future__ import annotations

from pathlib import Path

import pytest

from recommender.engine.estimate_rows import EstimateRequest, estimate_row
from recommender.engine.file_rows import file_row
from recommender.runner import read_header
from recommender.types import Device, VariantColumns
from tests.tiny_gguf import N_EMBD, N_HEAD, N_HEAD_KV, N_LAYER, write_tiny_gguf


def test_a_file_gives_every_column_an_estimate_needs(tmp_path: Path) -> None:
    row = file_row(read_header(write_tiny_gguf(tmp_path / "tiny.gguf")), "tiny")
    assert set(VariantColumns.__dataclass_fields__) <= set(row)


def test_the_cache_of_full_attention_is_known_exactly(tmp_path: Path) -> None:
    row = file_row(read_header(write_tiny_gguf(tmp_path / "tiny.gguf")), "tiny")
    assert row["exact"] is True
    assert row["k_full_elements_per_token"] == N_LAYER * N_HEAD_KV * N_EMBD / N_HEAD
    assert row["n_layer"] == N_LAYER


def test_a_sliding_window_is_only_known_roughly(tmp_path: Path) -> None:
    path = write_tiny_gguf(
        tmp_path / "tiny.gguf", extra=lambda writer: writer.add_uint32("llama.attention.sliding_window", 512)
    )
    row = file_row(read_header(path), "tiny")
    assert row["exact"] is False
    assert row["k_full_elements_per_token"] is None


@pytest.mark.parametrize("window", [False, True])
def test_a_file_that_the_catalog_does_not_know_is_estimated(tmp_path: Path, laptop: Device, window: bool) -> None:
    extra = (lambda writer: writer.add_uint32("llama.attention.sliding_window", 512)) if window else None
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf", extra=extra))
    answer = estimate_row(EstimateRequest("tiny", "Q8_0", laptop, context_tokens=1024), file_row(header, "tiny"))
    memory = answer.estimate.memory
    assert memory is not None
    assert memory.weights_bytes >= header.tensor_bytes * 0.5
    assert memory.kv_cache_bytes > 0
    assert answer.estimate.decode_tokens_per_s is not None
