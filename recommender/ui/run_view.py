"""A run as it happens: its steps, its text, Stop, and in the end predicted beside measured."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from recommender.engine.words import rate, seconds, size
from recommender.errors import OutOfMemoryError
from recommender.runner import protocol
from recommender.runner.job import Job
from recommender.share_run import predicted_beside_measured
from recommender.types import Measurement
from recommender.ui import chat_view, measurement_view, smaller_view
from recommender.ui.resources import others_active, runs, server_name, storing_problem, told
from recommender.ui.words import badge, plain

_POLL_S = 0.25
# Each look costs the page's computer some time, which is the one that is being measured.
_BUSY_POLL_S = 2.0
_BUSY = ("loading", "measuring")
_STEPS = {
    "queued": "Waiting for its turn",
    "downloading": "Downloading",
    "verifying": "Comparing its checksum",
    "loading": "Loading the model",
    "measuring": "Measuring",
    "answering": "Answering",
    "checking": "Quick check",
    "chatting": "In a chat",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Stopped",
}


def show(job_id: str, key: str = "run") -> None:
    """The run of this id, live while it goes on; a sentence when it is not known any more.

    ``key`` tells two runs on one page apart.
    """
    job = runs().get(job_id)
    if job is None:
        st.info("This run is not in memory any more. What it measured is in the history.", icon=":material/history:")
    elif job.ended or job.state == "chatting":
        _shown(job, key)
    elif job.state in _BUSY:
        _measuring(job_id, key)
    else:
        _running(job_id, key)


def others(shown_ids: Sequence[str]) -> None:
    """Runs that go on or wait while another one is on the page."""
    if waiting := others_active():
        whose = (
            "1 run of another visitor waits or goes" if waiting == 1 else f"{waiting} runs of other visitors wait or go"
        )
        st.caption(f":material/group: On {server_name()} {whose} on: one goes on at a time.")
    for job in runs().jobs():
        if not job.ended and job.id not in shown_ids:
            st.button(
                f"{_STEPS[job.state]}: {plain(_what(job))}",
                icon=":material/visibility:",
                type="tertiary",
                key=f"watch_{job.id}",
                on_click=st.query_params.update,
                args=({"run": job.id},),
            )


def _what(job: Job) -> str:
    return f"{job.request.model_id} {job.request.quantization}".strip()


@st.fragment(run_every=_POLL_S)
def _running(job_id: str, key: str) -> None:
    _live(job_id, key, busy=False)


@st.fragment(run_every=_BUSY_POLL_S)
def _measuring(job_id: str, key: str) -> None:
    _live(job_id, key, busy=True)


def _live(job_id: str, key: str, busy: bool) -> None:
    job = runs().get(job_id)
    if job is None or job.ended or job.state == "chatting" or (job.state in _BUSY) is not busy:
        # Once, so that the page shows what comes next and this fragment is not drawn again.
        st.rerun()
    with st.container(border=True, key=key):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{plain(_what(job))}** · :shimmer[{_STEPS[job.state]}] {_detail(job)}", width="content")
            st.button("Stop", icon=":material/stop:", on_click=job.cancel, key=f"stop_{key}")
        downloading = job.last(protocol.Downloading)
        if job.state == "downloading" and downloading and downloading.total_bytes:
            st.progress(min(downloading.done_bytes / downloading.total_bytes, 1.0))
        if job.turns:
            chat_view.turn(job.turns[-1])


def _detail(job: Job) -> str:
    if job.state == "queued" and job.position:
        return f"number {job.position} in the queue"
    loading = job.last(protocol.Loading)
    if job.state == "loading" and loading and loading.file_bytes:
        return f"{size(loading.file_bytes)} with {plain(loading.binding)}"
    if job.state == "answering" and job.turns and job.turns[-1].tokens_per_s:
        return rate(job.turns[-1].tokens_per_s)
    downloading = job.last(protocol.Downloading)
    if job.state == "downloading" and downloading:
        pace = f", {size(downloading.bytes_per_s)}/s" if downloading.bytes_per_s else ""
        left = (
            f", {seconds((downloading.total_bytes - downloading.done_bytes) / downloading.bytes_per_s)} left"
            if downloading.bytes_per_s
            else ""
        )
        return f"{size(downloading.done_bytes)} of {size(downloading.total_bytes)}{pace}{left}"
    repeat = job.last(protocol.Repeat)
    if job.state == "measuring" and repeat:
        return f"repeat {repeat.number} of {repeat.of}: {rate(repeat.decode_tokens_per_s)}"
    return ""


def _shown(job: Job, key: str) -> None:
    """A run that has shown what it can: its figures, its answer, and the chat while the model is loaded."""
    with st.container(border=True, key=key):
        if job.state == "failed":
            st.error(told(job.error), icon=":material/error:", title=f"{plain(_what(job))} could not be run")
            if isinstance(job.exception, OutOfMemoryError):
                smaller_view.offer(job.request, key)
        elif job.state == "cancelled":
            st.info(
                "Its process is gone and its memory is free.",
                icon=":material/stop_circle:",
                title=f"Stopped {plain(_what(job))}",
            )
        for result in job.measurements:
            measured(result)
            measurement_view.link_to(result)
        if job.measurement and (problem := storing_problem()):
            st.warning(told(problem))
        chat_view.show(job, key)
        if job.ended:
            st.button("Close", icon=":material/close:", type="tertiary", key=f"close_{key}", on_click=_close)


def _close() -> None:
    for name in ("run", "beside"):
        st.query_params.pop(name, None)


def measured(result: Measurement) -> None:
    """Predicted beside measured, and how the run went."""
    counts = f"{result.prompt_tokens} prompt and {result.gen_tokens} generated tokens"
    st.markdown(
        f"**{plain(f'{result.model_id} {result.quantization}'.strip())}** · predicted beside measured · {counts}"
    )
    rows = predicted_beside_measured(result)
    heads = ("Figure", f"Predicted {badge('estimated')}", f"Measured {badge('measured here')}", "Difference")
    st.table({head: [row[place] for row in rows] for place, head in enumerate(heads)}, hide_index=True)
    spread = f"{rate(result.decode_low)} to {rate(result.decode_high)}"
    peak = f" · peak resident {size(result.peak_resident_bytes)}" if result.peak_resident_bytes else ""
    st.caption(
        f"Medians of {result.repeats} repeats ({spread}) · loaded in {seconds(result.load_s)}{peak} · {result.binding}"
    )
    if result.rehearsal:
        st.caption("A rehearsal: nothing was downloaded, and the load time leaves out reading the file from disk.")
        if result.settings.gpu_layers:
            st.caption("Zeros draw less power than weights: at its power limit a GPU may be slower with the real file.")
    if result.runtime == "openai":
        st.caption(f"At {told(result.build)}, by the clock of {server_name()}: it corrects no estimate.")
    elif result.noisy:
        st.warning(f"Noisy, so it corrects nothing: {plain(result.noise_reason)}", icon=":material/graphic_eq:")
    else:
        st.caption(f"Kept in the history. From now on it corrects the estimates for {server_name()}.")
