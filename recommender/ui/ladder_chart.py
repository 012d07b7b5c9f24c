"""The quantization ladder as a chart: bytes and memory, speed, and expected loss, one above the other."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recommender.engine.ladder import Rung
from recommender.engine.words import rate, size
from recommender.types import GIB

_DECADES = [value * 10.0**power for power in range(-2, 5) for value in (1, 3)]
_FILE, _MEMORY, _SPEED, _LOSS, _NO = "#12A085", "#D9822B", "#5B8BD0", "#B565A7", "rgba(128,140,136,0.55)"


def chart_words(rungs: Sequence[Rung], name: str) -> str:
    """What the chart shows, for who does not see it."""
    told = []
    for rung in rungs:
        if rung.file_bytes is None:
            continue
        words = [f"{rung.quantization}: file {size(rung.file_bytes)}"]
        if rung.estimate and rung.estimate.memory:
            words.append(f"memory {size(rung.estimate.memory.charged_bytes)}{'' if rung.fits else ', does not fit'}")
        if rung.estimate and rung.estimate.decode_tokens_per_s:
            words.append(rate(rung.estimate.decode_tokens_per_s.value))
        if rung.loss_points is not None:
            words.append(f"{rung.loss_points:.1f} points lost")
        told.append(", ".join(words))
    return f"File, memory, decode speed and expected loss of {name} by quantization. {'; '.join(told)}."


def ladder_chart(rungs: Sequence[Rung]) -> go.Figure:
    """Rungs that have bytes, largest first; those that do not fit are grey."""
    shown = [rung for rung in rungs if rung.file_bytes is not None]
    names = [rung.quantization for rung in shown]
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09,
        row_heights=[0.44, 0.28, 0.28],
        subplot_titles=(
            "GiB: the file, and the memory in use",
            "Decode, tok/s (log scale)",
            "Expected loss, points of 100",
        ),
    )
    for label, colour, fits in (("File", _FILE, True), ("File that does not fit here", _NO, False)):
        if any(rung.fits == fits for rung in shown):
            figure.add_bar(
                x=names,
                y=[(rung.file_bytes or 0.0) / GIB if rung.fits == fits else None for rung in shown],
                name=label,
                marker={"color": colour},
                hovertemplate="%{x}: file %{y:.2f} GiB<extra></extra>",
                row=1,
                col=1,
            )
    memory = [rung.estimate.memory if rung.estimate else None for rung in shown]
    figure.add_scatter(
        x=names,
        y=[part.charged_bytes / GIB if part else None for part in memory],
        name="Memory in use",
        mode="markers",
        marker={"color": _MEMORY, "size": 9, "symbol": "diamond"},
        hovertemplate="%{x}: memory %{y:.2f} GiB<extra></extra>",
        row=1,
        col=1,
    )
    decode = [rung.estimate.decode_tokens_per_s if rung.estimate else None for rung in shown]
    figure.add_scatter(
        x=names,
        y=[speed.value if speed else None for speed in decode],
        showlegend=False,
        mode="markers",
        marker={"color": _SPEED, "size": 9},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [speed.high - speed.value if speed else 0.0 for speed in decode],
            "arrayminus": [speed.value - speed.low if speed else 0.0 for speed in decode],
            "thickness": 1.2,
            "width": 3,
        },
        customdata=[[speed.low, speed.high, speed.provenance] if speed else [0.0, 0.0, ""] for speed in decode],
        hovertemplate="%{x}: %{y:.1f} tok/s (%{customdata[0]:.1f} to %{customdata[1]:.1f}, %{customdata[2]})"
        "<extra></extra>",
        row=2,
        col=1,
    )
    figure.add_bar(
        x=names,
        y=[rung.loss_points for rung in shown],
        showlegend=False,
        marker={"color": _LOSS},
        hovertemplate="%{x}: %{y:.1f} points<extra></extra>",
        row=3,
        col=1,
    )
    figure.update_layout(
        height=580,
        barmode="overlay",
        margin={"l": 8, "r": 8, "t": 64, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.05, "x": 0},
    )
    figure.update_annotations(font={"size": 12}, xanchor="left", x=0)
    # Without the order, a category whose first mark is missing would move to the end.
    figure.update_xaxes(categoryorder="array", categoryarray=names, automargin=True)
    figure.update_yaxes(rangemode="tozero")
    # On an even scale a wide range would press the values to the floor.
    figure.update_yaxes(type="log", tickvals=_DECADES, row=2, col=1)
    return figure
