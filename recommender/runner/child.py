"""The outside of a child process: start it, read its events, kill it, and say in a sentence how it died."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recommender import paths
from recommender.errors import OutOfMemoryError, RunError
from recommender.runner import load_log, protocol

_LONGEST_LINE = 4 * 1024**2
_TAIL_BYTES = 64 * 1024
_SERVERS_OWN = ("RIGHTSIZE_", "STREAMLIT_")
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])


class Child:
    """A fresh Python process that runs one module, with a request on stdin and events on stdout.

    The process never outlives this one: it ends when its stdin closes, and on Linux with the thread that made it.
    """

    def __init__(self, module: str, request: str, environment: Mapping[str, str] | None = None) -> None:
        """``request`` is one line of JSON."""
        # Opened for appending, so that the child can read its own log back without losing its place.
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - lives as long as the process
        path = os.pathsep.join(filter(None, (_PACKAGE_PARENT, os.environ.get("PYTHONPATH", ""))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**_without_secrets(os.environ), "PYTHONPATH": path, **(environment or {})},
            # Ctrl-C in a terminal reaches this process only, which then ends the child.
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._lock = threading.Lock()
        self.killed = False
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: reading its events tells how
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def lines(self) -> Iterator[str]:
        """What it writes, line by line, until it closes its output."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_LONGEST_LINE):
            yield line.decode("utf-8", errors="replace")

    def events(self) -> Iterator[protocol.Event]:
        """Events until the process closes its output. Lines that are no events are left out."""
        for line in self.lines():
            try:
                yield protocol.decode(line)
            except (ValueError, json.JSONDecodeError):
                continue

    def tell(self, command: protocol.Command) -> None:
        """Give it a command; nothing happens when it is gone."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):  # ValueError: closed already
            self._process.stdin.write(protocol.encode(command).encode() + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """End the process now. Its memory is free when this returns."""
        with self._lock:
            self.killed = True
            if self._process.poll() is None:
                self._process.kill()
        self._process.wait()

    def finish(self) -> RunError | None:
        """Wait for the end and clean up. Returns how it died, ``None`` for a proper end."""
        code = self._process.wait()
        log = self._tail()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        if code == 0 or self.killed:
            return None
        cause = OutOfMemoryError if _signal_name(code) == "SIGKILL" else RunError
        return cause(_death(code, log))

    def _tail(self) -> str:
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - _TAIL_BYTES))
        return self._log.read().decode("utf-8", errors="replace")


def start(module: str, request: Any, environment: Mapping[str, str] | None = None) -> Child:
    """Start a child with a dataclass as its request."""
    return Child(module, protocol.to_json(request), environment)


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a run may know: not the server's keys, which are among its settings."""
    return {
        name: value
        for name, value in environment.items()
        if name == paths.HOME_VARIABLE or not name.startswith(_SERVERS_OWN)
    }


def _death(code: int, log: str) -> str:
    """How a process died, what that usually means, and what to do."""
    said = load_log.complaint(log)
    detail = f" Its last words: {said}." if said else ""
    name = _signal_name(code)
    if name == "SIGKILL":
        return (
            "The run was killed from outside, most likely by the operating system because memory ran out. "
            "Choose a smaller quantization or model, or a shorter context."
        )
    if name == "SIGILL":
        return (
            "The runtime was built for a CPU with other instructions than this one has. "
            f"Install a build for this CPU, or use the other binding.{detail}"
        )
    crashed = f"The runtime crashed ({name}) in its own process; nothing else was harmed."
    if name in ("SIGABRT", "SIGFPE"):
        return (
            f"{crashed} The file is probably damaged or made for another version: fetch it again, or choose "
            f"another.{detail}"
        )
    if name in ("SIGSEGV", "SIGBUS"):  # unlike an abort, also what wrongly compiled kernels end in
        return (
            f"{crashed} The file may be damaged: fetch it again. When other files crash too, this build of the runtime "
            f"is faulty on this CPU: use the other binding.{detail}"
        )
    how = f"by {name}" if name else f"with exit code {code}"
    return f"The run's process ended unexpectedly, {how}. Run it again.{detail}"


def _signal_name(code: int) -> str:
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    # Windows reports these as exit codes: abort(), access violation, illegal instruction.
    return {3: "SIGABRT", 0xC0000409: "SIGABRT", 0xC0000005: "SIGSEGV", 0xC000001D: "SIGILL"}.get(code, "")
