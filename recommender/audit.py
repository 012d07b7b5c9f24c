"""Who did what, and when: one JSON line for every run that was asked for and every change of the catalog."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import cache
from logging.handlers import RotatingFileHandler
from pathlib import Path

from recommender import paths
from recommender.types import MIB

_MOST_BYTES, _KEPT_FILES = 5 * MIB, 5
_LONGEST_VALUE = 300  # characters of one value


def log(who: str, what: str, **details: str | float | bool | None) -> None:
    """Write one line to ``audit.jsonl`` in the data folder. Prompts, answers and keys have no place in it.

    Args:
        who: the visitor's address, or the name that they signed in with.
        what: "run", "run refused", "refresh" …
        details: what it was about, each cut to a few hundred characters.

    A line that cannot be written is lost: a full disk must not keep a page from answering.
    """
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": who[:_LONGEST_VALUE],
        "what": what,
        **{name: value[:_LONGEST_VALUE] if isinstance(value, str) else value for name, value in details.items()},
    }
    _logger(paths.audit_file()).info(json.dumps(line))


@cache
def _logger(path: Path) -> logging.Logger:
    logger = logging.Logger("audit", logging.INFO)  # of its own: no handler of the server's gets to see it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = RotatingFileHandler(
            path, maxBytes=_MOST_BYTES, backupCount=_KEPT_FILES, encoding="utf-8", delay=True
        )
    except OSError:
        handler = logging.NullHandler()
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger
