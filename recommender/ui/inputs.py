"""The two questions: what you have, what you need. Every answer is in the URL, so a link asks the same again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlencode

import streamlit as st

from recommender.device import from_json, preset, ram_options, with_overrides
from recommender.device.visitor import BROWSER
from recommender.engine.scoring import priorities
from recommender.engine.words import count, size
from recommender.errors import RecommenderError
from recommender.share import LONGEST_SPECS
from recommender.types import Device, Need
from recommender.ui import limits, visitor_input
from recommender.ui.limits import BOUND
from recommender.ui.resources import catalog, hosted, preset_names, this_device, told
from recommender.ui.words import plain

_LONGEST_DEVICE = 65_536  # characters of JSON, as many as the API takes
_LABEL = 84  # pixels: both questions start on the same line down the page
HERE, LISTED, TYPED = "This computer", "From the list", "Paste specs"
ADJUSTED = ("total", "free", "vram", "bandwidth")  # parameters of the URL that correct a machine
YOURS, SERVER = "Your device", "This server"
_ORIGINS = {BROWSER: "from your browser"}
# Fields whose origin is shown: of a device that a browser described, the free memory is anyone's guess.
_SHOWN_OF = {
    False: ("ram_bytes", "ram_free_bytes", "bandwidth_bytes_per_s", "gpus"),
    True: ("os", "ram_bytes", "bandwidth_bytes_per_s"),
}
_LOCAL, _HOSTED = (HERE, LISTED, TYPED), (YOURS, LISTED, TYPED, SERVER)
_ELSEWHERE = ":small[:material/cloud: Hosted: this page runs on another computer; speeds are for your device.]"
_ON_SERVER = (
    ":small[:material/cloud: Hosted: these are the speeds of the computer that this page runs on, not of yours.]"
)


@dataclass(frozen=True)
class Asked:
    """The device the page speaks of. ``here`` is true when it is the machine the app runs on."""

    device: Device
    here: bool


def device_input() -> Asked | None:
    """Ask for the device; ``None`` after a hint or an error was shown instead.

    Through the hosted door the visitor's browser proposes it, and the machine that the app runs on is another choice.
    """
    choices = _HOSTED if hosted() else _LOCAL
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**You have**", width=_LABEL)
        where = st.segmented_control(
            "Your device",
            choices,
            default=choices[0],
            key="device",
            required=True,
            label_visibility="collapsed",
            **BOUND,
        )
        where = where or choices[0]
        chosen, ram = _listed() if where == LISTED else (None, None)
        given = _adjustments(yours=where == YOURS)
    text = _pasted() if where == TYPED else ""
    device = None
    try:
        if where == LISTED:
            if chosen is None:
                st.info("Pick a machine from the list; the answer follows at once.", icon=":material/devices:")
            else:
                device = preset(chosen, ram)
        elif where == TYPED:
            if not text.strip():
                st.info("Paste what `recommender device --json` prints there.", icon=":material/data_object:")
            else:
                device = replace(from_json(text), id="pasted")  # that machine's "this one" is another than ours
        else:
            device = visitor_input.described() if where == YOURS else this_device()
        device = with_overrides(device, **given) if device and given else device
    except RecommenderError as error:
        st.error(told(error), icon=":material/error:")
        device = None
    here = where in (HERE, SERVER)
    if device is not None:
        _line(device, here)
    if where == YOURS:
        visitor_input.ask()
    if choices is _HOSTED:
        st.caption(_ON_SERVER if here else _ELSEWHERE)
    return None if device is None else Asked(device, here)


def _listed() -> tuple[str | None, float | None]:
    """A preset's id and, where it is sold with several, its memory in GiB."""
    names = preset_names()
    chosen = st.selectbox(
        "Machine",
        list(names),
        index=None,
        format_func=lambda one: names.get(one, one),
        placeholder=f"Search {count(len(names))} machines: MacBook Air, RTX 4060, Pixel …",
        key="preset",
        label_visibility="collapsed",
        width=360,
        **BOUND,
    )
    options = ram_options(chosen) if chosen else ()
    if len(options) < 2 or not chosen:
        return chosen, None
    usual = preset(chosen).ram_bytes
    usual_gib = usual / 2**30 if usual else options[0]
    ram = st.selectbox(
        "Memory",
        options,
        index=min(range(len(options)), key=lambda place: abs(options[place] - usual_gib)),
        format_func=_memory_label,
        key="ram",
        label_visibility="collapsed",
        width=160,
        **BOUND,
    )
    return chosen, ram


def listed(preset_id: str, ram_gib: float | None) -> dict[str, str]:
    """A preset as the URL's parameters, which hold what the widgets show."""
    found = {"device": LISTED, "preset": preset_names()[preset_id]}
    options = ram_options(preset_id)
    if ram_gib is not None and len(options) > 1:
        found["ram"] = _memory_label(ram_gib)
    return found


def address(preset_id: str, ram_gib: float | None, need: Need) -> str:
    """Where Find answers this question, for a link that loads the app anew.

    A link within the session would not do: the browser's widgets keep their values from page to page, and the device
    of the page that is left would override the one in the URL.
    """
    return "./?" + urlencode({**listed(preset_id, ram_gib), **limits.question(need)}, doseq=True)


def _memory_label(gib: float) -> str:
    return f"{gib:g} GB memory"


def _pasted() -> str:
    """The person's text; at first the specs of a link that was shared, behind a click."""
    if shared := st.query_params.get("specs"):
        st.session_state.setdefault("device_json", shared[:LONGEST_SPECS])
    with st.expander("The specs", icon=":material/data_object:") if shared else st.container():
        return st.text_area(
            "The device as JSON",
            placeholder="Run `recommender device --json` on the machine you mean and paste what it prints.",
            key="device_json",
            persist_state="session",
            height=120,
            max_chars=_LONGEST_DEVICE,
            on_change=_forget_shared,
        )


def _forget_shared() -> None:
    """What the person writes is not what the link says any more. For a callback."""
    st.query_params.pop("specs", None)


def _adjustments(yours: bool) -> dict[str, float]:
    """The few numbers a person may know better, and what their browser said of their device."""
    with st.popover("Adjust", icon=":material/tune:", help="Correct memory and bandwidth", key="adjust"):
        st.caption("Leave a field empty to keep what is known.")
        if yours:
            visitor_input.corrections()
        total = st.number_input("Memory, GiB", min_value=0.1, value=None, key="total", **BOUND)
        free = st.number_input("Free memory, GiB", min_value=0.0, value=None, key="free", **BOUND)
        video = st.number_input("GPU memory, GiB", min_value=0.0, value=None, key="vram", **BOUND)
        speed = st.number_input("Memory bandwidth, GB/s", min_value=0.1, value=None, key="bandwidth", **BOUND)
    given = {"ram_gib": total, "free_ram_gib": free, "vram_gib": video, "bandwidth_gb_s": speed}
    return {name: value for name, value in given.items() if value is not None}


def _ask_for_probe() -> None:
    """For a button's callback: the page starts it, where it can say what goes wrong."""
    st.session_state["probe_wanted"] = True


def _line(device: Device, here: bool) -> None:
    origins = dict.fromkeys(
        device.sources[name] for name in _SHOWN_OF[device.id == BROWSER] if device.sources.get(name)
    )
    marks = " ".join(f":gray-badge[{_ORIGINS.get(origin, origin)}]" for origin in origins)
    name = f"{device.name[:1].upper()}{device.name[1:]}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f":small[:material/memory: **{plain(name)}** · {plain(device_line(device))} {marks}]",
            width="content",
        )
        if here and not hosted():
            known = device.sources.get("bandwidth_bytes_per_s") == "measured"
            st.button(
                "Probe again" if known else "Probe this computer: about 10 s",
                type="tertiary",
                icon=":material/speed:",
                key="probe",
                on_click=_ask_for_probe,
                help="Reads memory on all cores for two seconds, then rehearses a small model: real llama.cpp on a "
                "file without weights. It corrects every speed for this computer. Downloads nothing.",
            )


def device_line(device: Device) -> str:
    """One line: memory, processor, GPU and bandwidth."""
    parts = []
    if device.ram_bytes is not None:
        guessed = device.id == BROWSER and device.sources.get("ram_free_bytes") == "derived"
        left = None if guessed else device.ram_free_bytes
        free = f", {size(left)} free" if left is not None else ""
        least = "at least " if device.sources.get("ram_bytes") == "lower bound" else ""
        parts.append(f"{least}{size(device.ram_bytes)} memory{free}")
    if device.cpu_model and device.cpu_model not in device.name:
        parts.append(device.cpu_model)
    if device.id == BROWSER and device.usable_threads:
        parts.append(f"{device.usable_threads} logical core{'' if device.usable_threads == 1 else 's'}")
    elif device.physical_cores:
        parts.append(f"{device.physical_cores} core{'' if device.physical_cores == 1 else 's'}")
    for gpu in device.gpus:
        amount = f" {size(gpu.memory_bytes)}" if gpu.memory_bytes and not gpu.unified else ""
        if gpu.name not in device.name or amount:
            parts.append(f"{gpu.name}{amount}")
    known = device.bandwidth_bytes_per_s
    parts.append(f"{known / 1e9:.0f} GB/s" if known else "memory bandwidth unknown")
    return " · ".join(parts)


def need_input() -> Need:
    """Ask for the need."""
    tasks = {task.id: task.name for task in catalog().tasks()}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**You need**", width=_LABEL)
        task = st.selectbox(
            "What for",
            list(tasks),
            format_func=lambda one: tasks.get(one, one),
            key="task",
            label_visibility="collapsed",
            width=290,
            **BOUND,
        )
        priority = st.segmented_control(
            "What counts most",
            list(priorities()),
            format_func=str.capitalize,
            default="balanced",
            key="priority",
            required=True,
            label_visibility="collapsed",
            **BOUND,
        )
        with st.popover("Limits", icon=":material/filter_alt:", key="limits"):
            given = limits.limits_input()
    if asked := limits.active():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(" ".join(f":primary-badge[{plain(words)}]" for words in asked), width="content")
            st.button("Clear", type="tertiary", icon=":material/close:", key="clear_limits", on_click=limits.clear)
    return Need(task=task or "chat", priority=priority or "balanced", **given)
