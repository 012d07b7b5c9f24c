"""The other runtimes: how each compares with the pick, or why it is none."""

from __future__ import annotations

import streamlit as st

from recommender.engine.why_runtime import RuntimeVerdict, best_on_each, compared, why_runtimes
from recommender.types import Recommendation
from recommender.ui.resources import calibration_of, catalog
from recommender.ui.words import plain


def other_runtimes(answer: Recommendation) -> None:
    """Every runtime beside the pick's, with its own best quantization of the same model."""
    pick = answer.picks[0]
    device, need = answer.device, answer.need
    verdicts = why_runtimes(device, need, pick.model_id, catalog(), calibration=calibration_of(device))
    st.markdown(f"**{plain(pick.name)} on every runtime**")
    st.table(
        {
            "Runtime": [plain(verdict.name) for verdict in verdicts],
            "Would run": [_how(verdict) for verdict in verdicts],
            "Beside the pick": [plain(compared(verdict, pick)) for verdict in verdicts],
        },
        hide_index=True,
    )


def nothing_on_any(answer: Recommendation) -> None:
    """Why each runtime has no answer, or which one it would have if its use were not ruled out."""
    verdicts = best_on_each(answer.device, answer.need, catalog(), calibration_of(answer.device))
    st.markdown("**Each runtime, and what is in its way**")
    st.table(
        {
            "Runtime": [plain(verdict.name) for verdict in verdicts],
            "In its way": [plain(_in_the_way(verdict, answer)) for verdict in verdicts],
        },
        hide_index=True,
    )


def _how(verdict: RuntimeVerdict) -> str:
    if not verdict.runs or verdict.pick is None:
        return "–"
    return f"{plain(verdict.pick.quantization or 'managed')} on {plain(verdict.pick.accelerator.upper())}"


def _in_the_way(verdict: RuntimeVerdict, answer: Recommendation) -> str:
    if verdict.reason or verdict.pick is None:
        return verdict.reason
    what = f"{verdict.pick.name} {verdict.pick.quantization or ''}".strip()
    asked = answer.need.runtimes and verdict.runtime not in answer.need.runtimes
    return f"would run {what}, and is not among the runtimes asked for" if asked else f"would run {what}"
