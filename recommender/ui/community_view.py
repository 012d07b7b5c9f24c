"""Sharing a measured run after seeing exactly what is stored, and what others shared."""

from __future__ import annotations

import streamlit as st

from recommender import settings
from recommender.community.aggregate import Group, Summary
from recommender.community.feed import share, shared_with_all, shared_with_this_hardware
from recommender.community.judging import rule
from recommender.community.record import SharedRun, record_text, shared_run
from recommender.community.stores import open_store
from recommender.community.words import correction_words, set_aside_title
from recommender.engine.words import count
from recommender.errors import BadInputError, RecommenderError
from recommender.types import GIB, Device, Measurement
from recommender.ui.resources import audited, catalog, hosted, this_device, told
from recommender.ui.words import badge, plain

_NUMBER = st.column_config.NumberColumn
_MOST_SET_ASIDE = 20  # shown
_PROBLEM = "sharing_problem"


def sharing() -> bool:
    """Whether this instance has a place to share measurements."""
    return bool(settings.community())


def share_run(run: Measurement) -> None:
    """What would be stored of one run, and the button that stores it."""
    st.subheader("Share it with everyone", anchor=False)
    try:
        place = open_store(settings.community()).place
        record = shared_run(run, this_device())
    except BadInputError as error:
        st.info(told(error))
        return
    except RecommenderError as error:
        st.warning(plain(_said(error)))
        return
    st.markdown(
        f"This is all that is stored, in {place}, for everyone who can read there. It holds no name of a person or "
        "computer, no path and no text. `contributor` is a random number, the same for everything shared from here."
    )
    st.code(record_text(record), language="json", height=320)
    if problem := st.session_state.pop(_PROBLEM, ""):
        st.warning(plain(problem))
    if _is_shared(record):
        st.success("This run is shared.", icon=":material/check:")
        return
    st.button(
        "I agree: share exactly this",
        icon=":material/share:",
        key="share",
        on_click=_store,
        args=(record,),
    )


def shared_by_all() -> None:
    """Medians of everything that was shared, and what is set aside with its reason."""
    found, problem = shared_with_all(catalog())
    st.subheader("Shared measurements", anchor=False)
    if problem:
        st.warning(plain(_said(problem)))
        return
    if not found.groups and not found.set_aside:
        st.caption("Nothing was shared yet. Tick a run of the history to share it.")
        return
    st.caption(
        f"Medians over contributors, each of whom counts once. From {rule('calibration_contributors'):g} of them on "
        f"they correct the estimates for the same hardware: {badge('measured on the same hardware')}."
    )
    if found.groups:
        _groups(found.groups, "Shared measurements by hardware, model and runtime", hardware=True)
    _set_aside(found)


def shared_on(device: Device, model_id: str) -> None:
    """What others measured of one model on the same hardware; nothing where nobody did."""
    if not sharing():
        return
    found, _ = shared_with_this_hardware(device, catalog())
    groups = [group for group in found.groups if group.model_id == model_id]
    if groups:
        st.markdown(f"**Shared by others** {badge('measured on the same hardware')}")
        _groups(groups, "What others measured of this model on the same hardware", hardware=False)


def _groups(groups: tuple[Group, ...] | list[Group], alt: str, hardware: bool) -> None:
    columns: dict[str, list[object]] = {"Hardware": [group.device for group in groups]} if hardware else {}
    if hardware:
        columns["Model"] = [group.model_id for group in groups]
    st.dataframe(
        {
            **columns,
            "Quantization": [group.quantization for group in groups],
            "Decode, tok/s": [group.decode_tokens_per_s.value for group in groups],
            "Least to most": [_range(group) for group in groups],
            "Contributors": [group.contributors for group in groups],
            "Runs": [group.runs for group in groups],
            "Corrects estimates": [correction_words(group) for group in groups],
            "Prefill, tok/s": [group.prefill_tokens_per_s.value for group in groups],
            "First token, s": [group.ttft_s.value for group in groups],
            "Memory, GiB": [group.memory_bytes.value / GIB if group.memory_bytes else None for group in groups],
            "On": [group.side.upper() for group in groups],
            "With": [f"{group.runtime}, {group.version}" for group in groups],
            "Newest": [group.newest for group in groups],
        },
        column_config={
            "Decode, tok/s": _NUMBER(format="%.1f"),
            "Prefill, tok/s": _NUMBER(format="%.0f"),
            "First token, s": _NUMBER(format="%.2f"),
            "Memory, GiB": _NUMBER(format="%.2f"),
        },
        hide_index=True,
        height="content" if len(groups) <= 10 else "auto",
        placeholder="–",
        alt=alt,
    )


def _set_aside(found: Summary) -> None:
    if not found.set_aside:
        return
    number = len(found.set_aside)
    with st.expander(f"{count(number)} set aside, not counted", icon=":material/rule:"):
        st.caption("The rules stand in `catalog/community_rules.csv`, each with where its number comes from.")
        shown = found.set_aside[:_MOST_SET_ASIDE]
        st.table(
            {
                "What": [plain(set_aside_title(one)) for one in shown],
                "Why": [plain(one.reason) for one in shown],
            },
            hide_index=True,
        )
        if number > len(shown):
            st.caption(f"The first {len(shown)}; `recommender community summary` has all.")


def _range(group: Group) -> str:
    speed = group.decode_tokens_per_s
    return f"{speed.low:,.1f} to {speed.high:,.1f}"


def _is_shared(record: SharedRun) -> bool:
    found, _ = shared_with_all(catalog())
    counted = {one.run.id for group in found.groups for one in group.counted}
    return record.id in counted | {one.id for one in found.set_aside}


def _store(record: SharedRun) -> None:
    try:
        share(record, catalog())
        audited("measurement shared", record=record.id)
    except RecommenderError as error:
        st.session_state[_PROBLEM] = _said(error)


def _said(problem: RecommenderError | str) -> str:
    """An error as a visitor may read it: whoever does not sit at the server learns no path of it."""
    return "The place where measurements are shared cannot be used just now." if hosted() else str(problem)
