"""The process of one refresh: ``python -m recommender.catalog.refresh_worker``, request on stdin, events on stdout.

A process of its own, so that asking, merging and building never hold up the people who use the app.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from typing import Any

from recommender.catalog.refresh import Prepared, add_entry, refresh, remove_entry
from recommender.catalog.sources.base import Progress
from recommender.errors import RecommenderError

_POLITE = 10  # below the server's own priority


def main() -> None:
    with suppress(AttributeError, OSError):  # Windows has no nice
        os.nice(_POLITE)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        prepared = _run(request)
        _send({"folder": prepared.folder.name, "told": [vars(one) for one in prepared.told]})
    except RecommenderError as error:
        _send({"error": str(error)})
    except Exception as error:
        _send({"error": f"The refresh failed: {type(error).__name__}: {str(error)[:200]}. Nothing was changed."})
    os._exit(0)


def _run(request: dict[str, Any]) -> Prepared:
    from recommender.catalog.sources.registry import make_sources

    if what := request.get("add"):
        from recommender.catalog.sources.gguf import entry_of

        return add_entry(entry_of(what), _progress)
    if what := request.get("remove"):
        return remove_entry("gguf", what, _progress)
    return refresh(lambda store: make_sources(store, request.get("sources", ()), request.get("limit")), _progress)


def _progress(one: Progress) -> None:
    _send({"progress": vars(one)})


def _send(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _end_with_parent() -> None:
    """The other side closes our input when it ends or is killed."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
