"""Plotly figures. Colours are middle tones that read on white and near-black; each has its words in ``alt``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import plotly.graph_objects as go

from recommender.engine.words import rate, size
from recommender.types import GIB, Measurement, Pick, Recommendation

_PICK, _FRONT, _OTHER, _LINE = "#12A085", "#D9822B", "#7C93A8", "rgba(128,140,136,0.8)"
_SERIES = ((_PICK, "circle"), (_FRONT, "square"), ("#5B8BD0", "diamond"), ("#B565A7", "triangle-up"), (_OTHER, "star"))
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
        lines.append(f"{size(memory.charged_bytes)} of memory")
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


def speed_history(runs: Sequence[Measurement]) -> go.Figure:
    """Decode speed of one model over time, a line per runtime and binding; bars from the slowest to the fastest repeat.

    Noisy runs are hollow. Rehearsals have lines of their own.
    """
    lines: dict[str, list[Measurement]] = {}
    for run in sorted(runs, key=lambda run: run.measured_at):
        lines.setdefault(series(run), []).append(run)
    figure = go.Figure()
    for (name, members), (colour, symbol) in zip(lines.items(), cycle(_SERIES), strict=False):
        speeds = [run.decode_tokens_per_s for run in members]
        figure.add_scatter(
            x=[run.measured_at for run in members],
            y=speeds,
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 1.5},
            marker={
                "size": 10,
                "color": colour,
                "symbol": [f"{symbol}-open" if run.noisy else symbol for run in members],
                "line": {"width": 2, "color": colour},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [run.decode_high - run.decode_tokens_per_s for run in members],
                "arrayminus": [run.decode_tokens_per_s - run.decode_low for run in members],
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[_run_hover(run) for run in members],
            hovertemplate="<b>%{y:.1f} tok/s</b><br>%{customdata}<extra></extra>",
        )
    figure.update_layout(
        height=380,
        margin=_MARGIN,
        xaxis={"title": "When, UTC"},
        yaxis={"title": "Measured decode, tok/s"},
        showlegend=len(lines) > 1,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02},
    )
    return figure


def series(run: Measurement) -> str:
    """Which line of the history a run belongs to."""
    return f"{run.runtime}, {run.binding}{', rehearsed' if run.rehearsal else ''}"


def _run_hover(run: Measurement) -> str:
    lines = [
        f"{run.decode_low:.1f} to {run.decode_high:.1f} in {run.repeats} repeats",
        series(run),
        f"{run.settings.threads} threads, {run.settings.gpu_layers} layers on the GPU, "
        f"context {run.settings.context_tokens}",
        f"{run.prompt_tokens} prompt and {run.gen_tokens} generated tokens",
        f"{run.device_name}, {run.measured_at}",
    ]
    return "<br>".join([*lines, *([f"noisy: {run.noise_reason}"] if run.noisy else [])])
