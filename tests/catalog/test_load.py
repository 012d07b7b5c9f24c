from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from recommender import paths
from recommender.catalog import load as loading
from recommender.catalog.load import load
from recommender.catalog.overlay import load_tables
from recommender.catalog.rows import read_csv
from recommender.errors import CatalogError

Edit = Callable[[str, int, str, str], None]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("params_total", "abc", "models.csv line 3, column params_total: 'abc' is not a number"),
        ("params_total", "-5", "models.csv line 3, column params_total: -5 breaks the rule params_total > 0"),
        ("params_total", "", "models.csv line 3, column params_total: is empty, and every row needs it"),
        ("params_active", "999999999999", "models.csv line 3, column params_active, params_total: "),
        ("tier", "Huge", "models.csv line 3, column tier: 'Huge' breaks the rule tier IN ("),
        ("release_date", "last May", "models.csv line 3, column release_date: 'last May' breaks the rule "),
        ("source", "", "models.csv line 3, column source: is empty, and every row needs it"),
        ("model_id", "no-maker", "models.csv line 3, column model_id: 'no-maker' breaks the rule "),
    ],
)
def test_a_bad_row_is_refused_with_file_line_column_and_reason(
    tables: duckdb.DuckDBPyConnection, csv_dir: Path, edit: Edit, column: str, value: str, reason: str
) -> None:
    edit("models", 1, column, value)
    with pytest.raises(CatalogError) as caught:
        load(tables, "models", read_csv(csv_dir / "models.csv"))
    assert str(caught.value).startswith(reason)
    assert tables.execute("SELECT count(*) FROM models").fetchall() == [(0,)]


def test_a_key_that_occurs_twice_is_refused_with_both_lines(
    tables: duckdb.DuckDBPyConnection, csv_dir: Path, edit: Edit
) -> None:
    first = read_csv(csv_dir / "models.csv").records()[0]["model_id"]
    edit("models", 3, "model_id", first)
    with pytest.raises(CatalogError) as caught:
        load(tables, "models", read_csv(csv_dir / "models.csv"))
    assert str(caught.value) == f"models.csv line 5, column model_id: {first!r} is on line 2 already"


def test_a_reference_to_nothing_is_refused_with_the_nearest_names(
    tables: duckdb.DuckDBPyConnection, csv_dir: Path, edit: Edit
) -> None:
    load(tables, "runtimes", read_csv(csv_dir / "runtimes.csv"))
    edit("runtime_formats", 0, "runtime", "lama.cpp")
    with pytest.raises(CatalogError) as caught:
        load(tables, "runtime_formats", read_csv(csv_dir / "runtime_formats.csv"))
    expected = "runtime_formats.csv line 2, column runtime: 'lama.cpp' is not in runtimes.csv, column id"
    assert str(caught.value).startswith(f"{expected} (nearest: llama.cpp")


def test_a_column_that_the_schema_lacks_is_refused(tables: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "priorities.csv"
    path.write_text("priority,quality,speed,memory,runtime,source,mood\n")
    with pytest.raises(CatalogError, match=r"priorities\.csv line 1, column mood: schema\.sql has no such column"):
        load(tables, "priorities", read_csv(path))


def test_a_column_that_the_file_lacks_is_refused(tables: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "priorities.csv"
    path.write_text("priority,quality,speed,memory,source\n")
    with pytest.raises(CatalogError, match=r"priorities\.csv line 1, column runtime: the header lacks"):
        load(tables, "priorities", read_csv(path))


def test_weights_of_a_task_that_do_not_add_up_are_refused(
    tables: duckdb.DuckDBPyConnection, csv_dir: Path, edit: Edit
) -> None:
    edit("tasks", 2, "general", "0.9")
    with pytest.raises(CatalogError, match=r"tasks\.csv line 4, column .*breaks the rule"):
        load(tables, "tasks", read_csv(csv_dir / "tasks.csv"))


def test_values_arrive_as_they_stand_in_the_file(tables: duckdb.DuckDBPyConnection, csv_dir: Path) -> None:
    source = read_csv(csv_dir / "models.csv")
    load(tables, "models", source)
    columns = "model_id, params_total, tied_embeddings, source"
    rows = tables.execute(f"SELECT {columns} FROM models ORDER BY rowid").fetchall()
    for record, (model_id, params_total, tied, where) in zip(source.records(), rows, strict=True):
        assert (record["model_id"], int(record["params_total"]), record["source"]) == (model_id, params_total, where)
        assert {True: "yes", False: "no", None: ""}[tied] == record["tied_embeddings"]


def test_every_shipped_csv_has_a_table_and_every_table_its_csv(tables: duckdb.DuckDBPyConnection) -> None:
    shipped = {path.stem for path in paths.catalog_dir().glob("*.csv")}
    assert set(loading.tables(tables)[0]) == shipped


def test_the_shipped_catalog_breaks_no_rule(tables: duckdb.DuckDBPyConnection) -> None:
    loaded = load_tables(tables, paths.catalog_dir(), None)
    assert len(loaded["models"].rows) >= 200
    assert len(loaded["devices"].rows) >= 250


# Made by scripts in this repository from other tables, or patterns that read other tables' labels.
FITTED = {"quant_loss", "speed_coefficients", "speed_quant_factors", "speed_fallbacks", "speed_spreads", "size_laws"}
PATTERNS = {"measured_backends"}
MEASURED_BY_SCRIPTS = {"load_log_grid", "speed_held_out"}


def test_every_table_of_facts_says_for_each_row_where_it_comes_from_or_why(tables: duckdb.DuckDBPyConnection) -> None:
    for name in set(loading.tables(tables)[0]) - FITTED - PATTERNS - MEASURED_BY_SCRIPTS:
        rows = tables.execute(f"DESCRIBE {name}").fetchall()
        required = {column for column, _, null, *_ in rows if null == "NO"}
        assert required & {"source", "why"}, name
