from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.estimate.architecture import Architecture, architecture_from_row
from recommender.estimate.quantize import block_types, file_types, tensor_types, type_names
from recommender.estimate.tensors import table
from tests.estimate.shapes import HYBRID, MOE, dense


def types_of(arch: Architecture, quantization: str, imatrix: bool = False) -> dict[str, str]:
    columns, names = table(arch), type_names()
    return {
        name: names[kind]
        for name, kind in zip(columns.names, tensor_types(columns, quantization, imatrix), strict=True)
    }


def layers(types: dict[str, str], part: str) -> list[str]:
    found = {int(name.split(".")[1]): kind for name, kind in types.items() if name.endswith(f"{part}.weight")}
    return [found[i] for i in sorted(found)]


def test_q4_k_m_gives_more_bits_to_the_first_and_last_eighth_and_every_third_between() -> None:
    found = types_of(dense(n_layer="16"), "Q4_K_M")
    more = [i < 2 or i >= 14 or (i - 2) % 3 == 2 for i in range(16)]
    assert layers(found, "ffn_down") == ["Q6_K" if each else "Q4_K" for each in more]
    assert layers(found, "attn_v") == ["Q6_K" if each else "Q4_K" for each in more]
    assert set(layers(found, "ffn_up")) == {"Q4_K"}
    assert found["output.weight"] == "Q6_K"
    assert found["token_embd.weight"] == "Q4_K"


def test_a_tied_embedding_gets_the_type_of_the_head() -> None:
    assert types_of(dense(tied_embeddings="yes"), "Q4_K_M")["token_embd.weight"] == "Q6_K"
    assert types_of(dense(tied_embeddings="yes"), "IQ2_XXS")["token_embd.weight"] == "Q5_K"


def test_grouped_query_attention_earns_its_values_more_bits() -> None:
    assert set(layers(types_of(dense(), "IQ4_XS", imatrix=True), "attn_v")) == {"Q5_K"}
    assert set(layers(types_of(dense(n_head_kv="8"), "IQ4_XS", imatrix=True), "attn_v")) == {"IQ4_XS"}


def test_an_importance_matrix_changes_the_first_layers_only() -> None:
    plain, informed = types_of(dense(n_layer="16"), "Q4_0"), types_of(dense(n_layer="16"), "Q4_0", imatrix=True)
    assert set(layers(plain, "ffn_down")) == {"Q4_0"}
    assert layers(informed, "ffn_down") == ["Q4_1"] * 2 + ["Q4_0"] * 14


def test_eight_experts_keep_keys_and_values_in_eight_bits() -> None:
    found = types_of(architecture_from_row({**MOE, "n_expert": "8"}), "Q4_K_M")
    assert set(layers(found, "attn_v")) == {"Q8_0"}
    assert set(layers(found, "attn_k")) == {"Q8_0"}
    assert set(layers(found, "attn_output")) == {"Q5_K"}


def test_norms_routers_and_convolutions_stay_in_full_precision() -> None:
    moe, hybrid = types_of(architecture_from_row(MOE), "Q2_K"), types_of(architecture_from_row(HYBRID), "Q2_K")
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight"):
        assert moe[name] == "F32"
    for name in ("blk.0.ssm_conv1d.weight", "blk.0.ssm_a", "blk.0.ssm_norm.weight"):
        assert hybrid[name] == "F32"


def test_experts_of_an_mxfp4_file_are_in_four_bits_and_the_rest_in_eight() -> None:
    found = types_of(architecture_from_row(MOE), "MXFP4_MOE")
    assert found["blk.0.ffn_up_exps.weight"] == "MXFP4"
    assert found["blk.0.attn_q.weight"] == "Q8_0"


@pytest.mark.parametrize(
    ("quantization", "fallback"),
    [
        ("Q4_K_S", "Q5_0"),
        ("Q5_K_S", "Q5_1"),
        ("Q6_K", "Q8_0"),
        ("Q3_K_S", "Q4_0"),
        ("IQ4_XS", "IQ4_NL"),
        ("TQ2_0", "Q4_0"),
    ],
)
def test_rows_that_no_block_of_256_divides_fall_back_to_blocks_of_32(quantization: str, fallback: str) -> None:
    found = types_of(dense(n_embd="576", head_dim="72", n_layer="64"), quantization, imatrix=True)
    assert found["blk.40.ffn_up.weight"] == fallback
    assert found["output.weight"] == "Q8_0"


def test_rows_that_no_block_divides_stay_in_half_precision() -> None:
    assert types_of(dense(n_ff="1000"), "Q4_0")["blk.3.ffn_down.weight"] == "F16"


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(file_types()), st.booleans())
@settings(max_examples=80, deadline=None)
def test_every_row_is_a_whole_number_of_blocks(embd: int, ff: int, quantization: str, imatrix: bool) -> None:
    arch = dense(n_embd=str(16 * embd), n_ff=str(24 * ff), head_dim="64")
    lengths = dict(zip(table(arch).names, table(arch).row_length, strict=True))
    for name, kind in types_of(arch, quantization, imatrix).items():
        assert lengths[name] % block_types()[kind].block == 0
