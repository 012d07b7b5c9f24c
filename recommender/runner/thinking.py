"""Tells a model's thinking from its answer where both come as one text."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"  # what nearly all chat templates that let a model think write around it


class ThinkingSplitter:
    """Takes a text in pieces and gives it back in pieces marked as thinking or not, without the marks.

    Only a text that begins with the opening mark thinks: later ones may be what it is about.
    """

    def __init__(self) -> None:
        self._thinking = False
        self._begun = False
        self._after_mark = False
        self._held = ""

    def feed(self, piece: str) -> list[tuple[str, bool]]:
        """What can be told apart by now; the start of what may become a mark is held back."""
        self._held += piece
        if not self._begun:
            start = self._held.lstrip()
            if len(start) < len(OPEN) and OPEN.startswith(start):
                return []
            self._begun = True
            if start.startswith(OPEN):
                self._thinking = True
                self._held = start[len(OPEN) :]
        if not self._thinking:
            return self._spoken()
        place = self._held.find(CLOSE)
        if place < 0:
            return self._release(len(self._held) - _may_begin(self._held, CLOSE))
        found = self._release(place)
        self._held = self._held[len(CLOSE) :]
        self._thinking, self._after_mark = False, True
        return found + self._spoken()

    def finish(self) -> list[tuple[str, bool]]:
        """What was held back when the text ended."""
        return self._release(len(self._held))

    def _spoken(self) -> list[tuple[str, bool]]:
        if self._after_mark:
            self._held = self._held.lstrip("\n")
            self._after_mark = not self._held
        return self._release(len(self._held))

    def _release(self, length: int) -> list[tuple[str, bool]]:
        text, self._held = self._held[:length], self._held[length:]
        return [(text, self._thinking)] if text else []


def _may_begin(text: str, mark: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``mark``."""
    return next((length for length in range(len(mark) - 1, 0, -1) if text.endswith(mark[:length])), 0)
