"""The open catalog: a read-only handle that several processes can hold at once, and its look-ups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from recommender import paths
from recommender.catalog import overlay
from recommender.catalog.database import attach, connect, is_lock, locked
from recommender.catalog.facts import FileRow, ModelRow, ScenarioRow, read_facts, read_scenarios, read_tasks
from recommender.catalog.fingerprint import fingerprint, inputs, schema_file, stamp
from recommender.errors import CatalogError, NotWritableError, unknown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from recommender.runner.checks import Check
    from recommender.types import Task

T = TypeVar("T")


class Catalog:
    """An open catalog. Any thread may use it: look-ups and :meth:`cursor` each take a connection of their own.

    Attributes:
        path: where the database file belongs, ``None`` when the catalog lives in memory.
        fingerprint: changes whenever the catalog's content does.
        date: the newest date of any fact in it, such as "2026-11-20".
        notes: sentences to show, such as why the catalog is in memory. Usually empty.
    """

    def __init__(self, connection: DuckDBPyConnection, path: Path | None, notes: tuple[str, ...] = ()) -> None:
        self.path = path
        self.notes = notes
        self._connection = connection
        self._lock = Lock()
        self._kept: dict[str, Any] = {}
        self._file = _identity(path)
        row = self.cursor().execute("SELECT fingerprint, catalog_date FROM build_info").fetchall()[0]
        self.fingerprint: str = row[0]
        self.date: str = row[1]

    def cursor(self) -> DuckDBPyConnection:
        """A connection of the caller's own, for one thread; unqualified table names are the catalog's."""
        with self._lock:
            cursor = self._connection.cursor()
        cursor.execute("USE catalog")
        return cursor

    @property
    def replaced(self) -> bool:
        """Whether another file lies where this one was opened: a refresh or a build has put a newer one in use."""
        return _identity(self.path) != self._file

    def close(self) -> None:
        """Give the file back. The catalog cannot be used afterwards."""
        self._connection.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return self.keep(f"count {table}", lambda: int(self._all(f'SELECT count(*) FROM "{table}"')[0][0]))

    def models(self) -> tuple[ModelRow, ...]:
        """Every model, by family and size."""
        return self.keep(
            "models", lambda: read_facts(self.cursor(), ModelRow, "models", "family, params_total, model_id")
        )

    def model(self, model_id: str) -> ModelRow:
        """The model of this id, or of this name where only one model has it; letter case does not matter.

        Raises:
            UnknownNameError: there is none; the message has the nearest ids.
        """
        models = self.models()
        wanted = model_id.casefold()
        found = [model for model in models if model.model_id == model_id]
        found = found or [model for model in models if model.model_id.casefold() == wanted]
        found = found or [model for model in models if model.name.casefold() == wanted]
        if len(found) != 1:
            raise unknown("model", model_id, [model.model_id for model in models])
        return found[0]

    def tasks(self) -> tuple[Task, ...]:
        """Every task, in the order of ``tasks.csv``."""
        return self.keep("tasks", lambda: read_tasks(self.cursor()))

    def task(self, task_id: str) -> Task:
        """The task of this id. Raises UnknownNameError with the nearest ones when there is none."""
        found = {task.id: task for task in self.tasks()}
        if task_id not in found:
            raise unknown("task", task_id, list(found))
        return found[task_id]

    def checks(self, task_id: str) -> tuple[Check, ...]:
        """The quick check's prompts for a task, in the order of ``checks.csv``: easy ones first.

        Raises:
            UnknownNameError: there is no such task; the message has the nearest ones.
        """
        from recommender.runner.checks import Check  # the runner's room, which no other look-up needs

        self.task(task_id)
        return self.keep(
            f"checks {task_id}",
            lambda: read_facts(self.cursor(), Check, "checks", where="task = $1", values=[task_id]),
        )

    def scenarios(self) -> tuple[ScenarioRow, ...]:
        """The situations of the field guide with its choices, in the order of ``scenarios.csv``."""
        return self.keep("scenarios", lambda: read_scenarios(self.cursor()))

    def files(self, model_id: str, quantization: str = "") -> tuple[FileRow, ...]:
        """Published GGUF files of a model, of one quantization when given, largest first."""
        return read_facts(
            self.cursor(),
            FileRow,
            "gguf_files",
            "bytes DESC NULLS LAST, gguf_repo, file",
            "kind = 'model' AND catalog_model_id = $1 AND ($2 = '' OR quantization = $2)",
            [model_id, quantization],
        )

    def quantizations(self) -> tuple[str, ...]:
        """Every quantization some variant has, by median bits per weight, largest first."""
        return self.keep(
            "quantizations",
            lambda: tuple(
                row[0]
                for row in self._all(
                    "SELECT quantization FROM variants WHERE quantization <> '' GROUP BY quantization"
                    " ORDER BY median(bits_per_weight) DESC NULLS LAST, quantization"
                )
            ),
        )

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self.cursor().execute(sql).fetchall()

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """The catalog cannot change while it is open, so what was read once is kept."""
        if name not in self._kept:
            self._kept[name] = make()
        kept: T = self._kept[name]
        return kept


def open_catalog(path: Path | None = None, csv_dir: Path | None = None) -> Catalog:
    """Open the catalog read-only; build it first when it is missing or older than the CSVs.

    An image may ship it built already, beside the CSVs; that one is opened where it lies, while it is up to date.

    What refreshes brought is laid over the shipped catalog. Where it does not fit (a newer program asks more of its
    rows) it is set aside, and ``notes`` says so.

    Where the folder cannot be written the catalog is built in memory and says so in ``notes``. When the CSVs have a
    bad row, the last good build is used and ``notes`` has the row; without one the error is raised.

    Args:
        path: the database file; in the user's data folder by default.
        csv_dir: the folder with the CSV files; the shipped catalog, and what was refreshed, by default.

    Raises:
        CatalogError: the CSVs have a bad row, and there is no earlier build.
        DatabaseLockedError: another process has the database open for writing.
    """
    path = path or paths.catalog_database()
    live = overlay.current() if csv_dir is None else None
    csv_dir = csv_dir or paths.catalog_dir()
    fallback = False
    for place in (path, csv_dir / paths.catalog_database().name):
        if opened := _attached(place):
            if _is_current(opened, csv_dir, live):
                return Catalog(opened, path)  # a refresh puts a newer one at ``path``, wherever this one lies
            fallback = fallback or (place == path and _has_schema(opened, csv_dir))
            opened.close()  # Windows does not replace a file that is open
    from recommender.catalog.build import build, build_in_memory  # it loads NumPy and every estimator

    notes: tuple[str, ...] = ()
    try:
        try:
            build(csv_dir, path, live)
        except CatalogError as error:
            if live is None:
                raise
            live, notes = None, (f"What was refreshed does not fit and was set aside; refresh again. {error}",)
            overlay.use(None)
            build(csv_dir, path)
    except NotWritableError as error:
        notes = (f"{error} Until then the catalog is kept in memory.",)
        try:
            build_in_memory(connection := connect(), csv_dir, live)
        except CatalogError as misfit:
            if live is None:
                raise
            notes += (f"What was refreshed does not fit and is left out. {misfit}",)
            build_in_memory(connection := connect(), csv_dir, None)
        return Catalog(connection, None, notes)
    except CatalogError as error:
        if not fallback:
            raise
        notes = (f"The last good catalog is in use; the new one was refused: {error}",)
    made = _attached(path)
    if made is None:
        raise CatalogError(f"The catalog at {path} was built but cannot be read. Remove the file and start again.")
    return Catalog(made, path, notes)


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Which file lies there, without reading it."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns) if status else None


def _attached(path: Path) -> DuckDBPyConnection | None:
    """A connection with the file attached read-only, ``None`` when it is missing or not a catalog."""
    if not path.exists():
        return None
    connection = connect()
    try:
        attach(connection, path, "READ_ONLY")
        connection.execute("SELECT fingerprint, stamp, schema_fingerprint FROM build_info").fetchall()
    except duckdb.Error as error:
        connection.close()
        if is_lock(error):
            raise locked(path, error) from error
        return None
    return connection


def _is_current(connection: DuckDBPyConnection, csv_dir: Path, live: Path | None) -> bool:
    [(built, built_stamp, version)] = connection.execute(
        "SELECT fingerprint, stamp, package_version FROM build_info"
    ).fetchall()
    files = inputs(csv_dir, live)
    # The version is not asked for again: finding it takes longer than everything else here, and the code counts too.
    return bool(stamp(files) == built_stamp or fingerprint(files, version) == built)


def _has_schema(connection: DuckDBPyConnection, csv_dir: Path) -> bool:
    [(built, version)] = connection.execute("SELECT schema_fingerprint, package_version FROM build_info").fetchall()
    return bool(fingerprint([schema_file(csv_dir)], version) == built)
