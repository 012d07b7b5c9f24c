"""What a refresh would change, in rows a person can look at before it is applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recommender.catalog.rows import CsvTable, read_csv

_SHOWN_FIELDS = (
    "params_total", "context_max", "license_id", "thinking", "tool_calling", "release_date", "superseded_by", "role",
)  # fmt: skip
FILE = "changes.json"


@dataclass(frozen=True)
class FieldChange:
    model_id: str
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Changes:
    """The difference between two overlays of one shipped catalog."""

    added: tuple[str, ...] = ()  # model ids
    removed: tuple[str, ...] = ()
    changed: tuple[FieldChange, ...] = ()
    superseded: tuple[tuple[str, str], ...] = ()  # model, and the newer one
    withdrawn: tuple[str, ...] = ()  # entries that their source no longer lists
    files_added: int = 0
    files_removed: int = 0
    entries: int = 0  # of all sources
    unrecognised: int = 0  # entries that are no model of the catalog
    conflicts: int = 0

    @property
    def nothing(self) -> bool:
        return not (
            self.added or self.removed or self.changed or self.superseded or self.withdrawn
            or self.files_added or self.files_removed
        )  # fmt: skip


Rows = Mapping[str, Iterable[Mapping[str, str]]]


def between(shipped: Mapping[str, CsvTable], before: Path | None, after: Rows) -> Changes:
    """What ``after`` (the rows of a new overlay) changes against the overlay folder in use."""
    base = {row["model_id"]: row for row in shipped["models"].records()}
    was = base | {row["model_id"]: row for row in _records(before, "models", "model_id", *_SHOWN_FIELDS)}
    now = base | {row["model_id"]: dict(row) for row in after["models"]}
    fields = [
        FieldChange(model_id, name, was[model_id][name], row.get(name, ""))
        for model_id, row in now.items()
        if model_id in was
        for name in _SHOWN_FIELDS
        if name != "superseded_by" and was[model_id][name] != row.get(name, "")
    ]
    superseded = [
        (model_id, newer)
        for model_id, row in now.items()
        if (newer := row.get("superseded_by", "")) and was.get(model_id, {}).get("superseded_by", "") != newer
    ]
    file = ("gguf_repo", "file", "bytes")
    files_before = {tuple(row[name] for name in file) for row in _records(before, "gguf_files", *file)}
    files_after = {tuple(row.get(name, "") for name in file) for row in after["gguf_files"]}
    seen_before = _records(before, "sightings", "source", "entry_id", "gone_at")
    gone_before = {(row["source"], row["entry_id"]) for row in seen_before if row["gone_at"]}
    sightings = list(after["sightings"])
    withdrawn = [
        row["entry_id"] for row in sightings if row["gone_at"] and (row["source"], row["entry_id"]) not in gone_before
    ]
    return Changes(
        added=tuple(sorted(now.keys() - was.keys())),
        removed=tuple(sorted(was.keys() - now.keys())),
        changed=tuple(fields),
        superseded=tuple(superseded),
        withdrawn=tuple(withdrawn),
        files_added=len(files_after - files_before),
        files_removed=len(files_before - files_after),
        entries=len(sightings),
        unrecognised=sum(not row["model_id"] for row in sightings),
        conflicts=len(list(after["conflicts"])),
    )


def save(folder: Path, changes: Changes) -> None:
    (folder / FILE).write_text(json.dumps(asdict(changes), indent=1), encoding="utf-8")


def saved(folder: Path) -> Changes:
    """What the overlay in ``folder`` changed when it was made; nothing where that is not on record."""
    try:
        values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        values["changed"] = [FieldChange(**one) for one in values["changed"]]
        values["superseded"] = [tuple(pair) for pair in values["superseded"]]
        listed = {name: tuple(one) for name, one in values.items() if isinstance(one, list)}
        return Changes(**{**values, **listed})
    except (OSError, ValueError, TypeError, KeyError):
        return Changes()


def changes_text(changes: Changes, most: int = 20) -> str:
    """The changes for a terminal; of each kind the first ``most``."""
    if changes.nothing:
        return f"Nothing changed. {changes.entries} entries are known, {changes.conflicts} contradictions."
    parts: list[str] = []
    for title, lines in (
        ("New models", list(changes.added)),
        ("No longer listed anywhere", list(changes.removed)),
        (
            "Changed",
            [f"{one.model_id} {one.field}: {one.before or '–'} → {one.after or '–'}" for one in changes.changed],
        ),
        ("Superseded", [f"{old} by {new}" for old, new in changes.superseded]),
        ("Withdrawn", list(changes.withdrawn)),
    ):
        if lines:
            rest = [f"  … and {len(lines) - most} more"] if len(lines) > most else []
            parts.append("\n".join([f"{title} ({len(lines)}):", *(f"  {line}" for line in lines[:most]), *rest]))
    parts.append(
        f"Files: {changes.files_added} added, {changes.files_removed} removed. {changes.entries} entries are known, "
        f"{changes.unrecognised} of them not recognised; {changes.conflicts} contradictions between sources."
    )
    return "\n".join(parts)


def _records(folder: Path | None, name: str, *columns: str) -> Iterator[dict[str, str]]:
    path = folder / f"{name}.csv" if folder else None
    return read_csv(path).records_of(*columns) if path and path.exists() else iter(())
