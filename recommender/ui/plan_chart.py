"""Where the time of one token goes on a device, term by term of the speed formula. Colours read on light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from recommender.estimate.speed import SideTerms

# Colours that stay apart for colour-blind eyes, in middle tones; the words below the picture have every value too.
_PARTS = (
    ("Weights: reading and multiplying", "#14957F"),
    ("KV cache", "#D9822B"),
    ("Attention arithmetic", "#4C82D8"),
    ("Overhead", "#B458A0"),
)


def parts_ms(side: SideTerms) -> tuple[float, float, float, float]:
    """Milliseconds by part, in the order of the picture; they add up to the side's share of a token's time."""
    weights = math.hypot(side.reading_s, side.arithmetic_s)
    return tuple(1000 * part for part in (weights, side.cache_s, side.attention_s, side.overhead_s))  # type: ignore[return-value]


def token_time(terms: Sequence[SideTerms], target_ms: float | None) -> go.Figure:
    """One bar per side of the machine that works on a token, and the time that the target allows."""
    names = [side.accelerator.upper() for side in terms]
    figure = go.Figure()
    for place, (part, colour) in enumerate(_PARTS):
        values = [parts_ms(side)[place] for side in terms]
        figure.add_bar(
            y=names,
            x=values,
            name=part,
            orientation="h",
            marker={"color": colour},
            hovertemplate=f"{part}: %{{x:.1f}} ms<extra></extra>",
        )
    if target_ms is not None:
        figure.add_vline(
            x=target_ms,
            line={"dash": "dash", "width": 2, "color": "#7C93A8"},
            annotation={"text": f"target {target_ms:.0f} ms ", "font": {"size": 11}},
            annotation_position="bottom left",
        )
    figure.update_layout(
        barmode="stack",
        height=210 + 40 * len(names),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": "Milliseconds for one token", "rangemode": "tozero"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "traceorder": "normal"},
    )
    return figure


def token_time_words(terms: Sequence[SideTerms]) -> str:
    """The picture in words."""
    sides = [
        f"{side.accelerator.upper()}: "
        + ", ".join(f"{name} {value:.1f} ms" for (name, _), value in zip(_PARTS, parts_ms(side), strict=True))
        for side in terms
    ]
    return f"Time of one token by part. {'. '.join(sides)}."
