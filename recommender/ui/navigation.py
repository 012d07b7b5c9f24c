"""The pages by name. ``page`` gives one to link or switch to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from recommender.ui.resources import administers

# Pictures that ship: a page icon by name would be fetched from a font server, and the app must work without a network.
_ASSETS = Path(__file__).parent / "assets"
MARK, WORDMARK = str(_ASSETS / "mark.svg"), str(_ASSETS / "wordmark.svg")

_ARRIVED = "arrived"  # the page that the session began with, and its question
_OF_ONE_PAGE = ("run", "beside", "show", "measurement")

_PAGES = {
    "find": ("Find", ":material/search:", "The model, quantization and runtime for your machine and your need."),
    "try_it": ("Try", ":material/play_circle:", "Run a model here and see predicted beside measured."),
    "compare": (
        "Compare",
        ":material/compare_arrows:",
        "Two to four picks side by side: every number, what differs, and what each is best at.",
    ),
    "explore": (
        "Explore",
        ":material/travel_explore:",
        "Every model of the catalog: search, filters, and each one's files, numbers, benchmarks and history.",
    ),
    "guide": (
        "Guide",
        ":material/stairs:",
        "The tiers, the quantization ladder of a model, and the field guide's situations with today's answer.",
    ),
    "plan": ("Plan", ":material/devices:", "The least class of device that runs a model as fast as you need it."),
    "history": ("History", ":material/history:", "Every run measured on the computer that this app runs on."),
    "files": ("Files", ":material/folder:", "Model files on this disk, how large they are, and removing them."),
    "method": ("Method", ":material/menu_book:", "Where each number comes from, and how far it can be trusted."),
}


def page(name: str) -> Any:
    """The page called ``name``, as ``st.navigation`` and ``st.switch_page`` take it.

    A new one each time: ``st.navigation`` notes in it that it may run once, which two sessions must not share.
    """
    title, icon, what = _PAGES[name]
    path = Path(__file__).parent / "pages" / f"{name}.py"
    return st.Page(path, title=title, icon=icon, help=what, default=name == "find", url_path=name.replace("_", "-"))


def keep_question(shown: Any) -> None:
    """Hand the question of a link on to the page that is opened next.

    Streamlit carries a widget's value to another page from the second run of a session on. A link that was opened and
    left at once had only one: without this its device would be lost. A link inside the page says itself what it asks.
    """
    arrived = st.session_state.get(_ARRIVED)
    asked = {name: st.query_params.get_all(name) for name in st.query_params if name not in _OF_ONE_PAGE}
    st.session_state[_ARRIVED] = (shown.url_path, asked) if arrived is None else ("", {})
    if arrived is not None and arrived[1] and arrived[0] != shown.url_path and not st.query_params:
        st.switch_page(shown, query_params=arrived[1])


def pages() -> list[Any]:
    """Those that the visitor may see: model files are the business of who administers the instance."""
    return [page(name) for name in _PAGES if name != "files" or administers()]
