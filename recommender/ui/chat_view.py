"""The answers of a run, and the chat with a model that is still loaded."""

from __future__ import annotations

import streamlit as st

from recommender.engine.words import count, rate, seconds, size
from recommender.errors import RunError
from recommender.runner.job import Job, Turn
from recommender.runner.protocol import Message, Question
from recommender.settings import current
from recommender.ui import checks_view
from recommender.ui.resources import hosted, told
from recommender.ui.words import badge

_POLL_S = 0.25
_ANSWER_TOKENS = 512
_MOST_TOKENS = 100_000
_TEMPERATURE = 0.7
_ENDINGS = {
    "stopped": " · stopped",
    "length": " · cut off at the longest answer",
    "broken off": " · broken off by the server, as happens when a model repeats itself",
}


def show(job: Job, key: str) -> None:
    """What was said so far; while the model is loaded, room for the next question."""
    if job.state != "chatting" and not any(one.text or one.thinking or one.ended for one in job.turns):
        return
    st.markdown("**Chat**" if job.state == "chatting" or len(job.turns) > 1 else "**Its answer**")
    writing = bool(job.turns) and not job.turns[-1].ended and job.state == "chatting"
    for one in job.turns[:-1] if writing else job.turns:
        turn(one)
    if job.state != "chatting":
        checks_view.show(job)
        return
    if writing:
        _writing(job, key)
    elif job.checking:
        checks_view.going_on(job, key)
    else:
        _ask(job, key)
        if not hosted():  # some checks run code that the model wrote
            checks_view.offer(job, key)
        checks_view.show(job)


@st.fragment(run_every=_POLL_S)
def _writing(job: Job, key: str) -> None:
    newest = job.turns[-1]
    if newest.ended or job.ended:
        st.rerun()
    turn(newest)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Stop the answer", icon=":material/stop:", on_click=job.stop_answer, key=f"stop_answer_{key}")
        if newest.tokens_per_s:
            st.caption(f"about {rate(newest.tokens_per_s)}")


def _ask(job: Job, key: str) -> None:
    most_tokens = current().run_tokens if hosted() else _MOST_TOKENS
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Chat settings", icon=":material/tune:"):
            system = st.text_area("System prompt", key="chat_system", max_chars=10_000, persist_state="session")
            temperature = st.slider(
                "Temperature", 0.0, 2.0, _TEMPERATURE, 0.05, key="chat_temperature", persist_state="session"
            )
            tokens = st.number_input(
                "Longest answer, tokens",
                1,
                most_tokens,
                min(_ANSWER_TOKENS, most_tokens),
                key="chat_tokens",
                persist_state="session",
            )
        st.button(
            "End the chat",
            icon=":material/eject:",
            on_click=job.close,
            key=f"end_chat_{key}",
            help="Gives its memory back.",
        )
        held = f"{size(job.memory.total_bytes)} of memory" if job.memory else "Its memory"
        st.caption(f"{held} is given back then, or after {job.request.idle_s / 60:.0f} minutes without a question.")
    said = st.chat_input("Ask it something", key=f"chat_{key}", max_chars=20_000)
    if said:
        history = job.turns[-1] if job.turns else None
        messages = (*_before(history, system), Message("user", said))
        try:
            job.ask(Question(messages, min(int(tokens), most_tokens), temperature, reuse_prefix=True))
        except RunError as error:
            st.error(told(error))
        else:
            st.rerun()


def _before(last: Turn | None, system: str) -> tuple[Message, ...]:
    """The chat up to the next question, with the system prompt of now."""
    start = (Message("system", system.strip()),) if system.strip() else ()
    if last is None:
        return start
    turns = tuple(message for message in last.question.messages if message.role != "system")
    if last.text:
        return (*start, *turns, Message("assistant", last.text))
    return (*start, *turns[:-1])  # what was not answered is left out: two questions in a row break templates


def turn(one: Turn) -> None:
    """A question and its answer, with the thinking apart and the figures below."""
    with st.chat_message("user", avatar=":material/person:"):
        st.text(one.question.messages[-1].content)
    with st.chat_message("assistant", avatar=":material/smart_toy:"):
        if one.thinking:
            with st.expander(f"Thinking, {count(len(one.thinking.split()))} words", icon=":material/psychology:"):
                st.text(one.thinking)
        if one.text:
            st.text(one.text)
        if one.problem:
            st.error(told(one.problem), icon=":material/error:")
        if one.answered:
            ending = _ENDINGS.get(one.answered.finish, "")
            st.caption(
                f"{count(one.answered.answer_tokens)} tokens, the first after {seconds(one.answered.ttft_s)}, then "
                f"{rate(one.answered.decode_tokens_per_s)} {badge('measured here')}{ending}"
                + ("" if one.answered.template == "file" else " · the file has no chat template: plain completion")
            )
