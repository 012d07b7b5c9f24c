"""The comparison as a picture: parallel coordinates, drawn as SVG so that what is seen is what is saved.

Every measure is an axis from 0 to 100% of the best of these picks: value ÷ best where more is better, best ÷ value
where less is. So a gap on an axis is a ratio: half-way means half as fast, or twice the memory.
"""

from __future__ import annotations

from html import escape

from recommender.engine.compare_picks import MEASURES, Comparison, Measure

# Okabe and Ito's colours that keep their distance for colour-blind eyes, in tones that read on white and near-black.
_COLOURS = ("#0E8F77", "#D9822B", "#4C82D8", "#B458A0")
_DASHES = ("", "9 4", "2 4", "12 4 2 4")
MARKS = ("●", "■", "◆", "▲")
# Ink and paper, as the themes have them (.streamlit/config.toml).
_LIGHT, _DARK = ("#14201D", "#FFFFFF"), ("#E9F1EE", "#0E1513")
WIDTH, _LEFT, _RIGHT = 560, 18, 24
_ROW, _TOP, _KEY = 54, 14, 22


def axes(found: Comparison) -> list[tuple[Measure, list[float | None], list[float | None]]]:
    """Per measure that two or more of these have: the values and the shares of the best, 0–1; what does not fit is
    left out."""
    made = []
    for measure in MEASURES:
        values = [measure.value(column.pick) if column.pick and column.fits else None for column in found.columns]
        known = [value for value in values if value is not None and value > 0]
        if len(known) < 2:
            continue
        best = max(known) if measure.more_is_better else min(known)
        shares = [
            None if not value or value < 0 else (value / best if measure.more_is_better else best / value)
            for value in values
        ]
        made.append((measure, values, shares))
    return made


def chart_svg(found: Comparison, dark: bool = False) -> str:
    """The picture, on white or on near-black; "" where fewer than two picks fit."""
    ink, paper = _DARK if dark else _LIGHT
    drawn = axes(found)
    if not drawn:
        return ""
    shown = [place for place, column in enumerate(found.columns) if column.fits]
    start = _TOP + _KEY * len(shown) + 20
    height = start + _ROW * len(drawn) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(chart_words(found))}" font-family="sans-serif" font-size="13" fill="{ink}" '
        f'width="{WIDTH}" height="{height}">',
        f"<title>{escape(chart_words(found))}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="{paper}"/>',
    ]
    for row, place in enumerate(shown):
        y = _TOP + _KEY * row + 6
        parts += [
            f'<line x1="{_LEFT}" x2="{_LEFT + 44}" y1="{y}" y2="{y}" {_stroke(place)}/>',
            _mark(place, _LEFT + 22, y),
            f'<text x="{_LEFT + 54}" y="{y + 4.5}">{escape(found.columns[place].name)}</text>',
        ]
    for row in range(len(drawn)):
        y = start + _ROW * row + 26
        ends = f'x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"'
        parts.append(f'<line {ends} stroke="{ink}" stroke-opacity=".25"/>')
        parts += [
            f'<line x1="{_x(tick)}" x2="{_x(tick)}" y1="{y - 4}" y2="{y + 4}" stroke="{ink}" stroke-opacity=".35"/>'
            for tick in (0.0, 0.5, 1.0)
        ]
    for place in shown:
        points = [
            (_x(share), start + _ROW * row + 26)
            for row, (_, _, shares) in enumerate(drawn)
            if (share := shares[place]) is not None
        ]
        path = " ".join(f"{x:.1f},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" {_stroke(place)}/>')
        parts += [_mark(place, x, y) for x, y in points]
    # Words last and with a rim of paper, so that lines pass behind them.
    parts.append(f'<g paint-order="stroke" stroke="{paper}" stroke-width="4" stroke-linejoin="round">')
    for row, (measure, values, shares) in enumerate(drawn):
        y = start + _ROW * row + 11
        parts.append(f'<text x="{_LEFT}" y="{y}" font-weight="600">{escape(measure.label)}</text>')
        parts.append(_values(measure, values, shares, y))
    parts.append("</g>")
    return "".join([*parts, "</svg>"])


def chart_words(found: Comparison) -> str:
    """The picture in words."""
    said = []
    for measure, values, _ in axes(found):
        each = [
            f"{column.name} {measure.words(value)}"
            for column, value in zip(found.columns, values, strict=True)
            if value is not None
        ]
        said.append(f"{measure.label}: {', '.join(each)}")
    return "Parallel coordinates, each axis a share of the best. " + ". ".join(said) + "."


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _stroke(place: int) -> str:
    dash = f' stroke-dasharray="{_DASHES[place]}"' if _DASHES[place] else ""
    return f'stroke="{_COLOURS[place]}" stroke-width="2" stroke-opacity=".75" stroke-linejoin="round"{dash}'


def _mark(place: int, x: float, y: float) -> str:
    """A shape per pick, so that colour is never the only difference."""
    colour = _COLOURS[place]
    if place == 0:
        return f'<circle cx="{x:.1f}" cy="{y}" r="5.5" fill="{colour}"/>'
    if place == 1:
        return f'<rect x="{x - 5:.1f}" y="{y - 5}" width="10" height="10" fill="{colour}"/>'
    corners = [(0, -7), (7, 0), (0, 7), (-7, 0)] if place == 2 else [(0, -7), (6.5, 5), (-6.5, 5)]
    path = " ".join(f"{x + dx:.1f},{y + dy}" for dx, dy in corners)
    return f'<polygon points="{path}" fill="{colour}"/>'


def _values(measure: Measure, values: list[float | None], shares: list[float | None], y: int) -> str:
    """The values beside the axis' name, each behind its pick's mark."""
    texts = [
        f'<tspan fill="{_COLOURS[place]}">{MARKS[place]}</tspan> {escape(measure.words(value))}'
        for place, (value, share) in enumerate(zip(values, shares, strict=True))
        if value is not None and share is not None
    ]
    return f'<text x="{WIDTH - _RIGHT}" y="{y}" text-anchor="end">{"&#160;&#160;&#160;".join(texts)}</text>'
