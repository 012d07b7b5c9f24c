from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from recommender.catalog.merge import Merged, merge, publishers
from recommender.catalog.refresh import shipped_tables
from recommender.catalog.rows import CsvTable
from recommender.catalog.sources.base import Entry, EntryFile, Score
from recommender.estimate.architecture import architecture_from_row, merge_rows
from recommender.estimate.tensors import parameters
from tests.catalog.entries_made import PARAMS, SHAPE, entry, gguf, kept, new_maker_model

QWEN = "Qwen/Qwen3-0.6B"


@pytest.fixture(scope="module")
def shipped() -> dict[str, CsvTable]:
    return shipped_tables()


def merged(shipped: dict[str, CsvTable], entries: Iterable[Entry], gone_at: str = "") -> Merged:
    return merge(shipped, kept(*entries, gone_at=gone_at))


def test_nothing_told_changes_nothing(shipped: dict[str, CsvTable]) -> None:
    assert all(not rows for rows in merged(shipped, ()).rows.values())


def test_a_new_model_gets_a_row_with_what_its_entries_say(shipped: dict[str, CsvTable]) -> None:
    found = merged(shipped, new_maker_model())
    [row] = found.rows["models"]
    assert row["model_id"] == "Qwen/Qwen9-1.8B"
    assert row["family"] == "qwen9"
    assert (row["tier"], row["role"], row["license"], row["commercial_use"]) == ("Small", "hybrid", "Apache-2.0", "yes")
    assert (row["context_max"], row["release_date"], row["languages"]) == ("65536", "2026-11-01", "de|en")
    assert row["gguf_repos"] == "unsloth/Qwen9-1.8B-GGUF"
    assert "read 2026-11-27" in row["source"]
    [architecture] = found.rows["architectures"]
    assert architecture["source"] == "GGUF header of x"
    assert parameters(architecture_from_row(merge_rows(row, architecture))) == pytest.approx(PARAMS, rel=0.05)


def test_quantizers_are_alternatives_of_one_model(shipped: dict[str, CsvTable]) -> None:
    original, files = new_maker_model()
    found = merged(shipped, [original, files, gguf("bartowski/Qwen_Qwen9-1.8B-GGUF", original.entry_id)])
    assert len(found.rows["models"]) == 1
    assert {row["gguf_repo"] for row in found.rows["gguf_files"]} == {
        "unsloth/Qwen9-1.8B-GGUF",
        "bartowski/Qwen_Qwen9-1.8B-GGUF",
    }
    assert all(row["catalog_model_id"] == original.entry_id for row in found.rows["gguf_files"])


def test_files_of_nobody_known_count_only_where_nobody_else_has_the_model(shipped: dict[str, CsvTable]) -> None:
    original, files = new_maker_model()
    stranger = gguf("stranger/Qwen9-1.8B-GGUF", original.entry_id)
    assert {row["gguf_repo"] for row in merged(shipped, [original, files, stranger]).rows["gguf_files"]} == {
        files.entry_id
    }
    assert {row["gguf_repo"] for row in merged(shipped, [original, stranger]).rows["gguf_files"]} == {stranger.entry_id}


def test_fine_tunes_are_seen_under_their_base_and_are_no_models(shipped: dict[str, CsvTable]) -> None:
    tune = entry("somebody/Storyteller-0.6B", relation="finetune", bases=(QWEN,), params_total=596_049_920)
    found = merged(shipped, [tune])
    assert found.rows["models"] == []
    [sighting] = found.rows["sightings"]
    assert (sighting["model_id"], sighting["relation"]) == (QWEN, "finetune")


def test_gaps_of_a_reviewed_row_are_filled_and_contradictions_keep_both_figures(shipped: dict[str, CsvTable]) -> None:
    row = next(row for row in shipped["models"].records() if row["model_id"] == QWEN)
    told = entry(QWEN, license_id="mit", context_tokens=4096, params_total=596_049_920)
    found = merged(shipped, [told])
    fields = {one["field"]: one for one in found.rows["conflicts"]}
    assert (fields["license_id"]["chosen"], fields["license_id"]["other"]) == (row["license_id"], "mit")
    assert fields["license_id"]["why"] == "the shipped figure was reviewed"
    assert fields["context_max"]["other"] == "4096"
    assert "params_total" not in fields
    assert "2026-11-27" in fields["context_max"]["other_source"]
    assert found.rows["models"] == []


def test_what_a_row_has_by_its_family_s_rule_gives_way_to_its_repository(shipped: dict[str, CsvTable]) -> None:
    by_rule = next(
        row for row in shipped["models"].records()
        if "tool_calling" in row["rule_filled"].split(": ")[-1].split(",") and row["tool_calling"] == "yes"
    )  # fmt: skip
    found = merged(shipped, [entry(by_rule["model_id"], tool_calling="no")])
    [row] = found.rows["models"]
    assert row["tool_calling"] == "no"
    [conflict] = [one for one in found.rows["conflicts"] if one["field"] == "tool_calling"]
    assert (conflict["chosen"], conflict["other"]) == ("no", "yes")


def test_a_header_s_numbers_win_and_the_shipped_ones_are_kept_beside(shipped: dict[str, CsvTable]) -> None:
    true = {**SHAPE, "n_layer": "28", "n_embd": "1024", "n_ff": "3072"}
    files = gguf("unsloth/Qwen3-0.6B-GGUF", QWEN, params_total=596_049_920, architecture={**true, "n_head_kv": "4"},
                 architecture_source="GGUF header of y")  # fmt: skip
    found = merged(shipped, [files])
    [row] = found.rows["architectures"]
    assert row["n_head_kv"] == "4"
    [conflict] = [one for one in found.rows["conflicts"] if one["field"] == "n_head_kv"]
    assert (conflict["chosen"], conflict["other"]) == ("4*28", "8*28")
    same = gguf("unsloth/Qwen3-0.6B-GGUF", QWEN, params_total=596_049_920, architecture=true)
    assert merged(shipped, [same]).rows["architectures"] == []


def test_kinds_of_files_are_told_apart_by_their_names(shipped: dict[str, CsvTable]) -> None:
    original, files = new_maker_model()
    listed = (
        EntryFile("a-Q4_K_M.gguf", 10, "", "Q4_K_M"),
        EntryFile("mmproj-F16.gguf", 10, "", "F16"),
        EntryFile("a-UD-Q4_K_XL.gguf", 10, "", "UD-Q4_K_XL"),
        EntryFile("big/a-BF16-00001-of-00002.gguf", 10, "", "BF16"),
        EntryFile("a.imatrix.gguf", None, "", ""),
    )
    changed = gguf(files.entry_id, original.entry_id, files=listed, architecture=SHAPE)
    rows = {row["file"]: row for row in merged(shipped, [original, changed]).rows["gguf_files"]}
    assert [rows[file.path]["kind"] for file in listed] == ["model", "mmproj", "model", "split", "imatrix"]
    assert rows["a-Q4_K_M.gguf"]["quantization"] == "Q4_K_M"
    assert rows["mmproj-F16.gguf"]["quantization"] == ""
    assert (rows["a-UD-Q4_K_XL.gguf"]["quantization"], rows["a-UD-Q4_K_XL.gguf"]["recipe"]) == ("", "own")
    assert rows["big/a-BF16-00001-of-00002.gguf"]["split_count"] == "2"
    assert rows["a.imatrix.gguf"]["bytes_kind"] == "none"


def test_a_shipped_file_of_rounded_size_becomes_exact_and_keeps_its_recipe(shipped: dict[str, CsvTable]) -> None:
    old = next(row for row in shipped["gguf_files"].records()
               if row["bytes_kind"] == "rounded" and row["catalog_model_id"] and row["quantization"]
               and row["kind"] == "model")  # fmt: skip
    told = gguf(old["gguf_repo"], old["catalog_model_id"], params_total=None,
                files=(EntryFile(old["file"], 123_456_789, "", old["quantization"]),))  # fmt: skip
    [row] = merged(shipped, [told]).rows["gguf_files"]
    assert (row["bytes"], row["bytes_kind"], row["recipe"]) == ("123456789", "exact", old["recipe"])


def test_a_new_model_takes_the_place_of_an_older_one_of_its_line_and_size(shipped: dict[str, CsvTable]) -> None:
    original, files = new_maker_model()
    sees = replace(original, pipeline="image-text-to-text")
    found = {row["model_id"]: row for row in merged(shipped, [sees, files]).rows["models"]}
    superseded = {name: row["superseded_by"] for name, row in found.items() if row.get("superseded_by")}
    assert superseded == {"Qwen/Qwen3.5-2B": original.entry_id}
    assert found["Qwen/Qwen3.5-2B"]["superseded_source"].startswith("inferred:")


def test_a_model_that_can_do_less_takes_nobody_s_place(shipped: dict[str, CsvTable]) -> None:
    found = merged(shipped, new_maker_model()).rows["models"]
    assert [row["model_id"] for row in found] == ["Qwen/Qwen9-1.8B"]


def test_a_model_without_a_number_of_parameters_is_seen_but_is_no_row(shipped: dict[str, CsvTable]) -> None:
    found = merged(shipped, [entry("Qwen/Qwen9-Mystery")])
    assert found.rows["models"] == []
    [sighting] = found.rows["sightings"]
    assert sighting["model_id"] == ""
    assert "how many parameters it has is not known" in sighting["why"]


def test_scores_that_a_page_states_are_percentages_with_their_source(shipped: dict[str, CsvTable]) -> None:
    scores = (Score("MMLU-Pro", 0.52, "accuracy"), Score("GSM8K", 0.8, "", verified=True))
    original, files = new_maker_model()
    rows = {row["benchmark"]: row for row in merged(
        shipped, [entry(original.entry_id, params_total=PARAMS, scores=scores), files]
    ).rows["benchmarks"]}  # fmt: skip
    assert rows["MMLU-Pro"]["score"] == "52.0"
    assert "own model page" in rows["MMLU-Pro"]["evaluator"]
    assert rows["GSM8K"]["evaluator"] == "checked by the Hub"


def test_variants_of_a_runtime_s_own_catalog_become_its_models(shipped: dict[str, CsvTable]) -> None:
    variant = entry(
        "Phi-4-mini-instruct-qnn-npu:2", source="foundry-local", format="onnx", relation="quantized",
        name="Phi-4-mini-instruct", runtime="foundry-local", accelerator="npu/QNNExecutionProvider",
        details={"alias": "phi-4-mini"}, files=(EntryFile("", 2_800_000_000, "", "onnx-int4"),),
    )  # fmt: skip
    [row] = merged(shipped, [variant]).rows["runtime_models"]
    assert (row["runtime"], row["model_id"], row["quantization"]) == (
        "foundry-local", "microsoft/Phi-4-mini-instruct", "onnx-int4",
    )  # fmt: skip
    assert (row["accelerator"], row["file_bytes"]) == ("npu", "2800000000")


def test_makers_and_quantizers_come_from_the_catalog_s_rows(shipped: dict[str, CsvTable]) -> None:
    makers, quantizers = publishers(shipped)
    assert "Qwen" in makers
    assert "unsloth" in quantizers
    assert not makers & quantizers
