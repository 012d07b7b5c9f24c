"""Entries as the catalog can take them, whichever source told them: one that says nonsense must not stop the rest.

Sources read carefully; this is the last gate before rows are made, and it also passes what an earlier program kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

from recommender.catalog.sources.base import Entry
from recommender.estimate.gguf_architecture import MOST_LAYERS

_TEXT = 300  # characters
_LARGEST = 10**15  # bytes, parameters or downloads
_LARGEST_INTEGER = 2**31 - 1  # of the tables' columns
_LARGEST_SCORE = 1e9


def cleaned(entry: Entry) -> Entry:
    """The entry with one printable line for every text, days that a calendar has, and numbers that tables hold."""
    latest = _day(entry.read_at[:10])
    return replace(
        entry,
        name=line(entry.name) or line(entry.entry_id) or entry.source,
        publisher=line(entry.publisher),
        license_id=line(entry.license_id),
        version=line(entry.version),
        url=line(entry.url),
        pipeline=line(entry.pipeline),
        created=_past(entry.created, latest),
        modified=_past(entry.modified, latest),
        downloads=_whole(entry.downloads, _LARGEST, least=0),
        params_total=_whole(entry.params_total, _LARGEST),
        context_tokens=_whole(entry.context_tokens, _LARGEST_INTEGER),
        memory_bytes=_whole(entry.memory_bytes, _LARGEST),
        architecture=_architecture(entry.architecture),
        architecture_source=line(entry.architecture_source),
        files=tuple({one.path: one for one in entry.files if one.path.isprintable()}.values()),
        scores=tuple(one for one in entry.scores if math.isfinite(one.value) and abs(one.value) < _LARGEST_SCORE),
    )


def line(text: str) -> str:
    """A text as one line of printable characters."""
    return "".join(char if char.isprintable() else " " for char in text[: 2 * _TEXT]).strip()[:_TEXT].strip()


def _architecture(columns: Mapping[str, str]) -> dict[str, str]:
    """Nothing at all where one number is none that a model could have: the others would be no better."""
    for name, value in columns.items():
        digits = value.isascii() and value.isdigit()
        if not value.isprintable() or (digits and int(value[:20]) > _LARGEST_INTEGER):
            return {}
        if name == "n_layer" and digits and int(value) > MOST_LAYERS:
            return {}
    return dict(columns)


def _whole(value: int | None, most: int, least: int = 1) -> int | None:
    return value if value is not None and least <= value <= most else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _past(text: str, latest: date | None) -> str:
    """A day of this century that is not after the one it was read on (a day more, for zones of time)."""
    day = _day(text)
    if day is None or len(text) != 10 or day.year < 2000 or day.year > 2099:
        return ""
    return "" if latest and day > latest + timedelta(days=1) else text
