"""From a click to a run in the queue. Find and Try start runs the same way."""

from __future__ import annotations

import streamlit as st

from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, default_threads, estimate_one
from recommender.errors import RecommenderError, RunError
from recommender.probe import plan_probe, read_memory
from recommender.runner.bindings import choose_binding
from recommender.runner.hub import cached
from recommender.runner.rehearse import prepare, submit
from recommender.trial import RehearsalPlan, Source, found_on_hub, run_request
from recommender.types import Device, Pick, Settings
from recommender.ui.resources import calibration_of, catalog, forget_device, runs, this_device

PROMPT = "Explain in three sentences why the sky is blue."
CONTEXT_TOKENS = 4096
_RUNTIME = "llama.cpp"


def start(source: Source, settings: Settings, prompt: str, device: Device, forecast: EstimateAnswer | None) -> None:
    """Look the file up where the catalog names none, queue the run and put it into the URL; draws the page anew.

    Raises:
        DownloadError: the Hub cannot be asked, or has no such file.
        RunError: too many runs are waiting.
    """
    with st.spinner("Looking the file up …"):
        found = found_on_hub(source)
    st.query_params["run"] = runs().submit(run_request(found, settings, prompt, device, forecast)).id
    st.rerun()


def start_rehearsal(plan: RehearsalPlan, device: Device) -> None:
    """Queue a rehearsal and put it into the URL; draws the page anew.

    Raises:
        BadInputError: the model's exact shape is not known.
        RunError: memory or disk would not hold it, or too many runs are waiting.
    """
    forecast = plan.forecast
    request = prepare(
        forecast.model_id,
        forecast.quantization,
        forecast.settings,
        catalog=catalog(),
        device=device,
        estimate=forecast.estimate,
        prompt_tokens=plan.prompt_tokens,
        gen_tokens=plan.gen_tokens,
    )
    st.query_params["run"] = submit(runs(), request).id
    st.rerun()


def start_probe() -> None:
    """Measure this computer's memory, then queue the rehearsal of a small model; draws the page anew.

    Raises:
        RunError: something runs already, which would spoil the figures; or no model can be rehearsed here.
        RuntimeMissingError: no llama.cpp is installed; memory was measured all the same.
    """
    if any(not job.ended for job in runs().jobs()):
        raise RunError("A run is going on, and both would be measured wrong. Probe when it is done.")
    with st.spinner("Reading memory on all cores …"):
        probed = read_memory(this_device())
    forget_device()
    st.session_state["probe_said"] = probed.sentence
    choose_binding()
    start_rehearsal(plan_probe(probed.device, catalog()), probed.device)


def start_pick(pick: Pick) -> None:
    """Run a pick on this computer, with its context and what this computer makes of the rest."""
    device = this_device()
    path = cached(pick.file_repo, pick.file_name) if pick.file_repo and pick.file_name else None
    source = Source(
        pick.model_id,
        pick.quantization or "",
        "",
        path=str(path or ""),
        repo=pick.file_repo,
        file=pick.file_name,
    )
    context_tokens = pick.settings.context_tokens if pick.settings else CONTEXT_TOKENS
    request = EstimateRequest(pick.model_id, source.quantization, device, _RUNTIME, context_tokens)
    forecast: EstimateAnswer | None = None
    try:
        forecast = estimate_one(request, catalog(), calibration_of(device))
        settings = forecast.settings
    except RecommenderError:
        # A file that cannot be predicted can still be measured.
        settings = usual_settings(context_tokens, default_threads(device), -1)
    start(source, settings, st.session_state.get("prompt") or PROMPT, device, forecast)


def usual_settings(context_tokens: int, threads: int, gpu_layers: int) -> Settings:
    """What llama.cpp does when nothing else is asked; ``gpu_layers`` −1 is as many as fit."""
    return Settings(context_tokens, "f16", 2048, 512, 1, threads, gpu_layers, True)
