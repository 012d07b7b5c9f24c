"""How long a catalog of many thousand models takes to build, how much memory, and what it makes of a question.

    python benchmarks/large_catalog.py [--models 20000] [--files 15] [--folder FOLDER] [--profile]

The folder is the shipped catalog with more rows in models.csv, architectures.csv and gguf_files.csv. Every further
model has a shape of its own, made of a shipped one: another number of layers, other widths, another vocabulary. Its
files are in three repositories and have the size that their layout says. Making the folder is not timed. The build runs
in a process of its own, so that the peak of memory is its own too. Other work on the machine makes everything slower:
the load and the processor's time are printed too.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import os
import pstats
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from recommend import opened, questions, timed_ms

from recommender import paths
from recommender.catalog import build
from recommender.catalog.rows import read_csv
from recommender.device import preset
from recommender.engine import recommend as engine
from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows
from recommender.estimate.layouts import group_tensors
from recommender.types import Need, tier_of

Row = dict[str, str]
AT_ONCE = 500
# What makers of GGUF files publish, the most usual first.
FILE_TYPES = (
    "Q4_K_M", "Q8_0", "Q5_K_M", "Q6_K", "Q3_K_M", "Q4_K_S", "Q5_K_S", "Q2_K", "IQ4_XS", "Q3_K_L", "Q3_K_S", "F16",
    "Q4_0", "IQ3_M", "BF16", "Q5_0", "IQ2_M", "IQ3_XXS", "Q4_1", "Q5_1", "IQ4_NL", "IQ2_XS", "IQ2_XXS", "IQ1_M",
)  # fmt: skip
STEPS = {"n_layer": 1, "n_embd": 256, "n_ff": 256, "vocab_size": 64}  # what is jittered, to a multiple of
# What a copy does not have: runtimes with a catalog of their own and other makers' repositories would not know it.
FORGOTTEN = (
    "ollama_tag", "mlx_repo", "onnx_foundry_local_alias", "azure_catalog_id", "superseded_by", "base_model",
    "params_text", "params_text_source",
)  # fmt: skip


def make(folder: Path, n_models: int, n_files: int) -> None:
    """Write the folder: the shipped files, three of them enlarged."""
    shutil.copytree(paths.catalog_dir(), folder)
    tables = {name: read_csv(folder / f"{name}.csv") for name in ("models", "architectures", "gguf_files")}
    own = {row["model_id"]: row for row in tables["architectures"].records()}
    shipped = tables["models"].records()
    templates = [(row, own.get(row["model_id"], {})) for row in shipped if _architecture(row, own.get(row["model_id"]))]
    picked = random.Random(0)
    for start in range(len(shipped), n_models, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, n_models))
        found: dict[str, list[Row]] = {name: [] for name in tables}
        archs = []
        for number in numbers:
            model, architecture, arch = _jittered(*templates[number % len(templates)], number, picked)
            found["models"].append(model)
            found["architectures"].append(architecture)
            archs.append(arch)
        tensors = group_tensors(archs)
        read = tensors.under("F16")["read_bytes_per_token"] / 2
        for model, total, active in zip(found["models"], tensors.elements.tolist(), read.tolist(), strict=True):
            model |= {"params_total": str(total), "tier": tier_of(total)}
            model["params_active"] = str(min(total, round(active))) if model["params_active"] else ""
        types = FILE_TYPES[:n_files]
        sizes = np.array([tensors.under(name)["file_bytes"] for name in types]).T.tolist()
        for model, of_model in zip(found["models"], sizes, strict=True):
            found["gguf_files"] += [_file(model, name, size) for name, size in zip(types, of_model, strict=True)]
        for name, rows in found.items():
            with (folder / f"{name}.csv").open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, tables[name].header, restval="", lineterminator="\n").writerows(rows)


def _architecture(model: Row, own: Row | None) -> Architecture | None:
    try:
        return architecture_from_row(merge_rows(model, own))
    except BadInputError:
        return None


def _jittered(model: Row, own: Row, number: int, picked: random.Random) -> tuple[Row, Row, Architecture]:
    """Rows of models.csv and architectures.csv for a model that differs from a shipped one in every size it can."""
    name = f"model-{number:06d}"
    model = {**model, "model_id": f"maker-{number % 997}/{name}", "name": name, "family": f"family-{number % 4999}"}
    model |= dict.fromkeys(FORGOTTEN, "")
    model["gguf_repos"] = ";".join(_repositories(name))
    own = {"source": model["source"], **own, "model_id": model["model_id"]}
    arch = _architecture(model, own)
    assert arch is not None
    own["head_dim"] = own.get("head_dim") or model["head_dim"] or str(arch.head_dim[0])
    for column, step in STEPS.items():
        old = own.get(column) or model[column]
        if not old.isdigit():
            continue
        new = str(max(round(int(old) * picked.uniform(0.7, 1.3) / step), 1) * step)
        tried = ({**model, column: new} if model[column] else model, {**own, column: new})
        if found := _architecture(*tried):
            (model, own), arch = tried, found
    return model, own, arch


def _repositories(name: str) -> list[str]:
    return [f"{maker}/{name}-GGUF" for maker in ("quantizer-a", "quantizer-b", "quantizer-c")]


def _file(model: Row, quantization: str, size: float) -> Row:
    repo = _repositories(model["name"])[FILE_TYPES.index(quantization) % 3]
    return {
        "model_id": model["model_id"],
        "gguf_repo": repo,
        "file": f"{model['name']}-{quantization}.gguf",
        "quant": quantization,
        "bytes": str(int(size)),
        "bytes_kind": "exact",
        "sha256": f"{random.Random(model['name'] + quantization).getrandbits(256):064x}",
        "source": f"made up: {repo}",
        "catalog_model_id": model["model_id"],
        "quantization": quantization,
        "kind": "model",
        "recipe": "standard",
        "split_count": "1",
    }


def build_here(folder: Path, database: Path, profile: bool) -> None:
    """Build in this process and print what it took."""
    profiler = cProfile.Profile()
    start = time.perf_counter()
    report = profiler.runcall(build.build, folder, database) if profile else build.build(folder, database)
    wall_s = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"Build: {wall_s:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time.")
    print(f"Peak memory {peak_bytes / 2**20:.0f} MiB, database {database.stat().st_size / 2**20:.0f} MiB.")
    wanted = ("models", "gguf_files", "variants", "abilities", "quant_losses", "variant_runtimes")
    print("Rows: " + ", ".join(f"{report.rows[name]} {name}" for name in wanted) + ".")
    for note in report.notes:
        print(f"  {note[:160]}")
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


def ask(database: Path) -> str:
    """How long a question takes the first time it is asked of the open catalog."""
    with opened(database) as catalog:
        start = time.perf_counter()
        engine.recommend(preset("t4"), Need(task="write"), catalog)  # reads the tables that every question shares
        first_ms = (time.perf_counter() - start) * 1e3
        times = [timed_ms(catalog, device, need, None) for device, need in questions()]
    p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
    median = statistics.median(times)
    return f"Questions: the first {first_ms:.0f} ms, then {median:.0f} ms each, 95th percentile {p95:.0f} ms."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=15, help=f"per model, up to {len(FILE_TYPES)}")
    parser.add_argument("--folder", type=Path, help="where to keep the CSV files and the database; used again if there")
    parser.add_argument("--profile", action="store_true", help="print where the build's time goes")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        folder, database = place / "catalog", place / "catalog.duckdb"
        if arguments.here:
            build_here(folder, database, arguments.profile)
            return
        if not folder.exists():
            place.mkdir(parents=True, exist_ok=True)
            make(folder, arguments.models, arguments.files)
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.")
        again = [sys.executable, __file__, "--here", "--folder", str(place)]
        subprocess.run([*again, "--profile"] if arguments.profile else again, check=True)
        print(ask(database))
        print(f"Load at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
