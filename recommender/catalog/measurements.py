"""Finished runs, kept in a database file of their own so that a rebuilt catalog loses none.

The file is opened for each operation and closed after it, so that the page and the command line can both write.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import duckdb

from recommender import paths
from recommender.catalog.database import WRITE, WRITE_ERRORS, attached, attached_in_turn, not_writable
from recommender.catalog.migrations import migrate, pending
from recommender.errors import DatabaseLockedError, NotWritableError, RecommenderError, unknown
from recommender.types import Measurement, Memory, Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PARTS: dict[str, type[Settings] | type[Memory]] = {"settings": Settings, "memory": Memory}
# DuckDB gives a process one configuration per file, so operations of this process on one file take turns.
_TURNS: dict[Path, Lock] = {}
_UNSAVED: dict[Path, list[Measurement]] = {}


class MeasurementStore:
    """The measurements of this machine's user.

    Args:
        path: the database file; in the user's data folder by default. It is made with the first measurement.
        patience_s: how long to wait for another process that has the file.

    Attributes:
        notes: sentences to show, such as that measurements are only in memory. Usually empty.
    """

    def __init__(self, path: Path | None = None, patience_s: float = 5.0) -> None:
        self.path = (path or paths.measurements_database()).absolute()
        self.notes: tuple[str, ...] = ()
        self._patience_s = patience_s
        self._turn = _TURNS.setdefault(self.path, Lock())
        self._unsaved = _UNSAVED.setdefault(self.path, [])
        self._read: tuple[object, tuple[Measurement, ...]] = (None, ())

    def add(self, measurement: Measurement) -> None:
        """Keep one measurement; adding the same id again changes nothing.

        One that cannot be written stays with the others in :meth:`all` and is written with the next one, or ends with
        the program. ``notes`` says so where the folder cannot be written or the disk is full.

        Raises:
            DatabaseLockedError: another process has had the file open all the while; the message names both.
            CatalogError: the file is no database of measurements, or a newer version wrote it.
        """
        with self._turn:
            try:
                with self._writing() as connection:
                    for one in (*self._unsaved, measurement):
                        _insert(connection, one)
            except RecommenderError as error:
                self._unsaved.append(measurement)
                if not isinstance(error, NotWritableError):
                    raise
                self.notes = (
                    f"{error} Until then measurements are kept in memory: they are written with the next one, "
                    "or end with the program.",
                )
            else:
                self._unsaved.clear()
                self.notes = ()

    def all(self, device_key: str | None = None) -> tuple[Measurement, ...]:
        """Every measurement, of one kind of hardware when a key is given; newest first.

        While another process has the file open for long, a copy of it is read.

        Raises:
            DatabaseLockedError: another process has the file and it could not be copied either.
            CatalogError: the file is no database of measurements, or a newer version wrote it.
        """
        with self._turn:
            found = {one.id: one for one in (*reversed(self._unsaved), *self._stored())}
        wanted = [one for one in found.values() if device_key in (None, one.device_key)]
        return tuple(sorted(wanted, key=lambda one: (one.measured_at, one.id), reverse=True))

    def get(self, measurement_id: str) -> Measurement:
        """The measurement of this id. Raises UnknownNameError with the nearest ids when there is none."""
        found = {measurement.id: measurement for measurement in self.all()}
        if measurement_id not in found:
            raise unknown("measurement", measurement_id, list(found))
        return found[measurement_id]

    def _stored(self) -> tuple[Measurement, ...]:
        """What the file holds; read again only after it changed."""
        try:
            status = self.path.stat()
        except OSError:
            return ()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._read[0] != state:
            self._read = (state, self._load())
        return self._read[1]

    def _load(self) -> tuple[Measurement, ...]:
        try:
            with attached_in_turn(self.path, "READ_ONLY", self._patience_s) as connection:
                if not pending(connection):
                    return _measurements(connection)
        except DatabaseLockedError as error:
            return self._load_copy(error)
        with self._writing() as connection:  # an older file: bring it up to date first
            return _measurements(connection)

    def _load_copy(self, error: DatabaseLockedError) -> tuple[Measurement, ...]:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.path.name
            log = self.path.with_name(self.path.name + ".wal")
            try:
                shutil.copyfile(self.path, copy)
                if log.exists():
                    shutil.copyfile(log, copy.with_name(log.name))
                with attached(copy, WRITE) as connection:
                    migrate(connection)
                    return _measurements(connection)
            except (OSError, duckdb.Error):
                raise error from None  # it was being written: the lock is the reason to tell

    @contextlib.contextmanager
    def _writing(self) -> Iterator[DuckDBPyConnection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with attached_in_turn(self.path, WRITE, self._patience_s) as connection:
                migrate(connection)
                connection.begin()
                try:
                    yield connection
                    connection.commit()
                except BaseException:
                    with contextlib.suppress(duckdb.Error):
                        connection.rollback()
                    raise
        except WRITE_ERRORS as error:
            if isinstance(error, DatabaseLockedError):
                raise
            raise not_writable("Measurements", self.path, error) from error


def _insert(connection: DuckDBPyConnection, measurement: Measurement) -> None:
    values = _to_row(measurement)
    marks = ", ".join(["?"] * len(values))
    connection.execute(f"INSERT OR IGNORE INTO measurements ({', '.join(values)}) VALUES ({marks})", [*values.values()])


def _to_row(measurement: Measurement) -> dict[str, Any]:
    """Column → value; the fields of ``settings`` and ``memory`` have columns of their own."""
    row: dict[str, Any] = {}
    for field in fields(Measurement):
        value = getattr(measurement, field.name)
        if field.name in _PARTS:
            for part in fields(_PARTS[field.name]):
                row[f"{field.name}_{part.name}"] = None if value is None else getattr(value, part.name)
        else:
            row[field.name] = value
    return row


def _measurements(connection: DuckDBPyConnection) -> tuple[Measurement, ...]:
    cursor = connection.execute("SELECT * FROM measurements")
    columns = [column[0] for column in cursor.description or []]
    return tuple(_from_row(dict(zip(columns, row, strict=True))) for row in cursor.fetchall())


def _from_row(row: dict[str, Any]) -> Measurement:
    values: dict[str, Any] = {}
    for field in fields(Measurement):
        if field.name in _PARTS:
            kind = _PARTS[field.name]
            part = {one.name: row[f"{field.name}_{one.name}"] for one in fields(kind)}
            values[field.name] = None if all(value is None for value in part.values()) else kind(**part)
        else:
            values[field.name] = row[field.name]
    return Measurement(**values)


def export_json(measurements: Sequence[Measurement]) -> str:
    """These as a JSON list of objects with the fields of :class:`Measurement`, in their order."""
    return json.dumps([_finite(asdict(measurement)) for measurement in measurements], indent=2, ensure_ascii=False)


def export_markdown(measurements: Sequence[Measurement]) -> str:
    """These as a Markdown table with everything that was kept of each, in their order."""
    rows = [list(_COLUMNS), ["---"] * len(_COLUMNS)]
    rows += [[_cell(text(one)) for text in _COLUMNS.values()] for one in measurements]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _text(value: object) -> str:
    """A number to four figures, in whole units from 1000; other values as they are, "" where nothing is known."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else str(value)


def _spread(value: float, low: float, high: float) -> str:
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def _parts(part: Settings | Memory | None) -> str:
    return ", ".join(f"{field.name} {_text(getattr(part, field.name))}" for field in fields(part)) if part else ""


def _predicted(one: Measurement) -> str:
    names = [field.name for field in fields(one) if field.name.startswith("predicted_")]
    return ", ".join(f"{name.removeprefix('predicted_')} {_text(getattr(one, name))}" for name in names)


def _notes(one: Measurement) -> str:
    notes = [one.noise_reason or "noisy"] if one.noisy else []
    return "; ".join([*notes, *(["rehearsal: weights without values"] if one.rehearsal else [])])


_COLUMNS: dict[str, Callable[[Measurement], str]] = {
    "Measured": lambda one: one.measured_at,
    "Device": lambda one: one.device_name,
    "Hardware": lambda one: one.device_key,
    "Model": lambda one: one.model_id,
    "Quantization": lambda one: one.quantization,
    "File": lambda one: one.file_name,
    "File bytes": lambda one: _text(one.file_bytes),
    "File SHA-256": lambda one: one.file_sha256,
    "Runtime": lambda one: f"{one.runtime} ({one.binding})",
    "Build": lambda one: one.build,
    "Settings": lambda one: _parts(one.settings),
    "Prompt tokens": lambda one: str(one.prompt_tokens),
    "Generated tokens": lambda one: str(one.gen_tokens),
    "Repeats": lambda one: str(one.repeats),
    "Prefill tok/s": lambda one: _spread(one.prefill_tokens_per_s, one.prefill_low, one.prefill_high),
    "Decode tok/s": lambda one: _spread(one.decode_tokens_per_s, one.decode_low, one.decode_high),
    "TTFT s": lambda one: _text(one.ttft_s),
    "Load s": lambda one: _text(one.load_s),
    "Memory": lambda one: _parts(one.memory),
    "Peak resident bytes": lambda one: _text(one.peak_resident_bytes),
    "Load average before": lambda one: _text(one.load_average_before),
    "Load average after": lambda one: _text(one.load_average_after),
    "CPU steal fraction": lambda one: _text(one.cpu_steal_fraction),
    "Predicted": _predicted,
    "Notes": _notes,
    "Id": lambda one: one.id,
}
