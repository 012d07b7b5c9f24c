"""Find: the answer for your machine and your need, there before anything is pressed."""

from __future__ import annotations

import streamlit as st

from recommender.engine.compare_picks import LEAST, MOST, choice_of
from recommender.engine.recommend import recommend
from recommender.engine.words import count
from recommender.errors import RecommenderError
from recommender.types import Pick, Recommendation, Task
from recommender.ui import batch_view, cards, empty, run_view, runtimes_view, share_view, tables
from recommender.ui.charts import quality_speed
from recommender.ui.inputs import device_input, need_input
from recommender.ui.limits import BOUND
from recommender.ui.navigation import page
from recommender.ui.resources import calibration_of, catalog, told
from recommender.ui.start import start_pick, start_probe
from recommender.ui.words import plain

_ALL, _CHART, _MISSED, _METHOD = "All that fit", "Quality against speed", "Just missed", "How it was decided"


def _try(pick: Pick) -> None:
    """Remember what to try: it starts after the callback, where the page can say what goes wrong."""
    st.session_state["wanted"] = pick


def _run(task: Task) -> None:
    """Start what was clicked, and show the run of the URL."""
    wanted: Pick | None = st.session_state.pop("wanted", None)
    try:
        if wanted is not None:
            start_pick(wanted, task)
        elif st.session_state.pop("probe_wanted", False):
            start_probe()
    except RecommenderError as error:
        what = plain(wanted.name) if wanted else "The probe"
        st.error(told(error), icon=":material/error:", title=f"{what} did not start")
    if said := st.session_state.get("probe_said"):
        st.caption(f":material/speed: {plain(said)}")
    if job_id := st.query_params.get("run"):
        run_view.show(job_id)


def _all(answer: Recommendation, here: bool) -> None:
    each = "Every quantization" if answer.need.all_quantizations else "Each with its best quantization and runtime"
    st.caption(
        f"{count(len(answer.picks))} of {count(answer.considered)} combinations. {each} for this question, best score "
        f"first. Tick a row for its figures and command, {LEAST} to {MOST} rows to compare them."
    )
    ids = [(pick.model_id, pick.quantization, pick.runtime) for pick in answer.picks]
    # A selection is a row's number: another answer must not inherit it, so its key is made of what the rows are.
    chosen = st.dataframe(
        tables.picks_table(answer),
        hide_index=True,
        key=f"picks_{hash(tuple(ids))}",
        on_select="rerun",
        selection_mode="multi-row",
        column_config=tables.picks_columns(),
        alt="Every model that fits, with its figures",
    )
    ticked = [answer.picks[row] for row in chosen["selection"]["rows"]]
    if len(ticked) == 1:
        cards.picked_card(answer, ticked[0], here, _try)
    elif ticked:
        _compare(ticked)


def _compare(ticked: list[Pick]) -> None:
    """A link to the Compare page with the whole question in it."""
    if len(ticked) > MOST:
        st.caption(f"At most {MOST} can be compared; {len(ticked)} are ticked.")
        return
    own = ("run", "beside", "show")
    link = {name: st.query_params.get_all(name) for name in st.query_params if name not in own}
    st.page_link(
        page("compare"),
        label=f"Compare these {len(ticked)}",
        icon=":material/compare_arrows:",
        query_params={**link, "pick": [choice_of(pick).text for pick in ticked]},
    )


def _decided(answer: Recommendation) -> None:
    for reason in answer.picks[0].reasons if answer.picks else ():
        st.markdown(f"- {plain(reason)}")
    if answer.picks:
        runtimes_view.other_runtimes(answer)
    st.caption(
        f"{count(answer.considered)} combinations of model, quantization and runtime were looked at; catalog of "
        f"{answer.catalog_date}. Kept out, each at the first limit that said no:"
    )
    st.table(tables.rejected_table(answer), hide_index=True, width="content")
    for note in answer.notes:
        st.caption(plain(note))


def _rest(answer: Recommendation, here: bool) -> None:
    """One click deeper. Only the open tab is made."""
    every, chart, missed, method = st.tabs([_ALL, _CHART, _MISSED, _METHOD], key="show", **BOUND)
    if every.open:
        with every:
            _all(answer, here)
    if chart.open:
        with chart:
            st.markdown(
                ":small[The diamond is the pick; nothing is both better and faster than the orange marks; the others "
                "fit. A larger mark takes more memory. Speeds are estimated unless a mark's label says otherwise.]"
            )
            st.plotly_chart(
                quality_speed(answer),
                key="scatter",
                config={"displayModeBar": False},
                alt=f"Scatter of {len(answer.picks)} models by decode speed and quality, with the Pareto front",
            )
    if missed.open:
        with missed:
            if answer.near_misses:
                st.caption("Each was kept out by one limit alone.")
                st.table(tables.near_miss_table(answer.near_misses), hide_index=True)
            else:
                st.caption("Nothing was kept out by one limit alone.")
    if method.open:
        with method:
            _decided(answer)


try:
    for note in catalog().notes:
        st.info(told(note))
    asked = device_input()
    need = need_input()
    if asked is None:
        st.stop()
    answer = recommend(asked.device, need, catalog(), calibration=calibration_of(asked.device))
except RecommenderError as error:
    st.error(told(error), icon=":material/error:")
    st.stop()

share_view.arrived(asked)
_run(answer.task)
if answer.picks:
    cards.answer_card(answer, asked, _try)
    if asked.here:
        batch_view.offer(answer)
    if answer.alternatives:
        columns = st.columns(max(2, len(answer.alternatives)))
        for place, (trade, pick) in enumerate(answer.alternatives):
            with columns[place]:
                cards.alternative_card(trade, pick, place, _try, asked.here, fits=pick in answer.picks)
    _rest(answer, asked.here)
else:
    empty.nothing_fits(answer)
