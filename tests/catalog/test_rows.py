from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.rows import CsvTable, read_csv, typed_columns
from recommender.errors import CatalogError

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12).map(str.strip)


def write(folder: Path, text: str) -> Path:
    path = folder / "models.csv"
    path.write_bytes(text.encode())
    return path


def one(column: str, cell: str) -> CsvTable:
    return CsvTable(Path("models.csv"), (column,), ((cell,),), (17,))


def test_rows_know_the_line_they_begin_on(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, 'a,b\n1,"two\nlines"\n\n3,4\n'))
    assert table.rows == (("1", "two\nlines"), ("3", "4"))
    assert table.lines == (2, 5)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "\ufeffa,b\r\n1,2\r\n"))
    assert (table.header, table.rows) == (("a", "b"), (("1", "2"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "models.csv line 3: 1 cells where the header has 2"),
        ("a,b\n1,2,3\n", "models.csv line 2: 3 cells where the header has 2"),
        ("a,a\n1,2\n", "models.csv line 1, column a: the header names it twice"),
        ("a,\n1,2\n", "models.csv line 1: column 2 has no name"),
        ("", "models.csv line 1: the header is missing"),
        ('a,b\n1,"2\n', "models.csv line 2: not a CSV row"),
    ],
)
def test_a_row_that_is_no_row_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read_csv(write(tmp_path, text))
    assert str(caught.value).startswith(message)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"models\.csv is missing in "):
        read_csv(tmp_path / "models.csv")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_bytes(b"a\n\xff\xfe\x00\n")
    with pytest.raises(CatalogError, match="is not UTF-8 text"):
        read_csv(path)


@given(rows=st.lists(st.tuples(CELL, CELL), max_size=8))
def test_whatever_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b"), *rows])
    unified = [tuple("\n".join(cell.splitlines()) for cell in row) for row in rows]
    assert [tuple("\n".join(cell.splitlines()) for cell in row) for row in read_csv(path).rows] == unified


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_a_number(value: float) -> None:
    assert typed_columns(one("x", repr(value)), {"x": "DOUBLE"}) == {"x": [value]}


@given(st.integers())
def test_whole_numbers_are_read_when_they_fit_and_refused_when_they_do_not(value: int) -> None:
    table = one("x", str(value))
    if -(2**63) <= value < 2**63:
        assert typed_columns(table, {"x": "BIGINT"}) == {"x": [value]}
    else:
        with pytest.raises(CatalogError, match="too large"):
            typed_columns(table, {"x": "BIGINT"})


@pytest.mark.parametrize(
    ("kind", "cell", "reason"),
    [
        ("DOUBLE", "abc", "'abc' is not a number"),
        ("DOUBLE", "nan", "'nan' is not a number"),
        ("DOUBLE", "1e999", "'1e999' is not a number"),
        ("DOUBLE", "1_000", "'1_000' is not a number"),
        ("BIGINT", "1_000", "'1_000' is not a number"),
        ("BIGINT", "4.5", "'4.5' is not a whole number"),
        ("INTEGER", "3000000000", "'3000000000' is too large for this column"),
        ("BOOLEAN", "maybe", "'maybe' is neither yes nor no"),
        ("DATE", "2026-13-01", "'2026-13-01' is not a date like 2026-01-31"),
    ],
)
def test_a_cell_of_the_wrong_type_is_refused_with_file_line_column_and_reason(
    kind: str, cell: str, reason: str
) -> None:
    with pytest.raises(CatalogError) as caught:
        typed_columns(one("params_total", cell), {"params_total": kind})
    assert str(caught.value) == f"models.csv line 17, column params_total: {reason}"


@pytest.mark.parametrize("kind", ["VARCHAR", "DOUBLE", "BIGINT", "BOOLEAN", "DATE"])
def test_an_empty_cell_is_unknown_and_not_zero(kind: str) -> None:
    assert typed_columns(one("x", ""), {"x": kind}) == {"x": [None]}


@pytest.mark.parametrize(("cell", "value"), [("yes", True), ("Y", True), ("1", True), ("no", False), ("false", False)])
def test_yes_and_no_are_read_in_their_usual_spellings(cell: str, value: bool) -> None:
    assert typed_columns(one("x", cell), {"x": "BOOLEAN"}) == {"x": [value]}


def test_infinity_is_not_a_number() -> None:
    assert math.isinf(float("inf"))
    with pytest.raises(CatalogError):
        typed_columns(one("x", "inf"), {"x": "DOUBLE"})
