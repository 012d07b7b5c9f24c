"""How well speeds are predicted: errors over published measurements, by class, beside the measurements' own noise.

Rows that the coefficients were fitted on are judged by the prediction of a fit that saw no row of their device
(``catalog/speed_held_out.csv``, written by ``scripts/fit_speed.py``); other rows by the shipped coefficients.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender import paths
from recommender.estimate.measured import Measured, Resolve, Row, read_measured
from recommender.estimate.measured_work import PhaseRows, phase_rows
from recommender.estimate.speed_tables import SpeedTables, speed_tables
from recommender.types import Floats, RangeColumns, Texts, distinct

Mask = NDArray[np.bool_]
PHASES = ("decode", "prefill")
SMALL_PARAMETERS = 2e9
# A measured speed counts as the fitted row's own when it is equal to this relative precision.
SAME = 1e-6


@dataclass(frozen=True)
class SpeedTable:
    """Errors over ``rows``; all are fractions. ``device_balanced_median`` is the median over devices of their medians,
    ``bias`` the median of the signed log error (positive: predicted too fast)."""

    rows: int
    devices: int
    median_abs_error: float
    device_balanced_median: float
    p90_abs_error: float
    p95_abs_error: float
    within_25: float
    within_30: float
    bias: float
    interval_share: float
    skipped: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[str, SpeedTable] = field(default_factory=dict)


@dataclass(frozen=True)
class NoiseFloor:
    """How far rows of one configuration lie from their own median: no prediction can be better than this."""

    rows: int
    configurations: int
    median_abs_error: float
    p90_abs_error: float


@dataclass(frozen=True)
class SpeedEvaluation:
    """``decode`` and ``prefill`` hold left-out errors; ``fitted`` the same rows with the shipped coefficients."""

    decode: SpeedTable
    prefill: SpeedTable
    fitted: Mapping[str, SpeedTable]
    noise_floor: Mapping[str, NoiseFloor]


def evaluate_speed(
    measurement_rows: Sequence[Row],
    device_rows: Sequence[Row],
    model_rows: Sequence[Row],
    resolve: Resolve | None = None,
) -> SpeedEvaluation:
    """Predict every comparable row and compare.

    Args:
        measurement_rows: rows with the headers of ``catalog/measurements.csv``; its review columns may be missing.
        device_rows, model_rows: rows of ``catalog/devices.csv`` and ``catalog/models.csv``.
        resolve: (name, parameters in billions) → model id, for rows without ``model_id``.
    """
    tables = speed_tables()
    data, skipped = read_measured(measurement_rows, device_rows, model_rows, tables, resolve)
    found: dict[str, SpeedTable] = {}
    fitted: dict[str, SpeedTable] = {}
    floors: dict[str, NoiseFloor] = {}
    for phase in PHASES:
        rows = phase_rows(data, phase, tables)
        missing = len(data) - len(rows)
        reasons = {**skipped, f"no {phase} speed or prompt length": missing} if missing else dict(skipped)
        if not len(rows):
            found[phase] = _nothing(reasons)
            continue
        shipped = predict(rows, tables)
        left_out, seen = _held_out(data, rows, shipped)
        found[phase] = _table(data, rows, left_out, np.ones(len(rows), dtype=np.bool_), _classes(data, rows), reasons)
        if seen.any():
            fitted[phase] = _table(data, rows, shipped, seen, {}, {})
        floors.update(_noise(data, rows))
    return SpeedEvaluation(found["decode"], found["prefill"], fitted, floors)


def predict(rows: PhaseRows, tables: SpeedTables) -> RangeColumns:
    """Speeds of measured rows with the shipped coefficients, tokens/s, shape (n,)."""
    keys = [
        (f"{family}\t{side.hardware_class}", str(family), side)
        for family, side in zip(rows.family, rows.sides, strict=True)
    ]
    names, key_of_row = distinct(np.array([key for key, _, _ in keys], dtype=object))
    pairs = [(family, hardware_class) for family, _, hardware_class in (name.partition("\t") for name in names)]
    known = {family for family, _, _ in tables.fits}
    of_known = [(f if f in known else f"llama.cpp-{f.rsplit('-', 1)[1]}", c) for f, c in pairs]
    classes, class_of_row = distinct(rows.quant_class)
    coefficients, low, high = tables.gather(of_known, key_of_row, classes, class_of_row, rows.phase)
    value = rows.tokens_per_s(coefficients)
    stand_in = np.array([given != used for given, used in zip(pairs, of_known, strict=True)])[key_of_row]
    extra = np.where(stand_in, 1.2816 * tables.stand_in_spread(), 0.0)
    on_cpu = np.array([side.accelerator == "cpu" for side in rows.sides], dtype=np.bool_)
    width = np.where(
        on_cpu,
        tables.width(rows.phase, "cpu", rows.params_total),
        tables.width(rows.phase, "gpu", rows.params_total),
    )
    low, high = low[key_of_row] * width, high[key_of_row] * width
    return RangeColumns(value, value * np.exp(-np.hypot(low, extra)), value * np.exp(np.hypot(high, extra)))


def _held_out(data: Measured, rows: PhaseRows, shipped: RangeColumns) -> tuple[RangeColumns, Mask]:
    """Predictions with those of fitted rows replaced by their left-out ones, and which rows were fitted on."""
    known = _held_out_table()
    value, low, high = shipped.value.copy(), shipped.low.copy(), shipped.high.copy()
    seen = np.zeros(len(rows), dtype=np.bool_)
    for i, place in enumerate(rows.kept):
        entry = known.get((rows.phase, str(data.row_id[place])))
        if entry and entry[0] == data.device[place] and abs(entry[1] / rows.measured[i] - 1) < SAME:
            value[i], low[i], high[i] = entry[2:]
            seen[i] = True
    return RangeColumns(value, low, high), seen


def _held_out_table() -> dict[tuple[str, str], tuple[str, float, float, float, float]]:
    path = paths.catalog_dir() / "speed_held_out.csv"
    with path.open(newline="", encoding="utf-8") as handle:
        return {
            (row["phase"], row["row_id"]): (
                row["device"],
                float(row["measured"]),
                float(row["predicted"]),
                float(row["low"]),
                float(row["high"]),
            )
            for row in csv.DictReader(handle)
        }


def _classes(data: Measured, rows: PhaseRows) -> dict[str, Mask]:
    params = data.variants.params_total[rows.kept]
    on_cpu = np.array([side.accelerator == "cpu" for side in rows.sides], dtype=np.bool_)
    offered = sorted({backend.family for backend in speed_tables().backends.values()})
    classes: dict[str, Mask] = {
        "cpu": on_cpu,
        "gpu": ~on_cpu,
        "up to 2B": params <= SMALL_PARAMETERS,
        "2B to 14B": (params > SMALL_PARAMETERS) & (params <= 14e9),
        "above 14B": params > 14e9,
        "engines that a runtime here uses": np.isin(rows.family.astype(str), offered),
    }
    for label, values in (
        ("backend", rows.family),
        ("evidence", data.evidence[rows.kept]),
        ("quantization class", rows.quant_class),
    ):
        names, of_row = distinct(values)
        classes |= {f"{label} {name}": of_row == i for i, name in enumerate(names)}
    return {name: mask for name, mask in classes.items() if mask.any()}


def _table(
    data: Measured,
    rows: PhaseRows,
    predicted: RangeColumns,
    chosen: Mask,
    classes: Mapping[str, Mask],
    skipped: Mapping[str, int],
) -> SpeedTable:
    error = np.log(predicted.value / rows.measured)[chosen]
    absolute = np.abs(np.expm1(error))
    device = data.device[rows.kept][chosen]
    inside = (predicted.low <= rows.measured) & (rows.measured <= predicted.high)
    return SpeedTable(
        rows=int(chosen.sum()),
        devices=len(set(device)),
        median_abs_error=float(np.median(absolute)),
        device_balanced_median=_balanced_median(absolute, device),
        p90_abs_error=float(np.quantile(absolute, 0.9)),
        p95_abs_error=float(np.quantile(absolute, 0.95)),
        within_25=float(np.mean(absolute <= 0.25)),
        within_30=float(np.mean(absolute <= 0.3)),
        bias=float(np.median(error)),
        interval_share=float(np.mean(inside[chosen])),
        skipped=skipped,
        by_class={name: _table(data, rows, predicted, mask & chosen, {}, {}) for name, mask in classes.items()},
    )


def _nothing(skipped: Mapping[str, int]) -> SpeedTable:
    """The table of no rows: why there are none is all it says."""
    nan = float("nan")
    return SpeedTable(0, 0, nan, nan, nan, nan, nan, nan, nan, nan, skipped=skipped)


def _balanced_median(absolute: Floats, device: Texts) -> float:
    names, of_row = distinct(device)
    return float(np.median([np.median(absolute[of_row == i]) for i in range(len(names))]))


def _noise(data: Measured, rows: PhaseRows) -> dict[str, NoiseFloor]:
    """Spread within configurations that have several rows, by side."""
    names, of_row = distinct(data.configuration[rows.kept])
    on_cpu = np.array([side.accelerator == "cpu" for side in rows.sides], dtype=np.bool_)
    counts = np.bincount(of_row, minlength=len(names))
    medians = np.array([np.median(np.log(rows.measured[of_row == i])) for i in range(len(names))])
    away = np.abs(np.expm1(np.log(rows.measured) - medians[of_row]))
    floors: dict[str, NoiseFloor] = {}
    for side, mask in (("cpu", on_cpu), ("gpu", ~on_cpu)):
        several = mask & (counts[of_row] > 1)
        if several.any():
            floors[f"{rows.phase} {side}"] = NoiseFloor(
                rows=int(several.sum()),
                configurations=len(set(of_row[several])),
                median_abs_error=float(np.median(away[several])),
                p90_abs_error=float(np.quantile(away[several], 0.9)),
            )
    return floors
