"""``recommender community show``, ``share``, ``summary`` and ``merge``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from recommender import settings
from recommender.cli_shared import catalog_with_notes
from recommender.errors import BadInputError

if TYPE_CHECKING:
    from recommender.community.record import SharedRun

_YES = ("y", "yes")


def add_community_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "action",
        choices=("show", "share", "summary", "merge"),
        help="show what would be shared of a run, share it, list what everyone shared, or make one file of a folder's",
    )
    command.add_argument(
        "run_id", nargs="?", metavar="RUN", help="show, share: id of a run (the newest that can be shared)"
    )
    command.add_argument("--yes", action="store_true", help="share: without asking")


def community_command(arguments: argparse.Namespace) -> tuple[Any, str]:
    """The answer for JSON and as text."""
    if arguments.run_id and arguments.action not in ("show", "share"):
        raise BadInputError(f"`recommender community {arguments.action}` takes no {arguments.run_id!r}.")
    if arguments.yes and arguments.action != "share":
        raise BadInputError(f"`recommender community {arguments.action}` has no --yes.")
    if arguments.action == "merge":
        return _merge()
    if arguments.action == "summary":
        return _summary()
    from recommender.community.record import record_text

    run = _to_share(arguments.run_id)
    if arguments.action == "show":
        return json.loads(record_text(run)), record_text(run)
    return _share(run, arguments.yes)


def _to_share(run_id: str | None) -> SharedRun:
    from recommender.catalog.measurements import MeasurementStore
    from recommender.community.record import shared_run
    from recommender.device import this_machine

    store = MeasurementStore()
    if run_id:
        return shared_run(store.get(run_id), this_machine())
    runs = store.all()
    if not runs:
        raise BadInputError("Nothing was measured yet. `recommender measure` or `recommender rehearse` does.")
    device = this_machine()
    for run in runs:
        with contextlib.suppress(BadInputError):
            return shared_run(run, device)
    return shared_run(runs[0], device)  # says why not


def _share(run: SharedRun, agreed: bool) -> tuple[Any, str]:
    from recommender.community.feed import share
    from recommender.community.record import record_text
    from recommender.community.stores import open_store

    place = open_store(settings.community()).place
    if not agreed:
        if not sys.stdin.isatty():
            raise BadInputError("Nothing was shared: nobody can be asked here. Look at it with `show`, then add --yes.")
        print(record_text(run), file=sys.stderr)
        print(f"Share exactly this, in {place}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().casefold() not in _YES:
            return {"shared": None}, "Nothing was shared."
    with catalog_with_notes() as catalog:
        share(run, catalog)
    return {"shared": json.loads(record_text(run))}, f"Shared in {place}, as {run.id}."


def _summary() -> tuple[Any, str]:
    from recommender.community.feed import shared_with_all
    from recommender.community.words import summary_json, summary_text
    from recommender.errors import CommunityError

    if not settings.community():
        raise BadInputError("Sharing is off: the setting `community` is empty.")
    with catalog_with_notes() as catalog:
        found, problem = shared_with_all(catalog)
    if problem:
        raise CommunityError(problem)
    return summary_json(found), summary_text(found)


def _merge() -> tuple[Any, str]:
    from recommender.community.folder import FolderStore
    from recommender.community.stores import open_store
    from recommender.engine.words import count

    store = open_store(settings.community())
    if not isinstance(store, FolderStore):
        raise BadInputError(f"Only a folder is merged; shared measurements are in {store.place}.")
    merged = store.merge()
    lines = [f"{count(merged.rows)} rows of {count(merged.files)} files are in one file."]
    lines += [f"Left alone, because it is no such Parquet file: {name}" for name in merged.unreadable]
    return {"rows": merged.rows, "files": merged.files, "unreadable": list(merged.unreadable)}, "\n".join(lines)
