from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.estimate.architecture import architecture_from_row
from recommender.estimate.gguf_header import tokenizer_bytes
from recommender.estimate.tensors import file_types, layout, live_width, parameters, rough_bits, rough_layout, tensors
from tests.estimate.shapes import DENSE, HYBRID, MOE, WINDOWED, catalog_architecture, catalog_rows, dense

EVERY_FILE_TYPE = st.sampled_from(file_types())
SIZES = st.fixed_dictionaries(
    {
        "n_layer": st.integers(1, 12).map(str),
        "n_embd": st.integers(1, 8).map(lambda n: str(96 * n)),
        "n_ff": st.integers(1, 20).map(lambda n: str(80 * n)),
        "vocab_size": st.integers(300, 4000).map(str),
        "tied_embeddings": st.sampled_from(["yes", "no"]),
    }
)


def test_a_llama_has_the_tensors_llama_cpp_asks_for() -> None:
    shapes = dict(tensors(dense()))
    assert shapes["token_embd.weight"] == (512, 1000)
    assert shapes["output.weight"] == (512, 1000)
    assert shapes["blk.7.attn_q.weight"] == (512, 512)
    assert shapes["blk.7.attn_k.weight"] == (512, 128)
    assert shapes["blk.0.ffn_down.weight"] == (1024, 512)
    assert len(shapes) == 3 + 8 * 9


def test_tied_embeddings_are_stored_once() -> None:
    tied, untied = dense(tied_embeddings="yes"), dense()
    assert parameters(untied) - parameters(tied) == 512 * 1000
    assert layout(tied, "F16").output_bytes == layout(tied, "F16").input_embedding_bytes


@pytest.mark.parametrize("row", [DENSE, MOE, WINDOWED, HYBRID], ids=["dense", "moe", "windowed", "hybrid"])
def test_no_tensor_is_listed_twice_and_every_layer_is_there(row: dict[str, str]) -> None:
    arch = architecture_from_row(row)
    names = [tensor.name for tensor in tensors(arch)]
    assert len(names) == len(set(names))
    layers = {int(found.group(1)) for name in names if (found := re.match(r"blk\.(\d+)\.", name))}
    assert layers == set(range(arch.n_layer))


@pytest.mark.parametrize(
    ("model_id", "count"),
    [
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("LiquidAI/LFM2-1.2B", 1_170_340_608),
        ("ibm-granite/granite-4.0-h-tiny", 6_939_037_248),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_577_937_344),
        ("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", 15_706_484_224),
        ("tiiuae/Falcon-H1-0.5B-Base", 521_411_104),
        ("openai/gpt-oss-20b", 20_914_757_184),
    ],
)
def test_parameters_agree_with_the_published_count(model_id: str, count: int) -> None:
    # Rope tables and routing biases are tensors of the file but not always counted as parameters.
    assert parameters(catalog_architecture(model_id)) == pytest.approx(count, rel=1e-5)


@pytest.mark.parametrize(
    ("model_id", "quantization", "file_bytes"),
    [
        # Sizes of published files, from catalog/gguf_files.csv.
        ("Qwen/Qwen3-0.6B", "Q4_K_M", 396_705_472),
        ("Qwen/Qwen3-0.6B", "Q8_0", 639_447_744),
        ("Qwen/Qwen3-30B-A3B", "Q4_K_M", 18_556_685_824),
        ("meta-llama/Llama-3.2-1B-Instruct", "Q4_K_M", 807_694_464),
        ("microsoft/phi-4", "Q5_K_M", 10_604_187_840),
        ("HuggingFaceTB/SmolLM3-3B", "Q4_K_M", 1_915_305_312),
        ("ibm-granite/granite-4.0-h-tiny", "Q4_K_M", 4_230_976_352),
    ],
)
def test_file_bytes_agree_with_published_files(model_id: str, quantization: str, file_bytes: int) -> None:
    assert layout(catalog_architecture(model_id), quantization).file_bytes == pytest.approx(file_bytes, rel=5e-4)


@given(SIZES, EVERY_FILE_TYPE)
@settings(max_examples=60, deadline=None)
def test_the_parts_of_a_layout_hold_together(sizes: dict[str, str], quantization: str) -> None:
    arch = dense(**sizes)
    found = layout(arch, quantization)
    assert found.exact
    assert found.file_bytes > found.tensor_bytes > 0
    assert found.read_bytes_per_token <= found.tensor_bytes
    own_head = 0.0 if arch.tied else found.output_bytes
    inside = found.tensor_bytes - found.input_embedding_bytes - own_head
    assert found.read_bytes_per_token == pytest.approx(inside + found.output_bytes)
    assert found.bits_per_weight == pytest.approx(8 * found.tensor_bytes / parameters(arch))
    assert found.repack_x86_bytes <= found.tensor_bytes


@given(SIZES)
@settings(max_examples=30, deadline=None)
def test_half_precision_takes_more_than_any_quantization(sizes: dict[str, str]) -> None:
    arch = dense(**sizes)
    half = layout(arch, "F16").tensor_bytes
    assert all(layout(arch, name).tensor_bytes <= half for name in file_types() if name != "F32")


def test_a_token_reads_only_the_experts_in_use() -> None:
    arch = architecture_from_row(MOE)
    found = layout(arch, "Q8_0")
    experts = 3 * 512 * 256 * 16 * 8 * 34 / 32
    own = found.input_embedding_bytes
    assert found.read_bytes_per_token == pytest.approx(found.tensor_bytes - own - experts * (1 - 4 / 16))
    assert live_width(arch) >= 4 * 256


def test_every_complete_model_has_a_layout_in_every_file_type() -> None:
    for model_id in ("google/gemma-4-26B-A4B-it", "Qwen/Qwen3.5-35B-A3B", "zai-org/GLM-4.7-Flash"):
        arch = catalog_architecture(model_id)
        sizes = {name: layout(arch, name).tensor_bytes for name in file_types()}
        assert sizes["Q8_0"] > sizes["Q4_K_M"] > sizes["Q2_K"] > 0


def test_an_unknown_file_type_is_refused() -> None:
    with pytest.raises(BadInputError, match="Q9_K"):
        layout(dense(), "Q9_K")


def test_a_rough_layout_says_so_and_reads_active_parameters() -> None:
    found = rough_layout(8e9, 1e9, "Q8_0")
    assert not found.exact
    assert found.tensor_bytes == pytest.approx(8 * found.read_bytes_per_token)
    with pytest.raises(BadInputError, match="positive"):
        rough_layout(0, None, "Q8_0")


@pytest.mark.parametrize(("quantization", "bits"), [("mlx-4bit", 4.5), ("bf16", 16), ("F16", 16), ("Q4_K_M", 4.9)])
def test_rough_bits_are_known_for_every_format(quantization: str, bits: float) -> None:
    assert rough_bits(quantization) == pytest.approx(bits, rel=0.01)


def test_bits_of_a_quantization_nobody_knows_are_refused() -> None:
    with pytest.raises(BadInputError, match="q1-guess"):
        rough_bits("q1-guess")


def test_the_catalog_knows_the_tokenizer_of_a_measured_vocabulary() -> None:
    assert tokenizer_bytes("bpe", 151936) == 2588196 + 607744 + 2731548


def test_complete_catalog_rows_are_the_rule() -> None:
    assert sum(bool(row.get("n_layer")) for row in catalog_rows().values()) > 180
