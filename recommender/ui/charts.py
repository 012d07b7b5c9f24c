"""Plotly figures. Colours are middle tones that read on white and near-black; each has its words in ``alt``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from recommender.engine.words import rate, size
from recommender.types import GIB, Pick, Recommendation
from recommender.ui.memory_bar import charged_bytes

_PICK, _FRONT, _OTHER, _LINE = "#12A085", "#D9822B", "#7C93A8", "rgba(128,140,136,0.8)"
_MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}
# Names nearer to each other than these shares of the axes would lie on each other.
_APART_X, _APART_Y = 0.22, 0.06
_DECADES = [value * 10.0**power for power in range(-2, 5) for value in (1, 2, 5)]


def quality_speed(answer: Recommendation) -> go.Figure:
    """Every pick by speed and quality on this device, with the line of those that nothing beats in both."""
    shown = [index for index, pick in enumerate(answer.picks) if pick.estimate.decode_tokens_per_s]
    front = set(answer.pareto)
    named = _named(answer)
    middle = _middle([_decode(answer.picks[index]) for index in shown])
    figure = go.Figure()
    for name, colour, members in (
        ("Fits", _OTHER, [index for index in shown if index and index not in front]),
        ("Nothing is both better and faster", _FRONT, [index for index in answer.pareto if index]),
        ("The pick", _PICK, [index for index in shown if not index]),
    ):
        picks = [answer.picks[index] for index in members]
        figure.add_scatter(
            x=[_decode(pick) for pick in picks],
            y=[pick.quality for pick in picks],
            mode="markers+text",
            name=name,
            text=[pick.name if index in named else "" for index, pick in zip(members, picks, strict=True)],
            textposition=["top left" if _decode(pick) > middle else "top right" for pick in picks],
            textfont={"size": 11},
            cliponaxis=False,
            marker={
                "size": [_marker(pick) for pick in picks],
                "color": colour,
                "symbol": "diamond" if name == "The pick" else "circle",
                "opacity": 0.38 if name == "Fits" else 0.95,
                "line": {"width": 0},
            },
            customdata=[[pick.name, pick.quantization or "", _hover(pick)] for pick in picks],
            hovertemplate="<b>%{customdata[0]}</b> %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        )
    line = [answer.picks[index] for index in answer.pareto]
    figure.add_scatter(
        x=[_decode(pick) for pick in line],
        y=[pick.quality for pick in line],
        mode="lines",
        line={"dash": "dot", "width": 1.5, "color": _FRONT},
        showlegend=False,
        hoverinfo="skip",
    )
    figure.update_layout(
        height=440,
        margin=_MARGIN,
        xaxis={"title": "Decode speed here, tokens per second (log scale)", "type": "log", "tickvals": _DECADES},
        yaxis={"title": "Quality on this task, of 100"},
        showlegend=False,
    )
    return figure


def _named(answer: Recommendation) -> set[int]:
    """The picks whose names are written beside their marks: the pick, then those of the front with room."""
    points = {
        index: (math.log10(_decode(answer.picks[index])), answer.picks[index].quality)
        for index in (0, *answer.pareto)
        if index < len(answer.picks) and _decode(answer.picks[index]) > 0
    }
    wide, high = (
        (max(values) - min(values) or 1.0 for values in zip(*points.values(), strict=True)) if points else (1, 1)
    )
    named: list[int] = []
    for index in sorted(points, key=lambda index: (index != 0, -answer.picks[index].score)):
        x, y = points[index]
        if all(
            abs(x - points[other][0]) > _APART_X * wide or abs(y - points[other][1]) > _APART_Y * high
            for other in named
        ):
            named.append(index)
    return set(named)


def _middle(speeds: Sequence[float]) -> float:
    """The speed in the middle of a logarithmic axis."""
    return math.sqrt(min(speeds) * max(speeds)) if speeds else 0.0


def _decode(pick: Pick) -> float:
    decode = pick.estimate.decode_tokens_per_s
    return decode.value if decode else 0.0


def _hover(pick: Pick) -> str:
    decode, memory = pick.estimate.decode_tokens_per_s, pick.estimate.memory
    lines = [f"quality {pick.quality:.0f} ± {pick.quality_se:.0f}"]
    if decode:
        lines.append(f"{rate(decode.value)} ({rate(decode.low)} to {rate(decode.high)}, {decode.provenance})")
    if memory:
        lines.append(f"{size(charged_bytes(memory))} of memory")
    return "<br>".join(lines)


def _marker(pick: Pick) -> float:
    """A marker's width in pixels: its area grows with memory."""
    memory = pick.estimate.memory
    return 7.0 + 3.0 * (memory.total_bytes / GIB) ** 0.5 if memory else 7.0


def predicted_measured(runs: Sequence[tuple[str, float, float]]) -> go.Figure:
    """Predicted against measured speed on one scale; on the line the prediction was right.

    Args:
        runs: (label, predicted, measured), tokens per second.
    """
    figure = go.Figure()
    values = [value for _, predicted, measured in runs for value in (predicted, measured)]
    ends = [min(values) * 0.7, max(values) * 1.4]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"dash": "dot", "width": 1, "color": _LINE}, name="Right", hoverinfo="skip"
    )
    figure.add_scatter(
        x=[predicted for _, predicted, _ in runs],
        y=[measured for _, _, measured in runs],
        mode="markers",
        marker={"size": 10, "color": _PICK, "opacity": 0.8},
        name="Runs",
        text=[label for label, _, _ in runs],
        hovertemplate="%{text}<br>predicted %{x:.1f}, measured %{y:.1f} tok/s<extra></extra>",
    )
    figure.update_layout(
        height=380,
        margin=_MARGIN,
        xaxis={"title": "Predicted decode, tok/s (log scale)", "type": "log", "tickvals": _DECADES},
        yaxis={"title": "Measured decode, tok/s (log scale)", "type": "log", "tickvals": _DECADES},
        showlegend=False,
    )
    return figure
