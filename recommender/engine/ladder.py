"""The quantization ladder: one model from F16 down to 1.58 bits, with what each step saves and costs on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recommender.catalog.queries import architecture_of, variant_columns
from recommender.device.budget import memory_budget
from recommender.engine.estimate_rows import EstimateRequest, estimate_row
from recommender.engine.recommend import recommend
from recommender.engine.runtime_rules import GPU_ACCELERATORS
from recommender.engine.words import count, size
from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture
from recommender.estimate.calibrate import Calibration
from recommender.estimate.quant_loss import loss_points
from recommender.estimate.quantize import unfit_share
from recommender.estimate.tensors import layout, table
from recommender.runtimes import runtime as get_runtime
from recommender.types import Device, Estimate, Need

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_RUNTIMES = ("llama.cpp", "bitnet.cpp")  # the first that takes a step runs it
_FORMAT = "gguf"
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
_NOBODY = "nobody is recorded to publish it: convert it yourself"
_WORTH_SAYING = 0.01  # of the weights, or of the file


@dataclass(frozen=True)
class LessonFigure:
    """What the field guide's lesson says of one quantization."""

    name: str  # the model as the lesson names it; "" for a rule of thumb
    value: float  # GB (1e9 bytes), or times the file
    note: str
    source: str


@dataclass(frozen=True)
class Rung:
    """One quantization of the model. Without ``file_bytes`` the model cannot be had in it, and ``against`` says why."""

    quantization: str
    runtime: str
    file_bytes: float | None = None
    file_provenance: str = ""  # "published file", "exact layout" or "rough estimate"
    saved: float | None = None  # share of F16's bytes
    loss_points: float | None = None  # of 100 points of ability, expected
    loss_basis: str = ""  # what the loss is from
    estimate: Estimate | None = None  # ``None`` where the runtime does not run on the device
    fits: bool = False
    against: str = ""  # why it cannot be had, or not here
    notes: tuple[str, ...] = ()  # what to know
    lesson_size: LessonFigure | None = None
    lesson_memory: LessonFigure | None = None


@dataclass(frozen=True)
class _Question:
    """One model on one device, with what is looked up once for all steps."""

    model_id: str
    params_total: float
    device: Device
    context_tokens: int
    calibration: Calibration | None
    shape: Architecture | None  # ``None`` where it is not known exactly
    rows: dict[str, dict[str, dict[str, Any]]]  # runtime → quantization → the estimators' columns
    trained_in: str  # the type the model was trained for, "" where it was trained whole
    others_trained_in: dict[str, str]  # quantization → models trained for it
    bases: dict[str, str]  # quantization → what its expected loss is from
    lesson: dict[tuple[str, str], LessonFigure]  # (kind, quantization) → figure


def usual_model(device: Device, catalog: Catalog, calibration: Calibration | None = None) -> str:
    """The best pick for a device that has a ladder; where nothing fits, the smallest model that has one."""
    for pick in recommend(device, Need(), catalog, calibration).picks:
        if variant_columns(catalog, pick.model_id, _RUNTIMES[0]):
            return pick.model_id
    row = (
        catalog.cursor()
        .execute("SELECT model_id FROM variants WHERE quantization = 'F16' ORDER BY file_bytes, model_id LIMIT 1")
        .fetchone()
    )
    return str(row[0]) if row else catalog.models()[0].model_id


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
    asked = _question(model.model_id, float(model.params_total), device, context_tokens, catalog, calibration)
    steps = catalog.cursor().execute("SELECT quantization FROM ladder ORDER BY rowid").fetchall()
    found = [_rung(asked, step) for (step,) in steps]
    known = [rung for rung in found if rung.file_bytes is not None]
    return (
        *sorted(known, key=lambda rung: -(rung.file_bytes or 0.0)),
        *(rung for rung in found if rung.file_bytes is None),
    )


def _question(
    model_id: str,
    params_total: float,
    device: Device,
    context_tokens: int,
    catalog: Catalog,
    calibration: Calibration | None,
) -> _Question:
    cursor = catalog.cursor()
    native = dict(cursor.execute("SELECT model_id, quantization FROM native_quantizations").fetchall())
    trained: dict[str, str] = {}
    for other, quantization in native.items():
        names = (trained.get(quantization, ""), catalog.model(other).name)
        trained[quantization] = ", ".join(name for name in names if name)
    bases = cursor.execute(
        "SELECT name, CASE WHEN rows > 0 THEN rows || ' ' || basis ELSE basis END FROM quant_loss WHERE kind = 'type'"
    ).fetchall()
    figures = cursor.execute(
        "SELECT kind, quantization, coalesce(name, ''), value, coalesce(note, ''), source FROM lesson_figures "
        "WHERE model_ids IS NULL OR list_contains(string_split(model_ids, '|'), $1)",
        [model_id],
    ).fetchall()
    try:
        shape = architecture_of(catalog, model_id)
    except BadInputError:
        shape = None
    return _Question(
        model_id,
        params_total,
        device,
        context_tokens,
        calibration,
        shape,
        {
            name: {str(row["quantization"]): row for row in variant_columns(catalog, model_id, name)}
            for name in _RUNTIMES
        },
        native.get(model_id, ""),
        trained,
        dict(bases),
        {(kind, quantization): LessonFigure(*rest) for kind, quantization, *rest in figures},
    )


def _rung(asked: _Question, quantization: str) -> Rung:
    runtime = next((name for name, known in asked.rows.items() if quantization in known), _RUNTIMES[0])
    row = asked.rows[runtime].get(quantization)
    if row is None:
        row, against = _converted(asked, quantization)
        if row is None:
            return Rung(quantization, runtime, against=against)
    published = row["published_bytes"]
    file_bytes = float(published or row["file_bytes"])
    row, made = _as_published(row, file_bytes)
    full = asked.rows[_RUNTIMES[0]].get("F16")
    loss, basis = _loss(asked, quantization)
    estimate, against = _here(asked, row, runtime)
    return Rung(
        quantization,
        runtime,
        file_bytes,
        "published file" if published else "exact layout" if row["exact"] else "rough estimate",
        1.0 - file_bytes / float(full["file_bytes"]) if full else None,
        loss,
        basis,
        estimate,
        not against,
        against,
        (*made, *_notes(asked, row, estimate)),
        asked.lesson.get(("size", quantization)),
        asked.lesson.get(("memory_ratio", quantization)),
    )


def _as_published(row: dict[str, Any], file_bytes: float) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The columns at the published file's size where its maker mixed the types otherwise, and a sentence on it."""
    ratio = file_bytes / float(row["file_bytes"])
    if abs(ratio - 1.0) < _WORTH_SAYING:
        return row, ()
    than = "larger" if ratio > 1 else "smaller"
    note = f"its published file is {abs(ratio - 1):.0%} {than} than the type's usual mix: memory and speed are its own"
    return row | {name: float(row[name]) * ratio for name in _SIZES if row[name] is not None}, (note,)


def _converted(asked: _Question, quantization: str) -> tuple[dict[str, Any] | None, str]:
    """The row of a conversion that the catalog does not list, or ``None`` with the reason."""
    full = asked.rows[_RUNTIMES[0]].get("F16")
    if full is None:
        return None, f"{get_runtime(_RUNTIMES[0]).name} does not load this model"
    if quantization in asked.others_trained_in and quantization != asked.trained_in:
        trained = asked.others_trained_in[quantization]
        return None, f"it is for models that were trained in it ({trained}), and this one was not"
    if refused := get_runtime(_RUNTIMES[0]).quantization_reason(_FORMAT, quantization):
        return None, refused
    if asked.shape is None:
        return None, "the catalog does not have this model's exact shape, so its bytes in this type are not known"
    try:
        made = layout(asked.shape, quantization)
    except BadInputError as error:
        return None, str(error).rstrip(".")
    row = {**full, **{name: getattr(made, name) for name in _SIZES}}
    return row | {"quantization": quantization, "exact": True, "published_bytes": None, "availability": "convert"}, ""


def _here(asked: _Question, row: dict[str, Any], name: str) -> tuple[Estimate | None, str]:
    """The figures on the device, and what is against it there: the runtime, or too little memory by Find's rule."""
    runtime, device = get_runtime(name), asked.device
    refused = runtime.device_reason(device, experimental=True)
    refused = refused or runtime.quantization_reason(_FORMAT, row["quantization"], device)
    if refused:
        return None, refused
    on_gpu = runtime.accelerator_for(device, experimental=True) in GPU_ACCELERATORS
    if not on_gpu:
        device = replace(device, gpus=())
    request = EstimateRequest(asked.model_id, row["quantization"], device, name, asked.context_tokens)
    estimate = estimate_row(request, row, asked.calibration).estimate
    memory, budget = estimate.memory, memory_budget(device)
    if memory is None:
        return estimate, ""
    in_ram = memory.total_bytes - memory.reclaimable_bytes - memory.gpu_bytes
    needs, free, where = in_ram, budget.ram_room_bytes(on_gpu), "memory"
    if memory.gpu_bytes - budget.gpu_room_bytes > max(needs - free, 0.0):
        needs, free, where = memory.gpu_bytes, budget.gpu_room_bytes, "GPU memory"
    # A size that is not known is NaN: it counts against nothing.
    short = f"needs {size(needs)}, {size(free)} of {where} free: short by {size(needs - free)}" if needs > free else ""
    return estimate, short


def _notes(asked: _Question, row: dict[str, Any], estimate: Estimate | None) -> tuple[str, ...]:
    found = [_NOBODY] if row["availability"] == "convert" else []
    if asked.shape is not None and row["exact"]:
        share, block = unfit_share(table(asked.shape), row["quantization"])
        if share >= _WORTH_SAYING:
            found.append(
                f"{share:.0%} of the weights stand in rows that are no multiple of {count(block)}, this type's block: "
                "they are stored in a larger type, so less is saved and less is lost"
            )
    if estimate is not None and estimate.decode_tokens_per_s is None:
        found.append("its speed on this device is not known")
    return tuple(found)


def _loss(asked: _Question, quantization: str) -> tuple[float, str]:
    """Expected points lost, and what the figure is from."""
    points = loss_points(
        np.array([asked.params_total]),
        np.array([quantization], dtype=object),
        np.array([asked.trained_in], dtype=object),
    )
    if asked.trained_in and not points[0]:
        return 0.0, f"trained in {asked.trained_in}"
    return float(points[0]), asked.bases.get(quantization, "")
