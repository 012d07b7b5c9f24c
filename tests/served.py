"""The app served by a process of its own, with the catalog that was built for the tests, and a browser for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recommender import paths
from recommender.catalog.store import Catalog

PATIENCE_S = 45
CHROMIUM = next(
    (
        found
        for found in ("/usr/bin/chromium", *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
        if found and Path(found).exists()
    ),
    "",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def settled(page: Any) -> None:
    """Wait until the page has what it asked for: the script is idle and nothing is greyed out."""
    app = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    app.wait_for()
    page.wait_for_timeout(300)
    app.wait_for()


@contextmanager
def served(home: Path, catalog: Catalog, variables: Mapping[str, str], port: int | None = None) -> Iterator[str]:
    """The app's address; its data and its working folder is ``home``. Its output is in ``home/log.txt``."""
    port = port or free_port()
    if catalog.path and catalog.path.exists():
        shutil.copy2(catalog.path, home / catalog.path.name)
    package = str(Path(paths.__file__).resolve().parent.parent)
    environment = {
        **os.environ,
        paths.HOME_VARIABLE: str(home),
        "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]),
        **variables,
    }
    command = [sys.executable, "-m", "recommender.cli", "serve", "--port", str(port), "--no-browser"]
    log = home / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(f"http://127.0.0.1:{port}/api/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
