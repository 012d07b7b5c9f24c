"""One run from start to end, for callers that wait: the command line and scripts."""

from __future__ import annotations

from collections.abc import Callable

from recommender.errors import Cancelled, RunError
from recommender.runner.jobs import RunManager
from recommender.runner.protocol import Event, RunRequest
from recommender.types import Measurement

_POLL_S = 0.05


def measure(request: RunRequest, on_event: Callable[[Event], None] | None = None) -> Measurement:
    """Run ``request`` in a process of its own and wait for the measurement.

    Args:
        request: what to run; ``repeats`` must be at least 1.
        on_event: called with each event, on another thread. An interrupt (Ctrl-C) ends the run's process.

    Raises:
        BadInputError: the request makes no sense.
        RuntimeMissingError: no binding of llama.cpp is installed.
        DownloadError: the file could not be fetched.
        RunError: the model could not be loaded or run.
    """
    manager = RunManager()
    try:
        job = manager.submit(request, on_event)
        while not job.wait(_POLL_S):  # in short waits, so that Ctrl-C comes through on every system
            pass
    finally:
        manager.close()
    if job.exception is not None:
        raise job.exception
    if job.state == "cancelled":
        raise Cancelled("The run was stopped.")
    if job.measurement is None:
        raise RunError("Nothing was measured: ask for at least one repeat.")
    return job.measurement
