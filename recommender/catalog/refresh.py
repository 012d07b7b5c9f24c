"""A refresh: ask the sources, merge what they told, build the catalog beside the old one, and put it in use.

Nothing that people use changes until :func:`apply`, which is one step; what was in use before is kept for
:func:`undo`. A source that fails costs what it would have told, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recommender import paths
from recommender.catalog import changes as changes_of
from recommender.catalog import overlay
from recommender.catalog.build import build, remove_leftovers
from recommender.catalog.changes import Changes
from recommender.catalog.database import keep_copy, not_writable
from recommender.catalog.entries import EntryStore, Kept, decode, encode, keep_entries, open_entries, restore_entries
from recommender.catalog.merge import NEEDED, merge
from recommender.catalog.rows import CsvTable, read_csv
from recommender.catalog.sources.base import Batch, Entry, OnProgress, Progress, Source
from recommender.errors import BadInputError, Cancelled, RecommenderError

_DATABASE, _ORIGIN, _ENTRIES = "catalog.duckdb", "origin.json", "entries.duckdb"


@dataclass(frozen=True)
class Told:
    """What asking one source brought. ``problem`` says why it brought less than all; "" when it did not fail."""

    source: str
    entries: int
    problem: str = ""


@dataclass(frozen=True)
class Prepared:
    """A catalog that is ready to be used, and what it changes. It fits only what was in use when it was made."""

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
    """Prepare the catalog with one more entry: a file or repository that a person named. :func:`apply` keeps it."""
    with open_entries() as store:
        before = store.get(entry.source, entry.entry_id)
        if before is not None and before.details.get("path") != entry.details.get("path"):
            place = hashlib.sha256(entry.details.get("path", "").encode()).hexdigest()[:6]
            entry = replace(entry, entry_id=f"{entry.entry_id}-{place}")  # two files of one name
        return _prepare(store, (Told(entry.source, 1),), progress, _OneEntry((entry.source, entry.entry_id), entry))


def remove_entry(source: str, entry_id: str, progress: OnProgress) -> Prepared:
    """Prepare the catalog without one entry; :func:`apply` forgets it.

    Raises:
        BadInputError: there is no such entry.
    """
    with open_entries() as store:
        if store.get(source, entry_id) is None:
            raise BadInputError(f"{entry_id} was not added, so it cannot be removed.")
        return _prepare(store, (), progress, _OneEntry((source, entry_id), None))


def apply(prepared: Prepared) -> None:
    """Put a prepared catalog in use. Sessions that have the old one open keep it until they look again.

    Raises:
        BadInputError: what was in use has changed since it was made.
        DatabaseLockedError: another refresh is going on.
        NotWritableError: the user's data folder is read-only or full.
    """
    before = overlay.current()
    if not prepared.folder.is_dir() or _made_from(prepared.folder) != (before.name if before else ""):
        raise BadInputError("The catalog was changed meanwhile, and this no longer fits. Refresh again.")
    _settle(prepared.folder)
    _keep_database(before)
    overlay.use(prepared.folder)
    _use_database(prepared.folder)


def discard(prepared: Prepared) -> None:
    """Remove a prepared catalog; what the sources told is kept for the next refresh."""
    shutil.rmtree(prepared.folder, ignore_errors=True)


@dataclass(frozen=True)
class Undone:
    """What :func:`undo` did: the change that was taken back, or brought again."""

    changes: Changes
    again: bool


def undo() -> Undone:
    """Put the catalog of before the last change in use again, with what was known then; a second call redoes it.

    Raises:
        BadInputError: nothing was refreshed.
        DatabaseLockedError: another refresh is going on.
    """
    if not overlay.can_undo():
        raise BadInputError("No refresh is on record, so there is nothing to undo.")
    now, before = overlay.current(), overlay.previous()
    again = now is None or _made_from(now) != (before.name if before else "")
    changed = before if again else now
    undone = changes_of.saved(changed) if changed else Changes()
    restore_entries(before / _ENTRIES if before else None)
    _keep_database(now)
    _use_database(overlay.undo())
    return Undone(undone, again)


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
    except Exception as error:  # whatever a place sent, the others are still to be asked
        what = f"{source.name} sent what could not be read ({type(error).__name__}). The rest is not touched by it."
        return Told(source.id, count, what)
    return Told(source.id, count)


@dataclass(frozen=True)
class _OneEntry:
    """A person's own change: the entry that is added, or None for one that is removed."""

    key: tuple[str, str]  # source and id
    added: Entry | None

    def among(self, kept: Iterable[Kept]) -> Iterator[Kept]:
        """What will be kept once the change is made."""
        for one in kept:
            if (one.entry.source, one.entry.entry_id) != self.key:
                yield one
        if self.added:
            yield Kept(self.added, self.added.read_at)


def _prepare(
    store: EntryStore, told: tuple[Told, ...], progress: OnProgress, change: _OneEntry | None = None
) -> Prepared:
    progress(Progress("catalog", "merging", 0, 2))
    remove_leftovers(overlay.unused())  # of a refresh that was killed
    shipped = shipped_tables()
    merged = merge(shipped, change.among(store.all()) if change else store.all())
    folder = overlay.new_folder()
    try:
        headers: dict[str, Sequence[str]] = {name: shipped[name].header for name in overlay.KEYS}
        overlay.write(folder, merged.rows, headers)
        found = changes_of.between(shipped, overlay.current(), merged.rows)
        changes_of.save(folder, found)
        _save_origin(folder, change)
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


def _save_origin(folder: Path, change: _OneEntry | None) -> None:
    """Beside a prepared catalog: which one it was made from, and what is to be kept or forgotten once it is used."""
    before = overlay.current()
    origin: dict[str, Any] = {"from": before.name if before else ""}
    if change:
        origin["key"] = change.key
        origin["added"] = encode(change.added) if change.added else ""
    (folder / _ORIGIN).write_text(json.dumps(origin), encoding="utf-8")


def _origin(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return {}


def _made_from(folder: Path) -> str | None:
    return _origin(folder).get("from")


def _settle(folder: Path) -> None:
    """Make a person's own change in what is kept, and keep a copy of that beside the overlay: undoing needs it."""
    origin = _origin(folder)
    with open_entries() as store:
        if "key" in origin:
            source, entry_id = origin["key"]
            entry = decode(origin["added"]) if origin["added"] else None
            if entry is None:
                store.remove(source, entry_id)
            else:
                store.add(source, Batch((entry,), store.cursor(source)))
    keep_entries(folder / _ENTRIES)


def shipped_tables() -> dict[str, CsvTable]:
    """The shipped tables that a refresh looks at."""
    return {name: read_csv(paths.catalog_dir() / f"{name}.csv") for name in sorted({*NEEDED, *overlay.KEYS})}


def _keep_database(folder: Path | None) -> None:
    """Leave the database in use beside the overlay it was made of, so that undoing needs no build."""
    if paths.catalog_database().exists():  # a copy only saves time: undoing builds it again
        keep_copy(paths.catalog_database(), (folder or paths.live_dir()) / _DATABASE)


def _use_database(folder: Path | None) -> None:
    """Move the overlay's database into place; without one the next look builds it."""
    made = (folder or paths.live_dir()) / _DATABASE
    try:
        if made.exists():
            os.replace(made, paths.catalog_database())
    except OSError as error:
        raise not_writable("The catalog database", paths.catalog_database(), error) from error
