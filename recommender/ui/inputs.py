"""The two questions: what you have, what you need. Every answer is in the URL, so a link asks the same again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from recommender.device import Preset, from_json, preset, presets, ram_options, with_overrides
from recommender.engine.scoring import priorities
from recommender.engine.words import size
from recommender.errors import RecommenderError
from recommender.types import GIB, Device, Need
from recommender.ui.resources import catalog, this_device

BOUND: dict[str, Any] = {"bind": "query-params"}
HERE, LISTED, TYPED = "This computer", "From the list", "Type it in"
_ANY = "Any"


@dataclass(frozen=True)
class Asked:
    """The device the page speaks of. ``here`` is true when it is the machine the app runs on."""

    device: Device
    here: bool


def device_input() -> Asked | None:
    """Ask for the device; ``None`` after an error was shown."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        where = st.segmented_control(
            "Your device", [HERE, LISTED, TYPED], default=HERE, key="device", required=True, **BOUND
        )
        if where == LISTED:
            chosen: Preset | None = st.selectbox(
                "Machine, processor or graphics card",
                presets(),
                index=None,
                format_func=lambda one: one.name,
                placeholder="Search 300 machines: MacBook Air, RTX 4060, Ryzen 7 …",
                key="preset",
                **BOUND,
            )
            options = ram_options(chosen.id) if chosen else ()
            ram = None
            if len(options) > 1 and chosen:
                ram = st.selectbox(
                    "Memory",
                    options,
                    index=options.index(chosen.ram_gib_default) if chosen.ram_gib_default in options else 0,
                    format_func=lambda gib: f"{gib:g} GB",
                    key="ram",
                    width=120,
                    **BOUND,
                )
    try:
        if where == LISTED:
            if chosen is None:
                st.info("Pick a machine from the list; the answer follows at once.", icon=":material/devices:")
                return None
            return Asked(_adjusted(preset(chosen.id, ram)), here=False)
        if where == TYPED:
            return _typed()
        return Asked(_adjusted(this_device()), here=True)
    except RecommenderError as error:
        st.error(str(error))
        return None


def _typed() -> Asked | None:
    text = st.text_area(
        "The device as JSON",
        placeholder="Run `recommender device --json` on the machine you mean and paste what it prints.",
        key="device_json",
        persist_state="session",
        height=120,
    )
    if not text.strip():
        st.info("Paste a device, or pick one from the list and adjust it.", icon=":material/data_object:")
        return None
    return Asked(_adjusted(from_json(text)), here=False)


def _adjusted(device: Device) -> Device:
    """The device line, and the few numbers a person may know better."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/memory: **{plain(device.name)}** · {plain(device_line(device))}")
        with st.popover("Adjust", icon=":material/tune:"):
            st.caption("Leave a field empty to keep what is known.")
            total = st.number_input("Memory, GiB", min_value=0.1, value=None, key="total", **BOUND)
            free = st.number_input("Free memory, GiB", min_value=0.0, value=None, key="free", **BOUND)
            video = st.number_input("GPU memory, GiB", min_value=0.0, value=None, key="vram", **BOUND)
            speed = st.number_input("Memory bandwidth, GB/s", min_value=0.1, value=None, key="bandwidth", **BOUND)
    given = {"ram_gib": total, "free_ram_gib": free, "vram_gib": video, "bandwidth_gb_s": speed}
    changes = {name: value for name, value in given.items() if value is not None}
    return with_overrides(device, **changes) if changes else device


def device_line(device: Device) -> str:
    """One line: memory, processor, GPU, bandwidth and where they come from."""
    parts = []
    if device.ram_bytes is not None:
        free = f", {size(device.ram_free_bytes)} free" if device.ram_free_bytes is not None else ""
        parts.append(f"{size(device.ram_bytes)} memory{free}")
    if device.cpu_model and device.cpu_model not in device.name:
        parts.append(device.cpu_model)
    if device.physical_cores:
        parts.append(f"{device.physical_cores} cores")
    parts += [gpu.name + (f" {size(gpu.memory_bytes)}" if gpu.memory_bytes else "") for gpu in device.gpus]
    if device.bandwidth_bytes_per_s:
        source = device.sources.get("bandwidth_bytes_per_s", "")
        parts.append(f"{device.bandwidth_bytes_per_s / 1e9:.0f} GB/s" + (f" ({source})" if source else ""))
    else:
        parts.append("memory bandwidth unknown")
    return " · ".join(parts)


def plain(text: str) -> str:
    """Text from outside, safe inside Markdown."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+!|~$:" else char for char in text)


def need_input() -> Need:
    """Ask for the need."""
    tasks = {task.id: task.name for task in catalog().tasks()}
    task = st.pills(
        "What for", list(tasks), format_func=tasks.__getitem__, default="chat", key="task", required=True, **BOUND
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        priority = st.segmented_control(
            "What counts most",
            list(priorities()),
            format_func=str.capitalize,
            default="balanced",
            key="priority",
            required=True,
            **BOUND,
        )
        with st.popover("More limits", icon=":material/filter_alt:"):
            limits = _limits()
    return Need(task=task or "chat", priority=priority or "balanced", **limits)


def _limits() -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        context = st.number_input("Context, tokens", 1, None, None, step=1024, key="context", **BOUND)
        decode = st.number_input("Least speed, tokens per second", 0.1, None, None, key="min_decode", **BOUND)
        ttft = st.number_input("Longest wait for the first token, s", 0.1, None, None, key="max_ttft", **BOUND)
        answer = st.number_input("Longest wait for the answer, s", 0.1, None, None, key="max_answer", **BOUND)
        memory = st.number_input("Memory to leave free, GiB", 0.0, None, 0.0, key="reserve_memory", **BOUND)
        disk = st.number_input("Disk to leave free, GiB", 0.0, None, 0.0, key="reserve_disk", **BOUND)
        users = st.number_input("Users at once", 1, 10_000, 1, key="users", **BOUND)
        languages = st.text_input("Languages, ISO codes", placeholder="de, zh", key="languages", **BOUND)
    with right:
        placement = st.selectbox("Where it runs", ["device", "managed", "any"], key="placement", **BOUND)
        accelerator = st.selectbox("Accelerator", [_ANY, "cpu", "gpu", "npu"], key="accelerator", **BOUND)
        platform = st.selectbox(
            "Platform", [_ANY, "linux", "windows", "macos", "android", "ios"], key="platform", **BOUND
        )
        enterprise = st.multiselect("Enterprise needs", ["sla", "audit", "rbac", "support"], key="enterprise", **BOUND)
        commercial = st.toggle("Commercial licence", key="commercial", **BOUND)
        offline = st.toggle("Works offline", key="offline", **BOUND)
        conversion = st.toggle("Convert the weights myself", key="own_conversion", **BOUND)
        experimental = st.toggle("Allow experimental set-ups", key="experimental", **BOUND)
    return {
        "context_tokens": context,
        "min_decode_tokens_per_s": decode,
        "max_ttft_s": ttft,
        "max_answer_time_s": answer,
        "memory_reserve_bytes": memory * GIB,
        "disk_reserve_bytes": disk * GIB,
        "users": int(users),
        "languages": tuple(part.strip().casefold() for part in languages.split(",") if part.strip()),
        "placement": placement,
        "accelerator": None if accelerator == _ANY else accelerator,
        "platform": None if platform == _ANY else platform,
        "enterprise": tuple(enterprise),
        "commercial": commercial,
        "offline": offline,
        "own_conversion": conversion,
        "experimental": experimental,
    }
