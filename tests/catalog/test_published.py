from __future__ import annotations

from recommender.catalog.published import (
    Offer,
    likely_in_repository,
    offers,
    published_files,
    published_quantizations,
    usual_quantizations,
)

MODEL = {
    "model_id": "maker/model",
    "gguf_repos": "first/model-GGUF;second/model-GGUF",
    "mlx_repo": "",
    "onnx_foundry_local_alias": "",
    "azure_catalog_id": "",
}


def gguf(repo: str, quant: str = "Q4_K_M", size: str = "", **more: str) -> dict[str, str]:
    row = {
        "catalog_model_id": "maker/model",
        "gguf_repo": repo,
        "file": f"model-{quant}.gguf",
        "quantization": quant,
        "bytes": size,
        "bytes_kind": "exact" if size else "rounded",
        "kind": "model",
        "recipe": "standard",
        "split_count": "",
    }
    return {**row, **more}


def best(*files: dict[str, str]) -> str:
    return published_files([MODEL], files)["maker/model", "Q4_K_M"].repo


def test_an_unknown_recipe_is_preferred_to_a_repositorys_own_mix() -> None:
    assert best(gguf("a/model", recipe="own"), gguf("b/model", recipe="unknown")) == "b/model"


def test_a_file_of_exactly_known_size_is_preferred() -> None:
    assert best(gguf("maker/model-GGUF"), gguf("other/model-GGUF", size="100")) == "other/model-GGUF"


def test_a_standard_recipe_is_preferred_to_an_exact_size() -> None:
    odd = gguf("other/model-GGUF", size="100", recipe="own")
    assert best(odd, gguf("second/model-GGUF")) == "second/model-GGUF"


def test_the_makers_own_file_is_preferred_then_the_first_repository_of_the_models_row() -> None:
    others = [gguf("a/model-GGUF"), gguf("second/model-GGUF"), gguf("first/model-GGUF")]
    assert best(*others, gguf("maker/model-GGUF")) == "maker/model-GGUF"
    assert best(*others) == "first/model-GGUF"


def test_projectors_splits_and_files_without_a_repository_never_stand_for_a_model() -> None:
    files = [
        gguf("a/b", kind="mmproj"),
        gguf("a/b", split_count="3"),
        gguf("", size="5"),
        gguf("a/b", quant=""),
        gguf("a/b", catalog_model_id=""),
    ]
    assert published_files([MODEL], files) == {}


def test_the_choice_does_not_depend_on_the_order_of_rows() -> None:
    files = [gguf("b/x"), gguf("a/x"), gguf("second/model-GGUF"), gguf("c/x", size="7")]
    assert published_files([MODEL], files) == published_files([MODEL], files[::-1])


def test_a_split_file_still_says_that_the_quantization_exists() -> None:
    assert published_quantizations([gguf("a/b", split_count="3")]) == {"maker/model": {"Q4_K_M"}}


def test_an_unlisted_quantization_is_likely_where_few_files_are_listed_and_most_models_have_it() -> None:
    well = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"}
    usual = usual_quantizations({"a": well, "b": well - {"Q4_0"} | {"Q2_K"}, "c": {"IQ1_S"}})
    assert usual == {"Q8_0": 1.0, "Q6_K": 1.0, "Q5_K_M": 1.0, "Q4_K_M": 1.0, "Q4_0": 0.5, "Q2_K": 0.5}
    assert likely_in_repository("Q8_0", {"Q4_K_M"}, usual)
    assert not likely_in_repository("Q4_0", {"Q4_K_M"}, usual)
    assert not likely_in_repository("IQ1_S", {"Q4_K_M"}, usual)


def test_where_many_files_are_listed_only_what_nearly_all_models_have_is_a_gap_of_the_list() -> None:
    well = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"}
    usual = {"Q8_0": 0.99, "Q3_K_M": 0.7}
    assert likely_in_repository("Q8_0", well - {"Q8_0"} | {"Q2_K"}, usual)
    assert not likely_in_repository("Q3_K_M", well, usual)


def test_an_mlx_name_with_a_placeholder_offers_each_precision_and_one_without_precision_nothing() -> None:
    placeholder = offers({**MODEL, "mlx_repo": "mlx-community/model-{quantization}"}, [], [])
    assert [(one.quantization, one.repo) for one in placeholder if one.format == "mlx"] == [
        ("mlx-4bit", "mlx-community/model-4bit"),
        ("mlx-8bit", "mlx-community/model-8bit"),
        ("mlx-bf16", "mlx-community/model-bf16"),
    ]
    listed = offers({**MODEL, "mlx_repo": "mlx-community/model-8bit;maker/model-MLX"}, [], [])
    assert [one.repo for one in listed if one.format == "mlx"] == ["mlx-community/model-8bit"]


def test_what_is_published_comes_before_what_could_be_converted() -> None:
    found = offers({**MODEL, "onnx_foundry_local_alias": "model"}, [], [("onnx", "onnx-int4")])
    assert Offer("onnx", "onnx-int4", "model", "repo") in found
    assert len([one for one in found if one.format == "onnx"]) == 1
    assert Offer("onnx", "onnx-int4", "", "convert") in offers(MODEL, [], [("onnx", "onnx-int4")])
