"""Builds the catalog database from the CSV files: beside the old one, then moved into place."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from recommender import paths
from recommender.catalog import derive, overlay
from recommender.catalog.database import CREATE, WRITE_ERRORS, attach, connect, detach, first_line, not_writable
from recommender.catalog.fingerprint import fingerprint, inputs, schema_file, stamp
from recommender.catalog.load import create_tables, insert_columns, tables
from recommender.errors import CatalogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BUILDING = ".building-"
_LEFTOVER_AGE_S = 3600
# DuckDB's part of a build; most of the rest is the rows as text. Less makes it slower.
_LEAST_MEMORY_BYTES, _MEMORY_PER_CSV_BYTE = 256 << 20, 3


@dataclass(frozen=True)
class BuildReport:
    """What a build made. ``rows`` counts the rows of every table; ``notes`` are sentences worth a look."""

    database: Path | None  # None: in memory
    seconds: float
    rows: Mapping[str, int]
    catalog_date: str
    fingerprint: str
    notes: tuple[str, ...]


def package_version() -> str:
    """The installed version, "" when run from a checkout that is not installed."""
    try:
        return metadata.version("recommender")
    except metadata.PackageNotFoundError:
        return ""


def build(csv_dir: Path | None = None, database_path: Path | None = None, live: Path | None = None) -> BuildReport:
    """Build the catalog database and move it into place. A failed build leaves the old one as it was.

    Several processes may build at once: each writes its own file, and the last one to finish stays.

    Args:
        csv_dir: the folder with the CSV files; the shipped catalog by default.
        database_path: the file to make; in the user's data folder by default.
        live: the folder of what a refresh adds; none by default.

    Raises:
        CatalogError: a row is bad (file, line, column and reason are in the message) or a step cannot work.
        NotWritableError: the folder is read-only or the disk is full.
    """
    csv_dir = csv_dir or paths.catalog_dir()
    database_path = database_path or paths.catalog_database()
    beside = database_path.with_name(f"{database_path.name}{_BUILDING}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        database_path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(database_path.parent.glob(f"{database_path.name}{_BUILDING}*"))
        with contextlib.closing(connect()) as connection, _removed(beside):
            attach(connection, beside, CREATE)
            _limit_memory(connection, beside, inputs(csv_dir, live))
            report = fill(connection, csv_dir, live, database_path)
            detach(connection)
            os.replace(beside, database_path)
    except WRITE_ERRORS as error:
        raise not_writable("The catalog database", database_path, error) from error
    return report


def build_in_memory(connection: DuckDBPyConnection, csv_dir: Path, live: Path | None = None) -> BuildReport:
    """The same build into a database that lives as long as ``connection``, attached as ``catalog``."""
    attach(connection, ":memory:", "TYPE duckdb")
    return fill(connection, csv_dir, live, None)


def fill(connection: DuckDBPyConnection, csv_dir: Path, live: Path | None, database: Path | None) -> BuildReport:
    """Make and fill every table in the connection's current database, in one transaction."""
    started = time.monotonic()
    # Taken before reading: a file that is edited meanwhile then counts as changed, and the next start builds again.
    files = inputs(csv_dir, live)
    version = package_version()
    before, print_before = stamp(files), fingerprint(files, version)
    connection.begin()
    create_tables(connection, schema_file(csv_dir))
    csv_tables, derived_tables = tables(connection)
    notes = [
        f"{path.name} has no table in schema.sql and was not read"
        for path in sorted(csv_dir.glob("*.csv"))
        if path.stem not in csv_tables
    ]
    loaded = overlay.load_tables(connection, csv_dir, live)
    try:
        notes += derive.derive(connection, loaded)
    except duckdb.ConstraintException as error:
        raise CatalogError(f"A derived table got a row that breaks its own rules: {first_line(error)}") from error
    date = _catalog_date(connection)
    info = {
        "fingerprint": print_before,
        "stamp": before,
        "schema_fingerprint": fingerprint([schema_file(csv_dir)], version),
        "package_version": version,
        "catalog_date": date,
        "built_at": datetime.now(UTC).replace(tzinfo=None),
    }
    kinds = {name: "TIMESTAMP" if name == "built_at" else "VARCHAR" for name in info}
    insert_columns(connection, "build_info", kinds, {name: [value] for name, value in info.items()})
    connection.commit()
    rows = {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0]
        for name in (*csv_tables, *derived_tables)
    }
    return BuildReport(database, time.monotonic() - started, rows, date, print_before, tuple(notes))


def _limit_memory(connection: DuckDBPyConnection, beside: Path, files: Sequence[Path]) -> None:
    """Let DuckDB put on disk what it would else keep in memory until the end: a large catalog's tables."""
    limit_bytes = max(_LEAST_MEMORY_BYTES, _MEMORY_PER_CSV_BYTE * sum(path.stat().st_size for path in files))
    folder = str(beside.with_name(beside.name + ".tmp")).replace("'", "''")
    connection.execute(f"SET memory_limit = '{limit_bytes}B'; SET temp_directory = '{folder}'")


def _catalog_date(connection: DuckDBPyConnection) -> str:
    """The newest date of any fact: release dates of models, and when a row was read or dated."""
    columns = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database()"
        " AND column_name IN ('date', 'release_date', 'checked_date', 'read_at')"
    ).fetchall()
    newest = ""
    for table, column in columns:
        found = connection.execute(
            f'SELECT max(regexp_extract("{column}"::VARCHAR, \'20\\d\\d-[01]\\d(-[0-3]\\d)?\')) FROM "{table}"'
        ).fetchall()[0][0]
        newest = max(newest, found or "")
    return newest


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    """Whatever happens inside, ``path`` and its write-ahead log are gone afterwards."""
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".wal").unlink(missing_ok=True)


def remove_leftovers(left: Iterable[Path]) -> None:
    """Remove what killed processes left; young files and folders may belong to one that is running now."""
    for leftover in left:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE_S:
                shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink()
