"""What must hold in the reviewed CSVs on models, files and benchmarks, read as text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import date
from pathlib import Path

CATALOG = Path(__file__).parents[2] / "catalog"

ROLES = {"instruct", "thinking", "hybrid", "code", "base", "vision", "embedding", "translation", "diffusion"}
TIER_LIMITS = (("Micro", 1.5e9), ("Small", 14e9), ("Medium", 31e9))
MODEL_NUMBERS = (
    "params_total",
    "params_active",
    "params_text",
    "context_max",
    "context_native",
    "n_layer",
    "n_embd",
    "n_head",
    "n_head_kv",
    "head_dim",
    "n_ff",
    "vocab_size",
    "n_expert",
    "n_expert_used",
    "n_ff_expert",
    "sliding_window",
)
FILE_TYPES = {
    *("F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0"),
    *("IQ4_XS", "IQ4_NL", "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S"),
    *("IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "TQ1_0", "TQ2_0", "MXFP4_MOE", "I2_S"),
}


def rows(name: str) -> list[dict[str, str]]:
    with (CATALOG / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


MODELS = rows("models.csv")
FILES = rows("gguf_files.csv")
BENCHMARKS = rows("benchmarks.csv")
BY_ID = {row["model_id"]: row for row in MODELS}


def first_day(text: str) -> date:
    """A release date may stop at the year or the month."""
    return date.fromisoformat(text + "-01-01"[3 * text.count("-") :])


def tier(params_total: float) -> str:
    return next((name for name, limit in TIER_LIMITS if params_total < limit), "Large")


def test_no_model_is_listed_twice() -> None:
    counts = Counter(row["model_id"].casefold() for row in MODELS)
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_row_names_its_source() -> None:
    for table in (MODELS, FILES, BENCHMARKS):
        assert [row for row in table if not row["source"].strip()] == []


def test_no_source_is_an_address_of_this_machine() -> None:
    for table in (MODELS, FILES, BENCHMARKS):
        assert [row["source"] for row in table if re.search(r"(^|[ (])/(work|home|tmp|root)/", row["source"])] == []


def test_numbers_of_models_are_positive_whole_numbers_or_empty() -> None:
    bad = [
        (row["model_id"], column, row[column])
        for row in MODELS
        for column in MODEL_NUMBERS
        if row[column] and not re.fullmatch(r"[1-9]\d*", row[column])
    ]
    assert bad == []


def test_every_model_has_its_total_of_parameters() -> None:
    assert [row["model_id"] for row in MODELS if not row["params_total"]] == []


def test_active_and_text_parameters_are_never_more_than_all_of_them() -> None:
    for row in MODELS:
        for column in ("params_active", "params_text"):
            assert not row[column] or int(row[column]) <= int(row["params_total"]), (row["model_id"], column)


def test_a_size_in_the_name_is_near_the_count() -> None:
    """Names round, count without the embedding or leave a vision tower out; Gemma's "E" sizes are no sizes."""
    far = []
    for row in MODELS:
        sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])", row["name"].replace("_", "."))
        billions = int(row["params_total"]) / 1e9
        if sizes and not any(0.65 < billions / float(size) < 1.7 for size in sizes):
            far.append((row["model_id"], billions))
    assert far == []


def test_the_tier_follows_from_the_total_of_parameters() -> None:
    assert [row["model_id"] for row in MODELS if row["tier"] != tier(float(row["params_total"]))] == []


def test_release_dates_are_dates_within_the_age_of_these_models() -> None:
    for row in MODELS:
        if row["release_date"]:
            assert date(2022, 1, 1) <= first_day(row["release_date"]) <= date(2026, 12, 31), row["model_id"]


def test_choices_come_from_their_vocabularies() -> None:
    for row in MODELS:
        assert row["role"] in ROLES, row["model_id"]
        assert row["commercial_use"] in {"yes", "no", "conditions", ""}, row["model_id"]
        assert row["tool_calling"] in {"yes", "no", ""}, row["model_id"]
        assert row["thinking"] in {"yes", "no", "hybrid", ""}, row["model_id"]


def test_the_role_agrees_with_thinking_and_with_the_name() -> None:
    for row in MODELS:
        name = row["name"].casefold()
        if row["role"] == "thinking":
            assert row["thinking"] == "yes", row["model_id"]
        if row["role"] == "hybrid":
            assert row["thinking"] == "hybrid", row["model_id"]
        if row["role"] == "instruct":
            assert row["thinking"] in {"no", ""}, row["model_id"]
            assert not re.search(r"-base$|embed|-vl-|vision|coder", name), row["model_id"]


def test_a_model_made_for_pictures_takes_pictures() -> None:
    assert [r["model_id"] for r in MODELS if r["role"] == "vision" and "image" not in r["modalities"]] == []


def test_embedding_and_base_models_call_no_tools() -> None:
    assert [r["model_id"] for r in MODELS if r["role"] in {"embedding", "base"} and r["tool_calling"] == "yes"] == []


def test_a_licence_without_text_has_no_id() -> None:
    for row in MODELS:
        assert bool(row["license"]) == bool(row["license_id"]), row["model_id"]
        assert re.fullmatch(r"[a-z0-9.-]*", row["license_id"]), row["model_id"]


def test_non_commercial_licences_are_not_marked_for_commercial_use() -> None:
    for row in MODELS:
        if re.search(r"(^|-)nc(-|$)|research|^mrl$|^mnpl$", row["license_id"]) and "/" not in row["license"]:
            assert row["commercial_use"] == "no", row["model_id"]


def test_the_native_context_is_within_the_longest() -> None:
    for row in MODELS:
        assert bool(row["context_native"]) == bool(row["context_max"]), row["model_id"]
        if row["context_max"]:
            assert 512 <= int(row["context_native"]) <= int(row["context_max"]) <= 2_000_000, row["model_id"]
            assert row["context_source"], row["model_id"]


def test_a_successor_is_a_newer_model_of_the_same_maker_and_about_the_same_size() -> None:
    for row in MODELS:
        if not row["superseded_by"]:
            continue
        successor = BY_ID[row["superseded_by"]]
        assert row["superseded_source"], row["model_id"]
        assert successor["model_id"].split("/")[0] == row["model_id"].split("/")[0], row["model_id"]
        ratio = int(successor["params_total"]) / int(row["params_total"])
        assert 1 / 1.5 <= ratio <= 1.5, (row["model_id"], ratio)
        if row["release_date"] and successor["release_date"]:
            assert first_day(successor["release_date"]) >= first_day(row["release_date"][:7]), row["model_id"]
        special = {"code", "vision", "base", "embedding", "translation", "diffusion"}
        assert row["role"] == successor["role"] or not {row["role"], successor["role"]} & special, row["model_id"]


def test_following_successors_always_ends() -> None:
    for row in MODELS:
        seen: list[str] = []
        while row["superseded_by"]:
            assert row["model_id"] not in seen, seen
            seen.append(row["model_id"])
            row = BY_ID[row["superseded_by"]]


def test_no_model_is_made_from_itself() -> None:
    assert [r["model_id"] for r in MODELS if r["base_model"] == r["model_id"]] == []


def test_languages_are_two_letter_codes_with_a_source_and_none_twice() -> None:
    for row in MODELS:
        codes = row["languages"].split("|") if row["languages"] else []
        assert all(re.fullmatch(r"[a-z]{2}", code) for code in codes), row["model_id"]
        assert len(codes) == len(set(codes)), row["model_id"]
        assert bool(codes) == bool(row["languages_source"]), row["model_id"]


def test_what_was_filled_in_beside_the_row_source_says_where_it_is_from() -> None:
    for row in MODELS:
        for column in ("base_model", "superseded", "languages", "params_text"):
            filled = row["superseded_by"] if column == "superseded" else row[column]
            assert bool(filled) == bool(row[f"{column}_source"]), (row["model_id"], column)


def test_exact_bytes_are_recorded_and_rounded_sizes_are_not_turned_into_bytes() -> None:
    for row in FILES:
        if row["bytes_kind"] in {"exact", "tensor_bytes"}:
            assert re.fullmatch(r"[1-9]\d*", row["bytes"]), row["file"]
        else:
            assert row["bytes"] == "", row["file"]
        assert row["bytes_kind"] != "rounded" or row["size_reported"], row["file"]


def test_a_file_is_listed_once_unless_two_revisions_differ_in_bytes() -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for row in FILES:
        if row["gguf_repo"] and "*" not in row["file"]:
            known = found.setdefault((row["gguf_repo"], row["file"]), set())
            assert row["bytes"] not in known, row["file"]
            known.add(row["bytes"])


def test_files_are_classified_from_closed_lists() -> None:
    for row in FILES:
        assert row["kind"] in {"model", "mmproj", "imatrix", "draft", "split"}, row["file"]
        assert row["recipe"] in {"standard", "own", "unknown"}, row["file"]
        assert row["recipe_reason"], row["file"]
        assert row["quantization"] in FILE_TYPES | {""}, row["file"]
        assert (int(row["split_count"] or 1) > 1) == (row["kind"] == "split"), row["file"]


def test_a_file_of_a_mix_that_llama_cpp_has_no_name_for_is_never_standard() -> None:
    standard = [row for row in FILES if row["recipe"] == "standard" and row["quant"] != "F32"]
    assert [row["file"] for row in standard if not row["quantization"]] == []


def test_projectors_and_importance_matrices_are_not_offered_as_models() -> None:
    models = [row["file"].casefold() for row in FILES if row["kind"] == "model"]
    assert [name for name in models if re.search("mmproj|imatrix", name)] == []


def test_exact_sizes_lie_between_one_and_thirty_three_bits_per_parameter() -> None:
    for row in FILES:
        model = BY_ID.get(row["catalog_model_id"])
        if row["bytes_kind"] == "exact" and row["kind"] == "model" and model:
            bits = 8 * int(row["bytes"]) / int(model["params_total"])
            assert 1.0 < bits < 33.0, (row["file"], bits)


def test_what_a_file_or_score_points_to_is_in_the_catalog() -> None:
    for table in (FILES, BENCHMARKS):
        for row in table:
            assert row["catalog_model_id"] in BY_ID or row["catalog_model_id"] == ""
            assert row["model_id"] not in BY_ID or row["catalog_model_id"] == row["model_id"]


def test_scores_are_numbers_within_their_scale() -> None:
    for row in BENCHMARKS:
        score = float(row["score"])
        assert not row["scale_min"] or score >= float(row["scale_min"]), (row["benchmark"], score)
        assert not row["scale_max"] or score <= float(row["scale_max"]), (row["benchmark"], score)


def test_ranks_and_error_rates_count_downwards_and_all_else_upwards() -> None:
    for row in BENCHMARKS:
        error_rate = re.search(r"lower is better|^FLEURS$|^Common Voice", row["benchmark"])
        falls = row["unit"] == "rank" or error_rate is not None
        assert row["direction"] == ("lower" if falls else "higher"), row["benchmark"]
        assert row["unit"] in {"percent", "rank", "elo", "points"}, row["benchmark"]


def test_a_benchmark_is_named_by_what_it_measures_not_by_how() -> None:
    nameless = {"—", "5-shot", "8-shot", "0-shot, CoT", "3-shot, CoT", "5-shot, CoT", "pass@1", "Average"}
    assert [row["source"] for row in BENCHMARKS if row["benchmark"] in nameless] == []


def test_a_cell_holds_one_score_that_is_not_marked_as_a_repeat() -> None:
    columns = ("model_id", "benchmark", "metric_details", "mode", "variant", "evaluator")
    cells = Counter(tuple(row[c] for c in columns) for row in BENCHMARKS if row["duplicate"] == "")
    assert [cell for cell, count in cells.items() if count > 1] == []
    assert {row["duplicate"] for row in BENCHMARKS} <= {"", "same", "copy", "repack", "conflict"}
