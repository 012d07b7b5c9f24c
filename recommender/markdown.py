"""Text from outside as Markdown that keeps its form."""

from __future__ import annotations

from collections.abc import Sequence

_MARKS = "\\`*_[]<>|~$"


def cell(text: str) -> str:
    """``text`` on one line, without markup: for a cell of a table, a heading or an entry of a list."""
    escaped = "".join(f"\\{char}" if char in _MARKS else char for char in text)
    return " ".join(escaped.split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells hold text from outside."""
    lines = [[cell(one) for one in head], ["---"] * len(head), *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
