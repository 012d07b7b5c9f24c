"""Rows of a CSV file, typed by the table they go into, each with the line it came from."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from recommender.errors import CatalogError

# Most cells repeat one that is not far above: kept once, a large file takes a third of the memory.
_REMEMBERED = 4096


@dataclass(frozen=True)
class CsvTable:
    """One CSV file as text. ``lines[i]`` is the line on which ``rows[i]`` begins (the header is line 1)."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def records(self) -> list[dict[str, str]]:
        """The rows as mappings of column to text, as the estimate room takes them."""
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]

    def records_of(self, *columns: str) -> Iterator[dict[str, str]]:
        """The rows one after another with these columns alone: all columns of all rows at once take much memory."""
        places = [self.header.index(column) for column in columns]
        for row in self.rows:
            yield dict(zip(columns, [row[place] for place in places], strict=True))


def refuse(file: str, line: int, column: str, reason: str) -> CatalogError:
    """The error for one bad cell; ``column`` may be empty when the whole row is meant."""
    where = f"{file} line {line}" + (f", column {column}" if column else "")
    return CatalogError(f"{where}: {reason}")


def read_csv(path: Path) -> CsvTable:
    """Read a UTF-8 CSV file with a header; blank lines are skipped, cells are stripped.

    Raises:
        CatalogError: the file is missing or is not text, a column is named twice, or a row has too few or too
            many cells; the message names file and line.
    """
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    header: tuple[str, ...] | None = None
    known: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            begins = 1
            for cells in reader:
                if header is None:
                    header = _header(path, cells)
                elif cells:
                    if len(cells) != len(header):
                        reason = f"{len(cells)} cells where the header has {len(header)}"
                        raise refuse(path.name, begins, "", reason)
                    rows.append(tuple([known.setdefault(text, text) for text in map(str.strip, cells)]))
                    lines.append(begins)
                begins = reader.line_num + 1
                if len(known) > _REMEMBERED:
                    known.clear()
    except FileNotFoundError:
        raise CatalogError(f"{path.name} is missing in {path.parent}.") from None
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path.name} is not UTF-8 text: {error.reason} at byte {error.start}.") from None
    except csv.Error as error:
        raise refuse(path.name, begins, "", f"not a CSV row: {error}") from None
    if header is None:
        raise refuse(path.name, 1, "", "the header is missing")
    return CsvTable(path, header, tuple(rows), tuple(lines))


def _header(path: Path, cells: Sequence[str]) -> tuple[str, ...]:
    header = tuple(cell.strip() for cell in cells)
    for index, name in enumerate(header):
        if not name:
            raise refuse(path.name, 1, "", f"column {index + 1} has no name")
        if name in header[:index]:
            raise refuse(path.name, 1, name, "the header names it twice")
    return header


# ── from text to the table's types ───────────────────────────────────────────────────────────────────────────

_YES = {"yes", "y", "true", "1"}
_NO = {"no", "n", "false", "0"}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise ValueError(f"{text!r} is not a number")
    return value


def _whole(bits: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            _number(text)
            raise ValueError(f"{text!r} is not a whole number") from None
        if "_" in text:
            raise ValueError(f"{text!r} is not a number")
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise ValueError(f"{text!r} is too large for this column")
        return value

    return convert


def _truth(text: str) -> bool:
    folded = text.casefold()
    if folded not in _YES | _NO:
        raise ValueError(f"{text!r} is neither yes nor no")
    return folded in _YES


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2026-01-31") from None


_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "DOUBLE": _number,
    "INTEGER": _whole(32),
    "BIGINT": _whole(64),
    "BOOLEAN": _truth,
    "DATE": _date,
}


def typed_columns(table: CsvTable, types: dict[str, str]) -> dict[str, list[Any]]:
    """The table's cells by column, converted to the DuckDB types ``{column: type}``; an empty cell is ``None``.

    Raises:
        CatalogError: the header and the table's columns differ, or a cell is not of its column's type.
    """
    for name in table.header:
        if name not in types:
            raise refuse(table.path.name, 1, name, "schema.sql has no such column; add it there or drop it here")
    for name in types:
        if name not in table.header:
            raise refuse(table.path.name, 1, name, "the header lacks this column of schema.sql")
    columns: dict[str, list[Any]] = {}
    for index, name in enumerate(table.header):
        cells = [row[index] for row in table.rows]
        try:
            columns[name] = _typed(cells, types[name])
        except _BadCellError as bad:
            raise refuse(table.path.name, table.lines[cells.index(bad.text)], name, bad.reason) from None
    return columns


class _BadCellError(Exception):
    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason


def _typed(cells: Sequence[str], kind: str) -> list[Any]:
    """The cells as values of a DuckDB type; each different text is converted once."""
    if kind == "VARCHAR":
        return [cell or None for cell in cells]
    convert = _CONVERTERS[kind]
    known: dict[str, Any] = {"": None}
    for cell in cells:
        if cell not in known:
            try:
                known[cell] = convert(cell)
            except ValueError as error:
                raise _BadCellError(cell, str(error)) from None
    return [known[cell] for cell in cells]
