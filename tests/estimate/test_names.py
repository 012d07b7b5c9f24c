"""Names found in the world and the catalog models they mean."""

from __future__ import annotations

import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.estimate.evaluate_quality import evaluate_names
from recommender.estimate.names import Resolver, family_key, parse, size_in_name
from recommender.paths import catalog_dir


def rows_of(name: str) -> list[dict[str, str]]:
    with (catalog_dir() / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


MODELS = rows_of("models.csv")
ALIASES = rows_of("model_aliases.csv")
IDS = [row["model_id"] for row in MODELS]
RESOLVER = Resolver(MODELS, ALIASES)
FILE_ENDINGS = (
    "-Q4_K_M.gguf",
    ".Q8_0.gguf",
    "-IQ4_XS.gguf",
    "-GGUF",
    "-4bit",
    "-Q5_K_M-00001-of-00003.gguf",
    "-AWQ",
    "-FP8",
)


def meant(text: str, params_b: float | None = None) -> str | None:
    match = RESOLVER.resolve(text, params_b)
    return match.model_id if match else None


@pytest.mark.parametrize(
    ("text", "model_id"),
    [
        ("Llama 3.2 1B Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
        ("Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Qwen3.6-27B-MTP-GGUF", "Qwen/Qwen3.6-27B"),
        ("Qwen_Qwen3.5-9B-Q5_K_M.gguf", "Qwen/Qwen3.5-9B"),
        (
            "hf.co/unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF:Q4_K_M",
            "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
        ),
        ("qwen2-0_5b-instruct-q4_0.gguf", "Qwen/Qwen2-0.5B-Instruct"),
        ("mlx-community/Qwen3-4B-Instruct-2507-4bit", "Qwen/Qwen3-4B-Instruct-2507"),
        ("Nemotron-3-Nano-30B-A3B-Q3_K_S.gguf", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
        ("DeepSeek R1 Distill Qwen 7B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
        ("gemma 3 4b it qat", "google/gemma-3-4b-it"),
        ("gpt-oss-20b-MXFP4.gguf", "openai/gpt-oss-20b"),
        ("Qwen/Qwen3-8B#no-thinking", "Qwen/Qwen3-8B"),
        ("phi-4-Q6_K.gguf", "microsoft/phi-4"),
    ],
)
def test_known_spellings_are_understood(text: str, model_id: str) -> None:
    assert meant(text) == model_id


@pytest.mark.parametrize(
    "text",
    [
        "Qwen3-Reranker-0.6B-Q8_0.gguf",
        "Qwen3.6-35B-A3B-abliterated-v4-GGUF",
        "Qwen3.5-9B-Claude-4.6-Opus-Reasoning-Distilled-GGUF",
        "Qwen3.5-122B-A10B-Q4_K_M.gguf",
        "Llama-3-70B",
        "gpt-oss-120b",
        "Llama-3.1-8B-Instruct-Embedding",
        "Qwen3",
        "Mistral-7B-Instruct",
        "Models",
        "",
        "Q4_K_M",
    ],
)
def test_other_models_and_names_that_say_too_little_are_refused(text: str) -> None:
    assert meant(text) is None


@given(model_id=st.sampled_from(IDS))
def test_an_embedding_model_is_never_a_chat_model(model_id: str) -> None:
    roles = {row["model_id"]: row["role"] for row in MODELS}
    name = model_id.rpartition("/")[2]
    found = meant(name.replace("-", "-Embedding-", 1))
    assert found is None or roles[found] == "embedding"
    plain = meant(name.replace("-Embedding", "").replace("-embed", ""))
    assert plain is None or roles[model_id] != "embedding" or roles[plain] != "embedding" or plain == model_id


def test_instruct_thinking_and_base_are_told_apart() -> None:
    assert meant("Qwen3-4B-Thinking-2507") == "Qwen/Qwen3-4B-Thinking-2507"
    assert meant("Qwen3-4B-Instruct-2507") == "Qwen/Qwen3-4B-Instruct-2507"
    assert meant("Qwen3-4B") == "Qwen/Qwen3-4B"
    assert meant("gemma-3-4b-pt") is None
    assert meant("Llama-3.2-1B-Base") is None
    assert meant("meta-llama/Llama-3.2-1B") is None  # the maker's repository of that name is the base model


def test_a_name_that_leaves_the_training_kind_out_is_matched_with_less_confidence() -> None:
    bare, full = RESOLVER.resolve("Llama 3.2 1B"), RESOLVER.resolve("Llama 3.2 1B Instruct")
    assert bare is not None
    assert full is not None
    assert bare.model_id == full.model_id
    assert bare.confidence < 0.8 < full.confidence


def test_a_size_beside_the_text_is_used_when_the_text_has_none() -> None:
    assert meant("Qwen3", 4.02) == "Qwen/Qwen3-4B"
    assert meant("Qwen3", 0.6) == "Qwen/Qwen3-0.6B"
    assert meant("Qwen3", 3.0) is None


@given(model_id=st.sampled_from(IDS), ending=st.sampled_from(FILE_ENDINGS), upper=st.booleans())
def test_a_file_of_a_model_is_that_model_or_refused(model_id: str, ending: str, upper: bool) -> None:
    text = model_id.rpartition("/")[2] + ending
    found = meant(text.upper() if upper else text)
    assert found in (model_id, None)


@given(model_id=st.sampled_from(IDS))
def test_an_id_means_itself_with_full_confidence(model_id: str) -> None:
    match = RESOLVER.resolve(model_id.lower())
    assert match is not None
    assert (match.model_id, match.confidence) == (model_id, 1)


@given(model_id=st.sampled_from(IDS), size=st.floats(min_value=0.1, max_value=400))
def test_a_match_never_crosses_sizes(model_id: str, size: float) -> None:
    stated = parse(model_id)
    if math.isnan(stated.size):
        return
    written = f"{stated.size / 1e9:g}B" if stated.size >= 1e9 else f"{stated.size / 1e6:g}M"
    name = model_id.rpartition("/")[2]
    changed = name.replace(written, f"{size:.1f}B").replace(written.lower(), f"{size:.1f}b")
    found = meant(changed)
    if changed != name and found is not None:
        true = next(float(row["params_total"]) for row in MODELS if row["model_id"] == found)
        near = abs(size * 1e9 / true - 1) < 0.16 or abs(size * 1e9 - parse(found).size) < 1e8 or true < 1e9
        assert near


@given(text=st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    match = RESOLVER.resolve(text)
    assert match is None or (match.model_id in IDS and 0 < match.confidence <= 1)
    assert len(RESOLVER.search(text, 5)) <= 5


@given(
    word=st.sampled_from(["abliterated", "uncensored", "reranker", "heretic", "opus"]),
    model_id=st.sampled_from(IDS),
)
def test_a_foreign_word_makes_it_another_model(word: str, model_id: str) -> None:
    assert meant(f"{model_id.rpartition('/')[2]}-{word}") is None


def test_sizes_are_read_as_they_are_written() -> None:
    assert size_in_name("Qwen3-30B-A3B") == 30e9
    assert size_in_name("SmolLM2-135M-Instruct") == 135e6
    assert size_in_name("Qwen2.5-7B-Instruct-1M") == 7e9
    assert size_in_name("gemma-4-E2B-it") == 2e9
    assert math.isnan(size_in_name("microsoft/phi-4"))
    assert parse("Qwen3-30B-A3B").active == 3e9


def test_the_family_is_what_stands_in_front_of_size_and_kind() -> None:
    assert family_key("Qwen/Qwen2.5-7B-Instruct") == "qwen2.5"
    assert family_key("google/gemma-3-4b-it") == "gemma-3"


def test_search_finds_every_part_in_any_order_and_forgives_a_typo() -> None:
    assert RESOLVER.search("4b qwen3")[0].model_id == "Qwen/Qwen3-4B"
    assert RESOLVER.search("bitnet")[0].model_id == "microsoft/bitnet-b1.58-2B-4T"
    assert any(match.model_id == "openai/gpt-oss-20b" for match in RESOLVER.search("gpt-os-20b"))
    assert RESOLVER.search("   ") == []


def test_aliases_point_at_models_of_the_catalog() -> None:
    assert {row["model_id"] for row in ALIASES} <= set(IDS)
    assert len({row["alias"].casefold() for row in ALIASES}) == len(ALIASES)


def test_known_files_are_resolved_almost_always_and_almost_never_wrongly() -> None:
    files = [row for row in rows_of("gguf_files.csv") if "mmproj" not in row["file"]]
    for column in ("file", "gguf_repo"):
        table = evaluate_names([(row[column], row["model_id"]) for row in files if row[column]], MODELS, ALIASES)
        assert table.rows > 1000
        assert table.precision >= 0.99
        assert table.recall >= 0.95


def test_benchmark_rows_that_are_matched_with_confidence_are_matched_rightly() -> None:
    rows = [row for row in rows_of("benchmarks.csv") if row["name_at_source"]]
    table = evaluate_names([(row["name_at_source"], row["model_id"]) for row in rows], MODELS, ALIASES, 0.8)
    assert table.recall >= 0.85
    wrong = [names for names in table.wrong_names if parse(names[1]).words != parse(names[2]).words]
    assert len(wrong) <= 0.02 * len({row["name_at_source"] for row in rows})
