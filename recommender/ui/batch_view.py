"""The first picks rehearsed in one press, and the order before and after."""

from __future__ import annotations

import math

import streamlit as st

from recommender.batch import FIRST, plan_batch, rerank
from recommender.engine.words import rate, seconds, size
from recommender.errors import RecommenderError
from recommender.runner.job import Job
from recommender.runner.rehearse import prepare, submit
from recommender.types import Pick, Recommendation
from recommender.ui.resources import calibration_of, catalog, runs, told
from recommender.ui.words import badge, plain

_POLL_S = 2.0
_STARTED = "batch_started"
_STATES = {
    "queued": "waiting",
    "loading": "loading",
    "measuring": "measuring",
    "done": "measured",
    "failed": "failed",
    "cancelled": "stopped",
}


def offer(answer: Recommendation) -> None:
    """The button that rehearses the first picks, with how long that takes; or the batch that was started."""
    if _STARTED in st.session_state:
        _show(answer)
        return
    try:
        planned = plan_batch(answer, catalog(), calibration_of(answer.device))
    except RecommenderError:
        return
    plans = [one.plan for one in planned if one.plan is not None]
    if len(plans) < 2:
        return
    took = sum(plan.expected_s for plan in plans)
    time = f"about {seconds(took)}" if math.isfinite(took) else "some minutes"
    left_out = len(planned) - len(plans)
    if st.button(
        f"Rehearse the first {len(plans)}: {time}, downloads nothing",
        icon=":material/leaderboard:",
        key="rehearse_first",
        help="Runs each in its exact shape without its weights, then ranks them again by what was measured."
        + (f" {left_out} of the first {FIRST} cannot be rehearsed here." if left_out else ""),
    ):
        _start(answer)


def _start(answer: Recommendation) -> None:
    planned = plan_batch(answer, catalog(), calibration_of(answer.device))
    picks: list[Pick] = []
    jobs: list[str] = []
    problems = [f"{one.pick.name}: {one.problem}" for one in planned if one.problem]
    for one in planned:
        if one.plan is None:
            continue
        try:
            jobs.append(submit(runs(), prepare(one.plan.rehearsal(), catalog(), answer.device)).id)
            picks.append(one.pick)
        except RecommenderError as error:
            problems.append(f"{one.pick.name}: {error}")
    st.session_state[_STARTED] = (picks, jobs, problems)
    st.rerun()


def _jobs() -> list[Job | None]:
    return [runs().get(job_id) for job_id in st.session_state[_STARTED][1]]


def _show(answer: Recommendation) -> None:
    if any(job is not None and not job.ended for job in _jobs()):
        _going_on()
    else:
        _ended(answer)


@st.fragment(run_every=_POLL_S)
def _going_on() -> None:
    jobs = _jobs()
    if all(job is None or job.ended for job in jobs):
        st.rerun()
    picks = st.session_state[_STARTED][0]
    with st.container(border=True, key="batch_run"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            done = sum(job is not None and job.ended for job in jobs)
            st.markdown(f":shimmer[Rehearsing the first picks] · {done} of {len(jobs)}", width="content")
            st.button("Stop", icon=":material/stop:", on_click=_stop, key="stop_batch")
        for pick, job in zip(picks, jobs, strict=True):
            result = job.measurement if job else None
            told = rate(result.decode_tokens_per_s) if result else _STATES.get(job.state, "") if job else ""
            st.markdown(f"{plain(pick.name)} {pick.quantization} · {told}")


def _stop() -> None:
    for job in _jobs():
        if job is not None:
            job.cancel()


def _ended(answer: Recommendation) -> None:
    """The order before and after. The page has asked its question again, with the new measurements."""
    picks, _, problems = st.session_state[_STARTED]
    measured = {
        (job.request.model_id, job.request.quantization): job.measurement for job in _jobs() if job and job.measurement
    }
    with st.container(border=True, key="batch_run"):
        st.markdown(f"**The first picks, rehearsed and ranked again** {badge('measured here')}")
        rows = rerank(picks, measured, answer)
        st.table(
            {
                "Now": [f"{row.after}" if row.after else "does not fit" for row in rows],
                "Before": [f"{row.before}" for row in rows],
                "Model": [plain(f"{row.pick.name} {row.pick.quantization}") for row in rows],
                "Decode, predicted": [_predicted(row.pick) for row in rows],
                "Decode, measured": [
                    rate(row.measurement.decode_tokens_per_s) if row.measurement else "not measured" for row in rows
                ],
                "Memory, measured": [
                    size(row.measurement.memory.total_bytes) if row.measurement and row.measurement.memory else "–"
                    for row in rows
                ],
                "Noise": [plain(row.measurement.noise_reason) if row.measurement else "" for row in rows],
            },
            hide_index=True,
        )
        if any(row.measurement and row.measurement.noisy for row in rows):
            st.caption("A noisy run is shown and moves no rank. Rehearse again when the computer is quiet.")
        failed = [f"{job.request.model_id}: {job.error}" for job in _jobs() if job and job.error]
        for problem in (*problems, *failed):
            st.caption(told(problem))
        st.button("Close", icon=":material/close:", type="tertiary", key="close_batch", on_click=_close)


def _predicted(pick: Pick) -> str:
    speed = pick.estimate.decode_tokens_per_s
    return f"{rate(speed.value)} ({rate(speed.low)} to {rate(speed.high)})" if speed else "unknown"


def _close() -> None:
    st.session_state.pop(_STARTED, None)
