"""``recommender evaluate``: every estimator against the catalog's own truth, or against files with the same headers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recommender import paths
from recommender.catalog.store import Catalog
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_rows
from recommender.errors import BadInputError, RecommenderError
from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows
from recommender.estimate.evaluate_quality import QualityTable, evaluate_quality
from recommender.estimate.evaluate_speed import SpeedEvaluation, evaluate_speed
from recommender.estimate.measured import number
from recommender.estimate.names import Resolver
from recommender.estimate.quantizers import made_with_imatrix
from recommender.estimate.tensors import layout
from recommender.types import GIB, MIB, Device, Floats

Row = Mapping[str, str]


@dataclass(frozen=True)
class ErrorTable:
    """Errors over ``rows`` as fractions of the truth; ``bias`` is the median signed error (positive: too much)."""

    rows: int
    median_abs_error: float
    p90_abs_error: float
    p95_abs_error: float
    within_25: float
    within_30: float
    bias: float
    device_balanced_median: float | None = None
    interval_share: float | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[str, ErrorTable] = field(default_factory=dict)
    anomalies: Sequence[str] = ()  # the rows furthest off, by name


@dataclass(frozen=True)
class Evaluation:
    """All tables; ``memory`` has one per part of memory."""

    files: ErrorTable
    memory: Mapping[str, ErrorTable]
    speed: SpeedEvaluation
    quality: QualityTable
    sources: Mapping[str, str]  # what each table was judged against


# Headers without which a file given for judging is another kind of file.
_NEEDED = {
    "files": ("gguf_repo", "file", "bytes", "bytes_kind"),
    "measurements": ("row_id", "device", "backend", "model", "quant", "prefill_tok_s", "decode_tok_s"),
    "benchmarks": ("model_id", "benchmark", "score", "mode", "evaluator"),
    "memory": (),  # two layouts: see evaluate_memory
}
_LOAD_LAYOUTS = (("mapped_bytes", "kv_bytes"), ("engine", "model", "quant", "n_ctx", "kv_MiB"))


def _judged_rows(name: str, path: Path) -> list[dict[str, str]]:
    """Rows of a file to judge against. Raises BadInputError when headers are missing."""
    rows = read_rows(path)
    header = set(rows[0]) if rows else set()
    if not rows:
        raise BadInputError(f"{path.name} has no rows to judge the {name} by.")
    missing = [column for column in _NEEDED[name] if column not in header]
    if name == "memory" and not any(set(layout) <= header for layout in _LOAD_LAYOUTS):
        missing = list(_LOAD_LAYOUTS[1])
    if missing:
        raise BadInputError(f"{path.name} lacks the column {', '.join(missing)}, so it cannot judge the {name}.")
    return rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file. Raises BadInputError when it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{key: (value or "").strip() for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read as a CSV file: {error}.") from error


def evaluate(
    catalog: Catalog,
    files: Path | None = None,
    measurements: Path | None = None,
    benchmarks: Path | None = None,
    memory: Path | None = None,
) -> Evaluation:
    """Judge every estimator.

    Args:
        files, measurements, benchmarks, memory: CSV files to judge against instead of the catalog's own
            ``gguf_files.csv``, ``measurements.csv``, ``benchmarks.csv`` and ``load_log_grid.csv``.

    Raises:
        BadInputError: a file cannot be read, lacks a column, or has too few rows to judge anything.
    """
    folder = paths.catalog_dir()
    chosen = {
        "files": files or folder / "gguf_files.csv",
        "memory": memory or folder / "load_log_grid.csv",
        "measurements": measurements or folder / "measurements.csv",
        "benchmarks": benchmarks or folder / "benchmarks.csv",
    }
    rows = {name: _judged_rows(name, path) for name, path in chosen.items()}
    models, devices = read_rows(folder / "models.csv"), read_rows(folder / "devices.csv")
    resolver = Resolver(models, read_rows(folder / "model_aliases.csv"))
    return Evaluation(
        files=evaluate_files(rows["files"], models, resolver),
        memory=evaluate_memory(rows["memory"], catalog, resolver),
        speed=evaluate_speed(rows["measurements"], devices, models, lambda name, size: _resolved(resolver, name, size)),
        quality=evaluate_quality(rows["benchmarks"], models),
        sources={name: path.name for name, path in chosen.items()},
    )


def _resolved(resolver: Resolver, name: str, params_b: float | None) -> str | None:
    match = resolver.resolve(name, params_b)
    return match.model_id if match else None


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────


def evaluate_files(rows: Sequence[Row], models: Sequence[Row], resolver: Resolver) -> ErrorTable:
    """Predicted against exact bytes of published GGUF files in llama.cpp's standard mixes.

    Repositories with a mixing recipe of their own are counted apart (class "own recipe"), not in the total.
    """
    architectures = _architectures(models)
    recipes = _known_recipes()
    skipped: dict[str, int] = {}
    names, errors, classes = [], [], []
    for row in rows:
        reason, arch = _file_architecture(row, architectures, resolver)
        quantization = row.get("quantization") or row.get("quant", "")
        if not reason and arch is not None:
            try:
                imatrix = made_with_imatrix(row.get("gguf_repo", ""))
                predicted = layout(arch, quantization, imatrix).file_bytes
            except BadInputError:
                reason = "file type not known"
        if reason or arch is None:
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        errors.append(predicted / float(row["bytes"]) - 1.0)
        names.append(f"{row['gguf_repo']} {row['file']}")
        recipe = row.get("recipe") or recipes.get((row["gguf_repo"], row["file"]), "unknown")
        classes.append(_file_class(quantization) if recipe == "standard" else f"{recipe} recipe")
    if not errors:
        return replace(_table(np.zeros(0)), skipped=skipped)
    error, kind = np.array(errors), np.array(classes, dtype=object)
    standard = ~np.char.endswith(kind.astype(str), " recipe")
    by_class = {name: _table(error[kind == name]) for name in sorted(set(classes))}
    furthest = [index for index in np.argsort(-np.abs(error)) if standard[index] and abs(error[index]) > _ANOMALY]
    anomalies = [f"{names[index]}: {error[index]:+.2%}" for index in furthest]
    table = _table(error[standard]) if standard.any() else _table(error)
    return replace(table, skipped=skipped, by_class=by_class, anomalies=anomalies)


# A standard file further off than this is listed by name.
_ANOMALY = 0.01


def _file_architecture(
    row: Row, architectures: Mapping[str, Architecture], resolver: Resolver
) -> tuple[str, Architecture | None]:
    """Why a row cannot be judged, or the architecture it has."""
    if row.get("bytes_kind") != "exact" or not (number(row, "bytes") or 0.0) > 0:
        return "no exact bytes", None
    if row.get("kind", "model") != "model":
        return "not a whole model", None
    if row.get("duplicate"):
        return "repeats another row", None
    model_id = row.get("catalog_model_id") or row.get("model_id", "")
    if model_id not in architectures:
        match = resolver.resolve(row.get("model_id") or row["file"])
        model_id = match.model_id if match else ""
    if model_id not in architectures:
        return "model not in the catalog, or its architecture is not complete", None
    return "", architectures[model_id]


def _known_recipes() -> dict[tuple[str, str], str]:
    """How each file of the catalog was mixed, by repository and name."""
    rows = read_rows(paths.catalog_dir() / "gguf_files.csv")
    return {(row["gguf_repo"], row["file"]): row.get("recipe", "") for row in rows if row.get("recipe")}


def _architectures(models: Sequence[Row]) -> dict[str, Architecture]:
    own = {row["model_id"]: row for row in read_rows(paths.catalog_dir() / "architectures.csv")}
    found = {}
    for row in models:
        try:
            found[row["model_id"]] = architecture_from_row(merge_rows(row, own.get(row["model_id"])))
        except BadInputError:
            continue  # incomplete: its rows are counted as skipped
    return found


def _file_class(quantization: str) -> str:
    if quantization.startswith("IQ"):
        return "IQ types"
    return "K types" if "_K" in quantization else "other types"


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────

_PARTS = ("weights", "kv_cache", "compute", "total")


def evaluate_memory(rows: Sequence[Row], catalog: Catalog, resolver: Resolver) -> dict[str, ErrorTable]:
    """Predicted against logged buffers of llama.cpp, part by part.

    A row is one load: ``load_log_grid.csv``, or a file with the headers of published load logs (other engines and
    forks among them, so for sanity only).
    """
    skipped: dict[str, int] = {}
    loads = []
    for row in rows:
        try:
            loads.append(_grid_load(row) if "mapped_bytes" in row else _published_load(row, resolver))
        except ValueError as error:
            skipped[str(error)] = skipped.get(str(error), 0) + 1
    answers = estimate_rows([load.request for load in loads], catalog)
    pairs = []
    for load, answer in zip(loads, answers, strict=True):
        if isinstance(answer, RecommenderError):
            reason = "not in the catalog as it was loaded"
            skipped[reason] = skipped.get(reason, 0) + 1
        else:
            pairs.append((load, answer))
    return _memory_tables(pairs, skipped)


@dataclass(frozen=True)
class _Load:
    """One logged load: the request that predicts it and the logged bytes by part."""

    request: EstimateRequest
    label: str
    truth: Mapping[str, float]


def _grid_load(row: Row) -> _Load:
    parallel = int(row["parallel"])
    request = EstimateRequest(
        row["model_id"],
        row["quantization"],
        _LOAD_DEVICE if "x86" in row["cpu"] else replace(_LOAD_DEVICE, arch="arm64"),
        # llama.cpp's context is shared by its sequences; a request's is what each of them gets.
        context_tokens=int(row["context_tokens"]) // parallel,
        kv_type=row["kv_type"],
        batch_tokens=int(row["batch_tokens"]),
        ubatch_tokens=int(row["ubatch_tokens"]),
        parallel=parallel,
        flash_attn=row["flash_attn"] == "yes",
        gpu_layers=0,
        binding=row["binding"],
    )
    number = {name: float(row[name]) for name in row if name.endswith("_bytes")}
    weights = number["mapped_bytes"] + number["repack_bytes"]
    kv, compute = number["kv_bytes"] + number["state_bytes"], number["compute_bytes"] + number["output_bytes"]
    truth = {"weights": weights, "kv_cache": kv, "compute": compute, "total": weights + kv + compute}
    label = f"{row['model_id']} {row['quantization']} {row['binding']} {row['context_tokens']} {row['kv_type']}"
    return _Load(request, label, truth)


def _published_load(row: Row, resolver: Resolver) -> _Load:
    if not row.get("engine", "").startswith("llama"):
        raise ValueError("another engine or fork")
    if not row.get("model") or not row.get("quant") or not row.get("kv_MiB") or not row.get("n_ctx"):
        raise ValueError("model, quantization, context or cache not recorded")
    match = resolver.resolve(row["model"])
    if match is None:
        raise ValueError("model not in the catalog")
    kinds = {part.split()[-1] for part in row.get("kv_type", "K f16 / V f16").split("/") if part.strip()}
    if len(kinds) != 1:
        raise ValueError("different types for K and V")
    truth = {"kv_cache": float(row["kv_MiB"]) * MIB}
    quantization = row["quant"].replace(" - Medium", "_M").replace(" - Small", "_S").replace(" - Large", "_L")
    request = EstimateRequest(
        match.model_id, quantization, _LOAD_DEVICE, context_tokens=int(row["n_ctx"]), kv_type=kinds.pop(), gpu_layers=0
    )
    return _Load(request, f"{row['model']} {row['quant']} {row['n_ctx']}", truth)


# The machine of the grid: an x86-64 CPU without a GPU and with room for every load.
_LOAD_DEVICE = Device(
    "load", "load", "server", "linux", "x86-64", isa=("avx2", "avx512"), ram_bytes=1024.0 * GIB, physical_cores=2
)


def _memory_tables(pairs: Sequence[tuple[_Load, EstimateAnswer]], skipped: Mapping[str, int]) -> dict[str, ErrorTable]:
    tables = {}
    for part in _PARTS:
        judged = [(load, _part(answer, part)) for load, answer in pairs if load.truth.get(part)]
        if not judged:
            continue
        truth = np.array([load.truth[part] for load, _ in judged])
        error = np.array([value for _, value in judged]) / truth - 1.0
        bindings = np.array([load.request.binding for load, _ in judged], dtype=object)
        off = np.abs(error) * truth
        furthest = [index for index in np.argsort(-np.abs(error)) if abs(error[index]) > _ANOMALY][:20]
        tables[part] = replace(
            _table(error),
            skipped=skipped,
            by_class={name: _table(error[bindings == name]) for name in sorted(set(bindings))},
            anomalies=[f"{judged[i][0].label}: {error[i]:+.1%}, {off[i] / MIB:.1f} MiB" for i in furthest],
        )
    return tables


def _part(answer: EstimateAnswer, part: str) -> float:
    memory = answer.estimate.memory
    if memory is None:
        return float("nan")
    if part == "total":  # the log knows nothing of the process around it
        return memory.weights_bytes + memory.kv_cache_bytes + memory.compute_bytes
    return float(getattr(memory, f"{part}_bytes"))


# ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────


def _table(error: Floats) -> ErrorTable:
    """Signed relative errors as a table."""
    absolute = np.abs(error)
    if not len(error):
        nan = float("nan")
        return ErrorTable(0, nan, nan, nan, nan, nan, nan)
    return ErrorTable(
        rows=len(error),
        median_abs_error=float(np.median(absolute)),
        p90_abs_error=float(np.quantile(absolute, 0.9)),
        p95_abs_error=float(np.quantile(absolute, 0.95)),
        within_25=float(np.mean(absolute <= 0.25)),
        within_30=float(np.mean(absolute <= 0.30)),
        bias=float(np.median(error)),
    )


def _memory_json(found: Evaluation) -> dict[str, Any]:
    """The total's table; a file that does not log every part is judged by the part it does log."""
    from recommender.present import jsonable

    table = found.memory.get("total") or next(iter(found.memory.values()), None)
    return {} if table is None else dict(jsonable(table))


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """Every table as JSON-ready values; figures that do not apply are null."""
    from recommender.present import jsonable

    speed = found.speed
    return {
        "files": jsonable(found.files),
        "memory": {**_memory_json(found), "parts": jsonable(found.memory)},
        "decode": jsonable(speed.decode),
        "prefill": jsonable(speed.prefill),
        "fitted": jsonable(speed.fitted),
        "noise_floor": jsonable(speed.noise_floor),
        "quality": jsonable(found.quality),
        "sources": dict(found.sources),
    }
