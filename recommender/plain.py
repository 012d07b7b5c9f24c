"""Texts of others as a terminal may show them."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"


def plain(text: str) -> str:
    """``text`` with control characters written out, so that a name in a file cannot steer the terminal.

    >>> plain("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode("ascii")
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter not in _KEPT
        else letter
        for letter in text
    )
