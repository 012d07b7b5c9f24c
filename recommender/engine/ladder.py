"""The quantization ladder: one model from F16 down to 1.58 bits, with what each step saves and costs on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recommender.catalog.queries import architecture_of, variant_columns
from recommender.device.budget import memory_budget
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_row
from recommender.engine.words import size
from recommender.errors import BadInputError, RecommenderError
from recommender.estimate.calibrate import Calibration
from recommender.estimate.quant_loss import loss_points
from recommender.estimate.tensors import layout
from recommender.runtimes import runtime as get_runtime
from recommender.types import Device, Estimate

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_RUNTIME = "llama.cpp"
# What else of a row follows from the file type alone.
_SIZES = (
    "file_bytes",
    "tensor_bytes",
    "input_embedding_bytes",
    "output_bytes",
    "read_bytes_per_token",
    "repack_x86_bytes",
    "repack_arm_bytes",
)


@dataclass(frozen=True)
class LessonFigure:
    """What the field guide's lesson says of one quantization."""

    name: str  # the model as the lesson names it; "" for a rule of thumb
    value: float  # GB (1e9 bytes), or times the file
    note: str
    source: str


@dataclass(frozen=True)
class Rung:
    """One quantization of the model. ``estimate`` is ``None`` where the model cannot be had in it."""

    quantization: str
    runtime: str
    file_bytes: float | None
    file_provenance: str  # "published file", "exact layout", "rough estimate" or ""
    saved: float | None  # share of F16's bytes
    loss_points: float | None  # of 100 points of ability, expected
    estimate: Estimate | None
    fits: bool
    reason: str  # why not, or what to know; "" when there is nothing to say
    lesson_size: LessonFigure | None = None
    lesson_memory: LessonFigure | None = None


def ladder(
    model_id: str,
    device: Device,
    context_tokens: int,
    catalog: Catalog,
    calibration: Calibration | None = None,
) -> tuple[Rung, ...]:
    """The ladder of a model on a device, largest first, impossible steps last.

    Raises:
        UnknownNameError: the catalog has no such model.
        BadInputError: the context is no number a context can be, or above the model's.
    """
    model = catalog.model(model_id)
    if context_tokens < 1:
        raise BadInputError(f"A context must be at least 1 token, not {context_tokens}.")
    if model.context_max is not None and context_tokens > model.context_max:
        raise BadInputError(
            f"{model.name} reads at most {model.context_max:,} tokens; a context of {context_tokens:,} was asked."
        )
    rows = {runtime: _rows(catalog, model.model_id, runtime) for runtime in (_RUNTIME, "bitnet.cpp")}
    steps = catalog.cursor().execute("SELECT quantization FROM ladder ORDER BY rowid").fetchall()
    found = [
        _rung(step, model.model_id, float(model.params_total), device, context_tokens, rows, catalog, calibration)
        for (step,) in steps
    ]
    known = [rung for rung in found if rung.file_bytes is not None]
    return (
        *sorted(known, key=lambda rung: -(rung.file_bytes or 0.0)),
        *(rung for rung in found if rung.file_bytes is None),
    )


def _rows(catalog: Catalog, model_id: str, runtime: str) -> dict[str, dict[str, Any]]:
    return {str(row["quantization"]): row for row in variant_columns(catalog, model_id, runtime)}


def _rung(
    quantization: str,
    model_id: str,
    params_total: float,
    device: Device,
    context_tokens: int,
    rows: dict[str, dict[str, dict[str, Any]]],
    catalog: Catalog,
    calibration: Calibration | None,
) -> Rung:
    runtime = next((name for name, known in rows.items() if quantization in known), "")
    unquantized = rows[_RUNTIME].get("F16")
    reason = ""
    row = rows[runtime][quantization] if runtime else None
    if row is None:
        runtime = _RUNTIME
        row, reason = _converted(quantization, model_id, unquantized, catalog)
    if row is None:
        return Rung(quantization, runtime, None, "", None, None, None, False, reason)
    published = row.get("published_bytes")
    file_bytes = float(published or row["file_bytes"])
    full = float(unquantized["file_bytes"]) if unquantized else None
    answer = _estimate(row, model_id, quantization, runtime, device, context_tokens, calibration)
    fits, problem = _fits(answer, device)
    return Rung(
        quantization,
        runtime,
        file_bytes,
        "published file" if published else "exact layout" if row["exact"] else "rough estimate",
        1.0 - file_bytes / full if full else None,
        _loss(catalog, model_id, params_total, quantization),
        answer.estimate if answer else None,
        fits,
        ". ".join(part for part in (problem, reason) if part),
        _lesson(catalog, "size", quantization, model_id),
        _lesson(catalog, "memory_ratio", quantization, model_id),
    )


def _converted(
    quantization: str, model_id: str, unquantized: dict[str, Any] | None, catalog: Catalog
) -> tuple[dict[str, Any] | None, str]:
    """The row that a conversion nobody offers would have, or ``None`` with the reason."""
    if unquantized is None:
        return None, f"llama.cpp does not load this model, so there is no {quantization} of it"
    if refused := get_runtime(_RUNTIME).quantization_reason("gguf", quantization):
        return None, refused
    try:
        arch = architecture_of(catalog, model_id)
        made = layout(arch, quantization)
    except BadInputError as error:
        return None, str(error).rstrip(".")
    sizes = {name: getattr(made, name) for name in _SIZES}
    why = "nobody publishes it: the type is for weights that were trained ternary, and others are only rounded to it"
    return {**unquantized, **sizes, "quantization": quantization, "exact": True, "published_bytes": None}, why


def _estimate(
    row: dict[str, Any],
    model_id: str,
    quantization: str,
    runtime: str,
    device: Device,
    context_tokens: int,
    calibration: Calibration | None,
) -> EstimateAnswer | None:
    request = EstimateRequest(model_id, quantization, device, runtime, context_tokens)
    try:
        return estimate_row(request, row, calibration)
    except RecommenderError:
        return None


def _fits(answer: EstimateAnswer | None, device: Device) -> tuple[bool, str]:
    """Whether it fits into what is free, and if not, by how much."""
    memory = answer.estimate.memory if answer else None
    budget = memory_budget(device)
    if memory is None or budget.ram_bytes is None:
        return True, ""
    free = budget.ram_bytes + (0.0 if budget.unified else budget.gpu_bytes or 0.0)
    needed = memory.total_bytes - memory.reclaimable_bytes
    if needed <= free:
        return True, ""
    return False, f"needs {size(needed)}, {size(free)} free: short by {size(needed - free)}"


def _loss(catalog: Catalog, model_id: str, params_total: float, quantization: str) -> float:
    rows = (
        catalog.cursor()
        .execute("SELECT quantization FROM native_quantizations WHERE model_id = $1", [model_id])
        .fetchone()
    )
    native = str(rows[0]) if rows else ""
    points = loss_points(
        np.array([params_total]), np.array([quantization], dtype=object), np.array([native], dtype=object)
    )
    return float(points[0])


def _lesson(catalog: Catalog, kind: str, quantization: str, model_id: str) -> LessonFigure | None:
    row = (
        catalog.cursor()
        .execute(
            "SELECT coalesce(name, ''), value, coalesce(note, ''), source FROM lesson_figures WHERE kind = $1 "
            "AND quantization = $2 AND (model_ids IS NULL OR list_contains(string_split(model_ids, '|'), $3))",
            [kind, quantization, model_id],
        )
        .fetchone()
    )
    return LessonFigure(*row) if row else None
