"""Errors are computed from the rows that are given, and what cannot be judged is counted with its reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from recommender import paths
from recommender.catalog.store import Catalog
from recommender.errors import BadInputError
from recommender.estimate.evaluate_speed import evaluate_speed
from recommender.estimate.names import Resolver
from recommender.evaluate import evaluate, evaluate_files, evaluate_memory, evaluation_json, read_rows
from recommender.evaluate_text import evaluation_text
from recommender.present import jsonable


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def models() -> list[dict[str, str]]:
    return read_rows(paths.catalog_dir() / "models.csv")


@pytest.fixture(scope="module")
def resolver(models: list[dict[str, str]]) -> Resolver:
    return Resolver(models, read_rows(paths.catalog_dir() / "model_aliases.csv"))


@pytest.fixture(scope="module")
def standard_file() -> dict[str, str]:
    """A published file of a standard mix whose size is known to the byte."""
    rows = read_rows(paths.catalog_dir() / "gguf_files.csv")
    return next(row for row in rows if row["bytes_kind"] == "exact" and row["recipe"] == "standard")


def test_a_file_that_is_half_as_large_as_it_should_be_is_an_error_of_a_hundred_percent(
    standard_file: dict[str, str], models: list[dict[str, str]], resolver: Resolver
) -> None:
    right = evaluate_files([standard_file], models, resolver)
    halved = {**standard_file, "bytes": str(int(standard_file["bytes"]) // 2)}
    wrong = evaluate_files([halved], models, resolver)
    assert right is not None
    assert right.median_abs_error < 0.01
    assert wrong is not None
    assert wrong.median_abs_error == pytest.approx(1.0, abs=0.02)
    assert wrong.bias > 0
    assert standard_file["file"] in wrong.anomalies[0]


def test_files_that_cannot_be_judged_are_counted_with_the_reason(
    standard_file: dict[str, str], models: list[dict[str, str]], resolver: Resolver
) -> None:
    rounded = {**standard_file, "bytes_kind": "rounded"}
    unknown = {**standard_file, "catalog_model_id": "", "model_id": "nobody/Nothing-7B", "file": "nothing-7b.gguf"}
    table = evaluate_files([standard_file, rounded, unknown], models, resolver)
    assert table is not None
    assert table.rows == 1
    assert sum(table.skipped.values()) == 2


def test_a_files_table_with_the_plain_headers_is_judged_too(
    standard_file: dict[str, str], models: list[dict[str, str]], resolver: Resolver
) -> None:
    plain = ("model_id", "gguf_repo", "file", "quant", "bytes", "bytes_kind")
    table = evaluate_files([{name: standard_file[name] for name in plain}], models, resolver)
    assert table is not None
    assert table.rows == 1


def test_memory_is_judged_part_by_part_against_logged_buffers(catalog: Catalog, resolver: Resolver) -> None:
    grid = read_rows(paths.catalog_dir() / "load_log_grid.csv")[:4]
    tables = evaluate_memory(grid, catalog, resolver)
    assert set(tables) == {"weights", "kv_cache", "compute", "total"}
    assert tables["kv_cache"].median_abs_error <= 0.01
    doubled = [{**row, "kv_bytes": str(2 * float(row["kv_bytes"]))} for row in grid]
    assert evaluate_memory(doubled, catalog, resolver)["kv_cache"].median_abs_error == pytest.approx(0.5, abs=0.01)


def test_published_load_logs_of_other_engines_are_left_out_with_the_reason(
    catalog: Catalog, resolver: Resolver
) -> None:
    row = {"engine": "ik_llama.cpp", "model": "x", "quant": "Q4_0", "kv_MiB": "1", "n_ctx": "512"}
    assert evaluate_memory([row], catalog, resolver) == {}


def test_everything_together_prints_as_json_with_the_promised_names(catalog: Catalog, tmp_path: Path) -> None:
    folder = paths.catalog_dir()
    measured = read_rows(folder / "measurements.csv")
    found = evaluate(
        catalog,
        files=_write(tmp_path / "files.csv", read_rows(folder / "gguf_files.csv")[:200]),
        measurements=_write(tmp_path / "measurements.csv", measured[:120]),
        memory=_write(tmp_path / "memory.csv", read_rows(folder / "load_log_grid.csv")[:2]),
    )
    printed = json.loads(json.dumps(evaluation_json(found), allow_nan=False))
    for table in ("files", "memory", "decode", "prefill"):
        names = {"rows", "skipped", "median_abs_error", "p90_abs_error", "p95_abs_error", "within_25", "within_30"}
        assert names | {"bias", "interval_share", "device_balanced_median", "by_class"} <= set(printed[table]), table
    assert {"mean_abs_error", "baseline_mean_abs_error", "rank_correlation"} <= set(printed["quality"])
    assert "| File bytes |" in evaluation_text(found)


def test_a_file_that_is_not_there_is_a_sentence(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        evaluate(catalog, files=tmp_path / "missing.csv")


@pytest.mark.parametrize("kind", ["files", "measurements", "benchmarks", "memory"])
@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_file_of_another_kind_is_refused_with_what_it_lacks(
    catalog: Catalog, tmp_path: Path, kind: str, text: str
) -> None:
    path = tmp_path / "strange.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"strange\.csv (lacks|has no rows)"):
        evaluate(catalog, **{kind: path})


def test_cells_that_are_no_numbers_are_counted_and_not_fatal(
    standard_file: dict[str, str], models: list[dict[str, str]], resolver: Resolver
) -> None:
    strange = [{**standard_file, "bytes": text} for text in ("nan", "inf", "-1", "0", "many", "\u65e5\u672c")]
    found = evaluate_files(strange, models, resolver)
    assert found.rows == 0
    assert sum(found.skipped.values()) == len(strange)


def test_measured_rows_with_strange_numbers_are_counted_and_not_fatal(models: list[dict[str, str]]) -> None:
    row = next(row for row in read_rows(paths.catalog_dir() / "measurements.csv") if row["params_b"])
    columns = ("params_b", "reviewed_params_b", "model_bytes", "decode_tok_s", "prefill_tok_s", "threads", "depth")
    strange = [{**row, name: text} for name in columns for text in ("nan", "-1", "0", "inf", "1e308", "x")]
    found = evaluate_speed(strange, read_rows(paths.catalog_dir() / "devices.csv"), models)
    json.dumps(jsonable(found), allow_nan=False)
    assert found.decode.rows + sum(found.decode.skipped.values()) == len(strange)


def test_a_file_that_logs_only_caches_still_has_a_memory_table(catalog: Catalog, tmp_path: Path) -> None:
    load = {"engine": "llama.cpp", "model": "Qwen3-4B", "quant": "Q4_K - Medium", "n_ctx": "4096", "kv_MiB": "576"}
    table = evaluation_json(evaluate(catalog, memory=_write(tmp_path / "loads.csv", [load])))["memory"]
    assert table["rows"] == 1
    assert table["median_abs_error"] == pytest.approx(0.0, abs=1e-6)
