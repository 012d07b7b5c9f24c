"""The empty answer: which limit to relax, and what that would bring."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from recommender.engine.words import count
from recommender.share import headline
from recommender.types import NearMiss, Recommendation
from recommender.ui import limits, runtimes_view, tables
from recommender.ui.words import plain

_BUTTONS = 3


def nothing_fits(answer: Recommendation) -> None:
    """Say so, name the smallest way out, and offer it as a button where an input of the page is in the way."""
    with st.container(border=True, key="nothing"):
        st.header("Nothing fits all of this", anchor=False)
        misses = answer.near_misses
        ways_out = _ways_out(misses)
        if misses:
            first = ways_out[0] if ways_out else misses[0]
            st.markdown(
                f"The nearest way out: **{plain(first.change)}**. Then {plain(headline(first.pick))} fits; as it is, "
                f"it {_sentence(first.reason)}."
            )
        else:
            worst, kept_out = max(answer.rejected.items(), key=lambda item: item[1], default=("", 0))
            st.markdown(
                f"No single change would admit anything. The limit that keeps out most is **{plain(worst)}** "
                f"({count(kept_out)} combinations): relax it first."
            )
        with st.container(horizontal=True):
            for place, miss in enumerate(ways_out[:_BUTTONS]):
                st.button(
                    f"{miss.change[0].upper()}{miss.change[1:]}",
                    key=f"relax_{miss.rule}",
                    type="secondary" if place else "primary",
                    icon=":material/filter_alt_off:",
                    on_click=limits.relax,
                    args=(miss,),
                )
            if limits.active():
                st.button("Clear all limits", key="clear_all", icon=":material/close:", on_click=limits.clear)
    if misses:
        st.markdown("**What one limit alone kept out**")
        st.table(tables.near_miss_table(misses), hide_index=True)
    runtimes_view.nothing_on_any(answer)
    st.caption(f"{count(answer.considered)} combinations looked at. Kept out, each at the first limit that said no:")
    st.table(tables.rejected_table(answer), hide_index=True, width="content")
    for note in answer.notes:
        st.caption(plain(note))


def _ways_out(misses: Sequence[NearMiss]) -> list[NearMiss]:
    """One per limit that an input of the page sets: the one that asks for the smallest change of it."""
    nearest: dict[str, NearMiss] = {}
    for miss in misses:
        if limits.can_relax(miss):
            known = nearest.get(miss.rule, miss)
            nearest[miss.rule] = min(known, miss, key=lambda one: one.short_by)
    return list(nearest.values())


def _sentence(reason: str) -> str:
    """A reason as the end of a sentence that starts with "it": some name another subject."""
    return f"is out because {plain(reason)}" if reason.startswith(("the ", "its ", "nobody", "it ")) else plain(reason)
