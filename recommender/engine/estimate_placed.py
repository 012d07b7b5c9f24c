"""Estimates of rows that compute on different parts of one machine: each part sees the device its own way."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recommender.engine import placement
from recommender.engine.rules import Case
from recommender.estimate import Estimates, estimate_columns
from recommender.estimate.calibrate import Calibration
from recommender.types import Floats, SettingsColumns, distinct

Columns = TypeVar("Columns")


def estimate_where_placed(
    case: Case, settings: SettingsColumns, prompt: Floats, gen: Floats, calibration: Calibration | None
) -> tuple[Case, Estimates]:
    """Every row estimated on what it computes on, and the case with what that is.

    A row that a GPU's share of the machine's memory cannot hold computes on the CPU, where its runtime can do that
    and memory has room: a GPU never takes away what works without it.
    """
    estimates = _estimated(case, settings, prompt, gen, calibration)
    moved = _to_the_cpu(case, estimates)
    if not moved.size:
        return case, estimates
    accelerator = case.accelerator.copy()
    accelerator[moved] = placement.CPU
    case = replace(case, accelerator=accelerator)
    on_cpu = _estimated(case, settings, prompt, gen, calibration, moved)
    return case, _put(estimates, on_cpu, moved)


def _to_the_cpu(case: Case, estimates: Estimates) -> NDArray[np.int64]:
    """Rows that fit into memory but not into the share of it that a GPU without its own may hold."""
    reserve = case.need.memory_reserve_bytes
    share, room = case.budget.ram_room_bytes(True) - reserve, case.budget.ram_room_bytes(False) - reserve
    if share >= room or case.need.accelerator == "gpu":
        return np.array([], dtype=np.int64)
    needed = estimates.memory.total_bytes - estimates.memory.reclaimable_bytes
    rows = case.candidates
    found = [placement.of_kind(name, form, q, case.runtimes[name].accelerators) for name, form, q in rows.kinds]
    able = np.array([placement.CPU in names for names in found], dtype=np.bool_)[rows.kind]
    return np.flatnonzero(case.on_gpu & able & (needed > share) & (needed <= room))


def _estimated(
    case: Case,
    settings: SettingsColumns,
    prompt: Floats,
    gen: Floats,
    calibration: Calibration | None,
    only: NDArray[np.int64] | None = None,
) -> Estimates:
    """Estimates of all rows, or of some, by groups that see the device alike."""
    variants = case.candidates.variants
    wanted = np.arange(len(variants)) if only is None else only
    names, index = distinct(case.accelerator[wanted])
    devices = [placement.seen_from(name, case.device) for name in names]
    different: list[Any] = []
    for device in devices:
        if device not in different:
            different.append(device)
    group = np.array([different.index(device) for device in devices], dtype=np.intp)[index]
    found: Estimates | None = None
    for place, device in enumerate(different):
        rows = wanted[group == place]
        gpu_bytes = case.gpu_bytes if device.gpus else 0.0
        some, how = variants, settings
        if len(rows) < len(variants):
            some, how = _take(variants, rows), _take(settings, rows)
        part = estimate_columns(some, how, device, gpu_bytes, prompt[rows], gen[rows], calibration=calibration)
        if len(different) == 1:
            return part
        found = _put(found or _blank(part, len(wanted)), part, np.flatnonzero(group == place))
    if found is None:  # no rows at all
        return estimate_columns(variants, settings, case.device, case.gpu_bytes, prompt, gen, calibration=calibration)
    return found


def _take(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """The same columns for some rows."""
    return _each(columns, lambda column: column[rows])


def _blank(columns: Columns, count: int) -> Columns:
    return _each(columns, lambda column: np.full(count, np.nan, dtype=column.dtype))


def _put(columns: Columns, part: Columns, rows: NDArray[np.int64]) -> Columns:
    """Columns with some rows replaced."""

    def merged(left: Any, right: Any) -> Any:
        if is_dataclass(left) and not isinstance(left, type):
            names = [field.name for field in fields(left)]
            return replace(left, **{name: merged(getattr(left, name), getattr(right, name)) for name in names})
        whole = left.copy()
        whole[rows] = right
        return whole

    result: Columns = merged(columns, part)
    return result


def _each(columns: Columns, change: Any) -> Columns:
    """A dataclass of arrays, or of such dataclasses, with every array changed; what is ``None`` stays so."""

    def changed(value: Any) -> Any:
        if value is None:
            return None
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{field.name: changed(getattr(value, field.name)) for field in fields(value)})
        return change(value)

    result: Columns = changed(columns)
    return result
