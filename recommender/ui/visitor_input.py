"""The visitor's device through the hosted door: what their browser says, what they correct, and its confirmation.

What the browser says stays in the session; what the person confirms stands in the URL. The server keeps neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import streamlit as st

from recommender.device import Preset, preset, presets, ram_options
from recommender.device.renderer import read_renderer
from recommender.device.visitor import (
    ARCHITECTURES,
    FORMS,
    SYSTEMS,
    Said,
    is_named,
    matches,
    memory_options,
    propose,
    read_answers,
    read_bandwidth,
)
from recommender.engine.words import count, size
from recommender.types import GIB, Device
from recommender.ui.limits import BOUND
from recommender.ui.resources import preset_names
from recommender.ui.words import plain

# What the browser said, kept for the session's other pages; a component's own state ends with its page.
_SAID, _BANDWIDTH, _MEASURE = "browser_said", "browser_bandwidth", "browser_measure"
_OS, _KIND, _ARCH, _CORES, _GPU = "my_os", "my_kind", "my_arch", "my_cores", "my_gpu"
_LONGEST_NAME = 120
_COMPONENT, _MACHINE, _PROBLEM = "browser", "my_machine", "browser_problem"
CONFIRMED = (_MACHINE, _OS, _KIND, _ARCH, _CORES, _GPU)  # parameters of the URL that hold what a person confirmed


@cache
def _probe() -> Any:
    """The component that asks the browser. It draws nothing."""
    return st.components.v2.component("recommender.probe", js="probe.js")


def corrections() -> None:
    """The inputs of what a browser says, for the person to correct. They are in the URL once they hold something."""
    said = _browser_said()
    st.selectbox(
        "Operating system",
        list(SYSTEMS),
        index=None,
        format_func=lambda one: SYSTEMS.get(one, one),
        placeholder=SYSTEMS.get(said.os, "Unknown"),
        key=_OS,
        **BOUND,
    )
    st.selectbox("Form", FORMS, index=None, placeholder=said.kind or "Unknown", key=_KIND, **BOUND)
    st.selectbox("Processor", ARCHITECTURES, index=None, placeholder=said.arch or "Unknown", key=_ARCH, **BOUND)
    st.number_input("Logical cores", 1, 1024, None, placeholder=str(said.cores or "Unknown"), key=_CORES, **BOUND)
    st.text_input(
        "GPU", placeholder=read_renderer(said.gpu).name or "Unknown or none", key=_GPU, max_chars=_LONGEST_NAME, **BOUND
    )
    st.caption(_told(said))


def described() -> Device | None:
    """The device as far as it is known; ``None`` when nothing useful is. Read after :func:`corrections` were drawn."""
    machine = _machine()
    if machine is None:
        return propose(_known())
    os = st.session_state.get(_OS)
    return preset(machine, os=os if os in _preset(machine).os_options else None)


def ask() -> None:
    """Ask the browser, and offer to confirm or sharpen what it said."""
    said = _known()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="visitor"):
        machine = _which(said)
        if said.os or machine:
            memory = _how_much(said, machine)
            if not said.entered and not machine:
                st.button(
                    "That's my device",
                    icon=":material/check:",
                    key="confirm_device",
                    on_click=_confirm,
                    args=(said, memory),
                    help="Puts it into this page's address, so that a bookmark or a link asks the same. It is stored "
                    "nowhere else.",
                )
        device = None if machine else propose(said)
        if device and device.sources.get("bandwidth_bytes_per_s") == "assumed":
            _measure()
        _probe()(
            key=_COMPONENT,
            data={"ask": _SAID not in st.session_state, "measure": st.session_state.get(_MEASURE, 0)},
            height=1,
            width=1,
            on_found_change=_keep_answers,
            on_bandwidth_change=_keep_bandwidth,
        )
    if problem := st.session_state.get(_PROBLEM):
        st.caption(f":material/speed: {plain(problem)}")
    if not said.os and not machine:
        st.info(
            "Your browser says too little about this device. Choose it from the list, or paste its specs.",
            icon=":material/devices:",
        )


def _machine() -> str | None:
    """The preset that the person chose, in this session or in the URL that it began with."""
    names = preset_names()
    if _MACHINE in st.session_state:
        chosen = st.session_state[_MACHINE]
    else:
        told = st.query_params.get(_MACHINE)
        chosen = next((one for one, name in names.items() if name == told), None)
    return chosen if chosen in names else None


def _preset(preset_id: str) -> Preset:
    return next(one for one in presets() if one.id == preset_id)


def _which(said: Said) -> str | None:
    """Ask which of the machines that match it is."""
    names, machine = preset_names(), _machine()
    found = [one for one in matches(said) if _preset(one).role != "card"]
    if machine and machine not in found:
        found.insert(0, machine)
    if not found:
        return None
    of_many = f"Is it one of these {count(len(found))}?" if len(found) > 1 else f"Is it {names[found[0]]}?"
    chosen = st.selectbox(
        "Which machine is it?",
        found,
        index=None,
        format_func=lambda one: names.get(one, one),
        placeholder=of_many,
        key=_MACHINE,
        on_change=_machine_chosen,
        args=(said,),
        label_visibility="collapsed",
        width=300,
        **BOUND,
    )
    return chosen if chosen in names else None


def _how_much(said: Said, machine: str | None) -> float:
    """Ask for its memory, GiB, where there is a choice."""
    entered = st.session_state.get("total")
    options = ram_options(machine) if machine else memory_options(replace(said, memory_gib=_browser_said().memory_gib))
    if entered and entered not in options:
        options = tuple(sorted((*options, float(entered))))
    if len(options) < 2:
        return options[0]
    shown = entered or (_usual_memory(machine) if machine else options[0])
    key = f"how_much_{machine}_{entered}"
    st.selectbox(
        "Its memory",
        options,
        index=options.index(shown),
        format_func=lambda gib: f"{gib:g} GB memory",
        key=key,
        on_change=_memory_chosen,
        args=(key,),
        label_visibility="collapsed",
        width=150,
    )
    return float(shown)


def _usual_memory(machine: str) -> float:
    """What it has where nobody says: the list's usual size."""
    usual = preset(machine).ram_bytes or 0.0
    return min(ram_options(machine), key=lambda gib: abs(gib * GIB - usual))


def _measure() -> None:
    running = bool(st.session_state.get(_MEASURE))
    st.button(
        "Measuring …" if running else "Measure memory bandwidth: 2 s",
        type="tertiary",
        icon=":material/speed:",
        key="measure_bandwidth",
        disabled=running,
        on_click=_ask_for_bandwidth,
        help="Copies memory in your browser for two seconds. A browser reaches less than the memory can, so it counts "
        "as a lower bound, and only where nothing better is known of your device.",
    )


def _known() -> Said:
    """What the person entered goes before what the browser said."""
    said, state = _browser_said(), st.session_state
    entered = {
        "os": state.get(_OS),
        "kind": state.get(_KIND),
        "arch": state.get(_ARCH),
        "cores": state.get(_CORES),
        "gpu": state.get(_GPU),
        "memory_gib": state.get("total"),
    }
    given = {name: value for name, value in entered.items() if value}
    if state.get(_OS):  # confirmed: nothing else comes from the browser, so that a link means the same everywhere
        return Said(**given, entered=True)
    return replace(said, **given, bandwidth_bytes_per_s=state.get(_BANDWIDTH))


def _browser_said() -> Said:
    """Until the browser has answered: what it said when it asked for the page."""
    said = st.session_state.get(_SAID)
    return said if isinstance(said, Said) else read_answers(request_says())


def request_says() -> Mapping[str, Any]:
    """What the request's own headers say, in the component's words."""
    headers = st.context.headers
    return {
        "user_agent": headers.get("User-Agent", ""),
        "platform": headers.get("Sec-Ch-Ua-Platform", "").strip('"'),
        "mobile": headers.get("Sec-Ch-Ua-Mobile", "") == "?1",
    }


def _keep_answers() -> None:
    st.session_state[_SAID] = read_answers(_answer("found"))


def _ask_for_bandwidth() -> None:
    st.session_state[_MEASURE] = 1


def _keep_bandwidth() -> None:
    st.session_state[_MEASURE] = 0
    measured = read_bandwidth(_answer("bandwidth"))
    st.session_state[_BANDWIDTH] = measured
    st.session_state[_PROBLEM] = "" if measured else "Your browser could not measure its memory."
    if st.session_state.get(_OS):  # confirmed already: this is the rest of it
        _take_bandwidth(replace(_known(), bandwidth_bytes_per_s=measured))


def _take_bandwidth(said: Said) -> None:
    """Into the URL, where it is better than what is known otherwise."""
    device = propose(said)
    measured = said.bandwidth_bytes_per_s
    if measured and device and device.bandwidth_bytes_per_s == measured and not st.session_state.get("bandwidth"):
        st.session_state["bandwidth"] = round(measured / 1e9, 1)


def _answer(name: str) -> object:
    state = st.session_state.get(_COMPONENT)
    return state.get(name) if isinstance(state, Mapping) else None


def _machine_chosen(said: Said) -> None:
    """System and memory go into the URL too: what this browser says is not known wherever the link is opened."""
    machine = st.session_state.get(_MACHINE)
    st.session_state[_OS] = said.os or None if machine else None
    several = machine in preset_names() and len(ram_options(machine)) > 1
    st.session_state["total"] = memory_options(said, machine)[0] if several and said.memory_gib else None


def _memory_chosen(key: str) -> None:
    st.session_state["total"] = float(st.session_state[key])


def _confirm(said: Said, memory_gib: float) -> None:
    """Into the widgets, and so into the URL. For a button's callback."""
    state = st.session_state
    if is_named(said):
        state[_MACHINE] = matches(said)[0]
        _machine_chosen(said)
        return
    _take_bandwidth(said)
    state[_OS], state[_KIND], state[_ARCH] = said.os, said.kind or FORMS[0], said.arch or None
    state[_CORES], state[_GPU], state["total"] = said.cores, read_renderer(said.gpu).text[:_LONGEST_NAME], memory_gib


def _told(said: Said) -> str:
    """In one sentence what the browser said, for the person to see."""
    parts = [
        SYSTEMS.get(said.os, ""),
        said.arch,
        plain(said.model),
        f"{count(said.cores)} logical cores" if said.cores else "",
        f"at least {said.memory_gib:g} GiB memory" if said.memory_gib else "no memory size",
        plain(said.gpu) or "no GPU",
        f"{size(said.quota_bytes)} of storage for this site" if said.quota_bytes else "",
    ]
    if measured := st.session_state.get(_BANDWIDTH):
        parts.append(f"copies {measured / 1e9:.0f} GB/s")
    return f"Your browser says: {' · '.join(part for part in parts if part)}. It is kept in this session only."
