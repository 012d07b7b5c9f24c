"""Plotly figures. Colours come from the page's theme; every figure has its words in ``alt`` where it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from recommender.engine.words import rate, seconds, size
from recommender.types import GIB, Figure, Memory, Pick, Recommendation

_MEMORY_PARTS = (
    ("Weights", "weights_bytes"),
    ("KV cache", "kv_cache_bytes"),
    ("Compute", "compute_bytes"),
    ("Overhead", "overhead_bytes"),
)
_MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}


def memory_bar(memory: Memory, free_bytes: float | None) -> go.Figure:
    """What a pick takes, part by part, against what is free. In GiB."""
    figure = go.Figure()
    resident = {name: getattr(memory, field) for name, field in _MEMORY_PARTS}
    # Mapped pages that were repacked elsewhere can be dropped by the system at any time: they are not charged.
    resident["Weights"] -= memory.reclaimable_bytes
    for name, part_bytes in resident.items():
        figure.add_bar(
            x=[part_bytes / GIB],
            y=[""],
            name=f"{name} {size(part_bytes)}",
            orientation="h",
            hovertemplate=f"{name}: {size(part_bytes)}<extra></extra>",
        )
    used = sum(resident.values())
    if free_bytes is not None:
        left = max(free_bytes - used, 0.0)
        figure.add_bar(
            x=[left / GIB],
            y=[""],
            name=f"Left free {size(left)}",
            orientation="h",
            marker={"color": "rgba(128,140,136,0.18)", "line": {"color": "rgba(128,140,136,0.5)", "width": 1}},
            hovertemplate=f"Left free: {size(left)}<extra></extra>",
        )
    figure.update_layout(
        barmode="stack",
        height=120,
        margin=_MARGIN,
        bargap=0.1,
        legend={"orientation": "h", "y": -0.45, "x": 0, "traceorder": "normal"},
        xaxis={"title": None, "ticksuffix": " GiB", "zeroline": False, "nticks": 5},
        yaxis={"visible": False},
    )
    return figure


def quality_speed(answer: Recommendation) -> go.Figure:
    """Every pick by speed and quality on this device, with the line of those that nothing beats in both."""
    shown = [(index, pick) for index, pick in enumerate(answer.picks) if pick.estimate.decode_tokens_per_s]
    front = [answer.picks[index] for index in answer.pareto]
    figure = go.Figure()
    figure.add_scatter(
        x=[_decode(pick) for pick in front],
        y=[pick.quality for pick in front],
        mode="lines",
        line={"dash": "dot", "width": 1.5, "color": "rgba(128,140,136,0.9)"},
        name="Nothing is both better and faster",
        hoverinfo="skip",
    )
    for name, members in (
        ("Fits", [pick for index, pick in shown if index]),
        ("The pick", [pick for index, pick in shown if not index]),
    ):
        figure.add_scatter(
            x=[_decode(pick) for pick in members],
            y=[pick.quality for pick in members],
            error_y={"type": "data", "array": [pick.quality_se for pick in members], "visible": name == "The pick"},
            mode="markers",
            name=name,
            marker={
                "size": [_marker(pick) for pick in members],
                "symbol": "star" if name == "The pick" else "circle",
                "opacity": 0.85,
                "line": {"width": 1, "color": "rgba(255,255,255,0.6)"},
            },
            customdata=[[pick.name, pick.quantization, _memory_text(pick)] for pick in members],
            hovertemplate="<b>%{customdata[0]}</b> %{customdata[1]}<br>%{x:.1f} tok/s · quality %{y:.0f}"
            "<br>%{customdata[2]}<extra></extra>",
        )
    figure.update_layout(
        height=420,
        margin=_MARGIN,
        xaxis={"title": "Decode speed, tokens per second (log)", "type": "log"},
        yaxis={"title": "Quality on this task, 0–100"},
        legend={"orientation": "h", "y": 1.1, "x": 0},
    )
    return figure


def _decode(pick: Pick) -> float:
    decode = pick.estimate.decode_tokens_per_s
    return decode.value if decode else 0.0


def _memory_text(pick: Pick) -> str:
    memory = pick.estimate.memory
    return size(memory.total_bytes - memory.reclaimable_bytes) if memory else ""


def _marker(pick: Pick) -> float:
    """A marker's width in pixels: its area grows with memory."""
    memory = pick.estimate.memory
    return 9.0 + 4.0 * (memory.total_bytes / GIB) ** 0.5 if memory else 9.0


def speed_ranges(picks: Sequence[Pick]) -> go.Figure:
    """Predicted decode speed of each pick as a dot in its range."""
    shown = [pick for pick in picks if pick.estimate.decode_tokens_per_s][::-1]
    figures = [pick.estimate.decode_tokens_per_s for pick in shown]
    known: list[Figure] = [figure for figure in figures if figure is not None]
    figure = go.Figure(
        go.Scatter(
            x=[one.value for one in known],
            y=[f"{pick.name} {pick.quantization}" for pick in shown],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.value for one in known],
                "arrayminus": [one.value - one.low for one in known],
            },
            mode="markers",
            marker={"size": 9},
            customdata=[[rate(one.low), rate(one.high), one.provenance] for one in known],
            hovertemplate="%{y}<br>%{x:.1f} tok/s (%{customdata[0]} to %{customdata[1]}, %{customdata[2]})"
            "<extra></extra>",
        )
    )
    figure.update_layout(
        height=70 + 26 * len(shown),
        margin=_MARGIN,
        xaxis={"title": "Decode, tokens per second", "rangemode": "tozero"},
        yaxis={"automargin": True},
    )
    return figure


def predicted_measured(pairs: Sequence[tuple[str, float, float]]) -> go.Figure:
    """Predicted against measured speed on one scale; on the line the prediction was right.

    Args:
        pairs: (label, predicted, measured), tokens per second.
    """
    figure = go.Figure()
    values = [value for _, predicted, measured in pairs for value in (predicted, measured)]
    low, high = min(values) * 0.8, max(values) * 1.25
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line={"dash": "dot", "width": 1}, name="Right", hoverinfo="skip"
    )
    figure.add_scatter(
        x=[predicted for _, predicted, _ in pairs],
        y=[measured for _, _, measured in pairs],
        mode="markers",
        marker={"size": 9},
        name="Runs",
        text=[label for label, _, _ in pairs],
        hovertemplate="%{text}<br>predicted %{x:.1f}, measured %{y:.1f} tok/s<extra></extra>",
    )
    figure.update_layout(
        height=360,
        margin=_MARGIN,
        xaxis={"title": "Predicted decode, tok/s (log)", "type": "log"},
        yaxis={"title": "Measured decode, tok/s (log)", "type": "log"},
        showlegend=False,
    )
    return figure


def figure_words(figure: Figure | None, kind: str) -> str:
    """A figure as words: "12 tok/s" or "3.4 s"; a dash when unknown."""
    if figure is None:
        return "–"
    return rate(figure.value) if kind == "rate" else seconds(figure.value)
