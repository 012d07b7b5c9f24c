"""The runtimes room's own tables: ``catalog/runtime*.csv``, read once and kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from recommender import paths
from recommender.errors import CatalogError

Cells = Mapping[str, str]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Platform:
    """One place a runtime runs: a row of ``runtime_platforms.csv``. A runtime's best accelerator stands first."""

    runtime: str
    os: str  # or "any"
    arch: str  # or "any"
    accelerator: str  # cpu, cuda, rocm, metal, vulkan, npu, webgpu or any
    isa_required: tuple[str, ...]
    min_compute_capability: str  # "7.5"; NVIDIA only
    form_factors: tuple[str, ...]  # empty: all
    support: str  # yes, experimental or no
    note: str
    vendors: tuple[str, ...]  # makers whose accelerator it takes; empty: all
    amd_gpus: str = ""  # a regular expression for the names of AMD's GPUs that it runs on; "": all


@dataclass(frozen=True)
class FormatRow:
    """One quantization a runtime takes, or expressly does not: a row of ``runtime_formats.csv``."""

    support: str  # yes, experimental or no
    note: str
    min_compute_capability: str
    accelerators: tuple[str, ...]  # empty: every one the runtime has but an NPU


@dataclass(frozen=True)
class NpuModel:
    """A model that runs on one maker's NPU: a row of ``runtime_npu_models.csv``."""

    npu: str  # as ``platforms.npu_makers`` names it
    how: str  # "published", or "recipe": made by oneself after a published recipe
    name: str
    context_tokens: int | None  # what it was compiled for; None: the model's own


@dataclass(frozen=True)
class PublishedModel:
    """A model that a runtime's makers publish under a name of their own: a row of ``runtime_models.csv``."""

    runtime: str
    model_id: str
    format: str
    quantization: str
    name: str
    repo: str
    file: str
    accelerator: str


def _read(name: str) -> list[dict[str, str]]:
    path: Path = paths.catalog_dir() / name
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror}. Install the package again.") from error


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|") if part.strip())


@cache
def runtime_rows() -> Mapping[str, Cells]:
    """Every row of ``runtimes.csv`` by id, in the file's order."""
    return {row["id"]: row for row in _read("runtimes.csv")}


@cache
def _platforms() -> Mapping[str, tuple[Platform, ...]]:
    found: dict[str, list[Platform]] = {}
    for row in _read("runtime_platforms.csv"):
        found.setdefault(row["runtime"], []).append(
            Platform(
                runtime=row["runtime"],
                os=row["os"],
                arch=row["arch"],
                accelerator=row["accelerator"],
                isa_required=_split(row["isa_required"]),
                min_compute_capability=row["min_compute_capability"],
                form_factors=_split(row["form_factors"]),
                support=row["support"],
                note=row["note"],
                vendors=_split(row["vendors"]),
                amd_gpus=row["amd_gpus"],
            )
        )
    return {runtime: tuple(rows) for runtime, rows in found.items()}


def platforms(runtime: str) -> tuple[Platform, ...]:
    """Where a runtime runs, best accelerator first."""
    return _platforms().get(runtime, ())


@cache
def _formats() -> Mapping[tuple[str, str, str], FormatRow]:
    return {
        (row["runtime"], row["format"], row["quantization"]): FormatRow(
            row["support"], row["note"], row["min_compute_capability"], _split(row["accelerators"])
        )
        for row in _read("runtime_formats.csv")
    }


def format_row(runtime: str, format: str, quantization: str) -> FormatRow | None:
    """What is known about a runtime and a quantization; ``None`` when nothing is."""
    return _formats().get((runtime, format, quantization))


@cache
def formats(runtime: str) -> tuple[str, ...]:
    """The formats of which a runtime takes some quantization."""
    return tuple(dict.fromkeys(key[1] for key, row in _formats().items() if key[0] == runtime and row.support != "no"))


@cache
def _architectures() -> Mapping[tuple[str, str], tuple[str, str]]:
    rows = _read("runtime_architectures.csv")
    return {(row["runtime"], row["architecture"]): (row["support"], row["note"]) for row in rows}


def architecture_support(runtime: str, architecture: str) -> tuple[str, str]:
    """Support (yes, experimental or no) and its note; ("", "") when it is not known to load it."""
    return _architectures().get((runtime, architecture), ("", ""))


@cache
def _published() -> Mapping[tuple[str, str, str, str], PublishedModel]:
    names = PublishedModel.__dataclass_fields__
    rows = [PublishedModel(**{name: row[name] for name in names}) for row in _read("runtime_models.csv")]
    return {(row.runtime, row.model_id, row.format, row.quantization): row for row in rows}


def published(runtime: str, model_id: str, format: str, quantization: str) -> PublishedModel | None:
    """The name under which a runtime's makers publish exactly this model in exactly this quantization."""
    return _published().get((runtime, model_id, format, quantization))


def published_quantizations(runtime: str, model_id: str) -> tuple[str, ...]:
    """In what quantizations a runtime's makers publish a model."""
    return tuple(
        row.quantization for row in _published().values() if (row.runtime, row.model_id) == (runtime, model_id)
    )


@cache
def npu_models(runtime: str) -> Mapping[str, tuple[NpuModel, ...]]:
    """Model id → the NPUs that a runtime has it for. Empty for a runtime that uses no NPU."""
    found: dict[str, list[NpuModel]] = {}
    for row in _read("runtime_npu_models.csv"):
        if row["runtime"] == runtime:
            context = int(row["context_tokens"]) if row["context_tokens"] else None
            found.setdefault(row["model_id"], []).append(NpuModel(row["npu"], row["how"], row["name"], context))
    return {model: tuple(rows) for model, rows in found.items()}


def model_called(runtime: str, name: str) -> str:
    """The catalog's id of the model that a runtime's makers publish under this name; "" when it is none."""
    return next((row.model_id for row in _published().values() if (row.runtime, row.name) == (runtime, name)), "")
