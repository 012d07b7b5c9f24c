"""The two interfaces of llama-cpp-python, run alternately: its ``Llama`` class and the C functions that we call.

    PYTHONPATH=. python benchmarks/llama_cpp_python_api.py --pairs 4

Both get the same file, threads, batch and tokens. The class is timed by the wall clock around its own ``eval`` and
``generate``, which is the least that an answer through it takes. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from recommender.catalog.store import open_catalog
from recommender.runner.llama_cpp_python import LlamaCppPythonSession
from recommender.runner.rehearse import architecture_of
from recommender.runner.session import timing_prompt
from recommender.runner.weightless import RANDOM_TOKENS, write_weightless
from recommender.trial import usual_settings

CONTEXT_TOKENS = 1024
Timed = Callable[[list[int], int], tuple[float, float]]  # prefill and decode, tokens per second


def low_level(path: Path, threads: int) -> Timed:
    session = LlamaCppPythonSession()
    session.load(str(path), usual_settings(CONTEXT_TOKENS, threads, 0), use_template=False)

    def timed(prompt: list[int], gen_tokens: int) -> tuple[float, float]:
        found = session.time_tokens(prompt, gen_tokens)
        return found.prompt_tokens / found.prompt_s, found.gen_tokens / found.gen_s

    return timed


def high_level(path: Path, threads: int) -> Timed:
    import llama_cpp

    settings = usual_settings(CONTEXT_TOKENS, threads, 0)
    model = llama_cpp.Llama(
        str(path),
        n_ctx=settings.context_tokens,
        n_batch=settings.batch_tokens,
        n_ubatch=settings.ubatch_tokens,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=True,
        verbose=False,
    )

    def timed(prompt: list[int], gen_tokens: int) -> tuple[float, float]:
        model.reset()
        started = time.perf_counter()
        tokens = model.generate(prompt, temp=0.0, reset=True)
        next(tokens)
        first = time.perf_counter()
        for _ in range(gen_tokens):
            next(tokens)
        return len(prompt) / (first - started), gen_tokens / (time.perf_counter() - first)

    return timed


def measured(name: str, path: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Medians of one interface in a process of its own: two loaded models slow each other down."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(in_process, name, path, arguments).result()


def in_process(name: str, path: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the load log
    run = {"class": high_level, "C functions": low_level}[name](path, arguments.threads)
    prompts = [timing_prompt(RANDOM_TOKENS, arguments.prompt_tokens, seed) for seed in range(arguments.repeats + 1)]
    speeds = [run(prompt, arguments.gen_tokens) for prompt in prompts][1:]  # the first warms up
    return statistics.median(prefill for prefill, _ in speeds), statistics.median(decode for _, decode in speeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-360M-Instruct")
    parser.add_argument("--quant", default="Q4_0")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--gen-tokens", type=int, default=64)
    arguments = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} CPUs")
    found: dict[str, list[tuple[float, float]]] = {"C functions": [], "class": []}
    with open_catalog() as catalog, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_weightless(architecture_of(catalog, arguments.model), arguments.quant, path)
        for _ in range(arguments.pairs):
            for name, speeds in found.items():
                speeds.append(measured(name, path, arguments))
    for place, phase in enumerate(("prefill", "decode")):
        ours, theirs = ([speeds[place] for speeds in found[name]] for name in found)
        a, b = statistics.median(ours), statistics.median(theirs)
        ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
        print(
            f"{phase:8s} C functions {a:.1f}, class {b:.1f} tok/s, ratio of medians {a / b:.3f}, "
            f"of pairs {ratios[0]:.3f} to {ratios[-1]:.3f}"
        )


if __name__ == "__main__":
    main()
