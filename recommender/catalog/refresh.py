"""A refresh: ask the sources, merge what they told, build the catalog beside the old one, and put it in use.

Nothing that people use changes until :func:`apply`, which is one step; what was in use before is kept for
:func:`undo`. A source that fails costs what it would have told, nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recommender import paths
from recommender.catalog import changes as changes_of
from recommender.catalog import overlay
from recommender.catalog.build import build
from recommender.catalog.changes import Changes
from recommender.catalog.database import not_writable
from recommender.catalog.entries import EntryStore, open_entries
from recommender.catalog.merge import NEEDED, merge
from recommender.catalog.rows import CsvTable, read_csv
from recommender.catalog.sources.base import Batch, Entry, OnProgress, Progress, Source
from recommender.errors import BadInputError, Cancelled, RecommenderError

_DATABASE = "catalog.duckdb"


@dataclass(frozen=True)
class Told:
    """What asking one source brought. ``problem`` says why it brought less than all; "" when it did not fail."""

    source: str
    entries: int
    problem: str = ""


@dataclass(frozen=True)
class Prepared:
    """A catalog that is ready to be used, and what it changes."""

    folder: Path
    changes: Changes
    told: tuple[Told, ...]
    notes: tuple[str, ...]


MakeSources = Callable[[EntryStore], Sequence[Source]]


def refresh(sources: MakeSources, progress: OnProgress) -> Prepared:
    """Ask every source, and prepare the catalog that results; :func:`apply` puts it in use.

    Args:
        sources: makes the sources, given what is kept of them already.
        progress: called often; what it raises ends the refresh, and what was told until then is kept.

    Raises:
        DatabaseLockedError: another refresh is going on.
        NotWritableError: the user's data folder is read-only or full.
        CatalogError: what was told cannot be made into a catalog.
    """
    with open_entries() as store:
        told = tuple(_ask(source, store, progress) for source in sources(store))
        return _prepare(store, told, progress)


def add_entry(entry: Entry, progress: OnProgress) -> Prepared:
    """Prepare the catalog with one more entry: a file or repository that a person named."""
    with open_entries() as store:
        store.add(entry.source, Batch((entry,), store.cursor(entry.source)))
        return _prepare(store, (Told(entry.source, 1),), progress)


def remove_entry(source: str, entry_id: str, progress: OnProgress) -> Prepared:
    """Prepare the catalog without one entry.

    Raises:
        BadInputError: there is no such entry.
    """
    with open_entries() as store:
        if not store.remove(source, entry_id):
            raise BadInputError(f"{entry_id} was not added, so it cannot be removed.")
        return _prepare(store, (), progress)


def apply(prepared: Prepared) -> None:
    """Put a prepared catalog in use. Sessions that have the old one open keep it until they look again."""
    before = overlay.current()
    _keep_database(before)
    overlay.use(prepared.folder)
    _use_database(prepared.folder)


def discard(prepared: Prepared) -> None:
    """Remove a prepared catalog; what the sources told is kept for the next refresh."""
    shutil.rmtree(prepared.folder, ignore_errors=True)


def undo() -> Changes:
    """Put the catalog of before the last refresh in use again, and say what that refresh had changed.

    Raises:
        BadInputError: nothing was refreshed, or it was undone already.
    """
    if not overlay.can_undo():
        raise BadInputError("No refresh is on record, so there is nothing to undo.")
    now = overlay.current()
    undone = changes_of.saved(now) if now else Changes()
    _keep_database(now)
    _use_database(overlay.undo())
    return undone


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────


def _ask(source: Source, store: EntryStore, progress: OnProgress) -> Told:
    count = 0
    if reason := source.unavailable():
        return Told(source.id, 0, reason)
    try:
        for batch in source.fetch(store.cursor(source.id), progress):
            store.add(source.id, batch)
            count += len(batch.entries)
    except Cancelled:
        raise
    except RecommenderError as error:
        return Told(source.id, count, str(error))
    return Told(source.id, count)


def _prepare(store: EntryStore, told: tuple[Told, ...], progress: OnProgress) -> Prepared:
    progress(Progress("catalog", "merging", 0, 2))
    shipped = shipped_tables()
    merged = merge(shipped, store.all())
    folder = overlay.new_folder()
    try:
        headers: dict[str, Sequence[str]] = {name: shipped[name].header for name in overlay.KEYS}
        overlay.write(folder, merged.rows, headers)
        found = changes_of.between(shipped, overlay.current(), merged.rows)
        changes_of.save(folder, found)
        progress(Progress("catalog", "building", 1, 2))
        del merged, shipped  # what a large catalog is merged of and what it is built of need not lie in memory at once
        report = build(paths.catalog_dir(), folder / _DATABASE, folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise (
            error if isinstance(error, RecommenderError) else not_writable("The refreshed catalog", folder, error)
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    progress(Progress("catalog", "ready", 2, 2))
    return Prepared(folder, found, told, report.notes)


def shipped_tables() -> dict[str, CsvTable]:
    """The shipped tables that a refresh looks at."""
    return {name: read_csv(paths.catalog_dir() / f"{name}.csv") for name in sorted({*NEEDED, *overlay.KEYS})}


def _keep_database(folder: Path | None) -> None:
    """Leave the database in use beside the overlay it was made of, so that undoing needs no build."""
    database = paths.catalog_database()
    place = (folder or paths.live_dir()) / _DATABASE
    if database.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(database, place)


def _use_database(folder: Path | None) -> None:
    """Move the overlay's database into place; without one the next look builds it."""
    made = (folder or paths.live_dir()) / _DATABASE
    try:
        if made.exists():
            os.replace(made, paths.catalog_database())
    except OSError as error:
        raise not_writable("The catalog database", paths.catalog_database(), error) from error
