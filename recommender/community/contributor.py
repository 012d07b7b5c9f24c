"""A random number per installation, so that one person's many runs count as one person's."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from recommender import paths
from recommender.catalog.database import not_writable

__all__ = ["contributor"]

_BYTES = 16


def contributor(hardware_key: str) -> str:
    """Who shares, as 16 hexadecimal digits: the same for all runs of an installation on the same hardware.

    Made of a random number in the data folder and the hardware's key, so that two machines of one person have nothing
    in common, and nothing of the person, the computer's name or its address goes into it.

    Raises:
        NotWritableError: the number is not there yet and cannot be kept.
    """
    path = paths.contributor_file()
    try:
        number = _kept(path)
        if not number:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            new.write_text(secrets.token_hex(_BYTES), encoding="ascii")
            new.replace(path)
            number = _kept(path)
    except OSError as error:
        raise not_writable("The random number of this installation", path, error) from error
    return hashlib.sha256(f"{number}\n{hardware_key}".encode()).hexdigest()[:16]


def _kept(path: Path) -> str:
    """The number; "" where there is none, or no whole one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return text if re.fullmatch(f"[0-9a-f]{{{2 * _BYTES}}}", text) else ""
