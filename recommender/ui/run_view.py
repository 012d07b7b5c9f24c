"""A run as it happens: its steps, its text, Stop, and in the end predicted beside measured."""

from __future__ import annotations

import streamlit as st

from recommender.engine.words import rate, seconds, size
from recommender.runner import protocol
from recommender.runner.jobs import Job
from recommender.types import Measurement
from recommender.ui.cards import badge
from recommender.ui.resources import runs, storing_problem

_POLL_S = 0.25
_STEPS = {
    "queued": "Waiting for its turn",
    "downloading": "Downloading",
    "loading": "Loading the model",
    "measuring": "Measuring",
    "answering": "Answering",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Stopped",
}


def show(job_id: str) -> None:
    """The run of this id, live while it goes on; a sentence when it is not known any more."""
    job = runs().get(job_id)
    if job is None:
        st.info("This run is not in memory any more. What it measured is in the history.", icon=":material/history:")
    elif job.ended:
        _ended(job)
    else:
        _running(job_id)


@st.fragment(run_every=_POLL_S)
def _running(job_id: str) -> None:
    job = runs().get(job_id)
    if job is None or job.ended:
        # Once, so that the page shows the end and this fragment is not drawn again.
        st.rerun()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f":shimmer[**{_STEPS[job.state]}**] {_detail(job)}")
            st.button("Stop", icon=":material/stop:", on_click=job.cancel, key="stop_run")
        downloading = job.last(protocol.Downloading)
        if job.state == "downloading" and downloading and downloading.total_bytes:
            st.progress(min(downloading.done_bytes / downloading.total_bytes, 1.0))
        if job.text:
            st.text(job.text)


def _detail(job: Job) -> str:
    if job.state == "queued" and job.position:
        return f"number {job.position} in the queue"
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


def _ended(job: Job) -> None:
    with st.container(border=True):
        if job.state == "failed":
            st.error(job.error, icon=":material/error:")
        elif job.state == "cancelled":
            st.info("Stopped. Its process is gone and its memory is free.", icon=":material/stop_circle:")
        answered = job.last(protocol.Answered)
        if job.text:
            st.markdown("**Answer**")
            st.text(job.text)
        if answered:
            st.caption(
                f"{answered.answer_tokens} tokens, the first after {seconds(answered.ttft_s)}, then "
                f"{rate(answered.decode_tokens_per_s)} {badge('measured here')}"
                + ("" if answered.template == "file" else " · the file has no chat template: plain completion")
            )
        if job.measurement:
            measured(job.measurement)
            if problem := storing_problem():
                st.warning(problem)


def measured(result: Measurement) -> None:
    """Predicted beside measured, and how the run went."""
    st.markdown(f"**Predicted beside measured** · {result.model_id} {result.quantization}")
    rows: list[tuple[str, str, str, str]] = []

    def add(name: str, predicted: float | None, value: float | None, words: object) -> None:
        if value is None:
            return
        say = words if callable(words) else str
        off = f"{(value / predicted - 1):+.0%}" if predicted else "–"
        rows.append((name, say(predicted) if predicted else "no prediction", say(value), off))

    add("Decode", result.predicted_decode_tokens_per_s, result.decode_tokens_per_s, rate)
    add("Prefill", result.predicted_prefill_tokens_per_s, result.prefill_tokens_per_s, rate)
    add("First token", result.predicted_ttft_s, result.ttft_s, seconds)
    if result.memory:
        add("Memory", result.predicted_memory_bytes, result.memory.total_bytes, size)
    st.table(
        {
            "": [row[0] for row in rows],
            "Predicted": [row[1] for row in rows],
            "Measured": [row[2] for row in rows],
            "Measured against predicted": [row[3] for row in rows],
        },
        hide_index=True,
    )
    spread = f"{rate(result.decode_low)} to {rate(result.decode_high)}"
    peak = f" · peak resident {size(result.peak_resident_bytes)}" if result.peak_resident_bytes else ""
    st.caption(
        f"Medians of {result.repeats} repeats ({spread}) · {result.prompt_tokens} prompt and {result.gen_tokens} "
        f"generated tokens · loaded in {seconds(result.load_s)}{peak} · {result.binding} {badge('measured here')}"
    )
    if result.noisy:
        st.warning(f"Noisy, so it corrects nothing: {result.noise_reason}", icon=":material/graphic_eq:")
    else:
        st.caption("Kept in the history. From now on it corrects the estimates for this computer.")
