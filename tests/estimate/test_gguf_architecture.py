from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, architecture_from_row, complete, per_layer
from recommender.estimate.gguf_architecture import architecture_row, layers_text, unlike
from recommender.estimate.kv import kv_shape
from recommender.estimate.tensors import layout, tensors
from recommender.runner.gguf_header import read_header
from recommender.runner.gguf_metadata import metadata
from recommender.runner.weightless import write_weightless
from tests.estimate.shapes import DENSE, HYBRID, MOE, WINDOWED, catalog_rows

COMPLETE = {name: row for name, row in catalog_rows().items() if complete(row)}
N_VOCAB = 1024  # so that a file is written at once; no other tensor depends on it


def numbers(arch: Architecture, **changes: Any) -> dict[str, Any]:
    """An architecture's metadata as a reader gives it, with keys of the architecture replaced; None takes one away."""
    found: dict[str, Any] = dict(metadata(arch, "Q8_0", "x"))
    found |= {f"{arch.id}.{key.replace('__', '.')}": value for key, value in changes.items()}
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in found.items() if value is not None
    }


@pytest.mark.parametrize("model_id", COMPLETE)
def test_every_models_own_file_tells_the_catalogs_layout(model_id: str, tmp_path: Path) -> None:
    arch = replace(architecture_from_row(COMPLETE[model_id]), n_vocab=N_VOCAB)
    quantization = "I2_S" if arch.id == "bitnet" else "Q4_K_M"
    path = tmp_path / "model.gguf"
    write_weightless(arch, quantization, path)
    header = read_header(path)
    listed = [(tensor.name, tensor.shape) for tensor in header.tensors]
    found = architecture_from_row(architecture_row(header.metadata, listed))
    assert sorted(tensors(found)) == sorted(tensors(arch))
    assert unlike(found, listed) == ""
    assert kv_shape(found) == kv_shape(arch)
    assert found.context_train == arch.context_train
    for file_type in ("F16", "Q8_0", "Q4_K_M", "IQ2_XS"):
        ours, theirs = layout(found, file_type), layout(arch, file_type)
        assert ours.tensor_bytes == theirs.tensor_bytes
        assert ours.read_bytes_per_token == theirs.read_bytes_per_token
        assert ours.output_bytes == theirs.output_bytes


def test_numbers_come_out_as_the_catalog_writes_them() -> None:
    arch = architecture_from_row(MOE)
    found = architecture_row(numbers(arch), tensors(arch))
    assert found == {
        **{key: value for key, value in MOE.items() if value and key != "model_id"},
        "rope_dim": "64",
        "tokenizer": "spm",  # as the file's own says, where the architecture usually has another
    }


def test_the_numbers_alone_leave_the_output_head_open() -> None:
    arch = architecture_from_row(DENSE)
    found = architecture_row(numbers(arch))
    assert "tied_embeddings" not in found
    assert architecture_from_row({**found, "tied_embeddings": "no"}).n_ff == arch.n_ff
    fixed = architecture_from_row({**WINDOWED, "architecture": "gemma2"})
    assert architecture_row(numbers(fixed))["tied_embeddings"] == "yes"


def test_an_architecture_without_a_feature_row_is_refused() -> None:
    with pytest.raises(BadInputError, match="layout of rwkv9 is not known"):
        architecture_row({"general.architecture": "rwkv9"})
    with pytest.raises(BadInputError, match="a model without architecture"):
        architecture_row({"general.architecture": ["llama"]})


def test_one_value_per_layer_becomes_a_short_list() -> None:
    arch = architecture_from_row(HYBRID)
    found = architecture_row(numbers(arch))
    assert found["n_head_kv"] == "0*3;2;0*3;2"
    assert architecture_from_row({**found, "tied_embeddings": "no"}).recurrent == arch.recurrent


def test_a_hybrid_whose_layers_all_have_attention_can_be_laid_out() -> None:
    arch = architecture_from_row({**HYBRID, "n_head_kv": "2;2"})
    found = architecture_from_row({**architecture_row(numbers(arch)), "tied_embeddings": "no"})
    assert not any(found.recurrent)


@pytest.mark.parametrize(
    ("architecture", "period", "expected"),
    [("gemma3", 4, "1*3;0;1*3;0"), ("gemma3", 0, "1"), ("smallthinker", 2, "0;1;0;1;0;1;0;1"), ("gemma3", 6, "")],
)
def test_a_window_pattern_may_be_a_period(architecture: str, period: int, expected: str) -> None:
    row = {**WINDOWED, "architecture": architecture} | ({} if architecture == "gemma3" else MOE_NUMBERS)
    arch = architecture_from_row(row)
    found = architecture_row(numbers(arch, attention__sliding_window_pattern=period))
    assert found.get("window_layers", "") == expected


MOE_NUMBERS = {"n_expert": "16", "n_expert_used": "4", "n_ff_expert": "256"}


def test_a_period_of_full_attention_tells_the_recurrent_layers() -> None:
    arch = architecture_from_row(COMPLETE["Qwen/Qwen3.5-0.8B"])
    usual = numbers(arch, attention__recurrent_layers=None, full_attention_interval=4)
    assert "recurrent_layers" not in architecture_row(usual)
    other = architecture_row(numbers(arch, attention__recurrent_layers=None, full_attention_interval=3))
    assert other["recurrent_layers"].startswith("1*2;0;1*2;0")


def test_experts_without_a_width_of_their_own_have_the_feed_forward_width() -> None:
    arch = architecture_from_row({**MOE, "n_ff": "256"})
    found = architecture_row(numbers(arch, expert_feed_forward_length=None))
    assert found["n_ff_expert"] == "256"


def test_shared_experts_may_be_a_count() -> None:
    moe = {**MOE, "architecture": "deepseek2", "n_ff": "1024", "n_ff_shared": "512", "n_dense_layers": "1"}
    latent = {"kv_lora_rank": "128", "head_dim": "96", "value_dim": "64", "rope_dim": "32"}
    arch = architecture_from_row({**moe, **latent})
    found = architecture_row(numbers(arch, expert_shared_feed_forward_length=None, expert_shared_count=2))
    assert found["n_ff_shared"] == "512"
    older = architecture_row(numbers(arch, attention__key_length_mla=None, attention__key_length=96))
    assert older["head_dim"] == "96"


def test_blocks_that_only_draft_are_no_layers() -> None:
    arch = architecture_from_row({**DENSE, "draft_layers": "1"})
    found = architecture_row(numbers(arch), tensors(arch))
    assert (found["n_layer"], found["draft_layers"]) == ("8", "1")
    with pytest.raises(BadInputError, match="no model has that"):
        architecture_row(numbers(arch, nextn_predict_layers=9))


def test_what_differs_from_the_architecture_is_told() -> None:
    arch = architecture_from_row({**DENSE, "qkv_bias": "yes", "rope_factors": "freqs", "qk_norm": "full"})
    found = architecture_row(numbers(arch), tensors(arch))
    assert (found["qkv_bias"], found["rope_factors"], found["qk_norm"]) == ("yes", "freqs", "full")
    assert "out_bias" not in found


def test_a_file_with_other_tensors_says_which() -> None:
    arch = architecture_from_row(DENSE)
    listed = dict(tensors(arch))
    assert unlike(arch, listed.items()) == ""
    assert unlike(arch, {**listed, "blk.0.strange.weight": (4,)}.items()) == "blk.0.strange.weight is one tensor more"
    assert "is 512 × 9, not 512 × 1024" in unlike(arch, {**listed, "blk.3.ffn_up.weight": (512, 9)}.items())
    del listed["blk.0.attn_k.weight"]
    assert unlike(arch, listed.items()) == "blk.0.attn_k.weight is missing"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", 0),
        ("block_count", 100_000),
        ("embedding_length", 2**31),
        ("embedding_length", None),
        ("embedding_length", "512"),
        ("attention__head_count", None),
        ("attention__head_count", (1, 2)),
        ("attention__head_count", 0),
        ("attention__head_count", True),
        ("feed_forward_length", -1),
        ("attention__key_length", 1.5),
        ("expert_count", 2**20),
        ("vocab_size", 2**30),
    ],
)
def test_a_number_no_model_has_is_refused_in_a_sentence(key: str, value: object) -> None:
    with pytest.raises(BadInputError, match=r"^The header.*\.$|no model has that"):
        architecture_row(numbers(architecture_from_row(DENSE), **{key: value}))


def test_a_shape_no_model_has_is_refused() -> None:
    arch = architecture_from_row(DENSE)
    with pytest.raises(BadInputError, match=r"token_embd\.weight is 512 × 1099511627776"):
        architecture_row(numbers(arch), {**dict(tensors(arch)), "token_embd.weight": (512, 2**40)}.items())


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_the_short_list_reads_back_as_it_was(values: list[int]) -> None:
    assert per_layer(layers_text(values), len(values)) == tuple(values)


KEYS = sorted(key for row in (DENSE, MOE, WINDOWED, HYBRID) for key in numbers(architecture_from_row(row)))
VALUES = st.one_of(
    st.integers(-2, 2**64), st.floats(), st.booleans(), st.text(max_size=5), st.lists(st.integers(0, 9)).map(tuple)
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), st.sampled_from([DENSE, MOE, WINDOWED, HYBRID]))
def test_any_metadata_gives_a_row_or_a_sentence(changes: dict[str, Any], row: dict[str, str]) -> None:
    changed = numbers(architecture_from_row(row)) | changes
    try:
        found = architecture_row(changed, tensors(architecture_from_row(row)))
        tensors(architecture_from_row(found))
    except BadInputError as error:
        assert str(error).endswith((".", "csv."))  # noqa: PT017 - either way out is right
