"""A model that stays loaded after its run, and what is said with it."""

from __future__ import annotations

import io
import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from recommender.errors import RunError
from recommender.runner import Job, RunManager, conversation, protocol
from recommender.runner.channel import Channel
from recommender.runner.checks import Check
from recommender.runner.protocol import Message, Question
from recommender.runner.session import Answer, OnText
from tests.runner.conftest import SETTINGS, finished, until
from tests.tiny_gguf import CHAT_TEMPLATE, write_tiny_gguf

HELLO = Question((Message("user", "Hello"),), answer_tokens=5, temperature=0.0)


def chatting(job: Job) -> Job:
    until(lambda: job.state == "chatting" or job.ended)
    assert job.error == ""
    return job


def answered(job: Job) -> protocol.Answered:
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].problem == ""
    found = job.turns[-1].answered
    assert found is not None
    return found


def test_a_kept_model_answers_one_question_after_another(ask, manager: RunManager, binding: str) -> None:
    job = chatting(manager.submit(ask(binding=binding, repeats=1, keep_loaded=True)))
    assert job.measurement is not None
    pid = job.pid
    texts = []
    for _ in range(2):
        job.ask(HELLO)
        answered(job)
        texts.append(job.turns[-1].text)
    assert texts[0]
    assert texts[0] == texts[1]
    assert job.pid == pid
    job.close()
    assert (finished(job).state, job.error) == ("done", "")
    assert not psutil.pid_exists(pid or 0)


def test_a_chat_says_the_same_whether_or_not_its_beginning_is_reused(ask, manager: RunManager, binding: str) -> None:
    job = chatting(manager.submit(ask(binding=binding, repeats=0, prompt="Hi", answer_tokens=4, keep_loaded=True)))
    turns = (Message("user", "Hello"), Message("assistant", job.turns[0].text), Message("user", "More"))
    texts = []
    for reuse in (False, True, True):
        job.ask(Question(turns, answer_tokens=12, temperature=0.0, reuse_prefix=reuse))
        answered(job)
        texts.append(job.turns[-1].text)
    assert texts[0] == texts[1] == texts[2]
    job.close()


def test_an_answer_can_be_stopped_and_the_model_stays(ask, tmp_path: Path, manager: RunManager, binding: str) -> None:
    path = write_tiny_gguf(tmp_path / "long.gguf", context_tokens=2**14)
    settings = replace(SETTINGS, context_tokens=2**14)
    job = chatting(
        manager.submit(
            ask(
                binding=binding,
                model_path=str(path),
                settings=settings,
                repeats=0,
                prompt="Hi",
                answer_tokens=2,
                keep_loaded=True,
            )
        )
    )
    job.ask(replace(HELLO, answer_tokens=15_000))
    until(lambda: job.turns[-1].text)
    with pytest.raises(RunError, match="still being written"):
        job.ask(HELLO)
    job.stop_answer()
    assert answered(job).finish == "stopped"
    assert answered(job).answer_tokens < 15_000
    job.ask(HELLO)
    assert answered(job).finish in ("length", "stop")
    job.close()


def test_a_question_that_does_not_fit_gets_a_sentence_and_the_chat_goes_on(
    ask, manager: RunManager, binding: str
) -> None:
    job = chatting(manager.submit(ask(binding=binding, repeats=0, prompt="Hi", answer_tokens=2, keep_loaded=True)))
    job.ask(Question((Message("user", "word " * 2000),)))
    until(lambda: job.turns[-1].ended)
    assert job.turns[-1].problem
    job.ask(HELLO)
    answered(job)
    job.close()


def test_thinking_that_the_template_begins_comes_apart(ask, tmp_path: Path, manager: RunManager, binding: str) -> None:
    template = CHAT_TEMPLATE.replace("{{ message.content }}", "{{ message.content.split('</think>')[-1] }}").replace(
        "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
    )
    path = write_tiny_gguf(tmp_path / "thinks.gguf", template=template)
    job = finished(manager.submit(ask(binding=binding, model_path=str(path), repeats=0, prompt="Hi", answer_tokens=6)))
    assert job.error == ""
    assert job.turns[0].thinking
    assert job.text == ""


def test_an_idle_chat_gives_its_memory_back(ask, manager: RunManager) -> None:
    job = chatting(manager.submit(ask(repeats=0, prompt="Hi", answer_tokens=2, keep_loaded=True, idle_s=0.5)))
    assert (finished(job).state, job.error, job.pid) == ("done", "", None)
    with pytest.raises(RunError, match="not loaded any more"):
        job.ask(HELLO)


def test_a_run_waits_for_the_end_of_a_chat(ask, manager: RunManager) -> None:
    job = chatting(manager.submit(ask(repeats=0, prompt="Hi", answer_tokens=2, keep_loaded=True)))
    following = manager.submit(ask(repeats=0, prompt="Hi", answer_tokens=2))
    assert following.position == 1
    job.ask(HELLO)
    answered(job)
    job.close()
    assert finished(following).state == "done"


def test_a_chat_that_is_told_to_hurry_ends_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HURRIED_IDLE_S", 0.05)
    channel = Channel({}, io.StringIO())
    channel.commands.put(protocol.Hurry())
    conversation.converse(channel, 3600.0, lambda question, on_text: pytest.fail("nothing was asked"))


def test_what_was_measured_is_handed_over_while_the_chat_goes_on(ask) -> None:
    kept: list[object] = []
    manager = RunManager(on_measurement=kept.append)
    job = chatting(manager.submit(ask(repeats=1, keep_loaded=True)))
    assert kept == [job.measurement]
    manager.close()
    assert job.ended


def test_a_kept_model_that_is_killed_is_explained_and_its_chat_is_kept(ask, manager: RunManager) -> None:
    job = chatting(manager.submit(ask(repeats=0, prompt="Hi", answer_tokens=3, keep_loaded=True)))
    said = job.turns[0].text
    os.kill(job.pid or 0, signal.SIGKILL)
    assert finished(job).state == "failed"
    assert "killed from outside" in job.error
    assert job.turns[0].text == said


def test_the_profile_of_the_task_is_measured_beside_the_standard_one(ask, manager: RunManager, binding: str) -> None:
    counts = protocol.TokenCounts(96, 8)
    job = finished(manager.submit(ask(binding=binding, task_counts=counts, predicted_decode_tokens_per_s=7.0)))
    assert job.error == ""
    standard, task = job.measurements
    assert (standard.prompt_tokens, standard.gen_tokens, standard.predicted_decode_tokens_per_s) == (48, 12, 7.0)
    assert (task.prompt_tokens, task.gen_tokens, task.predicted_decode_tokens_per_s) == (96, 8, None)
    assert job.measurement == standard


NUMBER = Check("sum", "reasoning", "number", "How much is 2 + 2?", "4", 8, "4", "own")


def test_a_quick_check_asks_its_prompts_and_the_chat_goes_on(ask, manager: RunManager, binding: str) -> None:
    job = chatting(manager.submit(ask(binding=binding, repeats=0, prompt="Hi", answer_tokens=2, keep_loaded=True)))
    job.check((NUMBER, replace(NUMBER, id="again")))
    until(lambda: not job.checking)
    assert [(one.verdict.check_id, one.verdict.passed, one.number, one.of) for one in job.checked] == [
        ("sum", False, 1, 2),
        ("again", False, 2, 2),
    ]
    assert all(one.verdict.detail for one in job.checked)
    assert len(job.turns) == 1, "the check's prompts are no part of the chat"
    job.ask(HELLO)
    answered(job)
    job.close()


def test_a_run_can_end_with_a_quick_check(ask, manager: RunManager) -> None:
    job = finished(manager.submit(ask(repeats=1, checks=(NUMBER,))))
    assert (job.state, len(job.checked)) == ("done", 1)
    assert job.measurement is not None


def test_thinking_does_not_count_against_the_tokens_of_a_check() -> None:
    def think_then_answer(question: Question, on_text: OnText) -> Answer:
        assert question.temperature == 0.0
        for piece in ("<think>", *["so "] * 50, "</think>", "4"):
            if not on_text(piece, False):
                break
        return Answer(1, 53, 0.1, 10.0, "stop", "file")

    channel = Channel({}, io.StringIO())
    conversation.run_checks(channel, (NUMBER,), think_then_answer)
    [line] = channel._out.getvalue().splitlines()  # type: ignore[attr-defined]
    event = protocol.decode(line)
    assert isinstance(event, protocol.Checked)
    assert event.verdict.passed


def test_a_check_that_is_stopped_asks_no_further_prompt() -> None:
    asked: list[str] = []
    channel = Channel({}, io.StringIO())

    def stopped(question: Question, on_text: OnText) -> Answer:
        asked.append(question.messages[-1].content)
        channel.stop_answer.set()
        on_text("4", False)
        return Answer(1, 1, 0.1, 10.0, "stopped", "file")

    conversation.run_checks(channel, (NUMBER, NUMBER), stopped)
    assert len(asked) == 1
    assert channel._out.getvalue() == ""  # type: ignore[attr-defined]
