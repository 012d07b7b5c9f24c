from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.estimate.architecture import (
    ShapeRefused,
    architecture_from_row,
    complete,
    features,
    merge_rows,
    per_layer,
)
from tests.estimate.shapes import DENSE, HYBRID, MOE, WINDOWED, catalog_rows


def test_a_list_of_values_per_layer_repeats_until_every_layer_has_one() -> None:
    assert per_layer("1*2;0", 7) == (1, 1, 0, 1, 1, 0, 1)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 5)), min_size=1, max_size=6), st.integers(1, 60))
def test_a_list_of_values_has_one_value_for_each_layer(items: list[tuple[int, int]], n_layer: int) -> None:
    text = ";".join(f"{value}*{count}" for value, count in items)
    values = per_layer(text, n_layer)
    assert len(values) == n_layer
    assert set(values) <= {value for value, _ in items}


def test_a_list_that_is_no_list_of_numbers_is_refused() -> None:
    with pytest.raises(BadInputError, match="not a list of numbers"):
        per_layer("8;full", 4)


def test_the_architecture_row_wins_only_where_it_has_a_value() -> None:
    merged = merge_rows(DENSE, {"model_id": "other", "n_ff": "2048", "n_head": "", "source": "somewhere"})
    assert (merged["n_ff"], merged["n_head"], merged["model_id"]) == ("2048", "8", "test/dense")
    assert "source" not in merged


@pytest.mark.parametrize("key", ["n_layer", "n_embd", "n_head", "vocab_size", "tied_embeddings", "n_ff"])
def test_a_missing_number_makes_a_row_incomplete(key: str) -> None:
    row = {**DENSE, key: ""}
    assert complete(DENSE)
    assert not complete(row)


def test_the_error_names_what_is_missing() -> None:
    with pytest.raises(BadInputError, match="n_ff_expert"):
        architecture_from_row({**MOE, "n_ff_expert": ""})


def test_an_architecture_without_a_layout_is_refused() -> None:
    with pytest.raises(BadInputError, match="not known"):
        features("mllama")


def test_a_hybrid_without_its_attention_layers_is_refused() -> None:
    with pytest.raises(BadInputError, match="which layers have attention"):
        architecture_from_row({**HYBRID, "n_head_kv": "2"})


def test_layers_without_key_heads_are_recurrent() -> None:
    arch = architecture_from_row(HYBRID)
    assert arch.recurrent == (True, True, True, False) * 2
    assert arch.kv_layers == (3, 7)


def test_windowed_layers_follow_the_architecture_unless_the_model_has_its_own_pattern() -> None:
    assert architecture_from_row(WINDOWED).windowed == (True,) * 5 + (False, True, True)
    assert architecture_from_row({**WINDOWED, "window_layers": "1;0"}).windowed == (True, False) * 4


def test_an_answer_about_biases_overrides_what_the_architecture_implies() -> None:
    assert not architecture_from_row(DENSE).features.qkv_bias
    assert architecture_from_row({**DENSE, "qkv_bias": "yes"}).features.qkv_bias


def test_most_models_of_the_catalog_are_complete_and_the_others_are_refused_with_a_reason() -> None:
    rows = catalog_rows()
    reasons = {}
    for model_id, row in rows.items():
        try:
            architecture_from_row(row)
        except BadInputError as error:
            reasons[model_id] = str(error)
    assert len(reasons) < 0.1 * len(rows), reasons
    told = ("incomplete", "not known", "llama.cpp does not load")
    assert all(any(words in reason for words in told) for reason in reasons.values()), reasons


def test_a_shape_that_llama_cpp_does_not_load_is_refused() -> None:
    row = {**DENSE, "architecture": "qwen2"}
    assert complete(row)
    with pytest.raises(ShapeRefused, match=r"llama\.cpp does not load"):
        architecture_from_row({**row, "head_dim": "32"})
