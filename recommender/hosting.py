"""What a stranger may do on a hosted instance: the gate that every visitor's run goes through.

Pages show the same limits; here they hold whatever a page let through.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limits import RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from recommender import audit, paths
from recommender.catalog.queries import variant_columns
from recommender.catalog.store import Catalog
from recommender.device import memory_budget
from recommender.door import limited_as
from recommender.engine.estimate_rows import default_threads
from recommender.engine.words import count, size
from recommender.errors import RecommenderError, RunError
from recommender.runner import RunManager, disk, hub
from recommender.runner.job import Job
from recommender.runner.protocol import RunRequest
from recommender.runner.runners import make_runner
from recommender.settings import Settings
from recommender.types import BATCH_TOKENS, GIB, OWN_FILE, Device

_RUNTIME, _SERVER = "llama.cpp", "openai"
_CHAT_IDLE_S = 60.0  # others may be waiting
_MOST_REPEATS = 3


class Gate:
    """What all visitors share: the queue, the limits, and who started how many runs. One per server, for any thread."""

    def __init__(self, manager: RunManager, settings: Settings) -> None:
        self.manager = manager
        self.settings = settings
        self._share = RateLimitItemPerHour(settings.visitor_runs_per_hour)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._owners: dict[str, str] = {}  # id of a job → who started it
        self._lock = threading.Lock()

    def admit(self, who: str, start: Callable[[], Job]) -> Job:
        """Start a run for this visitor.

        Raises:
            RunError: they have had their share for now.
            RecommenderError: what ``start`` raises.
        """
        who = limited_as(who)
        with self._lock:
            self._check_share(who)
            job = start()
            known = {one.id for one in self.manager.jobs()}
            self._owners = {one: owner for one, owner in self._owners.items() if one in known} | {job.id: who}
        return job

    def _check_share(self, who: str) -> None:
        active = sum(self._owners.get(job.id) == who for job in self.manager.jobs() if not job.ended)
        if active >= self.settings.visitor_runs:
            runs = "1 run" if active == 1 else f"{active} runs"
            raise RunError(f"{runs} of yours wait or go on already. Start another one when one has ended.")
        if not self._limiter.hit(self._share, who):
            wait_s = self._limiter.get_window_stats(self._share, who).reset_time - time.time()
            raise RunError(
                f"{self._share.amount} runs an hour may be started from one address, and that many were. The next one "
                f"can be in {max(1, round(wait_s / 60))} min."
            )


@dataclass(frozen=True)
class VisitorRuns:
    """The queue as one visitor may use it. A run's id is what they hold of it, in their URL.

    Args:
        gate: of this server.
        who: the visitor's address.
        own: ids of the runs of this session; the pages list no others.
        catalog: what may be run.
        device: the server's.
    """

    gate: Gate
    who: str
    own: list[str]
    catalog: Catalog
    device: Device

    def submit(self, request: RunRequest) -> Job:
        """Queue a run within the limits of a visitor.

        Raises:
            BadInputError: the request makes no sense.
            RunError: it is not for visitors, too large, or the visitor has had their share.
        """
        about: dict[str, Any] = {
            "model": request.model_id,
            "quantization": request.quantization,
            "runtime": request.runtime,
            "rehearsal": request.rehearsal,
        }
        try:
            bounded = bounded_request(request, self.gate.settings, self.catalog, self.device)
            job = self.gate.admit(self.who, lambda: self.gate.manager.submit(bounded, before=self._make_room(bounded)))
        except RecommenderError as error:
            audit.log(self.who, "run refused", **about, why=str(error))
            raise
        self.own.append(job.id)
        audit.log(self.who, "run", **about, run=job.id[:4])
        return job

    def get(self, job_id: str) -> Job | None:
        return self.gate.manager.get(job_id)

    def jobs(self) -> tuple[Job, ...]:
        """Those of this session."""
        return tuple(job for job in self.gate.manager.jobs() if job.id in self.own)

    def others_active(self) -> int:
        """How many runs of other visitors wait or go on."""
        return sum(not job.ended and job.id not in self.own for job in self.gate.manager.jobs())

    def _make_room(self, request: RunRequest) -> Callable[[], None] | None:
        if request.runtime != _RUNTIME or request.rehearsal:
            return None

        def make_room() -> None:
            here = hub.at_hand(request.repo, request.file)
            if here is not None:
                disk.mark_used(here)
                return
            needed = make_runner(_RUNTIME).plan(request).download_bytes or request.most_download_bytes or 0.0
            for one in disk.make_room(needed, self.gate.settings.disk_quota_gib * GIB):
                audit.log("server", "file removed for room", file=one.name, repository=one.repo)

        return make_room


def bounded_request(request: RunRequest, settings: Settings, catalog: Catalog, device: Device) -> RunRequest:
    """The same run within what a visitor may ask: only the catalog's files, and never more than the settings say.

    Raises:
        RunError: it is not for visitors, or larger than may be run here.
    """
    longest = settings.max_context
    if request.settings.context_tokens > longest:
        raise RunError(f"The context may be at most {count(longest)} tokens in a run on this server.")
    bounded = replace(
        request,
        settings=replace(
            request.settings,
            threads=min(request.settings.threads, default_threads(device)),
            batch_tokens=min(request.settings.batch_tokens, BATCH_TOKENS),
            ubatch_tokens=min(request.settings.ubatch_tokens, BATCH_TOKENS),
            parallel=1,
        ),
        answer_tokens=min(request.answer_tokens, settings.run_tokens),
        gen_tokens=min(request.gen_tokens, settings.run_tokens),
        task_counts=None,
        repeats=min(request.repeats, _MOST_REPEATS),
        checks=(),
        idle_s=_CHAT_IDLE_S,
        longest_s=float(settings.run_seconds),
    )
    if request.runtime == _SERVER:
        if not settings.try_server or request.endpoint != settings.try_server:
            raise RunError("Only the server that this instance names can be asked.")
        return bounded
    if request.runtime != _RUNTIME:
        raise RunError(f"{request.runtime} is not for visitors of this server.")
    row = _published(request, catalog)
    needs = float(row["published_bytes"] or row["file_bytes"])
    most = settings.max_file_gib * GIB
    if needs > most:
        raise RunError(
            f"{request.model_id} {request.quantization} has {size(needs)}; "
            + (f"at most {size(most)} may be run on this server." if most else "nothing is run on this server.")
        )
    budget = memory_budget(device)
    free = (budget.ram_bytes or 0.0) + (0.0 if budget.unified else budget.gpu_bytes or 0.0)
    wanted = request.predicted_memory_bytes or needs
    if wanted > free:
        raise RunError(f"It needs {size(wanted)} of memory, and {size(free)} is free on this server.")
    if request.rehearsal:
        if not Path(request.model_path).is_relative_to(paths.scratch_dir()):
            raise RunError("A rehearsal runs only the file that was made for it.")
        return bounded
    # What the catalog says now, not what the request says.
    repo, file = str(row["repo"] or ""), str(row["file"] or "")
    if (
        not repo
        or repo.startswith(OWN_FILE)
        or request.repo not in ("", repo)
        or (file and request.file not in ("", file))
    ):
        raise RunError(f"No published file of {request.model_id} {request.quantization} is known.")
    return replace(bounded, model_path="", repo=repo, file=file or request.file, most_download_bytes=most)


def _published(request: RunRequest, catalog: Catalog) -> Mapping[str, Any]:
    if request.model_id.startswith(OWN_FILE):
        raise RunError("Only models of the catalog can be run on this server.")
    for row in variant_columns(catalog, request.model_id, _RUNTIME):
        if row["quantization"] == request.quantization:
            return row
    raise RunError("Only models of the catalog can be run on this server.")
