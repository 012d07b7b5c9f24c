"""Plan: from a model and a speed to the least class of device, and what the next step buys."""

from __future__ import annotations

import streamlit as st

from recommender.catalog.queries import runtimes_for, variant_columns
from recommender.device import device_key, preset
from recommender.engine.device_classes import device_classes
from recommender.engine.plan import Found, Plan, plan, sentences
from recommender.engine.plan_steps import Step, steps
from recommender.engine.recommend import recommend
from recommender.engine.words import count, rate, seconds, size
from recommender.errors import RecommenderError
from recommender.plan_text import ORDER, named
from recommender.types import Device, Figure, Need, Pick
from recommender.ui.limits import ANY, BOUND
from recommender.ui.plan_chart import token_time, token_time_words
from recommender.ui.resources import catalog, hosted, preset_names, this_device, told
from recommender.ui.visitor_input import described
from recommender.ui.words import badge, plain

_NAMED, _GOOD = "A model", "Any model that is good enough"
_EXAMPLES = 3
_FOUND = "The least found"


def _usual_model() -> str:
    """What Find would name for the person's device: a model that means something to them."""
    device = described() if hosted() else this_device()
    return _pick_on(device_key(device), device) if device else catalog().models()[0].model_id


@st.cache_data(ttl=600, max_entries=50, show_spinner=False)
def _pick_on(key: str, _device: Device) -> str:
    picks = recommend(_device, Need(), catalog(), top=1).picks
    return picks[0].model_id if picks else catalog().models()[0].model_id


@st.cache_data(max_entries=50, show_spinner="Asking every machine of the list …")
def _plan(need: Need, least_quality: float | None, catalog_date: str) -> Plan:
    return plan(need, catalog(), least_quality)


def _question() -> tuple[Need, float | None]:
    """What is to run, and how fast. Everything is in the URL."""
    tasks = {task.id: task.name for task in catalog().tasks()}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        way = st.segmented_control("Run", [_NAMED, _GOOD], default=_NAMED, key="way", required=True, **BOUND)
        task = st.selectbox(
            "What for", list(tasks), format_func=lambda one: tasks.get(one, one), key="task", width=260, **BOUND
        )
    models: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    quality: float | None = None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if way == _GOOD:
            quality = st.number_input(
                "Least quality, of 100", 0.0, 100.0, 60.0, step=5.0, key="quality", width=180, **BOUND
            )
        else:
            models, quantizations, runtimes = _named_model()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        decode = st.number_input("Least speed, tok/s", 0.1, None, 10.0, step=5.0, key="least_speed", width=170, **BOUND)
        answer = st.number_input(
            "Longest wait for the answer, s", 0.1, None, None, step=5.0, key="max_answer", width=220, **BOUND
        )
        users = st.number_input("Users at once", 1, 10_000, 1, key="users", width=140, **BOUND)
        context = st.number_input("Context, tokens", 1, None, None, step=1024, key="context", width=170, **BOUND)
    need = Need(
        task=task or "chat",
        context_tokens=context,
        min_decode_tokens_per_s=decode,
        max_answer_time_s=answer,
        users=int(users or 1),
        models=models,
        quantizations=quantizations,
        runtimes=runtimes,
    )
    return need, quality


def _named_model() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    names = {model.model_id: model.name for model in catalog().models()}
    usual = list(names).index(_usual_model())
    model = st.selectbox(
        "Model", list(names), index=usual, format_func=lambda one: names.get(one, one), key="model", width=320, **BOUND
    )
    takers = runtimes_for(catalog(), model) if model else ()
    published = dict.fromkeys(
        str(row["quantization"])
        for runtime in takers
        for row in variant_columns(catalog(), model or "", runtime)
        if row["availability"] != "convert" and row["quantization"]
    )
    quantization = st.selectbox("Quantization", [ANY, *published], key="quant", width=170, **BOUND)
    runtime = st.selectbox("Runtime", [ANY, *takers], key="runtime", width=190, **BOUND)
    return (
        (model,) if model else (),
        () if quantization in (ANY, None) else (quantization,),
        () if runtime in (ANY, None) else (runtime,),
    )


def _answer(found: Plan) -> None:
    with st.container(border=True, key="plan_answer"):
        if found.of_class is None:
            st.header("Nothing in the list meets this", anchor=False)
            for sentence in sentences(found):
                st.markdown(plain(sentence))
            return
        st.caption("The least class of device that meets this")
        st.header(plain(found.of_class.name), anchor=False)
        for sentence in sentences(found):
            st.markdown(plain(sentence))
    shown = found.found[:_EXAMPLES]
    st.markdown("**Examples, least first**")
    st.table(
        {
            "Machine": [plain(one.device.name) for one in shown],
            "Memory": [_memory(one) for one in shown],
            "Runs": [
                f"{plain(one.pick.name)} {one.pick.quantization or 'managed'} · {one.pick.runtime}" for one in shown
            ],
            "Decode": [_told(one.pick.estimate.decode_tokens_per_s) for one in shown],
            "Answer": [_waited(one.pick.estimate.answer_time_s) for one in shown],
        },
        hide_index=True,
        alt="Machines of this class that meet the target",
    )


def _memory(one: Found) -> str:
    own = [gpu.memory_bytes or 0.0 for gpu in one.device.gpus if not gpu.unified]
    parts = [f"{size(one.device.ram_bytes)} RAM"] if one.device.ram_bytes else []
    return " + ".join(parts + ([f"{size(sum(own))} GPU"] if own else []))


def _told(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{rate(figure.value)} :small[:gray[{rate(figure.low)} to {rate(figure.high)}] {badge(figure.provenance)}]"


def _waited(figure: Figure | None) -> str:
    return f"{seconds(figure.value)} :small[:gray[{seconds(figure.low)} to {seconds(figure.high)}]]" if figure else "–"


def _why(found: Plan) -> None:
    """The formula with this device's numbers."""
    needed = found.needed
    if needed is None:
        return
    speed = found.need.min_decode_tokens_per_s
    st.markdown("**What the speed is made of**")
    st.plotly_chart(
        token_time(needed.terms, 1000 / speed if speed else None),
        key="terms",
        config={"displayModeBar": False},
        alt=token_time_words(needed.terms),
    )
    for side in needed.terms:
        st.caption(
            f"{side.accelerator.upper()}, {side.share:.0%} of the layers: reading {size(side.read_bytes)} of weights ÷ "
            f"({side.bandwidth_bytes_per_s / 1e9:.0f} GB/s × {side.efficiency:.0%} that they stream at) = "
            f"{1000 * side.reading_s:.1f} ms, overlapped with {1000 * side.arithmetic_s:.1f} ms of arithmetic; "
            f"{size(side.cache_bytes)} of KV cache {1000 * side.cache_s:.1f} ms, its arithmetic "
            f"{1000 * side.attention_s:.1f} ms, overhead {1000 * side.overhead_s:.1f} ms: "
            f"{1000 * side.total_s:.1f} ms."
        )
    st.caption(
        f"Together {1000 * needed.token_s:.1f} ms a token, {rate(1 / needed.token_s)}. Bandwidth is solved for by "
        "changing it alone, the pick and all else unchanged, until the target is just met."
    )


def _steps(found: Plan) -> None:
    """What the next sizes buy on the least device found, or on one that the person has in mind."""
    st.markdown("**What one more step buys**")
    names = preset_names()
    chosen = st.selectbox(
        "On", ["", *names], format_func=lambda one: names.get(one, one) or _FOUND, key="steps_from", width=360, **BOUND
    )
    if chosen:
        device = preset(chosen)
        pick = _runs_on(found.need, chosen)
        if pick is None:
            st.info(f"{plain(device.name)} does not meet this itself.", icon=":material/block:")
            return
    elif found.found:
        device, pick = found.found[0].device, found.found[0].pick
    else:
        st.caption("Choose a device to see its next steps.")
        return
    bought = steps(device, found.need, pick, catalog())
    st.caption(
        f"Speeds are of {plain(pick.name)} {pick.quantization or ''} on {pick.runtime}. A step changes that one thing "
        "and nothing else."
    )
    st.table(
        {
            "Step": [plain(step.what) for step in bought],
            "Same model and quantization": [_told(step.decode) for step in bought],
            "Answer": [_waited(step.answer) for step in bought],
            f"Best quantization of {plain(pick.name)}": [_changed(step, bought[0], True) for step in bought],
            "Best model": [_changed(step, bought[0], False) for step in bought],
        },
        hide_index=True,
        alt="What one more step of memory or bandwidth buys",
    )
    if len(bought) == 1:
        st.caption("No machine of its kind in the list has more memory or faster memory.")


def _runs_on(need: Need, preset_id: str) -> Pick | None:
    picks = recommend(preset(preset_id), need, catalog(), top=1).picks
    return picks[0] if picks else None


def _changed(step: Step, before: Step, quantization: bool) -> str:
    pick, old = (step.largest, before.largest) if quantization else (step.best, before.best)
    if pick is None:
        return "none"
    text = f"{pick.quantization or 'managed'} (quality {pick.quality:.1f})" if quantization else named(pick)
    same = old is not None and (old.model_id, old.quantization) == (pick.model_id, pick.quantization)
    return plain(text) if same else f"**{plain(text)}**"


def _order() -> None:
    opened = st.expander("The order of the classes, and why", icon=":material/sort:", key="order", **BOUND)
    if opened.open:
        with opened:
            st.caption(plain(ORDER))
            rows = device_classes()
            st.table(
                {
                    "": [f"{count(one.rank)}" for one in rows],
                    "Class": [plain(one.name) for one in rows],
                    "Why it stands here": [plain(one.why) for one in rows],
                },
                hide_index=True,
            )


try:
    need, quality = _question()
    found = _plan(need, quality, catalog().date)
    _answer(found)
    _why(found)
    _steps(found)
except RecommenderError as error:
    st.error(told(error), icon=":material/error:")
_order()
