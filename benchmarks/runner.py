"""What the runner costs: time added to the first token, Stop to process gone, memory after many runs.

    PYTHONPATH=. python benchmarks/runner.py --runs 50

The file has the exact shape of a small model of the catalog and no weights. Time added to the first token is from
asking to the first text in this process, less what the runtime's own call took to its first token.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from recommender.catalog.queries import architecture_of
from recommender.catalog.store import open_catalog
from recommender.runner import RunManager, RunRequest, protocol
from recommender.runner.protocol import Message, Question
from recommender.runner.weightless import write_weightless
from recommender.trial import usual_settings
from recommender.types import MIB

QUESTION = Question((Message("user", "Say something."),), answer_tokens=4, temperature=0.0)
PATIENCE_S = 120.0


def first_token_added_s(manager: RunManager, request: RunRequest, times: int) -> list[float]:
    arrived = threading.Event()
    ready = threading.Event()
    at = [0.0]

    def on_event(event: protocol.Event) -> None:
        if isinstance(event, protocol.FirstToken):
            at[0] = time.perf_counter()
            arrived.set()
        if isinstance(event, protocol.Ready):
            ready.set()

    job = manager.submit(replace(request, repeats=0, prompt="Hi", answer_tokens=2, keep_loaded=True), on_event)
    added = []
    for number in range(times + 1):
        if not ready.wait(PATIENCE_S):
            raise SystemExit(f"No answer: {job.error}")
        ready.clear()
        arrived.clear()
        asked = time.perf_counter()
        job.ask(QUESTION)
        ready.wait(PATIENCE_S)
        ready.set()
        answered = job.turns[-1].answered
        if answered is None or not arrived.is_set():
            raise SystemExit(f"No text: {job.turns[-1].problem or job.error}")
        if number:  # the first warms up
            added.append(at[0] - asked - answered.ttft_s)
    job.close()
    return added


def stop_s(manager: RunManager, request: RunRequest, times: int) -> list[float]:
    """Stop at moments spread over loading, prefill and decode, until the process is gone."""
    took = []
    for number in range(times):
        job = manager.submit(replace(request, repeats=1000))
        while job.pid is None and not job.ended:
            time.sleep(0.001)
        time.sleep(3.0 * number / times)
        pid = job.pid
        started = time.perf_counter()
        job.cancel()
        took.append(time.perf_counter() - started)
        if pid is not None and psutil.pid_exists(pid):
            raise SystemExit("The process is still there after Stop.")
    return took


def resident_bytes() -> float:
    """Of this process and every child."""
    own = psutil.Process()
    return float(sum(one.memory_info().rss for one in (own, *own.children(recursive=True))))


def memory_after_runs(manager: RunManager, request: RunRequest, runs: int) -> list[float]:
    """Resident memory above the idle figure after each run, bytes."""
    manager.submit(request).wait(PATIENCE_S)
    idle = resident_bytes()
    above = []
    for _ in range(runs):
        job = manager.submit(request)
        job.wait(PATIENCE_S)
        if job.error:
            raise SystemExit(job.error)
        above.append(resident_bytes() - idle)
    return above


def told(name: str, values: Sequence[float], unit: str, factor: float) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{name}: median {middle * factor:.1f}, {low * factor:.1f} to {high * factor:.1f} {unit} ({len(values)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--quant", default="Q4_0")
    parser.add_argument("--binding", choices=("llama-cpp-python", "xllamacpp"))
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    print(f"load average {psutil.getloadavg()[0]:.2f} on {psutil.cpu_count()} CPUs")
    with open_catalog() as catalog, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_weightless(architecture_of(catalog, arguments.model), arguments.quant, path)
        request = RunRequest(
            arguments.model,
            arguments.quant,
            usual_settings(512, 1, 0),
            model_path=str(path),
            binding=arguments.binding,
            prompt_tokens=32,
            gen_tokens=8,
            repeats=1,
            rehearsal=True,
        )
        manager = RunManager()
        print(told("added to the first token", first_token_added_s(manager, request, 30), "ms", 1e3))
        print(told("Stop to process gone", stop_s(manager, request, 20), "ms", 1e3))
        above = memory_after_runs(manager, request, arguments.runs)
        print(told("memory above idle after each run", above, "MiB", 1 / MIB))
        print(f"memory above idle after the last run: {above[-1] / MIB:.1f} MiB")
        manager.close()


if __name__ == "__main__":
    main()
