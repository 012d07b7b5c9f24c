"""Estimates of rows that compute on different parts of one machine."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recommender.engine import placement
from recommender.engine.rules import Case
from recommender.estimate import Estimates, estimate_columns
from recommender.estimate.calibrate import Calibration
from recommender.types import Floats, SettingsColumns

Columns = TypeVar("Columns")


def estimate_where_placed(
    case: Case, settings: SettingsColumns, prompt: Floats, gen: Floats, calibration: Calibration | None
) -> tuple[Case, SettingsColumns, Estimates]:
    """Every row estimated on what it computes on; the case and the settings with what that is.

    Rows on the CPU have no layer on a GPU. No NPU's speed is known to the fit: it reads the same memory as the CPU,
    whose speed stands in for it. A row that a GPU's share of the machine's memory cannot hold computes on the CPU,
    where its runtime can do that and memory has room: a GPU never takes away what works without it.
    """
    settings = _placed(case, settings)
    estimates = _estimated(case, settings, prompt, gen, calibration)
    moved = _to_the_cpu(case, estimates)
    if not moved.size:
        return case, settings, estimates
    case = replace(case, placement=case.placement.moved(moved, placement.CPU))
    settings = _placed(case, settings)
    variants = _taken(case.candidates.variants, moved)
    on_cpu = estimate_columns(
        variants,
        _taken(settings, moved),
        case.device,
        case.gpu_bytes,
        prompt[moved],
        gen[moved],
        calibration=calibration,
    )
    return case, settings, _put(estimates, on_cpu, moved)


def _placed(case: Case, settings: SettingsColumns) -> SettingsColumns:
    on_cpu = case.placement.among((placement.CPU, placement.NPU))
    return replace(settings, gpu_layers=np.where(on_cpu, 0.0, settings.gpu_layers))


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
    case: Case, settings: SettingsColumns, prompt: Floats, gen: Floats, calibration: Calibration | None
) -> Estimates:
    """Estimates of all rows; where some reach the GPU another way than others, by groups that reach it alike."""
    variants = case.candidates.variants
    seen = [placement.seen_from(name, case.device) for name in case.placement.names]
    different = [device for place, device in enumerate(seen) if device not in seen[:place]]
    group = np.array([different.index(device) for device in seen], dtype=np.intp)[case.placement.index]
    parts = [(np.flatnonzero(group == place), device) for place, device in enumerate(different)]
    parts = [(rows, device) for rows, device in parts if len(rows)]
    if len(parts) <= 1:
        device = parts[0][1] if parts else case.device
        return estimate_columns(variants, settings, device, case.gpu_bytes, prompt, gen, calibration=calibration)
    whole: Estimates | None = None
    for rows, device in parts:
        part = estimate_columns(
            _taken(variants, rows),
            _taken(settings, rows),
            device,
            case.gpu_bytes,
            prompt[rows],
            gen[rows],
            calibration=calibration,
        )
        blank = whole or _each(part, lambda column: np.full(len(variants), np.nan, dtype=column.dtype))
        whole = _put(blank, part, rows)
    assert whole is not None
    return whole


def _taken(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """The same columns for some rows."""
    return _each(columns, lambda column: column[rows])


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
