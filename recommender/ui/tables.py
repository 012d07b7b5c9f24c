"""Tables column by column: what fits, what just missed, what was kept out."""

from __future__ import annotations

from typing import Any

import streamlit as st

from recommender.engine.words import count
from recommender.types import GIB, Figure, NearMiss, Pick, Recommendation
from recommender.ui.words import plain


def picks_table(answer: Recommendation) -> dict[str, list[object]]:
    """Everything that fits, best first."""
    picks = answer.picks
    return {
        "Model": [pick.name for pick in picks],
        "Quantization": [pick.quantization or "managed" for pick in picks],
        "Score": [pick.score for pick in picks],
        "Quality": [pick.quality for pick in picks],
        "Speed": [_value(pick.estimate.decode_tokens_per_s) for pick in picks],
        "Answer": [_value(pick.estimate.answer_time_s) for pick in picks],
        "Memory": [_gib(pick.estimate.memory.charged_bytes) if pick.estimate.memory else None for pick in picks],
        "Runtime": [pick.runtime for pick in picks],
        "Licence": [pick.license for pick in picks],
        "Tier": [pick.tier for pick in picks],
        "First token": [_value(pick.estimate.ttft_s) for pick in picks],
        "File": [_gib(pick.estimate.file_bytes) for pick in picks],
        "Speeds are": [_origin(pick) for pick in picks],
    }


def picks_columns() -> dict[str, Any]:
    """How ``st.dataframe`` shows the columns of :func:`picks_table`; each says its unit."""
    number = st.column_config.NumberColumn
    return {
        "Model": st.column_config.TextColumn(pinned=True),
        "Score": st.column_config.ProgressColumn(
            min_value=0, max_value=100, format="%.0f", width="small", help="of 100; its parts are in the row's details"
        ),
        "Quality": number(format="%.0f", help="estimated from benchmark scores, of 100, on this task"),
        "Speed": number("tok/s", format="%.1f", help="decode; the last column says where it comes from"),
        "Answer": number(
            "Answer, s", format="%.1f", help="from sending the prompt to the last token, thinking included"
        ),
        "Memory": number("Memory, GiB", format="%.1f", help="what must stay resident at this context"),
        "First token": number("First token, s", format="%.1f"),
        "File": number("File, GiB", format="%.1f"),
    }


def near_miss_table(misses: tuple[NearMiss, ...]) -> dict[str, list[str]]:
    """What one limit kept out, and the smallest change that would let it in."""
    return {
        "Model": [
            f"**{plain(miss.pick.name)}** {miss.pick.quantization or ''} · quality {miss.pick.quality:.0f}"
            for miss in misses
        ],
        "Kept out because": [plain(miss.reason) for miss in misses],
        "What would admit it": [plain(miss.change) for miss in misses],
    }


def rejected_table(answer: Recommendation) -> dict[str, list[str]]:
    """Limit by limit, how many combinations it kept out."""
    ordered = sorted(answer.rejected.items(), key=lambda item: -item[1])
    return {"Limit": [rule for rule, _ in ordered], "Kept out": [count(number) for _, number in ordered]}


def _value(figure: Figure | None) -> float | None:
    return figure.value if figure else None


def _gib(value_bytes: float | None) -> float | None:
    return value_bytes / GIB if value_bytes is not None else None


def _origin(pick: Pick) -> str:
    return pick.estimate.decode_tokens_per_s.provenance if pick.estimate.decode_tokens_per_s else ""
