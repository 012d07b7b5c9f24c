"""The quick check of quality: a few prompts with answers that can be judged, and how many of them passed."""

from __future__ import annotations

import streamlit as st

from recommender.errors import RunError
from recommender.runner.checks import LABEL
from recommender.runner.job import Job
from recommender.ui.resources import catalog, told
from recommender.ui.words import badge, plain

_POLL_S = 1.0


def offer(job: Job, key: str) -> None:
    """Choose a task and ask its prompts of the model that is loaded."""
    tasks = list(catalog().tasks())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = st.selectbox(
            "Quick check for", tasks, format_func=lambda one: one.name, key=f"check_task_{key}", width=240
        )
        checks = catalog().checks(task.id)
        if st.button(f"Ask {len(checks)} prompts with checkable answers", icon=":material/rule:", key=f"check_{key}"):
            try:
                job.check(checks)
            except RunError as error:
                st.error(told(error), icon=":material/error:")
            else:
                st.rerun()


@st.fragment(run_every=_POLL_S)
def going_on(job: Job, key: str) -> None:
    """The check while it goes on."""
    if not job.checking:
        st.rerun()
    done = job.checked
    of = f" {done[-1].number + 1} of {done[-1].of}" if done else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":shimmer[Quick check: prompt{of}]", width="content")
        st.button("Stop the check", icon=":material/stop:", on_click=job.stop_answer, key=f"stop_check_{key}")
    show(job)


def show(job: Job) -> None:
    """How many passed, and each prompt that failed with the reason."""
    verdicts = [one.verdict for one in job.checked]
    if not verdicts:
        return
    passed = sum(verdict.passed for verdict in verdicts)
    speed = f" at {job.measurement.decode_tokens_per_s:.0f} tok/s" if job.measurement else ""
    st.markdown(f"**Passed {passed} of {len(verdicts)}**{speed} {badge('measured here')}")
    st.caption(f"{LABEL}: it tells a model that works from one that is broken, and nothing finer.")
    prompts = {check.id: check.prompt for task in catalog().tasks() for check in catalog().checks(task.id)}
    st.table(
        {
            "Prompt": [plain(prompts.get(one.check_id, one.check_id)) for one in verdicts],
            "Passed": ["yes" if one.passed else "no" for one in verdicts],
            "Why not": [plain(one.detail) for one in verdicts],
        },
        hide_index=True,
    )
