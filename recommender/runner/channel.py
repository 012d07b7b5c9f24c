"""The inside of a child process: its request, its way to send events, and its end when the parent is gone."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from recommender.runner.protocol import Command, Event, StopAnswer, decode_command, encode

PARENT_GONE = 86  # exit code
_PR_SET_PDEATHSIG = 1


@dataclass
class Channel:
    """``commands`` holds those not yet carried out; a ``StopAnswer`` sets ``stop_answer`` instead, at once."""

    request: Mapping[str, Any]
    _out: TextIO
    commands: queue.SimpleQueue[Command] = field(default_factory=queue.SimpleQueue)
    stop_answer: threading.Event = field(default_factory=threading.Event)

    def send(self, event: Event) -> None:
        """Write one event. A parent that no longer reads means that nobody waits for this run: it ends."""
        try:
            self._out.write(encode(event) + "\n")
            self._out.flush()
        except BrokenPipeError:
            os._exit(PARENT_GONE)

    def close(self) -> None:
        self._out.close()


def open_channel() -> Channel:
    """Read the request and take standard output for events alone.

    Whatever a library prints goes to standard error instead.
    """
    _die_with_parent()
    _crash_quickly()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline() or b"{}")
    channel = Channel(request, out)
    threading.Thread(target=_watch_stdin, args=(channel,), name="parent watch", daemon=True).start()
    return channel


def _die_with_parent() -> None:
    """On Linux the kernel ends this process with its parent, even while native code holds the interpreter's lock."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died in between
        os._exit(PARENT_GONE)


def _crash_quickly() -> None:
    """A crash writes no core file (it would be as large as the model) and starts no debugger for a backtrace."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch_stdin(channel: Channel) -> None:
    """Take commands. Everywhere: the parent holds the other end of stdin, and its end closes with it."""
    while line := sys.stdin.buffer.readline():
        try:
            command = decode_command(line.decode("utf-8", errors="replace"))
        except ValueError:
            continue
        if isinstance(command, StopAnswer):
            channel.stop_answer.set()
        else:
            channel.commands.put(command)
    os._exit(PARENT_GONE)
