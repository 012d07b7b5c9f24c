"""One measured run by its own address: its figures beside the prediction, its hardware, and what to save of it."""

from __future__ import annotations

import streamlit as st

from recommender.picture import Card, png
from recommender.share_run import (
    NO_DIFFERENCE,
    conditions,
    origin,
    predicted_beside_measured,
    run_markdown,
    run_name,
    run_text,
)
from recommender.types import Measurement
from recommender.ui.navigation import page
from recommender.ui.resources import measurements
from recommender.ui.share_view import here_only, save
from recommender.ui.words import badge, plain

NAME = "measurement"  # of the URL's parameter


def opened() -> bool:
    """Show the run that the URL names, or say that there is none; whether the URL names one.

    Ids are random and long, so an address is known to whom it was given. What comes close to one is not told.
    """
    wanted = st.query_params.get(NAME)
    if wanted is None:
        return False
    found = next((run for run in measurements() if run.id == wanted), None)
    if found is None:
        st.info(
            "There is no measured run at this address. It may have been measured elsewhere.", icon=":material/link:"
        )
    else:
        show(found)
    st.button("All runs", icon=":material/history:", type="tertiary", key="all_runs", on_click=_leave)
    return True


def _leave() -> None:
    """For a callback: a link to the page that is open would leave the address as it is."""
    st.query_params.pop(NAME, None)


def link_to(run: Measurement) -> None:
    """The way from a run that has just ended to its own page."""
    st.page_link(
        page("history"), label="Its own page, to share or to save", icon=":material/share:", query_params={NAME: run.id}
    )


def show(run: Measurement) -> None:
    """The run, its link, and its files."""
    address = f"{(st.context.url or './').partition('?')[0]}?{NAME}={run.id}"
    with st.container(border=True, key="measurement"):
        st.subheader(plain(run_name(run)), anchor=False)
        st.markdown(badge_of(run))
        heads = ("Figure", f"Predicted {badge('estimated')}", "Measured", "Difference")
        rows = predicted_beside_measured(run)
        st.table({head: [row[place] for row in rows] for place, head in enumerate(heads)}, hide_index=True)
        told = conditions(run)
        st.table(
            {"Condition": [name for name, _ in told], "Value": [plain(value) for _, value in told]}, hide_index=True
        )
        st.markdown("**Link to this run**")
        st.code(address, language=None)
        st.caption(f"Whoever has it can open it here as long as the run is kept.{here_only(address)}")
        save(
            "run",
            ("JSON", "json", "application/json", lambda: run_text(run, address)),
            ("Markdown", "md", "text/markdown", lambda: run_markdown(run, address)),
            ("Picture", "png", "image/png", lambda: png(_card(run))),
        )


def badge_of(run: Measurement) -> str:
    return f":green-badge[{plain(origin(run))}]"


def _card(run: Measurement) -> Card:
    shown = [
        (name, measured, f"predicted {predicted}" if off != NO_DIFFERENCE else predicted, "measured")
        for name, predicted, measured, off in predicted_beside_measured(run)
    ]
    return Card(
        about=f"{origin(run)[0].upper()}{origin(run)[1:]}",
        title=run_name(run),
        tags=(run.runtime, run.binding, *(("rehearsal",) if run.rehearsal else ()), *(("noisy",) if run.noisy else ())),
        figures=tuple(shown),
        foot=f"Rightsize · {run.prompt_tokens} prompt and {run.gen_tokens} generated tokens, median of {run.repeats}",
    )
