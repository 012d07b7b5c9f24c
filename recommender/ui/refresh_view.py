"""Asking the live sources from the page: progress, what would change, putting it in use, taking it back."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from recommender.catalog import overlay, refresh
from recommender.catalog.changes import Changes
from recommender.catalog.queries import own_entries
from recommender.catalog.sources.registry import SOURCE_IDS
from recommender.engine.words import count
from recommender.errors import RecommenderError
from recommender.ui.resources import administers, audited, catalog, refresh_job
from recommender.ui.words import SOURCE_NAMES, plain

_NAMES = SOURCE_NAMES | {"ollama": "Ollama on this computer", "gguf": "Your own files", "catalog": "The catalog"}
_SAID, _PROBLEM = "refresh_said", "refresh_problem"
_SHOWN = 100  # rows of a kind of change
_LIMIT = 400  # repositories of one refresh: some minutes; the next goes on from there
_EVERY_S = 1.0


def offer() -> None:
    """All of it in one expander, open while something goes on; only for who administers the instance."""
    if not administers():
        return
    job = refresh_job()
    with st.expander(
        f"Keep the catalog current: it is of {catalog().date}",
        icon=":material/sync:",
        expanded=job.state in ("running", "ready", "failed")
        or any(st.session_state.get(name) for name in (_SAID, _PROBLEM)),
    ):
        if problem := st.session_state.pop(_PROBLEM, ""):
            st.error(plain(problem), icon=":material/error:")
        if said := st.session_state.pop(_SAID, ""):
            st.success(plain(said), icon=":material/check:")
        if job.state == "running":
            _running()
        elif job.state == "ready" and job.prepared is not None:
            _ready(job.prepared.changes)
        else:
            _idle()


def _idle() -> None:
    job = refresh_job()
    if job.state == "failed":
        st.error(plain(job.error), icon=":material/error:", title="It did not work")
    elif job.state == "stopped":
        st.info("Stopped. What the sources told until then is kept; the next refresh goes on from there.")
    st.caption(
        "The catalog that ships works without a network. A refresh asks the places below for what is new, shows what "
        "would change, and changes nothing until you apply it."
    )
    chosen = st.pills(
        "Ask",
        SOURCE_IDS,
        selection_mode="multi",
        default=SOURCE_IDS,
        format_func=_NAMES.__getitem__,
        key="ask_sources",
        persist_state="session",
    )
    own = st.text_input(
        "Or add a GGUF of your own",
        key="add_gguf",
        placeholder="/path/model.gguf, https://…/model.gguf, or owner/name",
        persist_state="session",
        help="Only its header is read; then it is estimated, rehearsed and run like any model of the catalog.",
    )
    with st.container(horizontal=True):
        st.button("Look for news", icon=":material/sync:", on_click=_start, args=(chosen,), disabled=not chosen)
        st.button("Add this GGUF", icon=":material/add:", on_click=_add, args=(own,), disabled=not own.strip())
        if overlay.can_undo():
            st.button("Undo the last change", icon=":material/undo:", on_click=_undo)
    _own_files()


def _own_files() -> None:
    """What a person added, each with a button that removes it."""
    for entry_id, name in own_entries(catalog()):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{plain(name)} · {plain(entry_id)}", width="content")
            st.button(
                "Remove",
                key=f"remove_{entry_id}",
                type="tertiary",
                icon=":material/delete:",
                on_click=_remove,
                args=(entry_id,),
            )


@st.fragment(run_every=_EVERY_S)
def _running() -> None:
    job = refresh_job()
    if job.state != "running":
        st.rerun()
    if not job.progress:
        st.progress(0.0, text="Starting …")
    for source, one in list(job.progress.items()):
        share = min(one.done / one.total, 1.0) if one.total else 0.0
        counted = f"{count(one.done)} of {count(one.total)}" if one.total else count(one.done)
        st.progress(share, text=f"{_NAMES.get(source, source)}: {counted} · {plain(one.what)}")
    st.button("Stop", icon=":material/stop:", on_click=job.stop)


def _ready(changes: Changes) -> None:
    prepared = refresh_job().prepared
    for one in prepared.told if prepared else ():
        name = _NAMES.get(one.source, one.source)
        if one.problem:
            st.warning(plain(f"{name}: {one.problem}"), icon=":material/cloud_off:")
        else:
            st.caption(f":material/check: {name}: {count(one.entries)} new or changed")
    if changes.nothing:
        st.markdown("Nothing changed: the catalog in use has all of it already.")
        st.button("Close", icon=":material/close:", on_click=_discard)
        return
    st.caption(
        f"{count(changes.files_added)} files added, {count(changes.files_removed)} removed. {count(changes.entries)} "
        f"entries are known, {count(changes.unrecognised)} of them not recognised as a model; "
        f"{count(changes.conflicts)} contradictions between sources, each kept with both figures."
    )
    _table("New models", [{"Model": one} for one in changes.added])
    _table("No longer listed anywhere", [{"Model": one} for one in changes.removed])
    _table(
        "Changed",
        [
            {"Model": one.model_id, "What": one.field, "Before": one.before or "–", "After": one.after or "–"}
            for one in changes.changed
        ],
    )
    _table("Superseded", [{"Model": old, "By": new} for old, new in changes.superseded])
    _table("Withdrawn", [{"Entry": one} for one in changes.withdrawn])
    with st.container(horizontal=True):
        st.button("Apply", type="primary", icon=":material/check:", on_click=_apply)
        st.button("Discard", icon=":material/close:", on_click=_discard)


def _table(title: str, rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    more = f", the first {_SHOWN}" if len(rows) > _SHOWN else ""
    st.markdown(f"**{title}** ({count(len(rows))}{more})")
    st.dataframe(rows[:_SHOWN], hide_index=True, alt=title)


def _start(sources: list[str]) -> None:
    _try("refresh", lambda: refresh_job().start(sources=list(sources), limit=_LIMIT), about=", ".join(sources))


def _add(what: str) -> None:
    _try("add", lambda: refresh_job().start(add=what.strip()), about=what.partition("?")[0])


def _remove(entry_id: str) -> None:
    _try("remove", lambda: refresh_job().start(remove=entry_id), about=entry_id)


def _apply() -> None:
    prepared = refresh_job().prepared
    added = prepared.changes.added if prepared else ()
    new = f" New: {', '.join(added[:3])}{' and others' if len(added) > 3 else ''}." if added else ""
    _try("apply", refresh_job().apply, f"The refreshed catalog is in use.{new}")


def _discard() -> None:
    _try("discard", refresh_job().discard, "Nothing was changed.")


def _undo() -> None:
    def taken_back() -> str:
        return "The last change is in use again." if refresh.undo().again else "The last change was taken back."

    _try("undo", taken_back)


def _try(name: str, action: Callable[[], object], said: str = "", about: str = "") -> None:
    """Do it, and keep what to say for after the callback: ``said``, or the text that comes back."""
    audited(f"catalog: {name}", about=about)
    try:
        told = action()
        st.session_state[_SAID] = told if isinstance(told, str) else said
    except RecommenderError as error:
        st.session_state[_PROBLEM] = str(error)
