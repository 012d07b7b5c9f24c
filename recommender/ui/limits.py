"""The limits of a need: their inputs, which of them are set, and how one is relaxed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from recommender.engine.words import count, rate, seconds
from recommender.types import GIB, NearMiss, Need
from recommender.ui.resources import catalog, runtime_ids

BOUND: dict[str, Any] = {"bind": "query-params"}
ANY = "Any"
_LONGEST_LANGUAGES = 400  # characters: some hundred codes

# Widget key → its value when nothing is asked.
_DEFAULTS: dict[str, Any] = {
    "context": None,
    "min_decode": None,
    "max_ttft": None,
    "max_answer": None,
    "reserve_memory": 0.0,
    "reserve_disk": 0.0,
    "users": 1,
    "languages": "",
    "placement": "device",
    "accelerator": ANY,
    "platform": ANY,
    "form_factor": ANY,
    "enterprise": [],
    "commercial": False,
    "offline": False,
    "own_conversion": False,
    "experimental": False,
    "all_quants": False,
    "models": [],
    "quants": [],
    "runtimes": [],
}
_PLACES = {"device": "On the device", "managed": "Managed in the cloud", "any": "Either"}
_FORMS = ["phone", "tablet", "laptop", "desktop", "mini-pc", "workstation", "server", "sbc"]

# Rule → the input that sets its limit. What a rule is short by is taken off or added to the input's value.
_BY_RULE = {
    "context": "context",
    "decode speed": "min_decode",
    "first token": "max_ttft",
    "answer time": "max_answer",
    "memory": "reserve_memory",
    "disk": "reserve_disk",
    "licence": "commercial",
    "placement": "placement",
    "accelerator": "accelerator",
    "enterprise": "enterprise",
    "conversion": "own_conversion",
}
_ALLOWED_BY = {"published": "own_conversion", "experimental": "experimental"}
_UPWARD = ("max_ttft", "max_answer")


def limits_input() -> dict[str, Any]:
    """Draw the inputs; the limits as ``Need`` takes them."""
    left, right = st.columns(2)
    with left:
        context = st.number_input("Context, tokens", 1, None, None, step=1024, key="context", **BOUND)
        decode = st.number_input("Least speed, tokens per second", 0.1, None, None, key="min_decode", **BOUND)
        ttft = st.number_input("Longest wait for the first token, s", 0.1, None, None, key="max_ttft", **BOUND)
        answer = st.number_input("Longest wait for the answer, s", 0.1, None, None, key="max_answer", **BOUND)
        memory = st.number_input("Memory to leave free, GiB", 0.0, None, 0.0, key="reserve_memory", **BOUND)
        disk = st.number_input("Disk to leave free, GiB", 0.0, None, 0.0, key="reserve_disk", **BOUND)
        users = st.number_input("Users at once", 1, 10_000, 1, key="users", **BOUND)
        languages = st.text_input(
            "Languages, ISO codes", placeholder="de, zh", key="languages", max_chars=_LONGEST_LANGUAGES, **BOUND
        )
    with right:
        placement = st.selectbox(
            "Where it runs", list(_PLACES), format_func=_PLACES.__getitem__, key="placement", **BOUND
        )
        accelerator = st.selectbox("Accelerator", [ANY, "cpu", "gpu", "npu"], key="accelerator", **BOUND)
        platform = st.selectbox(
            "Platform", [ANY, "linux", "windows", "macos", "android", "ios"], key="platform", **BOUND
        )
        form = st.selectbox("Form factor", [ANY, *_FORMS], key="form_factor", **BOUND)
        enterprise = st.multiselect("Enterprise needs", ["sla", "audit", "rbac", "support"], key="enterprise", **BOUND)
        commercial = st.toggle("Commercial use allowed", key="commercial", **BOUND)
        offline = st.toggle("Works offline", key="offline", **BOUND)
        conversion = st.toggle("Convert the weights myself", key="own_conversion", **BOUND)
        experimental = st.toggle("Allow experimental set-ups", key="experimental", **BOUND)
        every = st.toggle("List every quantization", key="all_quants", **BOUND)
    models = st.multiselect(
        "Only these models",
        [model.model_id for model in catalog().models()],
        key="models",
        placeholder="Any model of the catalog",
        **BOUND,
    )
    quantizations = st.multiselect(
        "Only these quantizations",
        list(catalog().quantizations()),
        key="quants",
        placeholder="Any quantization",
        **BOUND,
    )
    runtimes = st.multiselect(
        "Only these runtimes", list(runtime_ids()), key="runtimes", placeholder="Any runtime", **BOUND
    )
    return {
        "context_tokens": context,
        "min_decode_tokens_per_s": decode,
        "max_ttft_s": ttft,
        "max_answer_time_s": answer,
        "memory_reserve_bytes": (memory or 0.0) * GIB,
        "disk_reserve_bytes": (disk or 0.0) * GIB,
        "users": int(users or 1),
        "languages": tuple(part.strip().casefold() for part in languages.split(",") if part.strip()),
        "placement": placement,
        "accelerator": None if accelerator == ANY else accelerator,
        "platform": None if platform == ANY else platform,
        "form_factor": None if form == ANY else form,
        "enterprise": tuple(enterprise),
        "commercial": commercial,
        "offline": offline,
        "own_conversion": conversion,
        "experimental": experimental,
        "all_quantizations": every,
        "models": tuple(models),
        "quantizations": tuple(quantizations),
        "runtimes": tuple(runtimes),
    }


def active() -> list[str]:
    """The limits that are set, in words."""
    found = []
    for key, default in _DEFAULTS.items():
        value = st.session_state.get(key, default)
        if value not in (default, None):
            found.append(_words(key, value))
    return found


def _words(key: str, value: Any) -> str:
    said: dict[str, Callable[[], str]] = {
        "context": lambda: f"context {count(value)}",
        "min_decode": lambda: f"at least {rate(value)}",
        "max_ttft": lambda: f"first token within {seconds(value)}",
        "max_answer": lambda: f"answer within {seconds(value)}",
        "reserve_memory": lambda: f"{value:g} GiB of memory left free",
        "reserve_disk": lambda: f"{value:g} GiB of disk left free",
        "users": lambda: f"{count(value)} users at once",
        "placement": lambda: _PLACES.get(value, str(value)).lower(),
        "enterprise": lambda: "with " + ", ".join(value),
        "commercial": lambda: "commercial use",
        "offline": lambda: "offline",
        "own_conversion": lambda: "own conversion",
        "experimental": lambda: "experimental allowed",
        "all_quants": lambda: "every quantization",
        "models": lambda: f"{len(value)} chosen models" if len(value) > 1 else f"only {value[0]}",
        "quants": lambda: "only " + ", ".join(value),
        "runtimes": lambda: "only " + ", ".join(value),
    }
    return said[key]() if key in said else f"{key.replace('_', ' ')} {value}"


def question(need: Need) -> dict[str, Any]:
    """A need as the URL's parameters, which hold what the widgets show; what asks for nothing is left out."""
    given: dict[str, Any] = {
        "context": need.context_tokens,
        "min_decode": need.min_decode_tokens_per_s,
        "max_ttft": need.max_ttft_s,
        "max_answer": need.max_answer_time_s,
        "reserve_memory": need.memory_reserve_bytes / GIB,
        "reserve_disk": need.disk_reserve_bytes / GIB,
        "users": need.users,
        "languages": ",".join(need.languages),
        "placement": need.placement,
        "accelerator": need.accelerator or ANY,
        "platform": need.platform or ANY,
        "form_factor": need.form_factor or ANY,
        "enterprise": list(need.enterprise),
        "commercial": need.commercial,
        "offline": need.offline,
        "own_conversion": need.own_conversion,
        "experimental": need.experimental,
        "all_quants": need.all_quantizations,
        "models": list(need.models),
        "quants": list(need.quantizations),
        "runtimes": list(need.runtimes),
    }
    found = {key: value for key, value in given.items() if value not in (_DEFAULTS[key], None)}
    first = {"task": catalog().task(need.task).name, "priority": need.priority.capitalize()}
    return first | {key: _parameter(value) for key, value in found.items()}


def _parameter(value: Any) -> str | list[str]:
    """As Streamlit writes a widget's value into the URL."""
    if isinstance(value, list):
        return [str(part) for part in value]
    return str(value).lower() if isinstance(value, bool) else str(_PLACES.get(value, value))


def clear() -> None:
    """Back to no limits. For a button's callback."""
    st.session_state.update(
        {key: list(value) if isinstance(value, list) else value for key, value in _DEFAULTS.items()}
    )


def can_relax(miss: NearMiss) -> bool:
    """Whether an input of the page is what keeps this candidate out."""
    key = _BY_RULE.get(miss.rule)
    if key in ("reserve_memory", "reserve_disk"):
        return bool(miss.short_by <= (st.session_state.get(key) or 0.0) * GIB)
    if key:
        return bool(st.session_state.get(key) not in (_DEFAULTS[key], None))
    return miss.rule in _ALLOWED_BY


def relax(miss: NearMiss) -> None:
    """Change the one input so far that this candidate gets in. For a button's callback."""
    if miss.rule in _ALLOWED_BY:
        st.session_state[_ALLOWED_BY[miss.rule]] = True
        return
    key = _BY_RULE[miss.rule]
    value, default = st.session_state.get(key), _DEFAULTS[key]
    if key in ("reserve_memory", "reserve_disk"):
        st.session_state[key] = max(float(value or 0.0) - miss.short_by / GIB - 0.01, 0.0)
    elif key == "placement":
        st.session_state[key] = "any"
    elif isinstance(value, bool) or value is None or isinstance(value, (str, list)):
        st.session_state[key] = default
    elif key == "context":
        st.session_state[key] = int(value - miss.short_by)
    elif key in _UPWARD:
        st.session_state[key] = round(value + miss.short_by + 0.05, 1)
    else:
        st.session_state[key] = max(round(value - miss.short_by - 0.05, 1), 0.1)
