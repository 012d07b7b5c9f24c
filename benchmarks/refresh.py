"""How long a refresh takes that brings many thousand models, and how much memory: storing, merging, building.

    python benchmarks/refresh.py [--models 20000]

A made-up source lists every model four times: its maker's repository with the original weights, and three quantizers'
with five GGUF files each and a header's numbers. No network is asked. Everything is kept in a folder of its own and
removed at the end. The refresh runs in a process of its own, so that the peak of memory is its own too. Other work on
the machine makes everything slower: the load is printed too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice

from recommender import paths
from recommender.catalog import refresh
from recommender.catalog.sources.base import Batch, Entry, EntryFile, OnProgress, Progress, now

_BITS = {"Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7, "Q4_K_M": 4.9, "Q4_0": 4.6}
_QUANTIZERS = ("bartowski", "unsloth", "lmstudio-community")
_AT_ONCE = 2000


class MadeUp:
    """A source with ``models`` models of different sizes, four entries each."""

    id = "hugging-face"
    name = "Made up"

    def __init__(self, models: int) -> None:
        self._models = models

    def unavailable(self) -> str:
        return ""

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        entries = self._entries()
        while batch := tuple(islice(entries, _AT_ONCE)):
            yield Batch(batch, "more")

    def _entries(self) -> Iterator[Entry]:
        read_at = now()
        for number in range(self._models):
            layers, width, vocabulary = 16 + number % 33, 1024 + 64 * (number % 41), 128_000 + number % 1000
            params = layers * 12 * width**2 + vocabulary * width
            repo, name = f"maker{number % 400}/Model-{number}", f"Model-{number}"
            common = {"source": self.id, "read_at": read_at, "version": "a", "url": "", "name": repo}
            yield Entry(
                **common,
                entry_id=repo,
                publisher=repo.split("/")[0],
                format="safetensors",
                params_total=params,
                created=f"2026-{1 + number % 11:02d}-01",
                license_id="apache-2.0",
                context_tokens=32768,
                pipeline="text-generation",
            )
            shape = {
                "architecture": "llama",
                "n_layer": str(layers),
                "n_embd": str(width),
                "n_head": str(width // 64),
                "n_head_kv": "8",
                "head_dim": "64",
                "n_ff": str(4 * width),
                "vocab_size": str(vocabulary),
                "tied_embeddings": "no",
            }
            for quantizer in _QUANTIZERS:
                yield Entry(
                    **common,
                    entry_id=f"{quantizer}/{name}-GGUF",
                    publisher=quantizer,
                    format="gguf",
                    relation="quantized",
                    bases=(repo,),
                    params_total=params,
                    downloads=number,
                    architecture=shape,
                    architecture_source="a header",
                    files=tuple(
                        EntryFile(f"{name}-{quantization}.gguf", int(params * bits / 8), "a" * 64, quantization)
                        for quantization, bits in _BITS.items()
                    ),
                )


def refresh_here(models: int) -> None:
    """Refresh in this process and print what each part took."""
    began = time.perf_counter()

    def progress(at: Progress) -> None:
        nonlocal began
        parts = {"merging": "Told and stored", "building": "Merged, compared and written", "ready": "Built"}
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        took_s = time.perf_counter() - began
        print(f"{parts[at.what]}: {took_s:.1f} s, peak memory until then {peak_bytes / 2**20:.0f} MiB.", flush=True)
        began = time.perf_counter()

    prepared = refresh.refresh(lambda _: [MadeUp(models)], progress)
    print(f"New models: {len(prepared.changes.added)}.")
    began = time.perf_counter()
    refresh.apply(prepared)
    print(f"Put in use: {time.perf_counter() - began:.2f} s.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20_000)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        refresh_here(arguments.models)
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.")
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [sys.executable, __file__, "--here", "--models", str(arguments.models)],
            env=os.environ | {paths.HOME_VARIABLE: home},
            check=True,
        )
    print(f"Load at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
