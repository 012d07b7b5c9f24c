"""Answers in a run's process: one after a measurement, and the chat for which a model stays loaded."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Sequence

from recommender.errors import RecommenderError
from recommender.runner import protocol
from recommender.runner.channel import Channel
from recommender.runner.checks import Check, run_check
from recommender.runner.protocol import Message, Question, RunRequest, TokenCounts
from recommender.runner.session import Answer, OnText
from recommender.runner.thinking import ThinkingSplitter

HURRIED_IDLE_S = 30.0  # how long a chat stays after its last answer while another run waits

CHECK_THINKING_TOKENS = 1024  # of a thinking model, before each answer of the quick check

Answerer = Callable[[Question, OnText], Answer]


def answer(channel: Channel, question: Question, answerer: Answerer) -> None:
    """Stream one answer as events."""
    started = time.perf_counter()
    splitter = ThinkingSplitter()
    first = True
    channel.stop_answer.clear()

    def send(pieces: list[tuple[str, bool]]) -> None:
        nonlocal first
        for piece, thinking in pieces:
            if first:
                first = False
                channel.send(protocol.FirstToken(time.perf_counter() - started))
            channel.send(protocol.Text(piece, thinking))

    def on_text(piece: str, thinking: bool) -> bool:
        send([(piece, True)] if thinking else splitter.feed(piece))
        return not channel.stop_answer.is_set()

    done = answerer(question, on_text)
    send(splitter.finish())
    channel.send(
        protocol.Answered(
            prompt_tokens=done.prompt_tokens,
            answer_tokens=done.answer_tokens,
            ttft_s=done.ttft_s,
            decode_tokens_per_s=done.decode_tokens_per_s,
            finish=done.finish,
            template=done.template,
        )
    )


def play(request: RunRequest, channel: Channel, answerer: Answerer, measure: Callable[[TokenCounts], None]) -> None:
    """Everything a run does with a loaded model: the answer before or after the measurements, checks, and a chat."""
    question = request.question()
    if question and request.answer_first:
        answer(channel, question, answerer)
    for counts in request.counts():
        measure(counts)
    if question and not request.answer_first:
        answer(channel, question, answerer)
    if request.checks:
        run_checks(channel, request.checks, answerer)
    if request.keep_loaded:
        converse(channel, request.idle_s, answerer)


class _Stopped(Exception):
    pass


def run_checks(channel: Channel, checks: Sequence[Check], answerer: Answerer) -> None:
    """Ask the prompts of the quick check and judge the answers, one event each; Stop ends it.

    Thinking does not count against a check's tokens, but has a limit of its own: a model that is still thinking then
    has not answered.
    """
    channel.stop_answer.clear()

    def ask(prompt: str, answer_tokens: int) -> str:
        splitter = ThinkingSplitter()
        said: list[str] = []

        def on_text(piece: str, thinking: bool) -> bool:
            pieces = [(piece, True)] if thinking else splitter.feed(piece)
            said.extend(text for text, thought in pieces if not thought)
            return len(said) < answer_tokens and not channel.stop_answer.is_set()

        question = Question((Message("user", prompt),), answer_tokens + CHECK_THINKING_TOKENS, temperature=0.0)
        answerer(question, on_text)
        if channel.stop_answer.is_set():
            raise _Stopped
        said.extend(text for text, thought in splitter.finish() if not thought)
        return "".join(said)

    with contextlib.suppress(_Stopped):
        for number, check in enumerate(checks, start=1):
            channel.send(protocol.Checked(run_check(check, ask), number, len(checks)))


def converse(channel: Channel, idle_s: float, answerer: Answerer) -> None:
    """Take questions until none comes for ``idle_s``. A question that cannot be answered does not end the chat."""
    channel.send(protocol.Ready())
    last = time.monotonic()
    while True:
        try:
            command = channel.commands.get(timeout=max(0.0, last + idle_s - time.monotonic()))
        except queue.Empty:
            return
        if isinstance(command, protocol.Hurry):
            idle_s = min(idle_s, HURRIED_IDLE_S)
        elif isinstance(command, protocol.Ask | protocol.RunChecks):
            try:
                if isinstance(command, protocol.Ask):
                    answer(channel, command.question, answerer)
                else:
                    run_checks(channel, command.checks, answerer)
            except RecommenderError as error:
                channel.send(protocol.Unanswered(str(error)))
            channel.send(protocol.Ready())
            last = time.monotonic()
