"""How many recommendations a second the JSON API gives, and how long one takes at a steady rate.

    python benchmarks/api.py [--questions 600] [--rate 50] [--seconds 10]

The real server in a process of its own, asked over loopback by threads of this one; no two questions are alike. First
as many as it takes, eight at a time; then at a steady rate, each question at its time whether or not those before are
answered. Both share this machine's processors: the load is printed too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recommender import paths

DEVICES = ("rtx-4060", "rtx-4090", "cpu-intel-core-i7-13700h", "macbook-air-m3", "galaxy-s24", "raspberry-pi-5")
TASKS = ("chat", "code", "summarize", "rag", "reasoning", "translate")
AT_ONCE, READY_S = 8, 120
_OWN = threading.local()


def questions(count: int) -> list[bytes]:
    """So many different questions."""
    drawn = random.Random(0)
    return [
        json.dumps(
            {
                "device": DEVICES[number % len(DEVICES)],
                "need": {
                    "task": drawn.choice(TASKS),
                    "context_tokens": 2048 + number,
                    "max_answer_time_s": round(drawn.uniform(20, 200), 3),
                    "priority": drawn.choice(["quality", "balanced", "speed", "smallest"]),
                },
                "top": 3,
            }
        ).encode()
        for number in range(count)
    ]


def ask(port: int, body: bytes) -> float:
    """Milliseconds until the whole answer was there."""
    if not hasattr(_OWN, "connection"):
        _OWN.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    start = time.perf_counter()
    _OWN.connection.request("POST", "/api/recommend", body, {"Content-Type": "application/json"})
    answer = _OWN.connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {content[:200]!r}")
    return (time.perf_counter() - start) * 1e3


def told(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return f"median {statistics.median(times):.0f} ms, 95% {cuts[94]:.0f} ms, 99% {cuts[98]:.0f} ms"


def measure(port: int, count: int, rate: float, seconds: float) -> None:
    every = questions(count + int(rate * seconds))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda body: ask(port, body), questions(1) * AT_ONCE))  # the first ones read what all share
        start = time.perf_counter()
        times = list(pool.map(lambda body: ask(port, body), every[:count]))
        took_s = time.perf_counter() - start
    print(f"{count} questions, {AT_ONCE} at a time: {count / took_s:.0f} a second, {told(times)}.")
    with ThreadPoolExecutor(64) as pool:
        start = time.perf_counter()

        def at_its_time(place: int) -> float:
            due = start + place / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            ask(port, every[count + place])
            return (time.perf_counter() - due) * 1e3

        times = list(pool.map(at_its_time, range(int(rate * seconds))))
    print(f"{rate:.0f} a second for {seconds:.0f} s: {told(times)}.")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ready(port: int) -> None:
    for _ in range(READY_S * 2):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("The server did not answer.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--rate", type=float, default=50, help="questions a second")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        own: dict[str, Any] = {paths.HOME_VARIABLE: home, "RIGHTSIZE_API_PER_MINUTE": "1000000"}
        serve = [sys.executable, "-m", "recommender.cli", "serve", "--port", str(port), "--no-browser"]
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.")
        server = subprocess.Popen(serve, env=os.environ | own, stdout=subprocess.DEVNULL)
        try:
            ready(port)
            measure(port, arguments.questions, arguments.rate, arguments.seconds)
        finally:
            server.terminate()
            server.wait(30)
        print(f"Load at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
