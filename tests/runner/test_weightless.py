from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recommender.errors import RunError
from recommender.estimate.architecture import architecture_from_row
from recommender.estimate.kv import kv_shape
from recommender.estimate.tensors import layout, tensors
from recommender.runner import weightless
from recommender.runner.weightless import supports_sparse_files, write_weightless
from recommender.runner.weightless_load import measure_load
from recommender.types import MIB, Settings
from tests.estimate.shapes import DENSE, HYBRID, MOE, WINDOWED, catalog_architecture

SETTINGS = Settings(
    context_tokens=512,
    kv_type="f16",
    batch_tokens=128,
    ubatch_tokens=128,
    parallel=1,
    threads=1,
    gpu_layers=0,
    flash_attn=True,
)
# The log rounds to 0.01 MiB; a buffer may hold some bytes of padding.
LOG_STEP = 0.02 * MIB


def test_a_file_has_the_size_its_layout_says_but_for_the_tokenizer(tmp_path: Path) -> None:
    arch = architecture_from_row(DENSE)
    path = tmp_path / "dense.gguf"
    size = write_weightless(arch, "Q4_K_M", path)
    assert size == path.stat().st_size
    assert layout(arch, "Q4_K_M").tensor_bytes <= size


def test_a_large_model_takes_a_few_megabytes_of_disk(tmp_path: Path) -> None:
    if not supports_sparse_files(tmp_path):
        pytest.skip("this filesystem has no sparse files")
    path = tmp_path / "large.gguf"
    size = write_weightless(catalog_architecture("Qwen/Qwen3-8B"), "Q4_K_M", path)
    assert size > 5e9
    assert path.stat().st_blocks * 512 < 10e6


def test_a_reader_of_its_own_finds_every_tensor_with_its_shape(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    arch = architecture_from_row(MOE)
    path = tmp_path / "moe.gguf"
    write_weightless(arch, "Q4_K_M", path)
    found = {tensor.name: tuple(int(size) for size in tensor.shape) for tensor in gguf.GGUFReader(path).tensors}
    assert found == dict(tensors(arch))


def test_routers_differ_by_layer_and_spread_over_the_experts(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    arch = architecture_from_row(MOE)
    path = tmp_path / "moe.gguf"
    write_weightless(arch, "Q8_0", path)
    named = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    embedding = gguf.quants.dequantize(named["token_embd.weight"].data, named["token_embd.weight"].tensor_type)[:200]
    assert np.isfinite(embedding).all()
    chosen = []
    for layer in (0, 1):
        router = named[f"blk.{layer}.ffn_gate_inp.weight"].data
        chosen.append(np.argsort(-(embedding @ router.T), axis=1)[:, : arch.n_expert_used])
    used = np.bincount(chosen[0].ravel(), minlength=arch.n_expert)
    assert used.min() > 0
    assert used.max() < 4 * used.mean()
    assert (np.sort(chosen[0]) != np.sort(chosen[1])).any(axis=1).mean() > 0.9


def test_a_large_file_is_refused_where_it_would_take_its_full_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weightless, "supports_sparse_files", lambda folder: False)
    with pytest.raises(RunError, match="sparse"):
        write_weightless(catalog_architecture("Qwen/Qwen3-8B"), "Q4_K_M", tmp_path / "large.gguf")
    assert not (tmp_path / "large.gguf").exists()


def test_the_trial_for_sparse_files_leaves_nothing_behind(tmp_path: Path) -> None:
    supports_sparse_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", [DENSE, MOE, WINDOWED, HYBRID], ids=["dense", "moe", "windowed", "hybrid"])
def test_llama_cpp_loads_it_and_holds_what_the_layout_and_the_cache_say(row: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    arch = architecture_from_row(row)
    path = tmp_path / "model.gguf"
    write_weightless(arch, "Q8_0", path)
    found = measure_load(path, SETTINGS)
    assert found.mapped_bytes == pytest.approx(
        layout(arch, "Q8_0").tensor_bytes, abs=LOG_STEP + 32 * len(tensors(arch))
    )
    shape = kv_shape(arch)
    full = shape.k_full_elements_per_token + shape.v_full_elements_per_token
    window = shape.k_window_elements_per_token + shape.v_window_elements_per_token
    assert found.kv_bytes == pytest.approx(2 * 512 * (full + window), abs=LOG_STEP)
    assert found.state_bytes == pytest.approx(shape.state_bytes, abs=LOG_STEP)
    assert found.compute_bytes > 0
    assert "llama" in found.build


def test_a_file_that_is_no_model_is_refused_with_a_reason(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(RunError, match=r"broken\.gguf"):
        measure_load(path, replace(SETTINGS, context_tokens=256))
