"""What a refresh adds to the shipped catalog: a folder of CSV files with the same columns, laid over the shipped rows.

A row of the overlay takes the place of the shipped row with the same key; the rest is added. The folder in use is
named in one small file, ``live/current``, so that changing it is one atomic step, and the one before stays for undo.
"""

from __future__ import annotations

import csv
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recommender import paths
from recommender.catalog.database import not_writable
from recommender.catalog.load import column_types, load, tables
from recommender.catalog.rows import CsvTable, read_csv, refuse

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What makes two rows the same one. Tables not named here come from the shipped files alone.
KEYS: dict[str, tuple[str, ...]] = {
    "models": ("model_id",),
    "architectures": ("model_id",),
    "gguf_files": ("gguf_repo", "file"),
    "benchmarks": ("model_id", "benchmark", "metric_details", "mode", "evaluator", "variant"),
    "runtime_models": ("runtime", "name"),
    "sightings": ("source", "entry_id"),
    "conflicts": ("model_id", "field", "chosen_source", "other_source"),
}
_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_CURRENT, _PREVIOUS = "current", "previous"

Records = Mapping[str, Iterable[Mapping[str, str]]]


def load_tables(connection: DuckDBPyConnection, csv_dir: Path, overlay: Path | None) -> dict[str, CsvTable]:
    """Fill every CSV table from ``csv_dir`` and the overlay; returns the rows as text by table name.

    Raises:
        CatalogError: a file is missing or bad; the message has file, line, column and reason.
    """
    loaded = {}
    live = {name: read_csv(path) for name in KEYS if overlay and (path := overlay / f"{name}.csv").exists()}
    for name, table in live.items():
        if set(table.header) != set(column_types(connection, name)):
            raise refuse(table.path.name, 1, "", "its columns are those of another version of this program")
    gone = _gone_repositories(live.get("sightings"))
    for name in tables(connection)[0]:
        shipped = _without_repositories(read_csv(csv_dir / f"{name}.csv"), gone)
        if name in live:
            shipped = _without(shipped, live[name], KEYS[name])
            load(connection, name, shipped)
            load(connection, name, live[name])
            loaded[name] = _joined(shipped, live[name])
        else:
            load(connection, name, shipped)
            loaded[name] = shipped
    return loaded


def write(folder: Path, records: Records, headers: Mapping[str, Sequence[str]]) -> None:
    """Write an overlay folder; columns that a record lacks stay empty."""
    folder.mkdir(parents=True)
    for name, rows in records.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, headers[name], restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def new_folder() -> Path:
    """A name for a new overlay; the folder is not made."""
    return paths.live_dir() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def current() -> Path | None:
    """The overlay in use, or None: then the catalog is what ships."""
    return _named(_CURRENT)


def previous() -> Path | None:
    """The overlay before the last change; None when there was none, or nothing was changed yet."""
    return _named(_PREVIOUS)


def can_undo() -> bool:
    """Whether a refresh was applied and not undone."""
    return (paths.live_dir() / _PREVIOUS).exists()


def use(folder: Path | None) -> None:
    """Put an overlay in use, in one step; the one before is kept for :func:`undo`, older ones are removed.

    Raises:
        NotWritableError: the user's data folder is read-only or full.
    """
    before = current()
    _point(_PREVIOUS, before)
    _point(_CURRENT, folder)
    for old in unused():
        shutil.rmtree(old, ignore_errors=True)


def unused() -> list[Path]:
    """Overlays that are neither in use nor the one before."""
    kept = (current(), previous())
    found = paths.live_dir().iterdir() if paths.live_dir().is_dir() else ()
    return [one for one in found if _NAME.fullmatch(one.name) and one not in kept]


def undo() -> Path | None:
    """Put the overlay of before in use and return it; a second call brings the newer one back."""
    before, now = previous(), current()
    _point(_CURRENT, before)
    _point(_PREVIOUS, now)
    return before


def _named(pointer: str) -> Path | None:
    try:
        name = (paths.live_dir() / pointer).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = paths.live_dir() / name
    return folder if _NAME.fullmatch(name) and folder.is_dir() else None


def _point(pointer: str, folder: Path | None) -> None:
    """An empty pointer stands for the shipped catalog."""
    place = paths.live_dir() / pointer
    beside = place.with_name(f"{pointer}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(folder.name if folder else "", encoding="ascii")
        os.replace(beside, place)
    except OSError as error:
        raise not_writable("The refreshed catalog", place.parent, error) from error


def _gone_repositories(sightings: CsvTable | None) -> set[str]:
    """Repositories that their source no longer lists: their files cannot be fetched."""
    rows = sightings.records() if sightings else []
    return {row["entry_id"] for row in rows if row["gone_at"] and row["format"] == "gguf"}


def _without_repositories(table: CsvTable, gone: set[str]) -> CsvTable:
    if not gone or "gguf_repo" not in table.header:
        return table
    place = table.header.index("gguf_repo")
    return _kept(table, [row[place] not in gone for row in table.rows])


def _without(shipped: CsvTable, live: CsvTable, key: Sequence[str]) -> CsvTable:
    """The shipped rows that the overlay has none for."""
    replaced = set(_keys(live, key))
    return _kept(shipped, [one not in replaced for one in _keys(shipped, key)])


def _keys(table: CsvTable, key: Sequence[str]) -> list[tuple[str, ...]]:
    places = [table.header.index(column) for column in key]
    return [tuple(row[place] for place in places) for row in table.rows]


def _kept(table: CsvTable, keep: Sequence[bool]) -> CsvTable:
    rows = tuple(row for row, wanted in zip(table.rows, keep, strict=True) if wanted)
    lines = tuple(line for line, wanted in zip(table.lines, keep, strict=True) if wanted)
    return CsvTable(table.path, table.header, rows, lines)


def _joined(shipped: CsvTable, live: CsvTable) -> CsvTable:
    """Both tables' rows under the shipped header; ``lines`` are each row's own file's."""
    order = [live.header.index(column) for column in shipped.header]
    added = tuple(tuple(row[place] for place in order) for row in live.rows)
    return CsvTable(shipped.path, shipped.header, shipped.rows + added, shipped.lines + live.lines)
