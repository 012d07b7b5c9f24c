"""Compare: two to four picks side by side. The whole comparison is in the URL."""

from __future__ import annotations

import json

import streamlit as st

from recommender.compare_text import comparison_json, comparison_markdown
from recommender.device import preset
from recommender.engine.compare_picks import (
    LEAST,
    MOST,
    Choice,
    Comparison,
    Line,
    choice_of,
    compare_picks,
    parse_choice,
)
from recommender.engine.recommend import recommend
from recommender.engine.words import count
from recommender.errors import RecommenderError
from recommender.types import Recommendation
from recommender.ui import pick_input
from recommender.ui.compare_chart import MARKS, WIDTH, chart_svg, chart_words
from recommender.ui.inputs import device_input, need_input
from recommender.ui.resources import calibration_of, catalog, told
from recommender.ui.words import badge, plain

_OFFERED = 3


def _too_few(answer: Recommendation) -> None:
    """How to choose, and the first picks of the question as a start."""
    st.info(
        f"Choose {LEAST} to {MOST} picks above, or tick them on the Find page under “All that fit”.",
        icon=":material/compare_arrows:",
    )
    first = [choice_of(pick).text for pick in answer.picks[:_OFFERED]]
    if len(first) < LEAST:
        st.caption("Nothing else fits this question: relax its limits, or name the picks yourself.")
        return
    names = ", ".join(f"{pick.name} {pick.quantization or ''}".strip() for pick in answer.picks[:_OFFERED])
    st.button(
        f"Compare the first {len(first)}: {plain(names)}",
        type="primary",
        key="compare_first",
        on_click=pick_input.choose,
        args=(first,),
        wrap=True,
    )


def _verdicts(found: Comparison) -> None:
    with st.grid(len(found.columns), min_column_width=230, gap="small"):
        for place, column in enumerate(found.columns):
            with st.container(border=True, gap="xsmall"):
                st.markdown(f"{MARKS[place]} **{plain(column.name)}**")
                icon = ":material/check_circle:" if column.fits else ":material/block:"
                st.markdown(f"{icon} {plain(column.verdict)}")
                if column.change:
                    st.caption(f"What would admit it: {plain(column.change)}")


def _chart(found: Comparison) -> None:
    drawing = chart_svg(found, dark=st.context.theme.type == "dark")
    if not drawing:
        st.caption("No chart: fewer than two of these fit.")
        return
    st.image(drawing, width=WIDTH, alt=chart_words(found))
    st.caption(
        "Each axis runs from 0 to 100% of the best of these: the value divided by the best where more is better, the "
        "best divided by the value where less is. Half-way is half as fast, or twice the memory. "
        + (
            "What does not fit has no line."
            if not all(column.fits for column in found.columns)
            else "Speeds, times and memory are estimates; their ranges are in the table."
        )
    )


def _table(found: Comparison, only_differences: bool) -> None:
    shown: list[tuple[str, list[str]]] = []
    group = ""
    for line in found.lines:
        if (line.group == "Verdict" and line.label == "Best at") or (only_differences and not line.differs):
            continue
        if line.group != group:
            group = line.group
            shown.append((f"**{group}**", [""] * len(found.columns)))
        shown.append((_label(line), _cells(line)))
    table = {"Figure": [label for label, _ in shown]}
    for place, column in enumerate(found.columns):
        table[f"{MARKS[place]} {plain(column.name)}"] = [cells[place] for _, cells in shown]
    with st.container(key="comparison"):
        st.table(table, hide_index=True, alt="Every figure of every pick, with its range and where it comes from")


def _label(line: Line) -> str:
    return f"{line.label} :orange[**≠**]" if line.differs else line.label


def _cells(line: Line) -> list[str]:
    cells = []
    for place, cell in enumerate(line.cells):
        text = plain(cell.text)
        if line.label == "Command" and cell.text != "–":
            text = f"`{cell.text.replace('`', '')}`"
        words = f"**{text}** :material/trophy:" if place in line.best else text
        extra = f" :small[:gray[{plain(cell.range)}]]" if cell.range else ""
        cells.append(f"{words}{extra}{f' :small[{badge(cell.origin)}]' if cell.origin else ''}")
    return cells


def _save(found: Comparison) -> None:
    with st.container(horizontal=True):
        for label, data, name, kind in (
            ("Markdown", comparison_markdown(found), "comparison.md", "text/markdown"),
            (
                "JSON",
                json.dumps(comparison_json(found), indent=1, allow_nan=False),
                "comparison.json",
                "application/json",
            ),
            ("Image (SVG)", chart_svg(found), "comparison.svg", "image/svg+xml"),
        ):
            if data:
                st.download_button(
                    label, data, name, kind, icon=":material/download:", key=f"save_{name}", on_click="ignore"
                )


def _choices(texts: list[str]) -> list[Choice]:
    """The picks that can be read; what cannot is said."""
    found = []
    for text in texts:
        try:
            found.append(parse_choice(text))
        except RecommenderError as error:
            st.error(told(error), icon=":material/error:")
    return found


try:
    asked = device_input()
    need = need_input()
    if asked is None:
        st.stop()
    answer = recommend(asked.device, need, catalog(), calibration=calibration_of(asked.device))
    choices = list(dict.fromkeys(_choices(pick_input.picks_input(answer))))
    if len(choices) > MOST:
        st.warning(f"The first {MOST} of {count(len(choices))} picks are compared.", icon=":material/info:")
    if len(choices) < LEAST:
        _too_few(answer)
        st.stop()
    found = compare_picks(choices[:MOST], asked.device, need, catalog(), preset, calibration_of)
except RecommenderError as error:
    st.error(told(error), icon=":material/error:")
    st.stop()

st.caption(
    f"{plain(found.task.name)}, a context of {count(found.context_tokens)} tokens"
    f"{f', {count(need.users)} users at once' if need.users > 1 else ''}: the same figures and scores as on Find."
)
_verdicts(found)
_chart(found)
only = st.toggle("Only what differs", key="differences", bind="query-params")
_table(found, only)
_save(found)
