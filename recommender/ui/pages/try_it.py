"""Try: run a model here, watch it answer, and see predicted beside measured."""

from __future__ import annotations

import math
from dataclasses import replace

import streamlit as st

from recommender.engine.estimate_rows import (
    EstimateAnswer,
    EstimateRequest,
    default_threads,
    estimate_one,
    estimate_row,
)
from recommender.engine.file_rows import file_row
from recommender.engine.words import count, rate, seconds, size
from recommender.errors import RecommenderError
from recommender.settings import current
from recommender.trial import plan_rehearsal, usual_settings
from recommender.types import BATCH_TOKENS, GIB, KV_TYPES, UBATCH_TOKENS, Device, Settings
from recommender.ui import browser_run, run_view, sources
from recommender.ui.limits import BOUND
from recommender.ui.resources import bindings, calibration_of, catalog, hosted, server_name, this_device, told
from recommender.ui.sources import Chosen
from recommender.ui.start import CONTEXT_TOKENS, PROMPT, Trial, plan_of, start, start_both, start_rehearsal
from recommender.ui.words import badge, plain

_LONGEST_CONTEXT = 1_048_576
_AS_FIT = -1  # GPU layers: as many as there is room for


def _settings(device: Device, limit: int, longest: int, of_ollama: bool) -> Settings:
    """The settings of the run: what this computer makes best of it, and each can be changed.

    ``of_ollama``: only those that a run can give it; the others are set where its server is started.
    """
    usual = usual_settings(CONTEXT_TOKENS, default_threads(device), _AS_FIT)
    kv_type, flash, ubatch = usual.kv_type, usual.flash_attn, usual.ubatch_tokens
    with st.popover("Settings", icon=":material/tune:"):
        context_tokens = st.number_input(
            "Context, tokens", 1, longest, min(CONTEXT_TOKENS, limit), key="try_context", **BOUND
        )
        threads = st.number_input("Threads", 1, 1024, default_threads(device), key="threads", **BOUND)
        layers = st.number_input(
            "Layers on the GPU", _AS_FIT, 1000, _AS_FIT, key="gpu_layers", help="−1: as many as fit.", **BOUND
        )
        batch = st.number_input("Batch, tokens", 1, 65_536, BATCH_TOKENS, key="batch", **BOUND)
        if of_ollama:
            st.caption("KV cache type and flash attention are set where `ollama serve` is started.")
        else:
            ubatch = st.number_input("Physical batch, tokens", 1, 65_536, UBATCH_TOKENS, key="ubatch", **BOUND)
            kv_type = st.selectbox("KV cache type", KV_TYPES, KV_TYPES.index(usual.kv_type), key="kv_type", **BOUND)
            flash = st.toggle("Flash attention", value=usual.flash_attn, key="flash_attn", **BOUND)
    return replace(
        usual_settings(int(context_tokens), int(threads), int(layers)),
        kv_type=kv_type,
        flash_attn=flash,
        batch_tokens=int(batch),
        ubatch_tokens=min(int(ubatch), int(batch)),
    )


def _request(chosen: Chosen, device: Device, settings: Settings) -> EstimateRequest:
    return EstimateRequest(
        chosen.source.model_id,
        chosen.source.quantization,
        device,
        runtime=chosen.source.runtime,
        context_tokens=settings.context_tokens,
        kv_type=settings.kv_type,
        batch_tokens=settings.batch_tokens,
        ubatch_tokens=settings.ubatch_tokens,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        flash_attn=settings.flash_attn,
    )


def _predict(chosen: Chosen, device: Device, settings: Settings) -> EstimateAnswer | None:
    """What the run should show; ``None``, with the reason on the page, when it cannot be predicted.

    A file here is predicted from its own header, so it need not be one that the catalog knows.
    """
    if chosen.source.runtime == "openai":
        st.caption("No prediction: what computer that server runs on is not known.")
        return None
    request = _request(chosen, device, settings)
    try:
        if chosen.header is not None:
            row = file_row(chosen.header, chosen.source.model_id)
            return estimate_row(replace(request, runtime="llama.cpp"), row, calibration_of(device))
        return estimate_one(request, catalog(), calibration_of(device))
    except RecommenderError as error:
        st.caption(f"No prediction: {told(error)}")
        return None


def _forecast(answer: EstimateAnswer, free_bytes: float | None) -> None:
    """The prediction in one line, and a warning where it will not fit."""
    estimate, memory = answer.estimate, answer.estimate.memory
    facts = []
    if estimate.decode_tokens_per_s:
        facts.append(f"**{rate(estimate.decode_tokens_per_s.value)}**")
    if estimate.ttft_s:
        facts.append(f"first token after **{seconds(estimate.ttft_s.value)}**")
    if memory:
        facts.append(f"**{size(memory.charged_bytes)}** of memory")
    origin = estimate.decode_tokens_per_s.provenance if estimate.decode_tokens_per_s else "estimated"
    where = " on this server" if hosted() else ""
    st.markdown(
        f"Predicted{where}: {' · '.join(facts)} {badge(origin)} :small[:gray[512 prompt tokens, 128 generated]]"
    )
    if memory and free_bytes is not None and memory.charged_bytes > free_bytes:
        st.warning(
            f"It needs {size(memory.charged_bytes)} and {size(free_bytes)} is free: the system may stop it while it "
            "loads.",
            icon=":material/memory_alt:",
        )


def _trial(chosen: Chosen, device: Device, settings: Settings) -> Trial:
    forecast = _predict(chosen, device, settings)
    if forecast:
        _forecast(forecast, device.ram_free_bytes)
        settings = replace(settings, gpu_layers=forecast.settings.gpu_layers)
    return Trial(chosen.source, settings, forecast)


def _place() -> str:
    places = browser_run.among(sources.places())
    where: str = st.segmented_control(
        "Where",
        places,
        default=places[0],
        key="where",
        required=True,
        label_visibility="collapsed",
        **BOUND,
    )
    return where


def _form(where: str) -> None:
    device = this_device()
    built_in = where in (sources.HERE, sources.ON_SERVER)
    if built_in and not bindings():
        st.error(
            "No llama.cpp is installed here. Add one with `pip install xllamacpp`, or `pip install llama-cpp-python` "
            "where there is no wheel (an Intel Mac), then start the app again.",
            icon=":material/extension_off:",
        )
        return
    chosen = sources.choose(where)
    if chosen is None:
        return
    header = chosen.header
    prompt = st.text_area("Prompt", PROMPT, key="prompt", persist_state="session", max_chars=20_000, height=90)
    with st.container(horizontal=True, vertical_alignment="center"):
        longest = current().max_context if hosted() else _LONGEST_CONTEXT
        limit = min((header.context_tokens if header else None) or longest, longest)
        settings = _settings(device, limit, longest, of_ollama=where == sources.OLLAMA)
        beside = built_in and st.toggle(
            "Beside a second model", key="both", help="The same prompt to two models, one after the other.", **BOUND
        )
    trial = _trial(chosen, device, settings)
    second = None
    if beside:
        other = sources.from_catalog("second_")
        if other is None:
            return
        second = _trial(other, device, settings)
    label = trial.source.label if second is None else f"Try both · {second.source.label.removeprefix('Try it · ')}"
    problem = "" if second else plan_of(trial, prompt, device).problem
    if problem:
        st.warning(told(problem), icon=":material/hard_drive:")
    nowhere = bool(problem) or any(
        not (one.source.path or one.source.repo or one.source.file) for one in (trial, second) if one
    )
    if st.button(plain(label), type="primary", icon=":material/play_arrow:", key="start", disabled=nowhere):
        if second is not None:
            start_both(trial, second, prompt, device)
        start(trial.source, trial.settings, prompt, device, trial.forecast)
    if header is None and second is None and (built_in or where == sources.OLLAMA):
        _rehearsal(chosen, device, settings)


def _rehearsal(chosen: Chosen, device: Device, settings: Settings) -> None:
    """Measure the choice before it is downloaded."""
    try:
        plan = plan_rehearsal(_request(chosen, device, settings), catalog(), calibration_of(device))
    except RecommenderError:
        return  # the missing prediction has been explained above
    time = f"about {seconds(plan.expected_s)}" if math.isfinite(plan.expected_s) else "a minute or more"
    if st.button(f"Rehearse: {time}, downloads nothing", icon=":material/speed:", key="rehearse"):
        start_rehearsal(plan, device)
    copied = chosen.source.file_bytes if chosen.source.runtime == "ollama" else None
    st.caption(
        "A rehearsal runs a file of zeros in the model's exact shape: speed and memory depend on the shape of the "
        "weights, not on their values."
        + (f" Ollama copies it at its full size, {size(copied)}, and removes it afterwards." if copied else "")
    )


def _limits() -> str:
    """What a visitor may do, before they run into it."""
    limits = current()
    return (
        "One run at a time on this server, for all visitors: models of the catalog up to "
        f"{size(limits.max_file_gib * GIB)}, {count(limits.max_context)} tokens of context, answers of "
        f"{count(limits.run_tokens)} tokens, {seconds(limits.run_seconds)} in all, "
        f"{count(limits.visitor_runs_per_hour)} runs an hour from one address. "
        "What is measured speaks of this server, not of your device."
    )


st.header("Try it" if hosted() else f"Try it on {server_name()}", anchor=False)
job_id, beside_id = st.query_params.get("run", ""), st.query_params.get("beside", "")
if job_id and beside_id:
    for column, one, key in zip(st.columns(2), (job_id, beside_id), ("run", "beside"), strict=True):
        with column:
            run_view.show(one, key)
elif job_id:
    run_view.show(job_id)
if job_id:
    st.subheader("Run another", anchor=False)
where = _place()
try:
    if where == browser_run.IN_BROWSER:
        browser_run.form()
    else:
        _form(where)
except RecommenderError as error:
    st.error(told(error), icon=":material/error:")
run_view.others((job_id, beside_id))
if where != browser_run.IN_BROWSER:
    st.caption(_limits() if hosted() else "One run at a time, each in a process of its own.")
