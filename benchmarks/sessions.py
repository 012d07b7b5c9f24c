"""How many people the app bears at once, against the real server with real WebSocket sessions of a second process.

    python benchmarks/sessions.py [--only many,memory,trial,visit,killed] [--sessions 50] [--seconds 60]

The server runs as `recommender serve` in a process of its own; this process speaks Streamlit's own protocol to it over
loopback and counts a rerun's time from the message sent to the last message of the changed answer.

many     sessions that each change an input every five seconds
trial    the same while a tiny GGUF is run and measured again and again, on one thread
memory   what a session adds to the server's resident memory after 720 reruns, an hour's worth, run one after the other
visit    a first visit in Chromium: seconds to the first answer, and bytes beyond Streamlit's own files
killed   sessions whose connections, or whose whole client process, end while their runs wait or go on
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import psutil  # noqa: E402
from streamlit.proto.WidgetStates_pb2 import WidgetState  # noqa: E402

from benchmarks.api import free_port, ready  # noqa: E402
from recommender import paths  # noqa: E402
from tests.streamlit_session import Session, SessionError  # noqa: E402
from tests.tiny_gguf import write_tiny_gguf  # noqa: E402

MIB = 1024**2
LOCAL = "A GGUF file on this computer"  # as the Try page calls it
EVERY_S, RERUNS_AN_HOUR = 5.0, 720
DEVICES = ("NVIDIA GeForce RTX 4060", "NVIDIA GeForce RTX 4090", "Raspberry Pi 5", "Samsung Galaxy S24")
PRIORITIES = ("quality", "balanced", "speed", "smallest")
TTL_S = 5  # how long the server keeps a session whose connection broke, in the part "killed"; 120 as it ships
LINES: list[tuple[str, str, str]] = []


def report(what: str, asked: str, seen: str) -> None:
    LINES.append((what, asked, seen))
    print(f"{what}: {seen} (asked: {asked}), load {os.getloadavg()[0]:.1f}", flush=True)


@contextmanager
def served(home: Path, **environment: str) -> Iterator[tuple[int, psutil.Process]]:
    """The real server, its catalog built and its modules loaded."""
    port = free_port()
    own = {paths.HOME_VARIABLE: str(home), "RIGHTSIZE_DOOR": "local", "PYTHONPATH": str(REPOSITORY), **environment}
    serve = [sys.executable, "-m", "recommender.cli", "serve", "--port", str(port), "--no-browser"]
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(serve, env=os.environ | own, stdout=log, stderr=log, cwd=home)
    try:
        ready(port)
        asyncio.run(_once(port))
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(60)
        if errors := [line for line in (home / "server.log").read_text().splitlines() if "Error" in line]:
            print(f"The server's log has {len(errors)} errors, the last: {errors[-1]}", file=sys.stderr)


async def _once(port: int) -> None:
    session = await Session.open(port, where(0))
    await session.run()
    await session.close()


def where(number: int) -> str:
    """The address of the question that a session starts with."""
    return urlencode({"device": "From the list", "preset": DEVICES[number % len(DEVICES)]})


def changes(drawn: random.Random) -> tuple[str, Callable[[WidgetState], None]]:
    """A key of a widget on Find, and what sets it to something else."""
    if drawn.random() < 0.5:
        tokens = drawn.randrange(1024, 32_768)
        return "context", lambda state: setattr(state, "double_value", tokens)
    priority = drawn.choice(PRIORITIES)
    return "priority", lambda state: state.string_array_value.data.append(priority.capitalize())


async def person(port: int, number: int, until: float, times: list[float], problems: list[str]) -> None:
    """Somebody who changes an input every five seconds."""
    drawn = random.Random(number)
    await asyncio.sleep(drawn.uniform(0, EVERY_S))
    try:
        session = await Session.open(port, where(number))
        before = await session.run()
        due = time.perf_counter() + EVERY_S
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            after = await session.run(*changes(drawn))
            while after.texts == before.texts:  # the same answer again: it says nothing of how long a changed one takes
                after = await session.run(*changes(drawn))
            times.append(after.seconds)
            before = after
            due = max(due + EVERY_S, time.perf_counter())
        await session.close()
    except (SessionError, OSError) as error:
        problems.append(f"session {number}: {error}")


async def people(port: int, count: int, seconds: float) -> tuple[list[float], list[str]]:
    times: list[float] = []
    problems: list[str] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(person(port, number, until, times, problems) for number in range(count)))
    return times, problems


def cpu_s(process: psutil.Process) -> float:
    """Seconds of processor time that it has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def told(times: list[float], problems: list[str]) -> str:
    if len(times) < 2:
        return f"too few answers to tell; {len(problems)} errors {problems[:3]}"
    p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
    said = f"p95 {p95:.2f} s, median {statistics.median(times):.2f} s over {len(times)} answers, {len(problems)} errors"
    return f"{said} {problems[:3] if problems else ''}".strip()


def many(home: Path, options: argparse.Namespace) -> None:
    with served(home) as (port, server):
        empty, spent, runs = server.memory_info().rss, cpu_s(server), Session.runs
        times, problems = asyncio.run(people(port, options.sessions, options.seconds))
        each_ms = (cpu_s(server) - spent) * 1e3 / (Session.runs - runs)
        grown = (server.memory_info().rss - empty) / MIB / options.sessions
    what = f"{options.sessions} sessions, an input every {EVERY_S:g} s each"
    report(
        what,
        "p95 ≤ 1.0 s, no error",
        f"{told(times, problems)}; {each_ms:.0f} ms of the server's CPU a rerun; {grown:.1f} MiB of memory for each",
    )


# ── one run beside them ──────────────────────────────────────────────────────────────────────────────────────


async def runner(port: int, model: Path, until: float, ran: list[int]) -> None:
    """Somebody who tries a file again and again, each run once the one before has ended."""
    session = await trying(port, model)
    while time.perf_counter() < until:
        if not await press_start(session):
            await asyncio.sleep(0.5)
            continue
        ran.append(1)
        await asyncio.sleep(2)
    await session.close()


async def trying(port: int, model: Path) -> Session:
    """A session on the Try page with a file of this computer chosen."""
    session = await Session.open(port, urlencode({"source": LOCAL, "threads": 1}), "try-it")
    await session.run()
    await session.run("gguf_path", lambda state: setattr(state, "string_value", str(model)))
    return session


async def press_start(session: Session) -> bool:
    """Start a run; False when the page refuses it, as when too many wait."""
    found = await session.run("start", lambda state: setattr(state, "trigger_value", True))
    return not found.alerts


def heavy_gguf(home: Path) -> Path:
    """Small on disk, and yet some seconds of work: many layers of it."""
    return write_tiny_gguf(home / "heavy.gguf", block_count=48, layers=48, n_embd=512)


def trial(home: Path, options: argparse.Namespace) -> None:
    model = heavy_gguf(home)

    async def both(port: int) -> tuple[list[float], list[str], int]:
        ran: list[int] = []
        until = time.perf_counter() + options.seconds
        beside = asyncio.create_task(runner(port, model, until, ran))
        times, problems = await people(port, options.sessions, options.seconds)
        await beside
        return times, problems, len(ran)

    with served(home) as (port, _):
        times, problems, ran = asyncio.run(both(port))
    what = f"the same with a try-it run going on ({ran} runs of {model.stat().st_size / MIB:.0f} MiB on one thread)"
    report(what, "p95 ≤ 2.0 s", told(times, problems))


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────


async def hurried(port: int, number: int, reruns: int) -> Session:
    """A session that changes an input as often as an hour has room for, without the pauses."""
    drawn = random.Random(number)
    session = await Session.open(port, where(number))
    await session.run()
    for _ in range(reruns):
        await session.run(*changes(drawn))
    return session


def memory(home: Path, options: argparse.Namespace) -> None:
    async def grown(port: int, server: psutil.Process) -> tuple[float, float]:
        # What all sessions share (the catalog's answers that are kept) must be there before one session's part is told.
        for number in range(len(DEVICES)):
            await (await hurried(port, number, 60)).close()
        await asyncio.sleep(TTL_S + 5)
        before = server.memory_info().rss
        sessions = [await hurried(port, number, options.reruns) for number in range(options.few)]
        after = server.memory_info().rss
        for session in sessions:
            await session.close()
        await asyncio.sleep(TTL_S + 5)
        return (after - before) / MIB / options.few, (server.memory_info().rss - before) / MIB / options.few

    with served(home, STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL=str(TTL_S)) as (port, server):
        each, left = asyncio.run(grown(port, server))
    what = f"memory of a session after {options.reruns} reruns ({options.few} sessions, one after the other, no pauses)"
    report(what, "≤ 5 MiB", f"{each:.1f} MiB each; {left:.1f} MiB each are left {TTL_S} s after they closed")


# ── a first visit ────────────────────────────────────────────────────────────────────────────────────────────


def visit(home: Path, options: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    def own(url: str) -> bool:
        """Whether it is of Streamlit's own files."""
        return urlsplit(url).path.startswith("/static/")

    def once(started: Any, port: int) -> tuple[float, float, float]:
        browser = started.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        sizes: list[tuple[str, float]] = []
        page.on("requestfinished", lambda request: sizes.append((request.url, request.sizes()["responseBodySize"])))
        frames: list[int] = []
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(len(frame))))
        start = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}/?{where(0)}", wait_until="commit")
        page.locator(".st-key-answer").first.wait_for(timeout=120_000)
        seconds = time.perf_counter() - start
        page.wait_for_timeout(2000)
        browser.close()
        ours = sum(size for url, size in sizes if not own(url)) + sum(frames)
        return seconds, ours / 1e6, sum(size for url, size in sizes if own(url)) / 1e6

    with served(home) as (port, _), sync_playwright() as started:
        found = [once(started, port) for _ in range(options.visits)]
    seconds = [one[0] for one in found]
    said = f"median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f} s) of {len(found)}"
    report("first visit to first answer, browser and session new", "≤ 2 s", said)
    beyond = f"{max(one[1] for one in found):.2f} MB, and {max(one[2] for one in found):.1f} MB of Streamlit's own"
    report("transferred beyond Streamlit's own files", "≤ 1.5 MB", beyond)


# ── sessions killed in mid-run ───────────────────────────────────────────────────────────────────────────────


async def victims(port: int, model: Path, count: int, wait: bool) -> None:
    """Sessions that press Start and are cut off at once; or that wait for somebody to kill this process."""
    sessions = await asyncio.gather(*(trying(port, model) for _ in range(count)))
    await asyncio.gather(*(session.press("start") for session in sessions))
    await asyncio.sleep(1)
    if wait:
        print("ready", flush=True)
        await asyncio.sleep(600)
    for session in sessions:
        session.drop()


def killed(home: Path, options: argparse.Namespace) -> None:
    model, batch = heavy_gguf(home), 10
    with served(home, STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL=str(TTL_S)) as (port, server):
        asyncio.run(victims(port, model, 1, wait=False))
        quiet(server)
        before, rss = remains(server, home), server.memory_info().rss
        most = 0
        for number in range(options.killed // batch):
            if number % 2:
                asyncio.run(victims(port, model, batch, wait=False))
            else:
                kill_client(port, model, batch)
            most = max(most, len(server.children(recursive=True)))
        quiet(server)
        after, grown = remains(server, home), (server.memory_info().rss - rss) / MIB
    gone = {name: found - before.get(name, set()) for name, found in after.items()}
    said = ", ".join(f"{len(left)} {name}{' ' + str(sorted(left)[:3]) if left else ''}" for name, left in gone.items())
    what = (
        f"{options.killed} sessions killed in mid-run, half of them by kill -9 of their client (session TTL {TTL_S} s)"
    )
    report(what, "no process, file or memory left", f"{said}; {grown:.0f} MiB more memory; at most {most} processes")


def kill_client(port: int, model: Path, count: int) -> None:
    """Sessions of another process, which is killed in their mid-run."""
    command = [sys.executable, __file__, "--victims", str(port), str(model), str(count)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert client.stdout is not None
    client.stdout.readline()
    client.send_signal(signal.SIGKILL)
    client.wait()


def quiet(server: psutil.Process) -> None:
    """Wait until no run goes on and no session is kept."""
    deadline = time.monotonic() + 600
    while server.children(recursive=True) and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(TTL_S + 10)


def remains(server: psutil.Process, home: Path) -> dict[str, set[str]]:
    """Child processes of the server, and files beside the databases."""
    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    return {
        "processes": {str(child.pid) for child in server.children(recursive=True)},
        "files": {name for name in files if not name.endswith((".log", ".duckdb", ".wal"))},
        "open sockets": {str(one.raddr) for one in server.net_connections("tcp") if one.status == "ESTABLISHED"},
    }


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "many": many,
    "trial": trial,
    "memory": memory,
    "visit": visit,
    "killed": killed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60, help="how long people go on changing inputs")
    parser.add_argument("--reruns", type=int, default=RERUNS_AN_HOUR, help="of a session, in the part memory")
    parser.add_argument("--few", type=int, default=5, help="sessions in the part memory")
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--killed", type=int, default=100)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--victims", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victims:
        port, model, count = options.victims
        asyncio.run(victims(int(port), Path(model), int(count), wait=True))
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.", flush=True)
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory() as home:
            PARTS[name](Path(home), options)
    print("\n| What | Asked | Seen |\n|---|---|---|")
    for line in LINES:
        print(f"| {' | '.join(line)} |")
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
