"""Real sessions, by Streamlit's own messages over WebSockets, against the real server."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from recommender import paths
from recommender.catalog.store import Catalog
from recommender.ui.sources import LOCAL
from tests.runner.conftest import until
from tests.streamlit_session import Session
from tests.test_server import _free_port
from tests.tiny_gguf import write_tiny_gguf

QUESTION = urlencode({"device": "From the list", "preset": "NVIDIA GeForce RTX 4060"})


@pytest.fixture(scope="module")
def served(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, psutil.Process]]:
    """The server's port and process, with a catalog built already."""
    home, port = tmp_path_factory.mktemp("served"), _free_port()
    assert catalog.path is not None
    shutil.copyfile(catalog.path, home / catalog.path.name)
    package = str(Path(paths.__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": package, paths.HOME_VARIABLE: str(home), "RIGHTSIZE_DOOR": "local"}
    command = [sys.executable, "-m", "recommender.cli", "serve", "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2):
                return True
        except OSError:
            return False

    try:
        until(answers)
        yield port, psutil.Process(server.pid)
    finally:
        server.kill()
        server.wait()


def test_sessions_at_once_each_get_their_page_and_their_answers(served: tuple[int, psutil.Process]) -> None:
    port, _ = served

    async def person(number: int) -> int:
        session = await Session.open(port, QUESTION)
        seen = {tuple((await session.run()).texts)}
        for tokens in (2048, 8192, 16384):
            asked = tokens + number
            found = await session.run("context", lambda state, asked=asked: setattr(state, "double_value", asked))
            seen.add(tuple(found.texts))
        await session.close()
        return len(seen)

    async def people() -> list[int]:
        return await asyncio.gather(*(person(number) for number in range(6)))

    assert asyncio.run(people()) == [4] * 6


def test_a_run_whose_session_was_cut_off_is_gone_with_the_server(
    served: tuple[int, psutil.Process], tmp_path: Path
) -> None:
    port, server = served
    model = write_tiny_gguf(tmp_path / "tiny.gguf")

    async def cut_off() -> None:
        session = await Session.open(port, urlencode({"source": LOCAL, "threads": 1}), "try-it")
        await session.run()
        await session.run("gguf_path", lambda state: setattr(state, "string_value", str(model)))
        await session.press("start")
        await asyncio.to_thread(until, server.children)
        session.drop()

    asyncio.run(cut_off())
    children = server.children(recursive=True)
    server.kill()  # it cannot clean up itself
    until(lambda: not [child for child in children if child.is_running() and child.status() != "zombie"])
