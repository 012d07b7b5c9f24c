"""Everything live sources have told, kept between refreshes: ``live/entries.duckdb`` in the user's data folder.

A refresh adds to it batch by batch, so that an interrupted one loses at most a batch. The catalog is made from all of
it, and from what ships; the file may be removed at any time, and the next refresh begins anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from recommender import paths
from recommender.catalog.database import WRITE, WRITE_ERRORS, attach, connect, is_lock, keep_copy, not_writable
from recommender.catalog.sources.base import Batch, Entry, EntryFile, Score, now
from recommender.errors import CatalogError, DatabaseLockedError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DAMAGED = ("not a valid DuckDB", "Could not read enough bytes", "Corrupt", "checksum")
_AT_ONCE = 1000  # entries decoded together
_NAMES = tuple(one.name for one in fields(Entry))
_TUPLES = ("bases", "tags", "languages")
_TEXTS = [one.name for one in fields(Entry) if one.default is MISSING and one.default_factory is MISSING]
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    source VARCHAR NOT NULL,
    entry_id VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    first_seen VARCHAR NOT NULL,
    read_at VARCHAR NOT NULL,
    gone_at VARCHAR,
    content VARCHAR NOT NULL, -- JSON of sources.base.Entry
    PRIMARY KEY (source, entry_id)
);
CREATE TABLE IF NOT EXISTS rounds (
    source VARCHAR PRIMARY KEY,
    cursor VARCHAR NOT NULL,
    started_at VARCHAR NOT NULL, -- of the round that is going on, or was the last
    updated_at VARCHAR NOT NULL
);
"""


@dataclass(frozen=True)
class Kept:
    """An entry as it was last read, and how long it has been known. ``gone_at`` is "" while its source lists it."""

    entry: Entry
    first_seen: str
    gone_at: str = ""


class EntryStore:
    """The open file; one process has it at a time."""

    def __init__(self, connection: DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """A file that is damaged inside, or of another version of this program, is said to be; so is a full disk."""
        try:
            yield
        except duckdb.Error as error:
            if isinstance(error, WRITE_ERRORS) and not any(words in str(error) for words in _DAMAGED):
                raise not_writable("What sources told", self._path, error) from error
            raise _damaged(self._path) from error

    def cursor(self, source: str) -> str:
        """From where a source goes on; "" when it was never asked."""
        with self._guarded():
            rows = self._connection.execute("SELECT cursor FROM rounds WHERE source = ?", [source]).fetchall()
        return str(rows[0][0]) if rows else ""

    def versions(self, source: str) -> dict[str, str]:
        """Entry → the version that is kept, of a source's entries that are still there."""
        with self._guarded():
            rows = self._connection.execute(
                "SELECT entry_id, version FROM entries WHERE source = ? AND gone_at IS NULL", [source]
            ).fetchall()
        return dict(rows)

    def add(self, source: str, batch: Batch) -> None:
        """Keep a batch with its cursor, both or neither."""
        with self._guarded():
            self._add(source, batch)

    def _add(self, source: str, batch: Batch) -> None:
        at = now()
        self._connection.begin()
        try:
            if not self.cursor(source):
                started = min([at, *(entry.read_at for entry in batch.entries)])  # read before it came here
                self._connection.execute(
                    "INSERT OR REPLACE INTO rounds (source, cursor, started_at, updated_at) VALUES (?, '', ?, ?)",
                    [source, started, at],
                )
            self._put(batch.entries)
            self._connection.execute(
                "UPDATE entries SET gone_at = ? WHERE source = ? AND gone_at IS NULL"
                " AND (entry_id IN (SELECT unnest(?::VARCHAR[]))"
                "      OR (? AND read_at < (SELECT started_at FROM rounds WHERE source = ?)))",
                [at, source, list(batch.gone), batch.complete, source],
            )
            self._connection.execute(
                "UPDATE rounds SET cursor = ?, updated_at = ? WHERE source = ?", [batch.cursor, at, source]
            )
            self._connection.commit()
        except BaseException:
            with suppress(duckdb.Error):  # a file that is damaged has none
                self._connection.rollback()
            raise

    def remove(self, source: str, entry_id: str) -> bool:
        """Forget one entry; whether there was one."""
        with self._guarded():
            found = self._connection.execute(
                "DELETE FROM entries WHERE source = ? AND entry_id = ? RETURNING 1", [source, entry_id]
            ).fetchall()
        return bool(found)

    def all(self) -> Iterator[Kept]:
        """Every entry, those that are gone too, by source and id."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT content, first_seen, coalesce(gone_at, '') FROM entries ORDER BY source, entry_id"
            )
        while rows := self._next(found):
            for content, first_seen, gone_at in rows:
                if (entry := decode(content)) is not None:
                    yield Kept(entry, first_seen, gone_at)

    def _next(self, found: DuckDBPyConnection) -> list[tuple[str, str, str]]:
        with self._guarded():
            return found.fetchmany(_AT_ONCE)

    def get(self, source: str, entry_id: str) -> Entry | None:
        """One entry as it was last read."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT content FROM entries WHERE source = ? AND entry_id = ?", [source, entry_id]
            ).fetchall()
        return decode(found[0][0]) if found else None

    def _put(self, entries: Iterable[Entry]) -> None:
        # The last one of an id counts: a repository may be listed by two queries of one page.
        rows = {(entry.source, entry.entry_id): entry for entry in entries}.values()
        columns = [
            [entry.source for entry in rows],
            [entry.entry_id for entry in rows],
            [entry.version for entry in rows],
            [entry.read_at for entry in rows],
            [encode(entry) for entry in rows],
        ]
        self._connection.execute(
            "INSERT INTO entries (source, entry_id, version, first_seen, read_at, gone_at, content)"
            " SELECT source, entry_id, version, read_at, read_at, NULL, content FROM"
            " (SELECT unnest($1::VARCHAR[]) AS source, unnest($2::VARCHAR[]) AS entry_id,"
            "  unnest($3::VARCHAR[]) AS version, unnest($4::VARCHAR[]) AS read_at, unnest($5::VARCHAR[]) AS content)"
            " ON CONFLICT DO UPDATE SET version = excluded.version, read_at = excluded.read_at, gone_at = NULL,"
            " content = excluded.content",
            columns,
        )


@contextmanager
def open_entries(path: Path | None = None) -> Iterator[EntryStore]:
    """The store, made when it is missing.

    Raises:
        DatabaseLockedError: another refresh is going on.
        NotWritableError: the folder is read-only or the disk is full.
        CatalogError: the file is damaged.
    """
    path = path or _place()
    connection = connect()
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            attach(connection, path, WRITE)
            connection.execute(_TABLES)
        except WRITE_ERRORS as error:
            if is_lock(error):
                raise DatabaseLockedError("Another refresh is going on. Wait until it is done, or stop it.") from error
            if any(words in str(error) for words in _DAMAGED):
                raise _damaged(path) from error
            raise not_writable("What sources told", path, error) from error
        except duckdb.Error as error:
            raise _damaged(path) from error
        yield EntryStore(connection, path)
    finally:
        connection.close()


def keep_entries(place: Path) -> None:
    """Copy the store. A copy that cannot be made costs only that undoing leaves the store as it is then."""
    keep_copy(_place(), place)


def restore_entries(copy: Path | None) -> None:
    """Put a copy in the store's place, or an empty store for ``None``.

    Raises:
        DatabaseLockedError: a refresh is going on.
        NotWritableError: the folder is read-only or the disk is full.
    """
    path = _place()
    if not path.exists() or (copy is not None and not copy.exists()):
        return
    with open_entries():
        pass  # nobody has it
    try:
        if copy is None:
            path.unlink()
        else:
            beside = path.with_name(f"{path.name}.{os.getpid()}")
            shutil.copyfile(copy, beside)
            os.replace(beside, path)
    except OSError as error:
        raise not_writable("What sources told", path, error) from error


def _place() -> Path:
    return paths.live_dir() / "entries.duckdb"


def _damaged(path: Path) -> CatalogError:
    return CatalogError(f"{path} is damaged. Remove it; the next refresh reads everything anew.")


def encode(entry: Entry) -> str:
    """An entry as JSON, without what is empty."""
    content: dict[str, Any] = {one.name: getattr(entry, one.name) for one in fields(Entry)}
    content["files"] = [[file.path, file.bytes, file.sha256, file.quantization] for file in entry.files]
    content["scores"] = [dataclasses.astuple(score) for score in entry.scores]
    for name in ("architecture", "details"):
        content[name] = dict(content[name])
    return json.dumps({name: value for name, value in content.items() if value or (value == 0 and value is not False)})


def decode(content: str) -> Entry | None:
    """The inverse of :func:`encode`; None where another version of this program wrote what this one cannot read."""
    try:
        told = json.loads(content)
        values = {name: told[name] for name in _NAMES if name in told}
        values["files"] = tuple(EntryFile(*file) for file in values.get("files", ()))
        values["scores"] = tuple(Score(*score) for score in values.get("scores", ()))
        for name in _TUPLES:
            values[name] = tuple(values.get(name, ()))
        for name in _TEXTS:
            values.setdefault(name, "")
        return Entry(**values)
    except (ValueError, TypeError):
        return None
