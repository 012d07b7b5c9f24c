"""Shared measurements as Parquet files in one folder: for instances that share a disk, without a server.

Each row is a small file that appears whole (written under another name, then renamed) and never changes. ``merge``
makes one file of all: it writes the new file first and removes the old ones after, so that whoever is killed in between
leaves rows in two files, never in none; readers count a row once by its key.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from recommender.catalog.build import remove_leftovers
from recommender.catalog.database import connect, first_line
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
            found = self._rows(before, device_key)
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
        with closing(connect()) as connection:
            source = _read(connection, files)
        unreadable = tuple(path.name for path in files if path not in source.files and path.exists())
        if not source.files:
            return Merged(0, 0, unreadable)

        def write(connection: DuckDBPyConnection, path: str) -> None:
            rows = f"SELECT DISTINCT id, device_key, record FROM ({source.query}) ORDER BY id"
            connection.execute(f"COPY ({rows}) TO {path} (FORMAT parquet, COMPRESSION zstd)")

        try:
            merged = self._write("merged", write)
        except NotWritableError:
            if all(path.exists() for path in source.files):
                raise
            return self.merge()  # another merge was faster
        for path in source.files:
            path.unlink(missing_ok=True)
        with closing(connect()) as connection:
            [[rows]] = connection.execute(f"SELECT count(*) FROM ({_read(connection, [merged]).query})").fetchall()
        return Merged(rows, len(source.files), unreadable)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_ENDING}"))

    def _rows(self, files: Sequence[Path], device_key: str | None) -> list[Row] | None:
        """Every row once; ``None`` when a file went away meanwhile."""
        with closing(connect()) as connection:
            source = _read(connection, files)
            if not source.files:
                return None if any(not path.exists() for path in files) else []
            try:
                found = connection.execute(
                    f"SELECT DISTINCT id, device_key, record FROM ({source.query}) "
                    f"WHERE device_key = coalesce(?, device_key) AND length(record) <= {LONGEST_CHARACTERS} "
                    f"ORDER BY id LIMIT {MOST_ROWS}",
                    [device_key],
                )
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
                write(connection, _text(str(unfinished)))
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.rename(final)
        except (OSError, duckdb.Error) as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise NotWritableError(
                f"Shared measurements cannot be written to {self._folder}: {first_line(error)}. Free some room there, "
                "or name another folder in the setting `community`."
            ) from error
        return final


@dataclass(frozen=True)
class _Source:
    """The rows of some files as SQL, and of which files: those that can be read and have the columns."""

    query: str
    files: tuple[Path, ...]


def _read(connection: DuckDBPyConnection, files: Sequence[Path]) -> _Source:
    """All files in one query where that can be done; with one among them that is none of ours, each by itself."""

    def can_be_read(query: str) -> bool:
        try:
            connection.execute(f"SELECT count(id || device_key || record) FROM ({query})").fetchall()
        except duckdb.Error:
            return False
        return True

    if not files:
        return _Source("", ())
    if can_be_read(together := _query(files)):
        return _Source(together, tuple(files))
    good = tuple(path for path in files if can_be_read(_query([path])))
    return _Source(" UNION ALL ".join(_query([path]) for path in good), good)


def _query(files: Sequence[Path]) -> str:
    """The rows of these files. Brackets and stars in a path are no pattern."""
    paths = ("".join(f"[{char}]" if char in "*?[" else char for char in str(path)) for path in files)
    return f"SELECT {_COLUMNS} FROM read_parquet([{', '.join(map(_text, paths))}])"


def _text(value: str) -> str:
    """A literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
