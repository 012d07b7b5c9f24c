"""How detection reaches the machine: files below a root, short commands, and the platform's name.

Tests put another root and other commands in its place, so that any machine can be played on any other.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_TIMEOUT_S = 3.0


def run_command(command: Sequence[str]) -> str:
    """What ``command`` prints, or "" when it is missing, fails or takes longer than ``COMMAND_TIMEOUT_S``."""
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            creationflags=flags,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


@dataclass(frozen=True)
class Host:
    """The machine as detection sees it."""

    system: str = field(default_factory=platform.system)  # Linux, Darwin or Windows
    machine: str = field(default_factory=platform.machine)  # x86_64, AMD64, arm64, aarch64
    root: Path = Path("/")
    run: Callable[[Sequence[str]], str] = run_command
    real: bool = True  # False: played from files, so calls that ask the real kernel are left out

    def read(self, path: str) -> str:
        """The text of a file below the root, stripped; "" when there is none or it may not be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip("\x00 \t\r\n")
        except (OSError, ValueError):
            return ""

    def read_bytes(self, path: str) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except (OSError, ValueError):
            return b""

    def number(self, path: str) -> float | None:
        """A file that holds one number, or ``None``."""
        return number(self.read(path))

    def glob(self, pattern: str) -> list[Path]:
        try:
            return sorted(self.root.glob(pattern))
        except OSError:
            return []

    def affinity(self) -> int | None:
        """Logical processors that this process may use."""
        if not self.real:
            return None
        if hasattr(os, "sched_getaffinity"):
            try:
                return len(os.sched_getaffinity(0))
            except OSError:
                return None
        return os.cpu_count()


def number(text: str) -> float | None:
    """``text`` as a finite number, or ``None``."""
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None


def cpu_list(text: str) -> set[int]:
    """The kernel's list of processors: "0-3,8" → {0, 1, 2, 3, 8}; parts that are not one are left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            start, stop = int(first), int(last or first)
            if stop - start <= 65536:
                found.update(range(start, stop + 1))
    return found
