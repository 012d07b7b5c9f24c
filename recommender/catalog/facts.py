"""Rows of the catalog as frozen dataclasses. Unknown numbers are ``None``, unknown texts empty."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from recommender.errors import CatalogError
from recommender.types import Need, Task

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Fact = TypeVar("Fact")


@dataclass(frozen=True)
class ModelRow:
    """A model as ``models.csv`` has it."""

    model_id: str
    family: str
    name: str
    tier: str
    role: str
    params_total: int
    params_active: int | None
    release_date: str
    license: str
    license_id: str
    commercial_use: str  # yes, conditions, no or ""
    context_max: int | None  # tokens
    context_native: int | None  # tokens
    modalities: str
    languages: str
    languages_note: str
    architecture: str
    n_head: int | None
    n_head_kv: int | None
    thinking: str  # yes, no, hybrid or ""
    tool_calling: str  # yes, no or ""
    base_model: str
    superseded_by: str
    gguf_repos: tuple[str, ...]
    ollama_tag: str
    mlx_repo: str
    onnx_foundry_local_alias: str
    azure_catalog_id: str
    source: str


@dataclass(frozen=True)
class FileRow:
    """A published GGUF file as ``gguf_files.csv`` has it."""

    catalog_model_id: str
    gguf_repo: str
    file: str  # "*" stands for the parts of a split file
    quant: str  # as the file's name has it
    quantization: str  # the llama.cpp file type; "" for a repository's own mix
    recipe: str  # standard, own, unknown or ""
    bytes: int | None
    bytes_kind: str  # exact, rounded, tensor_bytes or none
    size_reported: str
    sha256: str
    source: str


@dataclass(frozen=True)
class ScenarioRow:
    """A situation of the field guide: the guide's choice beside the need that states it."""

    id: str
    title: str
    lesson_choice_model: str
    lesson_choice_quantization: str
    lesson_choice_runtime: str
    device_id: str
    ram_gib: float | None
    need: Need
    why: str
    differs_because: str  # "" where the recommendation agrees with the guide
    source: str


def read_facts(
    cursor: DuckDBPyConnection,
    kind: type[Fact],
    table: str,
    order: str = "rowid",
    where: str = "TRUE",
    values: list[Any] | None = None,
) -> tuple[Fact, ...]:
    """Rows of ``table`` as ``kind``, whose fields are the columns to read; a tuple field is split at ";" or "|"."""
    wanted = fields(kind)  # type: ignore[arg-type]
    columns = ", ".join(f'"{field.name}"' for field in wanted)
    rows = cursor.execute(f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order}", values or []).fetchall()
    types = [str(field.type) for field in wanted]
    return tuple(kind(*(_known(value, kind_) for value, kind_ in zip(row, types, strict=True))) for row in rows)


def _known(value: Any, kind: str) -> Any:
    if kind.startswith("tuple"):
        return tuple(part.strip() for part in (value or "").replace("|", ";").split(";") if part.strip())
    return "" if value is None and kind == "str" else value


def read_tasks(cursor: DuckDBPyConnection) -> tuple[Task, ...]:
    """Tasks in the CSV's order: the columns that are not fields of :class:`Task` are the capabilities it weighs."""
    cursor.execute("SELECT * FROM tasks ORDER BY rowid")
    columns = [column[0] for column in cursor.description or []]
    known = {field.name: str(field.type) for field in fields(Task)}
    tasks = []
    for row in cursor.fetchall():
        values = dict(zip(columns, row, strict=True))
        weights = {name: value for name, value in values.items() if name not in known and value}
        given = {name: _known(value, known[name]) for name, value in values.items() if name in known}
        tasks.append(Task(weights=weights, **given))
    return tuple(tasks)


def read_scenarios(cursor: DuckDBPyConnection) -> tuple[ScenarioRow, ...]:
    """Scenarios in the CSV's order, each with its need read from ``need_json``."""
    names = [field.name for field in fields(ScenarioRow)]
    columns = ", ".join(f'"{"need_json" if name == "need" else name}"' for name in names)
    scenarios = []
    for row in cursor.execute(f"SELECT {columns} FROM scenarios ORDER BY rowid").fetchall():
        values: dict[str, Any] = {name: "" if value is None else value for name, value in zip(names, row, strict=True)}
        values["ram_gib"] = values["ram_gib"] if values["ram_gib"] != "" else None
        values["need"] = need_from_json(values["need"], values["id"])
        scenarios.append(ScenarioRow(**values))
    return tuple(scenarios)


def need_from_json(text: str, scenario: str) -> Need:
    """A need from its JSON object. Raises CatalogError when a key is not a field of :class:`Need`."""
    try:
        given: dict[str, Any] = json.loads(text or "{}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        return Need(**values)
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise CatalogError(f"scenarios.csv, row {scenario}, column need_json: {error}") from error
