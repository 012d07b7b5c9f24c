"""Try: run a model here, watch it answer, and see predicted beside measured."""

from __future__ import annotations

import math

import streamlit as st

from recommender.catalog.queries import variant_columns
from recommender.engine.estimate_rows import (
    EstimateAnswer,
    EstimateRequest,
    default_threads,
    estimate_one,
    estimate_row,
)
from recommender.engine.file_rows import file_row
from recommender.engine.words import rate, seconds, size
from recommender.errors import RecommenderError
from recommender.runner.gguf_header import GgufHeader, read_header
from recommender.runner.hub import cached
from recommender.trial import Source, plan_rehearsal
from recommender.types import Device
from recommender.ui import run_view
from recommender.ui.limits import BOUND
from recommender.ui.memory_bar import charged_bytes
from recommender.ui.resources import bindings, calibration_of, catalog, this_device
from recommender.ui.start import CONTEXT_TOKENS, PROMPT, start, start_rehearsal, usual_settings
from recommender.ui.words import badge, plain

_HUB, _LOCAL = "A model of the catalog", "A GGUF file on this computer"
_RUNTIME = "llama.cpp"
_LONGEST_CONTEXT = 1_048_576


def _from_catalog() -> Source | None:
    """A model and quantization of the catalog; its file is fetched when it is not here yet."""
    models = {model.model_id: model for model in catalog().models()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model_id = st.selectbox(
            "Model",
            list(models),
            index=None,
            format_func=lambda one: models[one].name if one in models else one,
            placeholder="Search models",
            key="model",
            width=360,
            **BOUND,
        )
        if model_id is None:
            st.caption("Choose a model here, or press Try it on the Find page.")
            return None
        rows = {row["quantization"]: row for row in variant_columns(catalog(), model_id, _RUNTIME)}
        if not rows:
            st.warning(f"llama.cpp does not take {plain(model_id)}.")
            return None
        usual = "Q4_K_M" if "Q4_K_M" in rows else next(iter(rows))
        quantization = st.selectbox(
            "Quantization", list(rows), index=list(rows).index(usual), key="quant", width=160, **BOUND
        )
    row = rows.get(quantization) or rows[usual]
    repo, file = row["repo"], row["file"]
    path = cached(repo, file) if repo and file else None
    license_name = models[model_id].license or "licence not recorded"
    if path is not None:
        label = f"Try it · already here · {license_name}"
    else:
        about = "" if row["published_bytes"] else "about "
        label = f"Try it · {about}{size(row['published_bytes'] or row['file_bytes'])} download · {license_name}"
    return Source(model_id, row["quantization"], label, path=str(path or ""), repo=repo, file=file)


def _from_disk() -> tuple[Source | None, GgufHeader | None]:
    """A GGUF that is on this computer; its header is read before anything is loaded."""
    path = st.text_input(
        "Path of the GGUF file",
        placeholder="~/models/model-Q4_K_M.gguf",
        key="gguf_path",
        persist_state="session",
    )
    if not path.strip():
        return None, None
    header = read_header(path.strip())
    known = next((one.model_id for one in catalog().models() if one.name.casefold() == header.name.casefold()), "")
    st.caption(
        f"{plain(header.name or header.path.name)} · {plain(header.architecture)} · "
        f"{plain(header.quantization or 'unknown type')} · {size(header.file_bytes)}"
    )
    label = f"Try it · {size(header.file_bytes)}, already here"
    name = known or header.name or header.path.name
    return Source(name, header.quantization, label, path=str(header.path)), header


def _predict(
    source: Source, header: GgufHeader | None, device: Device, context_tokens: int, threads: int
) -> EstimateAnswer | None:
    """What the run should show; ``None``, with the reason on the page, when it cannot be predicted.

    A file here is predicted from its own header, so it need not be one that the catalog knows.
    """
    request = EstimateRequest(
        source.model_id, source.quantization, device, context_tokens=context_tokens, threads=threads
    )
    try:
        if header is not None:
            return estimate_row(request, file_row(header, source.model_id), calibration_of(device))
        return estimate_one(request, catalog(), calibration_of(device))
    except RecommenderError as error:
        st.caption(f"No prediction: {plain(str(error))}")
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
        facts.append(f"**{size(charged_bytes(memory))}** of memory")
    origin = estimate.decode_tokens_per_s.provenance if estimate.decode_tokens_per_s else "estimated"
    st.markdown(f"Predicted: {' · '.join(facts)} {badge(origin)} :small[:gray[512 prompt tokens, 128 generated]]")
    if memory and free_bytes is not None and charged_bytes(memory) > free_bytes:
        st.warning(
            f"It needs {size(charged_bytes(memory))} and {size(free_bytes)} is free: the system may stop it while it "
            "loads.",
            icon=":material/memory_alt:",
        )


def _form() -> None:
    device = this_device()
    kind = st.segmented_control(
        "What to run", [_HUB, _LOCAL], default=_HUB, key="source", required=True, label_visibility="collapsed", **BOUND
    )
    source, header = _from_disk() if kind == _LOCAL else (_from_catalog(), None)
    if source is None:
        return
    prompt = st.text_area(
        "Prompt",
        PROMPT,
        key="prompt",
        persist_state="session",
        max_chars=20_000,
        height=90,
    )
    with st.popover("Settings", icon=":material/tune:"):
        limit = (header.context_tokens if header else None) or _LONGEST_CONTEXT
        context_tokens = st.number_input(
            "Context, tokens", 1, _LONGEST_CONTEXT, min(CONTEXT_TOKENS, limit), key="try_context", **BOUND
        )
        threads = st.number_input("Threads", 1, 1024, default_threads(device), key="threads", **BOUND)
    forecast = _predict(source, header, device, int(context_tokens), int(threads))
    if forecast:
        _forecast(forecast, device.ram_free_bytes)
    gpu_layers = forecast.settings.gpu_layers if forecast else -1
    settings = usual_settings(int(context_tokens), int(threads), gpu_layers)
    if st.button(plain(source.label), type="primary", icon=":material/play_arrow:", key="start"):
        start(source, settings, prompt, device, forecast)
    if header is None:
        _rehearsal(source, device, int(context_tokens), int(threads))


def _rehearsal(source: Source, device: Device, context_tokens: int, threads: int) -> None:
    """Measure the choice before it is downloaded."""
    request = EstimateRequest(
        source.model_id, source.quantization, device, context_tokens=context_tokens, threads=threads
    )
    try:
        plan = plan_rehearsal(request, catalog(), calibration_of(device))
    except RecommenderError:
        return  # the missing prediction has been explained above
    time = f"about {seconds(plan.expected_s)}" if math.isfinite(plan.expected_s) else "a minute or more"
    if st.button(f"Rehearse: {time}, downloads nothing", icon=":material/speed:", key="rehearse"):
        start_rehearsal(plan, device)
    st.caption(
        "A rehearsal runs a file of zeros in the model's exact shape: speed and memory depend on the shape of the "
        "weights, not on their values."
    )


st.header("Try it on this computer", anchor=False)
if not bindings():
    st.error(
        "No llama.cpp is installed here. Add one with `pip install xllamacpp`, or `pip install llama-cpp-python` where "
        "there is no wheel (an Intel Mac), then start the app again.",
        icon=":material/extension_off:",
    )
    st.stop()

if job_id := st.query_params.get("run"):
    run_view.show(job_id)
    st.subheader("Run another", anchor=False)
try:
    _form()
except RecommenderError as error:
    st.error(plain(str(error)), icon=":material/error:")
run_view.others(job_id or "")
st.caption(f"Runs with {bindings()[0].name}, one at a time, each in a process of its own.")
