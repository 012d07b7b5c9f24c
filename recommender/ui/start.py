"""From a click to a run in the queue. Find and Try start runs the same way."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, default_threads, estimate_one
from recommender.errors import RecommenderError, RunError
from recommender.probe import plan_probe, read_memory
from recommender.runner.bindings import choose_binding
from recommender.runner.hub import at_hand
from recommender.runner.job import Job
from recommender.runner.protocol import TokenCounts
from recommender.runner.rehearse import expected_s, prepare, submit
from recommender.runner.runners import Plan, make_runner
from recommender.trial import RehearsalPlan, Source, found_on_hub, run_request, usual_settings
from recommender.types import Device, Pick, Settings, Task
from recommender.ui.resources import calibration_of, catalog, forget_device, runs, this_device

PROMPT = "Explain in three sentences why the sky is blue."
CONTEXT_TOKENS = 4096
_RUNTIME = "llama.cpp"
_LONGEST_TASK_S = 60.0  # a task's own profile is measured as well where its repeats take at most so long


@dataclass(frozen=True)
class Trial:
    """What is to be run, with which settings, and what it should show."""

    source: Source
    settings: Settings
    forecast: EstimateAnswer | None


def start(
    source: Source,
    settings: Settings,
    prompt: str,
    device: Device,
    forecast: EstimateAnswer | None,
    task_counts: TokenCounts | None = None,
) -> None:
    """Queue a run whose model stays for a chat, and put it into the URL; draws the page anew.

    Raises:
        DownloadError: the Hub cannot be asked, or has no such file.
        RunError: it cannot work here, or too many runs are waiting.
    """
    _end_own_chat()
    job = _submit(source, settings, prompt, device, forecast, task_counts, keep_loaded=True)
    st.query_params["run"] = job.id
    st.query_params.pop("beside", None)
    st.rerun()


def start_both(first: Trial, second: Trial, prompt: str, device: Device) -> None:
    """Queue the same prompt for two models, one after the other; draws the page anew. Errors as for ``start``."""
    _end_own_chat()
    jobs = [
        _submit(one.source, one.settings, prompt, device, one.forecast, None, keep_loaded=False)
        for one in (first, second)
    ]
    st.query_params["run"], st.query_params["beside"] = (job.id for job in jobs)
    st.rerun()


def plan_of(trial: Trial, prompt: str, device: Device) -> Plan:
    """What a run would download and write, and whether there is room for it."""
    request = run_request(trial.source, trial.settings, prompt, device, trial.forecast)
    return make_runner(request.runtime).plan(request)


def _submit(
    source: Source,
    settings: Settings,
    prompt: str,
    device: Device,
    forecast: EstimateAnswer | None,
    task_counts: TokenCounts | None,
    keep_loaded: bool,
) -> Job:
    with st.spinner("Looking the file up …"):
        found = found_on_hub(source) if source.runtime == "llama.cpp" else source
    request = run_request(found, settings, prompt, device, forecast, task_counts=task_counts, keep_loaded=keep_loaded)
    plan = make_runner(request.runtime).plan(request)
    if plan.problem:
        raise RunError(plan.problem)
    return runs().submit(request)


def _end_own_chat() -> None:
    """Give back the memory of the chat that this page shows: who starts another run is done with it."""
    job = runs().get(st.query_params.get("run", ""))
    if job is not None and job.state == "chatting":
        job.close()


def start_rehearsal(plan: RehearsalPlan, device: Device) -> None:
    """Queue a rehearsal and put it into the URL; draws the page anew.

    Raises:
        BadInputError: the model's exact shape is not known.
        RunError: memory or disk would not hold it, or too many runs are waiting.
    """
    _end_own_chat()
    st.query_params["run"] = submit(runs(), prepare(plan.rehearsal(), catalog(), device)).id
    st.query_params.pop("beside", None)
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


def task_counts(task: Task, forecast: EstimateAnswer | None) -> TokenCounts | None:
    """What the task's own texts look like, where measuring that does not take too long; else None."""
    estimate = forecast.estimate if forecast else None
    took = expected_s(estimate, task.prompt_tokens, task.answer_tokens)
    return TokenCounts(task.prompt_tokens, task.answer_tokens) if took <= _LONGEST_TASK_S else None


def start_pick(pick: Pick, task: Task) -> None:
    """Run a pick on this computer, with its context and what this computer makes of the rest."""
    device = this_device()
    path = at_hand(pick.file_repo, pick.file_name)
    source = Source(
        pick.model_id,
        pick.quantization or "",
        "",
        path=str(path or ("" if pick.file_repo else pick.file_name)),
        repo=pick.file_repo,
        file=pick.file_name,
        file_bytes=pick.estimate.file_bytes,
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
    prompt = st.session_state.get("prompt") or PROMPT
    start(source, settings, prompt, device, forecast, task_counts(task, forecast))
