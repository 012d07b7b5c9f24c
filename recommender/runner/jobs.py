"""Runs as jobs: one at a time, a queue with positions, Stop at once. Knows nothing of the page that shows them."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from recommender.errors import RecommenderError, RunError
from recommender.runner import protocol
from recommender.runner.job import Job
from recommender.runner.protocol import Event, RunRequest
from recommender.runner.runners import make_runner
from recommender.types import Measurement


class Runs(Protocol):
    """What a page needs of a queue of runs."""

    def submit(self, request: RunRequest) -> Job: ...

    def get(self, job_id: str) -> Job | None: ...

    def jobs(self) -> tuple[Job, ...]: ...


class RunManager:
    """Runs jobs one after another, each in a process of its own. One per server; safe to use from any thread.

    Args:
        on_measurement: called with each finished measurement, whoever is or is not still watching.
        longest_queue: how many may wait.
        kept_jobs: how many ended jobs ``get`` still finds.
    """

    def __init__(
        self,
        on_measurement: Callable[[Measurement], None] | None = None,
        longest_queue: int = 8,
        kept_jobs: int = 100,
    ) -> None:
        self._on_measurement = on_measurement
        self._longest_queue = longest_queue
        self._kept_jobs = kept_jobs
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        atexit.register(self.close)

    def submit(
        self,
        request: RunRequest,
        on_event: Callable[[Event], None] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Job:
        """Queue a run. ``on_event`` is called with every event as it comes, on the manager's own thread
        (while it waits in the queue, on the thread that changed the queue). It must not block. ``before`` is called
        on the manager's thread when its turn has come; the run fails with a ``RecommenderError`` that it raises.

        Raises:
            BadInputError: the request makes no sense.
            RunError: too many are waiting.
        """
        request.check()
        job = Job(request, on_event, self._renumber, before)
        with self._changed:
            if self._closed:
                raise RunError("The app is shutting down.")
            self._drop_cancelled()
            if len(self._waiting) >= self._longest_queue:
                raise RunError(f"{len(self._waiting)} runs are waiting already. Try again when one has ended.")
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._forget()
            self._number()
            self._start_thread()
            self._changed.notify_all()
            chatting = self._current
        if chatting is not None:
            chatting._hurry()
        return job

    def get(self, job_id: str) -> Job | None:
        """The job with that id; None when there is none any more."""
        with self._changed:
            return self._jobs.get(job_id)

    def jobs(self) -> tuple[Job, ...]:
        """All that are known, oldest first."""
        with self._changed:
            return tuple(self._jobs.values())

    def close(self) -> None:
        """Cancel everything and take no more. No process is left."""
        with self._changed:
            self._closed = True
            jobs = [*self._waiting, *([self._current] if self._current else [])]
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        atexit.unregister(self.close)

    def _renumber(self) -> None:
        with self._changed:
            self._drop_cancelled()
            self._number()

    def _drop_cancelled(self) -> None:
        self._waiting = deque(job for job in self._waiting if not job.ended)

    def _number(self) -> None:
        for position, job in enumerate(self._waiting, start=1):
            job._queue(position)

    def _forget(self) -> None:
        ended = [job for job in self._jobs.values() if job.ended]
        for job in ended[: max(0, len(ended) - self._kept_jobs)]:
            del self._jobs[job.id]

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            self._run_all()
        finally:
            # Also after an error nobody foresaw: whoever waits must still get their turn.
            with self._changed:
                broken, self._current, self._thread = self._current, None, None
                if self._waiting and not self._closed:
                    self._start_thread()
            if broken is not None and not broken.ended:
                broken._end(RunError("The run failed inside the app; its log has the details. Run it again."))

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._current = None
                self._drop_cancelled()
                self._number()
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._current = job = self._waiting.popleft()
                job._start()
                self._number()
            self._run(job)

    def _run(self, job: Job) -> None:
        def on_event(event: Event) -> None:
            job._add(event)
            # At once, so that what was measured is kept however the rest of the run goes.
            if isinstance(event, protocol.Result) and self._on_measurement is not None:
                self._on_measurement(event.measurement)
            if isinstance(event, protocol.Ready) and self._waiting:
                job._hurry()

        clock = threading.Timer(job.request.longest_s, job._expire) if job.request.longest_s else None
        if clock is not None:
            clock.daemon = True
            clock.start()
        try:
            job._prepare()
            runner = make_runner(job.request.runtime)
            job._take(runner)
            runner.run(job.request, on_event)
        except RecommenderError as error:
            job._end(error)
        except OSError as error:
            job._end(RunError(f"The run's process could not be started: {error}. Close other programs and try again."))
        else:
            job._end()
        finally:
            if clock is not None:
                clock.cancel()
