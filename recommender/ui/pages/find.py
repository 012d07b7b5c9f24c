"""Find: the answer for your machine and your need, there before anything is pressed."""

from __future__ import annotations

import streamlit as st

from recommender.engine.recommend import recommend
from recommender.engine.words import count
from recommender.errors import RecommenderError
from recommender.types import Pick, Recommendation
from recommender.ui import cards
from recommender.ui.charts import quality_speed, speed_ranges
from recommender.ui.inputs import device_input, need_input
from recommender.ui.navigation import page
from recommender.ui.resources import binding_id, calibration_of, catalog


def _try(pick: Pick) -> None:
    """Remember what to try; the page switches after the callback, where Streamlit allows it."""
    st.session_state["go_try"] = {
        "model": pick.model_id,
        "quant": pick.quantization or "",
        "task": st.session_state.task,
    }


def _rest(answer: Recommendation, here: bool) -> None:
    if answer.alternatives:
        for place, (column, (trade, pick)) in enumerate(
            zip(st.columns(len(answer.alternatives)), answer.alternatives, strict=True)
        ):
            with column:
                cards.alternative_card(trade, pick, place, _try, fits=here and pick in answer.picks)
    st.subheader(f"All {count(len(answer.picks))} models that fit", anchor=False)
    st.caption("Each with its best quantization and runtime for this question, best score first.")
    st.dataframe(
        cards.picks_table(answer),
        hide_index=True,
        key=f"picks_{hash(tuple((pick.model_id, pick.quantization, pick.runtime) for pick in answer.picks))}",
        column_config={
            "Score": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.0f"),
            "Model": st.column_config.TextColumn(pinned=True),
        },
        alt="Every model that fits, with its figures",
    )
    left, right = st.columns([3, 2])
    with left:
        st.subheader("Quality against speed on this device", anchor=False)
        st.plotly_chart(
            quality_speed(answer),
            key="scatter",
            config={"displayModeBar": False},
            alt=f"Scatter of {len(answer.picks)} models by decode speed and quality, with the Pareto front",
        )
    with right:
        st.subheader("How sure the speeds are", anchor=False)
        st.plotly_chart(
            speed_ranges(answer.picks[:12]),
            key="ranges",
            config={"displayModeBar": False},
            alt="Predicted decode speed of the first twelve picks, each with its range",
        )
    if answer.near_misses:
        st.subheader("What just missed", anchor=False)
        st.table(cards.near_miss_rows(answer.near_misses), hide_index=True)


if going := st.session_state.pop("go_try", None):
    st.switch_page(page("try_it"), query_params=going)

try:
    for note in catalog().notes:
        st.info(note)
    asked = device_input()
    need = need_input()
    if asked is None:
        st.stop()
    answer = recommend(asked.device, need, catalog(), calibration=calibration_of(asked.device), binding=binding_id())
except RecommenderError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()

if answer.picks:
    cards.answer_card(answer, _try)
    _rest(answer, asked.here)
else:
    cards.nothing_fits(answer)

with st.expander("What was looked at", icon=":material/rule:"):
    st.markdown(
        f"{count(answer.considered)} combinations of model, quantization and runtime; "
        f"catalog of {answer.catalog_date}. Kept out, each at the first limit that said no:"
    )
    ordered = sorted(answer.rejected.items(), key=lambda item: -item[1])
    st.table(
        {"Limit": [rule for rule, _ in ordered], "Kept out": [count(number) for _, number in ordered]}, hide_index=True
    )
    for note in answer.notes:
        st.caption(note)
