"""Shared measurements in a DuckDB file in the data folder: for the people of one computer, or one instance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from recommender.catalog.database import WRITE, WRITE_ERRORS, attached_in_turn, not_writable
from recommender.community.stores import LONGEST_CHARACTERS, MOST_ROWS, Row
from recommender.errors import DatabaseLockedError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PATIENCE_S = 30.0
# DuckDB gives a process one configuration per file, so operations of this process on it take turns.
_TURN = Lock()
_TABLE = (
    "CREATE TABLE IF NOT EXISTS shared (id VARCHAR PRIMARY KEY, device_key VARCHAR NOT NULL, record VARCHAR NOT NULL)"
)


class LocalStore:
    """The file is opened for each operation and closed after it, so that several processes can use it in turn."""

    place = "a file in the data folder"

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, row: Row) -> None:
        with self._opened() as connection:
            connection.execute("INSERT OR IGNORE INTO shared VALUES (?, ?, ?)", [row.id, row.device_key, row.record])

    def rows(self, device_key: str | None = None) -> list[Row]:
        if not self._path.exists():
            return []
        with self._opened() as connection:
            found = connection.execute(
                "SELECT id, device_key, record FROM shared WHERE device_key = coalesce(?, device_key) "
                f"AND length(record) <= {LONGEST_CHARACTERS} ORDER BY id LIMIT {MOST_ROWS}",
                [device_key],
            )
            return [Row(*values) for values in found.fetchall()]

    @contextmanager
    def _opened(self) -> Iterator[DuckDBPyConnection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with _TURN, attached_in_turn(self._path, WRITE, _PATIENCE_S) as connection:
                connection.execute(_TABLE)
                yield connection
        except WRITE_ERRORS as error:
            if isinstance(error, DatabaseLockedError):
                raise
            raise not_writable("Shared measurements", self._path, error) from error
