"""A card with the main figures as a PNG, to put into a chat or a slide. Drawn with the font that Pillow brings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT = 1200, 630  # what link previews show whole
_LEFT, _INNER = 64, WIDTH - 2 * 64
# Ink and paper as the light theme has them (.streamlit/config.toml).
_INK, _QUIET, _PAPER, _PANEL, _LINE, _MARK = "#14201D", "#53625E", "#FFFFFF", "#F4F7F6", "#DCE5E2", "#0F6B5C"
_MEASURED, _ROUGH, _ESTIMATED = "#18794E", "#AD5700", "#1D5FBF"
_MOST_FIGURES = 4
_CUT = "…"


@dataclass(frozen=True)
class Card:
    """What a picture says. Each figure: (name, value, note, where it comes from)."""

    about: str
    title: str
    tags: tuple[str, ...]
    figures: tuple[tuple[str, str, str, str], ...]  # at most four are drawn
    foot: str


def png(card: Card) -> bytes:
    """The card as a PNG of ``WIDTH`` × ``HEIGHT`` pixels; what is too long is cut and ends in "…"."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 12), fill=_MARK)
    _text(draw, (_LEFT, 62), card.about, 28, _QUIET)
    _text(draw, (_LEFT, 106), card.title, _largest(card.title, 68, 44), _INK, weight=1)
    _tags(draw, card.tags)
    _figures(draw, card.figures[:_MOST_FIGURES])
    draw.line((_LEFT, 548, WIDTH - _LEFT, 548), fill=_LINE, width=2)
    _text(draw, (_LEFT, 568), card.foot, 24, _QUIET)
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def text_width(text: str, size: int) -> float:
    """Pixels that ``text`` takes in a plain sans-serif font of this size."""
    return float(_font(size).getlength(text))


@cache
def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]  # with a size it is a FreeType font


def _text(
    draw: ImageDraw, at: tuple[float, float], text: str, size: int, fill: str, width: float = _INNER, weight: int = 0
) -> None:
    """One line; ``weight`` thickens its strokes, for want of a bold font."""
    draw.text(at, _fitted(text, size, width), fill, _font(size), stroke_width=weight, stroke_fill=fill)


def _fitted(text: str, size: int, width: float) -> str:
    line = " ".join(text.split())
    if text_width(line, size) <= width:
        return line
    fits = [end for end in range(len(line)) if text_width(line[:end] + _CUT, size) <= width] if len(line) < 400 else []
    return (line[: max(fits)] if fits else line[:20]) + _CUT


def _largest(text: str, most: int, least: int) -> int:
    return next((size for size in range(most, least, -4) if text_width(text, size) <= _INNER), least)


def _tags(draw: ImageDraw, tags: Sequence[str]) -> None:
    x = float(_LEFT)
    for place, tag in enumerate(tags):
        line = _fitted(tag, 26, 360)
        wide = text_width(line, 26) + 36
        if x + wide > WIDTH - _LEFT:
            return
        draw.rounded_rectangle((x, 204, x + wide, 250), 10, fill=_MARK if place == 0 else _PANEL)
        draw.text((x + 18, 227), line, _PAPER if place == 0 else _INK, _font(26), anchor="lm")
        x += wide + 14


def _figures(draw: ImageDraw, figures: Sequence[tuple[str, str, str, str]]) -> None:
    gap = 20
    wide = (_INNER - gap * (_MOST_FIGURES - 1)) / _MOST_FIGURES
    for place, (name, value, note, origin) in enumerate(figures):
        x = _LEFT + place * (wide + gap)
        inner = wide - 40
        draw.rounded_rectangle((x, 290, x + wide, 516), 14, fill=_PANEL, outline=_LINE, width=2)
        _text(draw, (x + 20, 312), name, 24, _QUIET, inner)
        size = next((one for one in range(46, 26, -2) if text_width(value, one) <= inner), 26)
        _text(draw, (x + 20, 352), value, size, _INK, inner, weight=1)
        _text(draw, (x + 20, 424), note, 20, _QUIET, inner)
        _text(draw, (x + 20, 464), origin, 20, _colour(origin), inner)


def _colour(origin: str) -> str:
    if origin.startswith("measured"):
        return _MEASURED
    return _ROUGH if origin == "rough estimate" else _ESTIMATED
