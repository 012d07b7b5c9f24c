"""Recommendations for the API in processes of their own: pages and questions do not wait for one interpreter's lock.

A process reads questions from its stdin, one line of JSON each, and answers each by a line: the HTTP status, a space,
the answer's JSON. It ends when its stdin closes, so none outlives the server, however that ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Any

from recommender.catalog.store import Catalog, open_catalog
from recommender.device import from_dict, preset
from recommender.engine.recommend import recommend
from recommender.errors import RecommenderError, UnknownNameError
from recommender.present import recommendation_json
from recommender.types import Device, Need

LONGEST_SENTENCE = 500
MOST_PROCESSES = 4
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[1])

Question = dict[str, Any]  # device, need and top, of the right form
Answer = tuple[int, bytes]  # HTTP status and JSON


class OpenCatalog:
    """The catalog in use: opened at the first question, and anew once a refresh has replaced it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._catalog: Catalog | None = None

    def __call__(self) -> Catalog:
        with self._lock:
            if self._catalog is None or self._catalog.replaced:
                self._catalog = open_catalog()
            return self._catalog


def device_of(given: str | dict[str, Any]) -> Device:
    """A device as a question gives it."""
    return preset(given) if isinstance(given, str) else from_dict(given)


def refusal(error: Exception) -> Answer:
    """What a question that makes no sense is answered."""
    return 404 if isinstance(error, UnknownNameError) else 422, as_json({"error": str(error)[:LONGEST_SENTENCE]})


def as_json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def answered(catalog: Catalog, question: Question) -> Answer:
    """The recommendation, or why there is none."""
    try:
        found = recommend(device_of(question["device"]), Need(**question["need"]), catalog, top=question["top"])
    except RecommenderError as error:
        return refusal(error)
    return 200, as_json({"catalog_date": catalog.date, **recommendation_json(found)})


class Workers:
    """Up to one process per CPU, each started when all others are busy; any thread may ask."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(min(os.cpu_count() or 1, MOST_PROCESSES)):
            self._free.put(None)

    def __call__(self, question: Question) -> Answer:
        worker = self._free.get()
        try:
            if worker is None or worker.poll() is not None:
                worker = _start()
            line = _exchanged(worker, json.dumps(question).encode() + b"\n")
        except BaseException:
            line = b""
            raise
        finally:
            if worker is not None and not line.endswith(b"\n"):
                _end(worker)
                worker = None
            self._free.put(worker)
        if not line.endswith(b"\n"):
            return 503, as_json({"error": "The process that works out answers ended without one. Ask again."})
        status, _, content = line.partition(b" ")
        return int(status), content.rstrip(b"\n")

    def close(self) -> None:
        """End those that are free; a later question starts them again."""
        for _ in range(self._free.qsize()):
            if (worker := self._free.get()) is not None:
                _end(worker)
            self._free.put(None)


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (_PACKAGE_PARENT, os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=sys.platform != "win32",  # Ctrl-C reaches the server only, whose end it sees
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _exchanged(worker: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Its answer; without its end where the process died over the question."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
        return worker.stdout.readline()
    except BrokenPipeError:
        return b""


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def main() -> None:
    catalog = OpenCatalog()
    for line in sys.stdin.buffer:
        try:
            status, content = answered(catalog(), json.loads(line))
        except RecommenderError as error:  # the catalog cannot be opened
            status, content = refusal(error)
        except Exception:
            logging.exception("A question that nobody foresaw")
            status, content = 500, as_json({"error": "Something went wrong here. The server's log has more."})
        sys.stdout.buffer.write(b"%d %s\n" % (status, content))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
