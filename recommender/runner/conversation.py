"""Answers in a run's process: one after a measurement, and the chat for which a model stays loaded."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

from recommender.errors import RecommenderError
from recommender.runner import protocol
from recommender.runner.channel import Channel
from recommender.runner.protocol import Question
from recommender.runner.session import Answer, OnText
from recommender.runner.thinking import ThinkingSplitter

HURRIED_IDLE_S = 30.0  # how long a chat stays after its last answer while another run waits

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
        elif isinstance(command, protocol.Ask):
            try:
                answer(channel, command.question, answerer)
            except RecommenderError as error:
                channel.send(protocol.Unanswered(str(error)))
            channel.send(protocol.Ready())
            last = time.monotonic()
