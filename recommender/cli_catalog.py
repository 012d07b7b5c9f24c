"""``recommender catalog refresh``, ``undo``, ``add``, ``remove`` and ``check``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from recommender.errors import BadInputError

LIVE = ("refresh", "undo", "add", "remove", "check")


def add_catalog_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "action",
        choices=("build", "models", "tasks", "runtimes", "quantizations", "info", *LIVE),
        help="build it anew, list what it has, ask the live sources (refresh) and take that back (undo), add or remove "
        "a GGUF of your own, or look for contradictions (check)",
    )
    command.add_argument("what", nargs="?", help="add: a GGUF file, its URL, or owner/name on the Hub; remove: its id")
    command.add_argument(
        "--source", action="append", metavar="ID", help="refresh: only this one (all); may be given several times"
    )
    command.add_argument("--limit", type=int, metavar="N", help="refresh: read at most so many repositories of the Hub")
    command.add_argument("--dry-run", action="store_true", help="refresh, add, remove: show what would change, no more")


def live_catalog_command(arguments: argparse.Namespace) -> tuple[Any, str, int]:
    """The answer for JSON, as text, and the exit code."""
    if arguments.what and arguments.action not in ("add", "remove"):
        raise BadInputError(f"`recommender catalog {arguments.action}` takes no {arguments.what!r}.")
    if arguments.dry_run and arguments.action in ("check", "undo"):
        raise BadInputError(f"`recommender catalog {arguments.action}` has no --dry-run.")
    if arguments.action == "check":
        return _check()
    if arguments.action == "undo":
        return _undo()
    return _prepared(arguments)


def _check() -> tuple[Any, str, int]:
    from recommender.catalog.curation import check_json, check_text, contradictions
    from recommender.cli_shared import catalog_with_notes

    with catalog_with_notes() as catalog:
        found = contradictions(catalog)
    return check_json(found), check_text(found), int(any(one.severity == "wrong" for one in found))


def _undo() -> tuple[Any, str, int]:
    from recommender.catalog.changes import changes_text
    from recommender.catalog.refresh import undo

    undone = undo()
    what = "Brought again" if undone.again else "Taken back"
    return {"undone": asdict(undone.changes), "again": undone.again}, f"{what}:\n{changes_text(undone.changes)}", 0


def _prepared(arguments: argparse.Namespace) -> tuple[Any, str, int]:
    from recommender.catalog import refresh
    from recommender.catalog.changes import changes_text

    if arguments.limit is not None and arguments.limit < 1:
        raise BadInputError(f"--limit must be 1 or more, not {arguments.limit}.")
    if arguments.action in ("add", "remove") and not arguments.what:
        raise BadInputError(f"Say what to {arguments.action}: `recommender catalog {arguments.action} WHAT`.")
    follow = _Follow()
    try:
        if arguments.action == "add":
            from recommender.catalog.sources.gguf import entry_of

            prepared = refresh.add_entry(entry_of(arguments.what), follow)
        elif arguments.action == "remove":
            prepared = refresh.remove_entry("gguf", arguments.what, follow)
        else:
            from recommender.catalog.sources.registry import make_sources

            prepared = refresh.refresh(
                lambda store: make_sources(store, arguments.source or (), arguments.limit), follow
            )
    finally:
        follow.end()
    # What changes nothing is not put in use: it would take the place of the change that undo takes back.
    applied = not arguments.dry_run and not prepared.changes.nothing
    if applied:
        refresh.apply(prepared)
    else:
        refresh.discard(prepared)
    told = [
        f"{one.source}: {one.entries} new or changed" + (f"; {one.problem}" if one.problem else "")
        for one in prepared.told
    ]
    if applied:
        end = ["In use now; `recommender catalog undo` takes it back."]
    else:
        end = ["Nothing was changed (--dry-run)."] if arguments.dry_run else []
    text = "\n".join([*told, changes_text(prepared.changes), *end])
    value = {"told": [asdict(one) for one in prepared.told], "changes": asdict(prepared.changes), "applied": applied}
    return value, text, int(bool(prepared.told) and all(one.problem for one in prepared.told))


class _Follow:
    """Progress on one line of a terminal; in a file or a pipe, one line when the step changes."""

    def __init__(self) -> None:
        self._last = ""
        self._terminal = sys.stderr.isatty()

    def __call__(self, one: Any) -> None:
        from recommender.plain import plain

        count = f" {one.done}" + (f" of {one.total}" if one.total else "")
        if self._terminal:
            print(f"\r\x1b[K{one.source}:{count} {plain(one.what)[:80]}", end="", file=sys.stderr, flush=True)
        elif one.source != self._last:
            print(f"{one.source} …", file=sys.stderr)
        self._last = one.source

    def end(self) -> None:
        if self._terminal and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
