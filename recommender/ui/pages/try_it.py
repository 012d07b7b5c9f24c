"""Try: run a model here, watch it answer, and see predicted beside measured."""

from __future__ import annotations

import streamlit as st

from recommender.catalog.queries import variant_columns
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, default_threads, estimate_one
from recommender.engine.words import count, size
from recommender.errors import RecommenderError
from recommender.runner.gguf_header import read_header
from recommender.runner.hub import cached
from recommender.trial import Source, found_on_hub, run_request
from recommender.types import Device, Settings
from recommender.ui import run_view
from recommender.ui.cards import told
from recommender.ui.limits import BOUND
from recommender.ui.words import plain
from recommender.ui.resources import bindings, calibration_of, catalog, runs, this_device

_HUB, _LOCAL = "A model of the catalog", "A GGUF file on this computer"
_RUNTIME = "llama.cpp"


def _from_catalog() -> Source | None:
    """A model and quantization of the catalog; its file is fetched when it is not here yet."""
    models = {model.model_id: model for model in catalog().models()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model_id = st.selectbox("Model", list(models), index=None, placeholder="Search models", key="model", **BOUND)
        if model_id is None:
            st.info("Choose a model, or press Try it on the Find page.", icon=":material/search:")
            return None
        rows = {row["quantization"]: row for row in variant_columns(catalog(), model_id, _RUNTIME)}
        if not rows:
            st.warning(f"llama.cpp does not take {model_id}.")
            return None
        usual = "Q4_K_M" if "Q4_K_M" in rows else next(iter(rows))
        quantization = st.selectbox(
            "Quantization", list(rows), index=list(rows).index(usual), key="quant", width=160, **BOUND
        )
    row = rows[quantization]
    repo, file = row["repo"], row["file"]
    path = cached(repo, file) if repo and file else None
    license_name = models[model_id].license or "licence not recorded"
    if path is not None:
        label = "Try it · the file is here already"
    else:
        about = "" if row["published_bytes"] else "about "
        label = f"Try it · downloads {about}{size(row['published_bytes'] or row['file_bytes'])} · {license_name}"
    return Source(model_id, quantization, label, path=str(path or ""), repo=repo, file=file)


def _from_disk() -> Source | None:
    """A GGUF that is on this computer; its header is read before anything is loaded."""
    path = st.text_input("Path of the GGUF file", key="gguf_path", persist_state="session")
    if not path.strip():
        st.info("Type the path of a file such as ~/models/model-Q4_K_M.gguf.", icon=":material/folder_open:")
        return None
    header = read_header(path.strip())
    known = next((one.model_id for one in catalog().models() if one.name.casefold() == header.name.casefold()), "")
    st.caption(
        f"{plain(header.name or header.path.name)} · {plain(header.architecture)} · "
        f"{header.quantization or 'unknown type'} · {size(header.file_bytes)}"
    )
    return Source(known or header.name or header.path.name, header.quantization, "Try it", path=str(header.path))


def _predict(source: Source, device: Device, context_tokens: int) -> EstimateAnswer | None:
    """What the run should show; ``None``, with the reason on the page, when it cannot be predicted."""
    request = EstimateRequest(source.model_id, source.quantization, device, context_tokens=context_tokens)
    try:
        return estimate_one(request, catalog(), calibration_of(device))
    except RecommenderError as error:
        st.caption(f"No prediction: {plain(str(error))}")
        return None


def _forecast(answer: EstimateAnswer, free_bytes: float | None) -> None:
    estimate = answer.estimate
    memory = estimate.memory
    needed = memory.total_bytes - memory.reclaimable_bytes if memory else 0.0
    with st.container(horizontal=True):
        st.metric("Speed, predicted", figure_words(estimate.decode_tokens_per_s, "rate"), width=180)
        st.metric("First token, predicted", figure_words(estimate.ttft_s, "time"), width=180)
        st.metric("Memory, predicted", size(needed), width=180)
    st.caption("For a prompt of 512 tokens and 128 generated, as it is measured here.")
    if free_bytes is not None and needed > free_bytes:
        st.warning(
            f"It needs {size(needed)} and {size(free_bytes)} is free: the system may stop it while it loads.",
            icon=":material/memory_alt:",
        )


st.title("Try it on this computer", anchor=False)
if not bindings():
    st.error(
        "No llama.cpp is installed here. Add one with `pip install xllamacpp`, or `pip install llama-cpp-python` where "
        "there is no wheel (an Intel Mac), then start the app again.",
        icon=":material/extension_off:",
    )
    st.stop()

device = this_device()
try:
    kind = st.segmented_control("Which", [_HUB, _LOCAL], default=_HUB, key="source", required=True, **BOUND)
    source = _from_disk() if kind == _LOCAL else _from_catalog()
    if source is not None:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            context_tokens = st.number_input("Context, tokens", 256, 1_048_576, 4096, key="try_context", **BOUND)
            threads = st.number_input("Threads", 1, 1024, default_threads(device), key="threads", **BOUND)
        prompt = st.text_area(
            "Prompt",
            "Explain in three sentences why the sky is blue.",
            key="prompt",
            persist_state="session",
            max_chars=20_000,
        )
        forecast = _predict(source, device, int(context_tokens))
        if forecast:
            _forecast(forecast, device.ram_free_bytes)
        settings = Settings(
            int(context_tokens),
            "f16",
            2048,
            512,
            1,
            int(threads),
            forecast.settings.gpu_layers if forecast else -1,
            True,
        )
        if st.button(source.label, type="primary", icon=":material/play_arrow:", key="start"):
            with st.spinner("Looking the file up …"):
                found = found_on_hub(source)
            request = run_request(found, settings, prompt, device, forecast)
            st.query_params["run"] = runs().submit(request).id
            st.rerun()
except RecommenderError as error:
    st.error(plain(str(error)), icon=":material/error:")

if job_id := st.query_params.get("run"):
    run_view.show(job_id)
st.caption(
    f"Runs here with {bindings()[0].name}; one at a time, each in a process of its own. "
    f"{count(len(runs().jobs()))} so far."
)
