"""A refresh as the page sees it: started, followed, stopped, and its result put in use or thrown away."""

from __future__ import annotations

import json
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Literal

from recommender import paths
from recommender.catalog import changes as changes_of
from recommender.catalog import refresh
from recommender.catalog.refresh import Prepared, Told
from recommender.catalog.sources.base import Progress
from recommender.errors import RunError
from recommender.runner.child import Child

State = Literal["idle", "running", "ready", "failed", "stopped"]


class RefreshJob:
    """At most one refresh at a time, for all sessions of a server. Any thread may use it."""

    def __init__(self) -> None:
        self.state: State = "idle"
        self.error = ""
        self.prepared: Prepared | None = None
        self.progress: dict[str, Progress] = {}  # the newest of each source, in the order they began
        self._child: Child | None = None
        self._lock = Lock()

    def start(self, **request: Any) -> None:
        """Begin: ``sources`` and ``limit``, or ``add`` or ``remove`` with what to.

        Raises:
            RunError: one is going on, or waits to be looked at.
        """
        with self._lock:
            if self.state in ("running", "ready"):
                raise RunError("A refresh is going on already, or waits to be applied. End that one first.")
            self._child = Child("recommender.catalog.refresh_worker", json.dumps(request))
            self.state, self.error, self.progress = "running", "", {}
            Thread(target=self._follow, args=(self._child,), daemon=True).start()

    def stop(self) -> None:
        """End it; what the sources told until now is kept."""
        with self._lock:
            if self.state == "running" and self._child is not None:
                self.state = "stopped"
                self._child.kill()

    def apply(self) -> None:
        """Put the result in use.

        Raises:
            RunError: there is none, or no longer one.
            RecommenderError: it cannot be put in use; it is thrown away then.
        """
        refresh.apply(self._taken())

    def discard(self) -> None:
        """Throw the result away.

        Raises:
            RunError: there is none, or no longer one.
        """
        refresh.discard(self._taken())

    def _taken(self) -> Prepared:
        with self._lock:
            if self.state != "ready" or self.prepared is None:
                raise RunError("There is nothing to apply (any more): it was done in another window.")
            prepared, self.prepared, self.state = self.prepared, None, "idle"
            return prepared

    def _follow(self, child: Child) -> None:
        ended: dict[str, Any] = {}
        for line in child.lines():
            with suppress(ValueError):
                event = json.loads(line)
                if "progress" in event:
                    one = Progress(**event["progress"])
                    self.progress[one.source] = one
                else:
                    ended = event
        child.finish()
        with self._lock:
            if self.state != "running" or self._child is not child:
                return
            if "folder" in ended:
                folder = paths.live_dir() / ended["folder"]
                told = tuple(Told(**one) for one in ended["told"])
                self.prepared = Prepared(folder, changes_of.saved(folder), told, ())
                self.state = "ready"
            else:
                self.error = ended.get("error", "The refresh ended unexpectedly. Start it again.")
                self.state = "failed"
