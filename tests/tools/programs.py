"""Runs a recipe's texts with a tool's programs, without network."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recommender.cli import main

PATIENCE_S = 180


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(programs: Path, home: Path) -> dict[str, str]:
    """A tool's programs first; nothing is fetched, and nothing is kept outside ``home``."""
    (home / "hub").mkdir(exist_ok=True, parents=True)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def measured(line: str, port: int, capsys: pytest.CaptureFixture[str]) -> Any:
    """What this app measures with a recipe's own line, where the server listens at another port."""
    words = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", line).split()
    assert words[:2] == ["recommender", "measure"]
    capsys.readouterr()
    code = main((*words[1:], "--prompt-tokens", "100", "--gen-tokens", "24", "--json"))
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    return json.loads(said.out)


def run(text: str, folder: Path, env: dict[str, str]) -> str:
    """What a Bash text of a recipe prints. Fails with its output when it fails."""
    done = subprocess.run(
        ["bash", "-euc", text], cwd=folder, env=env, text=True, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@contextmanager
def serving(text: str, port: int, folder: Path, env: dict[str, str]) -> Iterator[None]:
    """A recipe's server while the block runs. Its ``/health`` says when it is up."""
    log = folder / f"server-{port}.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            ["bash", "-euc", text],
            cwd=folder,
            env=env,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _healthy(port):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.2)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
