"""Fit the speed coefficients from ``catalog/measurements.csv`` and write them, with their held-out error.

    python scripts/fit_speed.py            # fit, cross-validate leaving whole devices out, write the tables
    python scripts/fit_speed.py --check    # the same, but write nothing

Every coefficient is a product of few factors (accelerator × engine × hardware class × quantization class), fitted in
logarithms with Levenberg–Marquardt on Cauchy's loss. Factors are drawn toward 1 (a Gaussian prior), so a level with
few rows stays near what its group says. A device counts with the square root of its rows, so that one machine with
many rows does not set the coefficients. Ranges come from errors on devices that the fit had not seen.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from speed_factors import Levels, Model, Problem, decode_prior, fit, prefill_prior, problem
from speed_stand_ins import fallback_rows, size_law_rows

from recommender import paths
from recommender.estimate.measured import read_measured
from recommender.estimate.speed import Z80
from recommender.estimate.speed_hardware import GPU_CLASSES, INSTRUCTION_SETS
from recommender.estimate.speed_tables import COEFFICIENT_NAMES, SpeedTables, parse_fallbacks, parse_size_laws

COVERAGE = 0.8
NARROWEST = 0.03  # log: no range is narrower than what repeated runs of one setup differ by
# A range needs at least this many left-out rows of its own; with fewer it borrows from its accelerator, then from all.
ENOUGH_ROWS = 30
ENOUGH_DEVICES = 5


def held_out_errors(p: Problem, model: Model) -> np.ndarray:
    """Log error (predicted − measured) of every row, predicted by a fit that saw no row of its device."""
    errors = np.empty(len(p.target))
    for device in dict.fromkeys(p.device):
        left_out = p.device == device
        vector = fit(p, model, np.flatnonzero(~left_out))
        errors[left_out] = (p.predict(model.coefficients(vector)) - p.target)[left_out]
    return errors


def held_out_rows(p: Problem, errors: np.ndarray) -> list[dict[str, object]]:
    """Left-out predictions with ranges that were computed without the row's device as well."""
    rows: list[dict[str, object]] = []
    cache: dict[tuple[str, str, str], tuple[float, float]] = {}
    widths: dict[str, np.ndarray] = {}
    for i, level in enumerate(p.levels):
        key = (str(p.device[i]), level.family, level.hardware_class)
        others = p.device != p.device[i]
        if key[0] not in widths:
            widths[key[0]] = row_widths(p, errors, others)
        if key not in cache:
            cache[key] = interval_of(p, errors / widths[key[0]], level, others)[0]
        low, high = (end * widths[key[0]][i] for end in cache[key])
        predicted = math.exp(p.target[i] + errors[i])
        rows.append(
            {
                "phase": p.phase,
                "row_id": p.row_id[i],
                "device": p.device[i],
                "measured": f"{p.rows.measured[i]:.9g}",
                "predicted": f"{predicted:.5g}",
                "low": f"{predicted * math.exp(low):.5g}",
                "high": f"{predicted * math.exp(high):.5g}",
            }
        )
    return rows


def weighted_quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order])
    return float(np.interp(share * cumulative[-1], cumulative - weight[order] / 2, values[order]))


def small_width(p: Problem, errors: np.ndarray, known: np.ndarray) -> float:
    """How much wider errors of small models spread than those of the others, among the ``known`` rows; at least 1."""
    spreads = []
    for rows in (known & p.small, known & ~p.small):
        _, inverse, counts = np.unique(p.device[rows], return_inverse=True, return_counts=True)
        spreads.append(weighted_quantile(np.abs(errors[rows]), 1 / np.sqrt(counts[inverse]), COVERAGE))
    return max(spreads[0] / spreads[1], 1.0)


def row_widths(p: Problem, errors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What the range of each row is multiplied by for its model's size."""
    cpu = np.array([x.side == "cpu" for x in p.levels])
    width = np.where(cpu, small_width(p, errors, known & cpu), small_width(p, errors, known & ~cpu))
    return np.where(p.small, width, 1.0)


def interval(errors: np.ndarray, device: np.ndarray) -> tuple[float, float]:
    """Log offsets (low, high) of the range around a prediction: quantiles of measured ÷ predicted.

    A device weighs as the square root of its rows, as in the fit. The quantiles are those of conformal prediction
    with devices as the units: the fewer devices, the further out. Devices with many rows say as much as many, so their
    number is the effective one, (Σw)² ÷ Σw² (L. Kish, *Survey Sampling*, 1965).
    """
    _, inverse, counts = np.unique(device, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(counts[inverse])
    effective = np.sqrt(counts).sum() ** 2 / counts.sum()
    tail = max((1 - COVERAGE * (1 + 1 / effective)) / 2, 0.01)
    low, high = (weighted_quantile(-errors, weight, share) for share in (tail, 1 - tail))
    return min(low, -NARROWEST), max(high, NARROWEST)


def interval_of(
    p: Problem, errors: np.ndarray, row: Levels, seen: np.ndarray | None = None
) -> tuple[tuple[float, float], str]:
    """The range of the narrowest group around ``row`` that has enough left-out rows (of those ``seen``), its name.

    ``errors`` are divided by what their model's size widens them by.

    A family seen on too few devices borrows its accelerator's range, widened by how far engines lie apart.
    """
    known = np.ones(len(errors), bool) if seen is None else seen
    groups: list[tuple[str, Callable[[Levels], bool]]] = [
        ("class", lambda x: x.family == row.family and x.hardware_class == row.hardware_class),
        ("family", lambda x: x.family == row.family),
        ("accelerator", lambda x: x.accelerator == row.accelerator),
        ("side", lambda x: x.side == row.side),
    ]
    for name, inside in groups:
        chosen = known & np.array([inside(x) for x in p.levels])
        if chosen.sum() >= ENOUGH_ROWS and len(set(p.device[chosen])) >= ENOUGH_DEVICES:
            low, high = interval(errors[chosen], p.device[chosen])
            if name in ("class", "family"):
                return (low, high), name
            apart = Z80 * family_spread(p, errors, known)
            return (-math.hypot(low, apart), math.hypot(high, apart)), f"{name}, widened"
    return interval(errors[known], p.device[known]), "all"


def family_spread(p: Problem, errors: np.ndarray, known: np.ndarray) -> float:
    """Robust log standard deviation of the median left-out error of families: what a new engine may differ by."""
    families = np.array([x.family for x in p.levels])
    medians = [float(np.median(errors[known & (families == name)])) for name in set(families[known])]
    return 1.4826 * float(np.median(np.abs(medians)))


def output_rows(
    p: Problem, model: Model, vector: np.ndarray, errors: np.ndarray, families: Iterable[tuple[str, str]]
) -> list[dict[str, object]]:
    """A row per family and hardware class, also where this phase was never measured: its factors are then 1."""
    forms = ("server", "desktop", "laptop", "small")
    cpu_classes = [f"{isa}-{form}" for isa in INSTRUCTION_SETS for form in forms]
    alike = errors / row_widths(p, errors, np.ones(len(errors), bool))
    rows: list[dict[str, object]] = []
    for family, accelerator in families:
        for hardware_class in [*(cpu_classes if accelerator == "cpu" else GPU_CLASSES), "any"]:
            level = Levels(family, accelerator, hardware_class, "q4")
            inside = np.array([x.family == family and hardware_class in (x.hardware_class, "any") for x in p.levels])
            (low, high), basis = interval_of(p, alike, level)
            values = model.values(vector, level, without_quant=True)
            absolute = np.abs(np.expm1(errors[inside]))
            rows.append(
                {
                    "backend_family": family,
                    "hardware_class": hardware_class,
                    "phase": p.phase,
                    **{name: f"{values[name]:.5g}" for name in COEFFICIENT_NAMES},
                    "rows": int(inside.sum()),
                    "devices": len(set(p.device[inside])),
                    "held_out_median_abs_error": f"{np.median(absolute):.3f}" if inside.any() else "",
                    "held_out_within_30": f"{np.mean(absolute <= 0.3):.3f}" if inside.any() else "",
                    "interval_low": f"{low:.3f}",
                    "interval_high": f"{high:.3f}",
                    "interval_from": basis,
                }
            )
    return rows


def quant_rows(p: Problem, model: Model, vector: np.ndarray) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for side in ("cpu", "gpu"):
        for quant_class in ("f16", "q8", "q56", "q4", "q23", "iq"):
            rows.append(
                {
                    "side": side,
                    "phase": p.phase,
                    "quant_class": quant_class,
                    "weight_factor": f"{model.quant_factor(vector, 'weight_efficiency', side, quant_class):.4g}",
                    "compute_factor": f"{model.quant_factor(vector, 'compute', side, quant_class):.4g}",
                    "rows": sum(x.side == side and x.quant_class == quant_class for x in p.levels),
                }
            )
    return rows


def spread_rows(p: Problem, errors: np.ndarray) -> list[dict[str, object]]:
    """Robust standard deviations of held-out log error: of device medians, and of rows around their device's median."""
    rows: list[dict[str, object]] = []
    for side in ("cpu", "gpu"):
        chosen = np.array([x.side == side for x in p.levels])
        device = p.device[chosen]
        medians = {d: float(np.median(errors[chosen][device == d])) for d in set(device)}
        within = [abs(e - medians[d]) for e, d in zip(errors[chosen], device, strict=True) if sum(device == d) >= 5]
        rows.append(
            {
                "phase": p.phase,
                "side": side,
                "between_devices": f"{1.4826 * np.median(np.abs(list(medians.values()))):.4g}",
                "within_device": f"{1.4826 * np.median(within):.4g}",
                "between_runs": f"{repeat_spread(p, chosen):.4g}",
                "class_share": f"{class_share(errors[chosen], device, p.kernel[chosen]):.2f}",
                "small_width": f"{small_width(p, errors, chosen):.4g}",
                "devices": len(medians),
                "rows": int(chosen.sum()),
            }
        )
    return rows


def class_share(errors: np.ndarray, device: np.ndarray, classes: np.ndarray) -> float:
    """The share of the variance within a device that models read by one kernel have in common.

    From half the mean squared difference of two rows of one device, of one class and of two (the semivariances of
    geostatistics), each device counting once; a difference counts as 1 (a factor e) at most.
    """
    same: list[float] = []
    other: list[float] = []
    for name in dict.fromkeys(device):
        here = device == name
        first, second = np.triu_indices(int(here.sum()), 1)
        half_square = np.minimum(np.abs(errors[here][first] - errors[here][second]), 1.0) ** 2 / 2
        alike = classes[here][first] == classes[here][second]
        for values, means in ((half_square[alike], same), (half_square[~alike], other)):
            if len(values):
                means.append(float(values.mean()))
    return min(max(1.0 - float(np.mean(same)) / float(np.mean(other)), 0.0), 1.0)


def repeat_spread(p: Problem, chosen: np.ndarray) -> float:
    """Robust log standard deviation of rows around the median of their configuration, where it has several rows."""
    _, inverse, counts = np.unique(p.configuration[chosen].astype(str), return_inverse=True, return_counts=True)
    target = p.target[chosen]
    away = [abs(target[i] - np.median(target[inverse == k])) for i, k in enumerate(inverse) if counts[k] > 1]
    return 1.4826 * float(np.median(away))


def engine_spread(p: Problem, errors: np.ndarray, model: Model, vector: np.ndarray) -> dict[str, object]:
    """How far engines lie from llama.cpp on one accelerator: spread of their median ratio to llama.cpp's prediction."""
    as_llama = [Levels(f"llama.cpp-{x.accelerator}", x.accelerator, x.hardware_class, x.quant_class) for x in p.levels]
    known = {x.family for x in p.levels}
    stand_in = Model(model.prior, as_llama)
    moved = np.array(
        [
            vector[model.factors.index[key]] if key in model.factors.index else stand_in.mean[i]
            for key, i in stand_in.factors.index.items()
        ]
    )
    ratio = p.target - p.predict(stand_in.coefficients(moved))
    families = np.array([x.family for x in p.levels])
    medians = [
        float(np.median(ratio[families == f]))
        for f in sorted(known)
        if not f.startswith("llama.cpp-") and f"llama.cpp-{f.rsplit('-', 1)[1]}" in known
    ]
    spread = math.sqrt(sum(m * m for m in medians) / len(medians))
    return {
        "side": "engine",
        "device_kind": "any",
        "quantity": "speed_ratio",
        "typical": 1.0,
        "log_spread": f"{spread:.4g}",
        "devices": len(medians),
    }


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def summary(p: Problem, errors: np.ndarray) -> None:
    groups: dict[str, np.ndarray] = {"all": np.ones(len(errors), bool)}
    groups["≤ 2B"] = p.small
    for side in ("cpu", "gpu"):
        groups[side] = np.array([x.side == side for x in p.levels])
    for family in sorted({x.family for x in p.levels}):
        groups[family] = np.array([x.family == family for x in p.levels])
    print(f"\n{p.phase}, devices left out whole")
    print(f"{'':24}{'rows':>6}{'devices':>9}{'median':>8}{'balanced':>10}{'p90':>7}{'≤30%':>7}{'bias':>8}")
    for name, chosen in groups.items():
        if not chosen.any():
            continue
        absolute = np.abs(np.expm1(errors[chosen]))
        device = p.device[chosen]
        by_device = [np.median(absolute[device == d]) for d in set(device)]
        print(
            f"{name:24}{chosen.sum():6}{len(by_device):9}{np.median(absolute):8.3f}{np.median(by_device):10.3f}"
            f"{np.quantile(absolute, 0.9):7.2f}{np.mean(absolute <= 0.3):7.2f}{np.median(errors[chosen]):+8.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="print the errors and write nothing")
    arguments = parser.parse_args()
    folder = paths.catalog_dir()
    devices, models = read(folder / "devices.csv"), read(folder / "models.csv")
    fallbacks = fallback_rows(devices, read(folder / "disk_speeds.csv"))
    laws = size_law_rows(models)
    # Everything is written at the end, so that a run that breaks off leaves the tables as they were.
    tables = SpeedTables(folder)
    tables.fallbacks = parse_fallbacks(fallbacks)
    tables.size_laws = parse_size_laws(laws)
    data, skipped = read_measured(read(folder / "measurements.csv"), devices, models, tables)
    print(f"{len(data)} rows of {len(set(data.device))} devices; skipped {sum(skipped.values())}:")
    for reason, count in skipped.items():
        print(f"  {count:5} {reason}")
    found: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("coefficients", "quant_factors", "spreads", "held_out")
    }
    families = dict.fromkeys((family, side.accelerator) for family, side in zip(data.family, data.sides, strict=True))
    for phase, prior in (("decode", decode_prior), ("prefill", prefill_prior)):
        p = problem(data, phase, tables)
        model = Model(prior, p.levels)
        errors = held_out_errors(p, model)
        summary(p, errors)
        vector = fit(p, model, np.arange(len(p.target)))
        found["coefficients"] += output_rows(p, model, vector, errors, families)
        found["quant_factors"] += quant_rows(p, model, vector)
        found["spreads"] += spread_rows(p, errors)
        found["held_out"] += held_out_rows(p, errors)
        if phase == "decode":
            fallbacks.append(engine_spread(p, errors, model, vector))
    if arguments.check:
        return
    for name, rows in found.items():
        write(folder / f"speed_{name}.csv", rows)
    write(folder / "speed_fallbacks.csv", fallbacks)
    write(folder / "size_laws.csv", laws)


if __name__ == "__main__":
    main()
