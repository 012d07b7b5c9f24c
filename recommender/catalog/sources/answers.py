"""What reading the answer of any place has in common: its bounds, and how long it asks to wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

_LOOK_S = 0.25  # between two looks at whether a wait is to be ended


def whole_body(
    response: httpx2.Response, most_bytes: int, most_s: float, too_long: Exception, too_slow: Exception
) -> bytes:
    """What the response holds, unpacked; the error that fits where it is longer, or trickles for longer, than that."""
    end = time.monotonic() + most_s
    parts, length = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        length += len(part)
        if length > most_bytes:
            raise too_long
        if time.monotonic() > end:
            raise too_slow
    return b"".join(parts)


def retry_after_s(response: httpx2.Response) -> float | None:
    """How long Retry-After asks to wait, in seconds or as a date; None where it does not say."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isascii() and after.isdigit() and len(after) < 10:
        return float(after)
    try:
        return max(0.0, (parsedate_to_datetime(after).astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def sit_out(wait_s: float, waiting: Callable[[str], None], who: str) -> None:
    """Wait; ``waiting`` is called several times a second with what for, and what it raises ends the wait."""
    end = time.monotonic() + wait_s
    while (left_s := end - time.monotonic()) > 0:
        waiting(f"waiting {left_s:.0f} s, as {who} asks")
        time.sleep(min(left_s, _LOOK_S))
