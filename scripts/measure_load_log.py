"""Measure what llama.cpp reserves: weightless files of many shapes, loaded in many settings, into load_log_grid.csv.

    python scripts/measure_load_log.py [--only TEXT] [--python-for-llama-class PATH] [--keep]

Each case is written as a weightless file, loaded in a child process, and its load log's buffers are recorded. Cases
already in the file are left alone unless ``--again`` is given, so the grid can be extended bit by bit. Nothing is
computed, but caches are allocated, so a few GiB of memory should be free.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recommender.errors import RunError
from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows
from recommender.paths import catalog_dir
from recommender.runner.weightless import write_weightless
from recommender.runner.weightless_load import LLAMA_CLASS, LoadBuffers, measure_load
from recommender.types import Settings

GRID = "load_log_grid.csv"
CASES = Path(__file__).with_name("load_log_cases.csv")
KEYS = (
    "model_id", "quantization", "binding", "context_tokens", "kv_type", "batch_tokens", "ubatch_tokens", "parallel",
    "flash_attn",
)  # fmt: skip
BUFFERS = ("mapped_bytes", "repack_bytes", "kv_bytes", "state_bytes", "compute_bytes", "output_bytes")
HEADER = (*KEYS[:1], "architecture", *KEYS[1:], *BUFFERS, "file_bytes", "cpu", "build", "measured_at")


class Case(NamedTuple):
    model_id: str
    quantization: str
    binding: str
    context_tokens: int
    kv_type: str
    batch_tokens: int
    ubatch_tokens: int
    parallel: int
    flash_attn: bool

    @property
    def settings(self) -> Settings:
        return Settings(
            context_tokens=self.context_tokens,
            kv_type=self.kv_type,
            batch_tokens=self.batch_tokens,
            ubatch_tokens=self.ubatch_tokens,
            parallel=self.parallel,
            threads=2,
            gpu_layers=0,
            flash_attn=self.flash_attn,
        )

    def key(self) -> tuple[str, ...]:
        return tuple(str(value) for value in (*self[:8], "yes" if self.flash_attn else "no"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose model id contains this")
    parser.add_argument("--again", action="store_true", help="measure cases that the grid has, too")
    parser.add_argument("--python-for-llama-class", default=sys.executable, help="a Python with llama-cpp-python")
    options = parser.parse_args()
    grid = read_grid()
    architectures = read_architectures()
    wanted = [case for case in cases() if options.only in case.model_id and (options.again or case.key() not in grid)]
    for (model_id, quantization), group in itertools.groupby(wanted, key=lambda case: case[:2]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weightless.gguf"
            size = write_weightless(architectures[model_id], quantization, path)
            for case in group:
                python = options.python_for_llama_class if case.binding == LLAMA_CLASS else sys.executable
                try:
                    buffers = measure_load(path, case.settings, case.binding, python)
                except RunError as error:
                    print(f"{' '.join(case.key())}: {error}", file=sys.stderr)
                    continue
                grid[case.key()] = row_of(case, architectures[model_id], buffers, size)
                write_grid(grid)
                print(*case.key(), f"{buffers.compute_bytes / 2**20:.2f} MiB compute", flush=True)
    return 0


def cases() -> Iterator[Case]:
    """Every combination that a row of the case file spells out: its columns hold alternatives, separated by ``;``."""
    with open(CASES, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            options = [row[key].split(";") for key in KEYS]
            for model, quantization, binding, context, kv_type, batch, ubatch, parallel, flash in itertools.product(
                *options
            ):
                yield Case(
                    model,
                    quantization,
                    binding,
                    int(context),
                    kv_type,
                    int(batch),
                    int(ubatch),
                    int(parallel),
                    flash == "yes",
                )


def read_architectures() -> dict[str, Architecture]:
    extra = {row["model_id"]: row for row in _rows("architectures.csv")}
    wanted = {case.model_id for case in cases()}
    models = [row for row in _rows("models.csv") if row["model_id"] in wanted]
    return {row["model_id"]: architecture_from_row(merge_rows(row, extra.get(row["model_id"]))) for row in models}


def read_grid() -> dict[tuple[str, ...], dict[str, str]]:
    if not (catalog_dir() / GRID).exists():
        return {}
    return {tuple(row[key] for key in KEYS): row for row in _rows(GRID)}


def write_grid(grid: dict[tuple[str, ...], dict[str, str]]) -> None:
    with open(catalog_dir() / GRID, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(grid[key] for key in sorted(grid))


def row_of(case: Case, arch: Architecture, buffers: LoadBuffers, file_bytes: int) -> dict[str, str]:
    row = dict(zip(KEYS, case.key(), strict=True))
    row |= {name: str(round(getattr(buffers, name))) for name in BUFFERS}
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return row | {
        "architecture": arch.id,
        "file_bytes": str(file_bytes),
        "cpu": "x86-64 with AVX-512" if "avx512f" in flags else "x86-64 with AVX2" if "avx2" in flags else "other",
        "build": buffers.build.split(";")[0][:80],
        "measured_at": datetime.date.today().isoformat(),
    }


def _rows(name: str) -> list[dict[str, str]]:
    with open(catalog_dir() / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
