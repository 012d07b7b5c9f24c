"""Values out of JSON that somebody else wrote: each comes out as what it should be, or as not said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_TEXT = 200  # characters; a name or a licence's id is shorter
_TEXTS = 100
_LARGEST = 10**15  # bytes or parameters; nothing published comes near
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def mapping(value: object) -> Mapping[str, Any]:
    """An object; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """A short line of printable characters without markup; "" where it is anything else."""
    if not isinstance(value, str) or len(value) > _TEXT:
        return ""
    line = value.strip()
    return line if line.isprintable() and not re.search("[<>]", line) else ""


def texts(value: object) -> tuple[str, ...]:
    """Lines, from a list or from one line with commas; those that are none are left out."""
    if isinstance(value, str):
        value = value.split(",") if len(value) <= _TEXT * _TEXTS else []
    found = [text(one) for one in value[:_TEXTS]] if isinstance(value, list) else []
    return tuple(dict.fromkeys(one for one in found if one))


def count(value: object) -> int | None:
    """A whole number above 0, also where it is written as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST else None


def yes_no(value: object) -> str:
    """yes or no, from a truth value or the word for one; "" where it is neither."""
    word = str(value).lower() if isinstance(value, bool | str) else ""
    return "yes" if word in _TRUE else "no" if word in _FALSE else ""


def date(value: object) -> str:
    """A day of this century, 2026-01-31, from a moment in ISO 8601 or a ``datetime``; "" where it is none."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return ""
    if not isinstance(value, datetime):
        return ""
    try:
        moment = value if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return ""
    return moment.strftime("%Y-%m-%d") if 2000 <= moment.year < 2100 else ""


def repository(value: object) -> str:
    """A repository's id on the Hub, owner/name; "" where it is none."""
    return value if isinstance(value, str) and _REPO.fullmatch(value) and ".." not in value else ""
