"""Our runner against ``llama-bench`` of the same llama.cpp: same file, threads and token counts, run alternately.

    PYTHONPATH=. python benchmarks/llama_bench.py --llama-bench build/bin/llama-bench --binding llama-cpp-python

Build ``llama-bench`` from the llama.cpp in the source distribution of the installed llama-cpp-python, with the same
compiler flags. Runs A B A B …; prints medians of decode and prefill, ours ÷ theirs. The file has random weights.
Decode is measured behind the prompt on both sides (``-d``), because it slows down as the context fills.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from calibration import wait_until_quiet
from rehearsal import write_with_weights

from recommender.catalog.queries import architecture_of
from recommender.catalog.store import open_catalog
from recommender.device import this_machine
from recommender.engine.estimate_rows import default_threads
from recommender.runner.measure import measure
from recommender.runner.protocol import RunRequest
from recommender.trial import usual_settings

CONTEXT_TOKENS = 1024
PHASES = ("prefill", "decode")


def by_llama_bench(arguments: argparse.Namespace, path: Path, threads: int) -> dict[str, float]:
    """Tokens per second of prefill and decode as llama-bench prints them."""
    found = {}
    counts = {
        "prefill": ["-p", str(arguments.prompt_tokens), "-n", "0"],
        "decode": ["-p", "0", "-n", str(arguments.gen_tokens), "-d", str(arguments.prompt_tokens)],
    }
    for phase in PHASES:
        command = [arguments.llama_bench, "-m", str(path), "-t", str(threads), "-r", str(arguments.repeats)]
        command += ["-fa", "on", "-b", "2048", "-ub", "512", "-ngl", "0", "-o", "json", *counts[phase]]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[phase] = statistics.median(json.loads(done.stdout)[0]["samples_ts"])
    return found


def by_us(arguments: argparse.Namespace, path: Path, threads: int) -> dict[str, float]:
    request = RunRequest(
        arguments.model,
        arguments.quant,
        usual_settings(CONTEXT_TOKENS, threads, 0),
        model_path=str(path),
        binding=arguments.binding,
        prompt_tokens=arguments.prompt_tokens,
        gen_tokens=arguments.gen_tokens,
        repeats=arguments.repeats,
        rehearsal=True,  # prompts of the tokens that a file made here has embeddings for
    )
    result = measure(request)
    return {"prefill": result.prefill_tokens_per_s, "decode": result.decode_tokens_per_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", default="llama-bench", help="the program (llama-bench, from PATH)")
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-360M-Instruct")
    parser.add_argument("--quant", default="Q4_0")
    parser.add_argument("--binding", choices=("llama-cpp-python", "xllamacpp"), default="llama-cpp-python")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--load", type=float, default=0.3, help="start a run when less CPUs than this are in use")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait for that")
    arguments = parser.parse_args()
    threads = arguments.threads or default_threads(this_machine())
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with open_catalog() as catalog, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.gguf"
        write_with_weights(architecture_of(catalog, arguments.model), arguments.quant, path)
        by_us(argparse.Namespace(**{**vars(arguments), "repeats": 1, "gen_tokens": 1}), path, threads)  # page cache
        for pair in range(arguments.pairs):
            wait_until_quiet(arguments.load, arguments.patience)
            theirs.append(by_llama_bench(arguments, path, threads))
            wait_until_quiet(arguments.load, arguments.patience)
            ours.append(by_us(arguments, path, threads))
            print(f"pair {pair + 1}: theirs {theirs[-1]}, ours {ours[-1]}", file=sys.stderr, flush=True)
    print(f"{arguments.model} {arguments.quant}, {arguments.binding}, {threads} threads, {arguments.pairs} pairs")
    for phase in PHASES:
        a, b = (statistics.median(side[phase] for side in sides) for sides in (ours, theirs))
        pairs = sorted(one[phase] / other[phase] for one, other in zip(ours, theirs, strict=True))
        print(
            f"{phase:8s} ours {a:.1f}, llama-bench {b:.1f} tok/s, ratio of medians {a / b:.3f}, "
            f"of pairs {pairs[0]:.3f} to {pairs[-1]:.3f}, median {statistics.median(pairs):.3f}"
        )


if __name__ == "__main__":
    main()
