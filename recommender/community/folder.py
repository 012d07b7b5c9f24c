"""Shared measurements as Parquet files in one folder: for instances that share a disk, without a server.

Each row is a small file that appears whole (written under another name, then renamed) and never changes. ``merge``
makes one file of all: it writes the new file first and removes the old ones after, so that whoever is killed in between
leaves rows in two files, never in none; readers count a row once by its key.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from recommender.catalog.build import remove_leftovers
from recommender.catalog.database import connect, not_writable
from recommender.community.stores import LONGEST_CHARACTERS, MOST_ROWS, Row
from recommender.errors import CatalogError, NotWritableError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ENDING = ".parquet"
_UNFINISHED = ".tmp"
_TRIES = 5  # of reading a folder that changes meanwhile
_COLUMNS = "id::VARCHAR AS id, device_key::VARCHAR AS device_key, record::VARCHAR AS record"


@dataclass(frozen=True)
class Merged:
    """What a merge did."""

    rows: int  # in the one file that is left
    files: int  # that it took the place of
    unreadable: tuple[str, ...]  # names of files that were left alone, because they are no such Parquet file


class FolderStore:
    place = "a folder of Parquet files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, row: Row) -> None:
        def write(connection: DuckDBPyConnection, path: str) -> None:
            connection.execute("CREATE TABLE new (id VARCHAR, device_key VARCHAR, record VARCHAR)")
            connection.execute("INSERT INTO new VALUES (?, ?, ?)", [row.id, row.device_key, row.record])
            connection.execute(f"COPY new TO {path} (FORMAT parquet)")

        self._write("row", write)

    def rows(self, device_key: str | None = None) -> list[Row]:
        """As the Protocol says. A merge may remove files meanwhile: then the folder is read again."""
        for _ in range(_TRIES):
            before = self._files()
            found = self._read(before, device_key)
            if found is not None and before == self._files():
                break
        if found is None:
            raise CatalogError(f"{self._folder} changes all the time and could not be read. Try it again.")
        return found

    def merge(self) -> Merged:
        """Make one file of all. May run while others write, read and merge; killed at any point it loses nothing.

        Raises:
            NotWritableError: the folder cannot be written.
        """
        remove_leftovers(self._folder.glob(f"*{_UNFINISHED}"))
        files = self._files()
        readable = [path for path in files if _readable(path)]
        unreadable = tuple(path.name for path in files if path not in readable and path.exists())
        if not readable:
            return Merged(0, 0, unreadable)
        source = f"SELECT DISTINCT {_COLUMNS} FROM {_of(readable)}"

        def write(connection: DuckDBPyConnection, path: str) -> None:
            connection.execute(f"COPY ({source} ORDER BY id) TO {path} (FORMAT parquet, COMPRESSION zstd)")

        try:
            merged = self._write("merged", write)
        except NotWritableError:
            if all(path.exists() for path in readable):
                raise
            return self.merge()  # another merge was faster
        for path in readable:
            path.unlink(missing_ok=True)
        with closing(connect()) as connection:
            [[rows]] = connection.execute(f"SELECT count(*) FROM {_of([merged])}").fetchall()
        return Merged(rows, len(readable), unreadable)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_ENDING}"))

    def _read(self, files: Sequence[Path], device_key: str | None) -> list[Row] | None:
        """Every row once; ``None`` when a file went away meanwhile. What is no such Parquet file is left out."""
        if not files:
            return []
        query = (
            f"SELECT DISTINCT id, device_key, record FROM (SELECT {_COLUMNS} FROM {{files}}) "
            f"WHERE device_key = coalesce(?, device_key) AND length(record) <= {LONGEST_CHARACTERS} "
            f"ORDER BY id LIMIT {MOST_ROWS}"
        )
        with closing(connect()) as connection:
            try:
                found = connection.execute(query.format(files=_of(files)), [device_key])
            except duckdb.Error:
                good = [path for path in files if _readable(path)]
                if not all(path.exists() for path in files):
                    return None
                if not good:
                    return []
                try:
                    found = connection.execute(query.format(files=_of(good)), [device_key])
                except duckdb.Error:
                    return None
            return [Row(*values) for values in found.fetchall() if None not in values]

    def _write(self, what: str, write: Callable[[DuckDBPyConnection, str], Any]) -> Path:
        """A new file that appears whole, with its content on the disk."""
        final = self._folder / f"{what}-{uuid.uuid4().hex}{_ENDING}"
        unfinished = final.with_suffix(_UNFINISHED)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with closing(connect()) as connection:
                write(connection, _quoted(unfinished))
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.rename(final)
        except (OSError, duckdb.Error) as error:
            unfinished.unlink(missing_ok=True)
            raise not_writable("Shared measurements", self._folder, error) from error
        return final


def _readable(path: Path) -> bool:
    with closing(connect()) as connection:
        try:
            connection.execute(f"SELECT count(id || device_key || record) FROM {_of([path])}").fetchall()
        except duckdb.Error:
            return False
    return True


def _of(files: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(map(_quoted, files))}], union_by_name = true)"


def _quoted(path: Path) -> str:
    """A path as SQL text. Brackets and stars in it are no pattern."""
    escaped = "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
    return "'" + escaped.replace("'", "''") + "'"
