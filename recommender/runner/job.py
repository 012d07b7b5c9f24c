"""One run, as pages and scripts look at it from any thread: its state, events, answers, measurements, and Stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from recommender.errors import Cancelled, RecommenderError, RunError
from recommender.runner import protocol
from recommender.runner.checks import Check
from recommender.runner.protocol import Event, Question, RunRequest, State
from recommender.runner.runners import Runner
from recommender.types import Measurement, Memory

T = TypeVar("T")

_STATE_OF: dict[type, State] = {
    protocol.Downloading: "downloading",
    protocol.Verifying: "verifying",
    protocol.Loading: "loading",
    protocol.WarmUp: "measuring",
    protocol.Repeat: "measuring",
    protocol.FirstToken: "answering",
    protocol.Checked: "checking",
    protocol.Ready: "chatting",
}

_END_S = 5.0  # from the end of a process to the end of its job


@dataclass(frozen=True)
class Turn:
    """A question and how far its answer is. ``answered`` has the figures when it is complete."""

    question: Question
    text: str = ""
    thinking: str = ""
    answered: protocol.Answered | None = None
    problem: str = ""  # why there is no answer
    pieces: int = 0  # of text or thinking, about one a token
    first_at: float = 0.0  # time.monotonic() of the first and the newest
    last_at: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """About how fast it is being written; ``None`` before there is enough of it."""
        took = self.last_at - self.first_at
        return (self.pieces - 1) / took if took > 0 else None

    @property
    def ended(self) -> bool:
        return self.answered is not None or bool(self.problem)


class Job:
    """One run, as any thread may look at it. Everything but ``cancel`` only reads."""

    def __init__(
        self,
        request: RunRequest,
        on_event: Callable[[Event], None] | None = None,
        leave_queue: Callable[[], None] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self._on_event = on_event
        self._leave_queue = leave_queue
        self._before = before
        self.id = uuid.uuid4().hex[:12]
        self.request = request
        self.submitted_at = time.time()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._state: State = "queued"
        self._position = 0
        self._events: list[Event] = []
        question = request.question()
        self._turns: list[Turn] = [Turn(question)] if question else []
        self._error: RecommenderError | None = None
        self._measurements: list[Measurement] = []
        self._checked: list[protocol.Checked] = []
        self._checking = False
        self._runner: Runner | None = None
        self._cancelled = False
        self._closed = False

    @property
    def state(self) -> State:
        return self._state

    @property
    def ended(self) -> bool:
        """Whether it is over: done, failed or cancelled, and its process gone."""
        return self._ended.is_set()

    @property
    def position(self) -> int:
        """1 = next in the queue; 0 = not waiting."""
        return self._position if self._state == "queued" else 0

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened so far, in order. Text is left out (see ``text``), and of a file's progress only the last."""
        with self._lock:
            return tuple(self._events)

    @property
    def text(self) -> str:
        """The answer to the request's own question so far."""
        with self._lock:
            return self._turns[0].text if self._turns and self.request.question() else ""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The chat so far; the first is the request's own question, if it has one."""
        with self._lock:
            return tuple(self._turns)

    @property
    def error(self) -> str:
        """The sentence to show when it failed; "" otherwise."""
        return str(self._error) if self._error else ""

    @property
    def exception(self) -> RecommenderError | None:
        return self._error

    @property
    def measurement(self) -> Measurement | None:
        """The one with the standard token counts."""
        with self._lock:
            return self._measurements[0] if self._measurements else None

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All of the run: the standard token counts, then the task's."""
        with self._lock:
            return tuple(self._measurements)

    @property
    def memory(self) -> Memory | None:
        """What the runtime says it allocated, from the moment the model is loaded."""
        loaded = self.last(protocol.Loaded)
        return loaded.memory if loaded else None

    def last(self, kind: type[T]) -> T | None:
        """The newest event of a kind, such as ``protocol.Downloading``."""
        with self._lock:
            return next((event for event in reversed(self._events) if isinstance(event, kind)), None)

    @property
    def pid(self) -> int | None:
        """The run's process while there is one."""
        runner = self._runner
        return runner.pid if runner is not None and not self.ended else None

    def cancel(self) -> None:
        """Stop it now, waiting or running. When this returns, its process is gone and its memory is free."""
        self._stop(cancelled=True)

    def close(self) -> None:
        """End the chat: its process is gone when this returns, and the run counts as done. Not for a listener."""
        self._stop(cancelled=self._state != "chatting")
        self._ended.wait(_END_S)

    def ask(self, question: Question) -> None:
        """Ask the model that was kept loaded; the answer comes into ``turns``.

        Raises:
            RunError: it is not loaded any more, or the last answer is not complete yet.
        """
        runner = self._idle_runner()
        with self._lock:
            self._turns.append(Turn(question))
        runner.tell(protocol.Ask(question))

    def _idle_runner(self) -> Runner:
        with self._lock:
            if self.ended or self._state != "chatting" or self._runner is None:
                raise RunError("The model is not loaded any more: run it again to go on with the chat.")
            if self._checking or (self._turns and not self._turns[-1].ended):
                raise RunError("The last answer is still being written. Stop it, or wait for its end.")
            return self._runner

    def check(self, checks: Sequence[Check]) -> None:
        """Ask the prompts of the quick check; the verdicts come into ``checked``, in place of earlier ones.

        Raises ``RunError`` as ``ask`` does.
        """
        runner = self._idle_runner()
        with self._lock:
            self._checking = True
            self._checked.clear()
        runner.tell(protocol.RunChecks(tuple(checks)))

    @property
    def checking(self) -> bool:
        """Whether a quick check goes on in the chat."""
        return self._checking and not self.ended

    @property
    def checked(self) -> tuple[protocol.Checked, ...]:
        """Of the newest quick check so far."""
        with self._lock:
            return tuple(self._checked)

    def stop_answer(self) -> None:
        """End the answer that is being written, or the quick check; the model stays loaded."""
        runner = self._runner
        if runner is not None:
            runner.tell(protocol.StopAnswer())

    def _stop(self, cancelled: bool) -> None:
        with self._lock:
            if self.ended:
                return
            self._cancelled, self._closed = cancelled, not cancelled
            runner = self._runner
            waiting = self._state == "queued" and runner is None
            if waiting:
                self._state = "cancelled"
                self._ended.set()
        if runner is not None:
            runner.stop()
        elif waiting and self._leave_queue is not None:
            self._leave_queue()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False when the time is over first."""
        return self._ended.wait(timeout_s)

    # ── used by the manager's thread ─────────────────────────────────────────────────────────────────────────

    def _add(self, event: Event) -> None:
        self._keep(event)
        if self._on_event is not None:
            self._on_event(event)

    def _keep(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, protocol.Text):
                self._write(event)
                return
            if isinstance(event, protocol.Answered) and self._turns:
                self._turns[-1] = replace(self._turns[-1], answered=event)
            if isinstance(event, protocol.Unanswered) and self._turns:
                self._turns[-1] = replace(self._turns[-1], problem=event.message)
            if isinstance(event, protocol.Checked):
                self._checked.append(event)
            if isinstance(event, protocol.Ready):
                self._checking = False
            if isinstance(event, protocol.Result):
                self._measurements.append(event.measurement)
            if isinstance(event, protocol.Error):
                self._error = protocol.error_from(event)
            if isinstance(event, protocol.Downloading | protocol.Queued) and self._events:
                newest = self._events[-1]
                if type(newest) is type(event) and getattr(newest, "file", "") == getattr(event, "file", ""):
                    self._events.pop()
            self._events.append(event)
            if self._state != "chatting":
                self._state = _STATE_OF.get(type(event), self._state)

    def _write(self, event: protocol.Text) -> None:
        if not self._turns:
            return
        turn = self._turns[-1]
        now = time.monotonic()
        name = "thinking" if event.thinking else "text"
        said: Any = {name: getattr(turn, name) + event.piece}
        self._turns[-1] = replace(turn, **said, pieces=turn.pieces + 1, first_at=turn.first_at or now, last_at=now)

    def _queue(self, position: int) -> None:
        if position != self._position:
            self._position = position
            self._add(protocol.Queued(position))

    def _start(self) -> None:
        with self._lock:
            if self._state == "queued":
                self._state = "loading"

    def _prepare(self) -> None:
        """What was to be done when its turn has come; raises what that raises."""
        if self._before is not None:
            self._before()

    def _expire(self) -> None:
        """Its time is over: a chat ends, anything else has failed."""
        with self._lock:
            if self.ended:
                return
            if self._state != "chatting" and self._error is None:
                longest_s = self.request.longest_s or 0.0
                self._error = RunError(f"It was ended after {longest_s:.0f} s, the longest a run may take here.")
        self._stop(cancelled=False)

    def _take(self, runner: Runner) -> None:
        """Make ``runner`` what Stop stops; raises ``Cancelled`` when Stop came first."""
        with self._lock:
            if self._cancelled:
                raise Cancelled("Stopped.")
            self._runner = runner

    def _hurry(self) -> None:
        runner = self._runner
        if runner is not None and self._state == "chatting":
            runner.tell(protocol.Hurry())

    def _end(self, error: RecommenderError | None = None) -> None:
        with self._lock:
            self._runner = None
            if error is not None and self._error is None and not self._closed:
                self._error = error
            self._state = "cancelled" if self._cancelled else "failed" if self._error else "done"
            self._ended.set()
