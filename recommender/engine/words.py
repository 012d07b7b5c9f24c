"""Numbers as a person reads them: two significant figures, with their unit."""

from __future__ import annotations

import math

from recommender.types import GIB, MIB


def size(value_bytes: float) -> str:
    """Bytes as GiB, or MiB below half a GiB, or KiB below one MiB: "5.9 GiB"."""
    if value_bytes >= GIB / 2:
        return f"{value_bytes / GIB:.1f} GiB"
    return f"{value_bytes / MIB:.0f} MiB" if value_bytes >= MIB else f"{value_bytes / 1024:.0f} KiB"


def seconds(value_s: float) -> str:
    """A duration: "40 ms", "0.4 s", "12 s", "3.5 min"."""
    if not math.isfinite(value_s):
        return "unknown time"
    if value_s >= 120:
        return f"{value_s / 60:.1f} min"
    if value_s < 0.095:
        return f"{1000 * value_s:.0f} ms"
    return f"{value_s:.0f} s" if value_s >= 10 else f"{value_s:.1f} s"


def rate(value_per_s: float) -> str:
    """Tokens per second: "7.4 tok/s", "38 tok/s"."""
    return f"{value_per_s:,.0f} tok/s" if value_per_s >= 10 else f"{value_per_s:.1f} tok/s"


def count(value: float) -> str:
    """A whole number with separators: "131,072"."""
    return f"{value:,.0f}"


def listing(names: tuple[str, ...] | list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
