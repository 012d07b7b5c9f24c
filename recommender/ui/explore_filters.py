"""The filters and the order of the Explore page: their inputs, which are set, and how one is taken back.

A widget's key is its parameter in the URL. None of them is another page's: widgets keep their values from page to page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from recommender.catalog.explore import Facets, Filters
from recommender.catalog.queries import runtimes
from recommender.engine.words import count
from recommender.types import GIB
from recommender.ui.limits import BOUND
from recommender.ui.resources import catalog
from recommender.ui.words import SOURCE_NAMES, plain

# Field of ``Filters`` → its widget's key and the value that asks nothing.
_KEYS: dict[str, tuple[str, Any]] = {
    "text": ("q", ""),
    "tiers": ("tier", []),
    "states": ("state", []),
    "families": ("family", []),
    "roles": ("role", []),
    "commercial_use": ("use", []),
    "licenses": ("license", []),
    "context_tokens": ("reads", None),
    "languages": ("speaks", []),
    "tool_calling": ("calls_tools", False),
    "thinking": ("thinks", []),
    "runtimes": ("taken_by", []),
    "file_bytes": ("file_gib", None),
    "released_since": ("since", None),
    "with_benchmarks": ("scored", False),
    "sources": ("listed_by", []),
}
PAGE = "p"
_TIERS, _STATES = ["Micro", "Small", "Medium", "Large"], ["new", "current", "superseded", "withdrawn"]
_USES = {
    "yes": "Commercial use",
    "conditions": "Under conditions",
    "no": "No commercial use",
    "unknown": "Not recorded",
}
_THINKING = {"yes": "Always", "no": "Never", "hybrid": "On request", "unknown": "Not recorded"}
SOURCES = SOURCE_NAMES | {"catalog": "Shipped catalog only", "gguf": "A GGUF file"}
_ORDERS = {
    "Newest": ("released", True),
    "Oldest": ("released", False),
    "Name": ("name", False),
    "Fewest parameters": ("parameters", False),
    "Most parameters": ("parameters", True),
    "Smallest file": ("file", False),
    "Longest context": ("context", True),
    "Most benchmarks": ("benchmarks", True),
    "Most often listed": ("listings", True),
    "Licence": ("licence", False),
    "State": ("state", False),
}
_EXAMPLES = 12  # values of a filter whose counts its help names


def filters_input(known: Facets) -> tuple[Filters, str, bool]:
    """Draw the inputs; the filters, what to sort by, and whether the largest come first."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        text = st.text_input(
            "Search",
            placeholder=f"Search {count(known.models)} models: name, maker, family, base model",
            key="q",
            label_visibility="collapsed",
            icon=":material/search:",
            width=360,
            max_chars=200,
            **BOUND,
        )
        order = st.selectbox("Order", list(_ORDERS), key="order", label_visibility="collapsed", width=180, **BOUND)
        with st.popover("Filters", icon=":material/filter_alt:", key="explore_filters"):
            given = _popover(known)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        tiers = _pills("Tier", _TIERS, "tier", _counts(known.of("tiers")), str)
        states = _pills("State", _STATES, "state", _counts(known.of("states")), str.capitalize)
    sort, descending = _ORDERS.get(order, _ORDERS["Newest"])
    return Filters(text=text.strip(), tiers=tuple(tiers), states=tuple(states), **given), sort, descending


def _pills(label: str, options: list[str], key: str, counts: str, words: Callable[[str], str]) -> list[str]:
    return st.pills(
        label,
        options,
        selection_mode="multi",
        key=key,
        format_func=words,
        help=f"In the whole catalog: {counts}",
        **BOUND,
    )


def _popover(known: Facets) -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        family = _choice("Family", "family", known.of("families"))
        role = _choice("Made for", "role", known.of("roles"))
        languages = _choice("Languages, ISO codes", "speaks", known.of("languages"), "All of them.")
        taken = {one.id: one.name for one in runtimes(catalog())}
        taken_by = _choice("Runs in", "taken_by", known.of("runtimes"), words=taken)
        listed_by = _choice("Listed by", "listed_by", known.of("sources"), words=SOURCES)
        scored = st.toggle("With benchmark scores", key="scored", **BOUND)
        tools = st.toggle("Calls tools", key="calls_tools", **BOUND)
    with right:
        use = _choice("Licence allows", "use", known.of("commercial_use"), words=_USES)
        licence = _choice("Licence", "license", known.of("licenses"))
        thinks = _choice("Thinks first", "thinks", known.of("thinking"), words=_THINKING)
        reads = st.number_input("Context at least, tokens", 1, None, None, step=1024, key="reads", **BOUND)
        largest = st.number_input("Smallest file at most, GiB", 0.01, None, None, step=0.5, key="file_gib", **BOUND)
        since = st.date_input("Released since", None, key="since", format="YYYY-MM-DD", **BOUND)
    return {
        "families": tuple(family),
        "roles": tuple(role),
        "languages": tuple(languages),
        "runtimes": tuple(taken_by),
        "sources": tuple(listed_by),
        "with_benchmarks": scored,
        "tool_calling": tools,
        "commercial_use": tuple(use),
        "licenses": tuple(licence),
        "thinking": tuple(thinks),
        "context_tokens": int(reads) if reads is not None else None,
        "file_bytes": largest * GIB if largest is not None else None,
        "released_since": since.isoformat() if since else "",
    }


def _choice(
    label: str, key: str, counts: dict[str, int], note: str = "", words: dict[str, str] | None = None
) -> list[str]:
    names = words or {}
    return st.multiselect(
        label,
        list(counts),
        format_func=lambda one: names.get(one, one),
        key=key,
        placeholder="Any",
        help=plain(f"{note} In the whole catalog: {_counts({names.get(one, one): n for one, n in counts.items()})}"),
        **BOUND,
    )


def _counts(counts: dict[str, int]) -> str:
    """ "Small 130, Medium 35", the most frequent values."""
    shown = ", ".join(f"{value} {count(number)}" for value, number in list(counts.items())[:_EXAMPLES])
    return f"{shown} …" if len(counts) > _EXAMPLES else shown or "none"


def active(filters: Filters) -> dict[str, str]:
    """The filters that are set, by their field, in words."""
    said: dict[str, Callable[[], str]] = {
        "text": lambda: f"“{filters.text}”",
        "tiers": lambda: " or ".join(filters.tiers),
        "states": lambda: " or ".join(filters.states),
        "families": lambda: " or ".join(filters.families),
        "roles": lambda: f"made for {' or '.join(filters.roles)}",
        "commercial_use": lambda: (
            f"licence: {' or '.join(_USES.get(one, one).lower() for one in filters.commercial_use)}"
        ),
        "licenses": lambda: " or ".join(filters.licenses),
        "context_tokens": lambda: f"context of {count(filters.context_tokens or 0)} or more",
        "languages": lambda: "speaks " + " and ".join(filters.languages),
        "tool_calling": lambda: "calls tools",
        "thinking": lambda: f"thinks: {' or '.join(_THINKING.get(one, one).lower() for one in filters.thinking)}",
        "runtimes": lambda: "runs in " + " or ".join(filters.runtimes),
        "file_bytes": lambda: f"a file of at most {(filters.file_bytes or 0.0) / GIB:g} GiB",
        "released_since": lambda: f"released since {filters.released_since}",
        "with_benchmarks": lambda: "with benchmark scores",
        "sources": lambda: "listed by " + " or ".join(SOURCES.get(one, one) for one in filters.sources),
    }
    return {name: words() for name, words in said.items() if getattr(filters, name) not in ("", (), None, False)}


def clear(*names: str) -> None:
    """Ask nothing by these fields, by all when none is named. For a button's callback."""
    for name in names or _KEYS:
        key, nothing = _KEYS[name]
        st.session_state[key] = list(nothing) if isinstance(nothing, list) else nothing


def set_filters(filters: Filters) -> None:
    """The filters that are set as badges, with a button that takes them all back."""
    if said := active(filters):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(" ".join(f":primary-badge[{plain(words)}]" for words in said.values()), width="content")
            st.button("Clear", type="tertiary", icon=":material/close:", key="clear_filters", on_click=clear)


def nothing_left(filters: Filters, without: dict[str, int]) -> None:
    """No model passes: how many would without each filter, as buttons that take it back."""
    said = active(filters)
    with st.container(border=True, key="nothing"):
        st.header("No model passes all of these filters", anchor=False)
        ways_out = sorted(((number, name) for name, number in without.items() if number), reverse=True)
        if ways_out:
            st.markdown("Without one of them there would be:")
        else:
            st.markdown("No single one is to blame: without any one of them there would still be none.")
        with st.container(horizontal=True):
            for place, (number, name) in enumerate(ways_out):
                st.button(
                    f"{count(number)} without {plain(said[name])}",
                    key=f"without_{name}",
                    type="secondary" if place else "primary",
                    icon=":material/filter_alt_off:",
                    on_click=clear,
                    args=(name,),
                    wrap=True,
                )
            st.button("Clear all filters", key="clear_all_filters", icon=":material/close:", on_click=clear)
        if ways_out and len(ways_out) < len(said):
            st.caption("Without any other one of them there would still be none.")
