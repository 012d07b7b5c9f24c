"""Fit ``catalog/quant_loss.csv`` from the published figures in ``catalog/quant_loss_evidence.csv``.

Run from the repository: ``python scripts/fit_quant_loss.py [--out FILE]``. It prints the rows with their residuals.

Unknowns: the damage of each type, the exponent of size, how damage becomes lost score, how the logarithm of a
perplexity ratio becomes damage, and how much each model departs from its size. All are fitted together by damped
Gauss-Newton on three kinds of rows:

* ``kld``: damage itself, on the logarithmic scale;
* ``perplexity``: ln(perplexity / baseline) is proportional to damage, on the logarithmic scale;
* ``score``: the share of (baseline − chance) that was lost.

A type with little or no evidence is held to a line in bits per weight (log damage falls with bits).
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recommender.estimate.quant_loss import REFERENCE_PARAMS
from recommender.paths import catalog_dir
from recommender.types import Floats

# bits per weight at eight billion parameters and, for types without figures of their own, whose damage they take
TYPES = catalog_dir() / "quant_loss_types.csv"
EVIDENCE = catalog_dir() / "quant_loss_evidence.csv"
OUT = catalog_dir() / "quant_loss.csv"

LOG_SD = 0.25  # of a divergence or perplexity row, on the logarithmic scale, besides its model's own departure
TINY_DIVERGENCE = 0.0005  # below this the measurement itself is noise
TINY_RATIO = 0.002
SHARE_SD = 0.012  # of a lost share: what two runs of one test differ by
SHARE_PART = 0.30  # and this part of the lost share itself
LINE_SD = 0.7  # of a type's log damage around the line in bits per weight
MODEL_SD = 0.35  # of a model's log damage around what its size says


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def least_squares(residuals: Callable[[Floats], Floats], start: Floats, rounds: int = 200) -> tuple[Floats, Floats]:
    """Levenberg-Marquardt with numeric derivatives: the solution and its covariance."""
    x, damping = start.copy(), 1e-2
    r = residuals(x)
    for _ in range(rounds):
        step = 1e-6
        jacobian = np.column_stack([(residuals(x + step * unit) - r) / step for unit in np.eye(len(x))])
        gram, slope = jacobian.T @ jacobian, jacobian.T @ r
        trial = x - np.linalg.solve(gram + damping * np.diag(np.diag(gram) + 1e-9), slope)
        new = residuals(trial)
        if new @ new < r @ r:
            done = (r @ r - new @ new) < 1e-10 * (r @ r)
            x, r, damping = trial, new, damping / 3
            if done:
                break
        else:
            damping *= 4
            if damping > 1e8:
                break
    return x, np.asarray(np.linalg.inv(gram), dtype=np.float64)


def main(out: Path) -> None:
    types, rows = read(TYPES), read(EVIDENCE)
    fitted = [row for row in types if not row["same_as"] and float(row["bits_per_weight"]) < 16]
    names = [row["quantization"] for row in fitted]
    bits = np.array([float(row["bits_per_weight"]) for row in fitted])
    index = {name: position for position, name in enumerate(names)}
    models = sorted({row["model"] for row in rows})
    model_index = {name: position for position, name in enumerate(models)}
    n_type, n_model = len(names), len(models)
    of_type = np.array([index[row["quantization"]] for row in rows])
    of_model = np.array([model_index[row["model"]] for row in rows])
    log_size = np.array([math.log(float(row["params_total"]) / REFERENCE_PARAMS) for row in rows])
    metric = np.array([row["metric"] for row in rows])
    value = np.array([float(row["value"]) for row in rows])
    baseline = np.array([float(row["baseline"] or "nan") for row in rows])
    chance = np.array([float(row["chance"] or "nan") for row in rows])
    is_kld, is_ppl, is_score = metric == "kld", metric == "perplexity", metric == "score"
    ratio = np.log(value / np.where(is_ppl, baseline, 1.0), where=is_ppl, out=np.full(len(rows), np.nan))
    share = np.where(is_score, (baseline - value) / (baseline - chance), np.nan)
    kept_kld = is_kld & (value > TINY_DIVERGENCE)
    kept_ppl = is_ppl & (np.nan_to_num(ratio) > TINY_RATIO)

    # order: log damage per type, departure per model, then the shared numbers
    def parts(x: Floats) -> tuple[Floats, Floats, Floats]:
        return x[:n_type], x[n_type : n_type + n_model], x[n_type + n_model :]

    def effective(x: Floats) -> Floats:
        damage, departure, shared = parts(x)
        return np.asarray(damage[of_type] - shared[0] * log_size + departure[of_model], dtype=np.float64)

    def lost(x: Floats) -> Floats:
        _, _, shared = parts(x)
        return np.asarray(-np.expm1(-np.exp(shared[1] + np.exp(shared[2]) * effective(x))), dtype=np.float64)

    def residuals(x: Floats) -> Floats:
        damage, departure, shared = parts(x)
        log_damage = effective(x)
        expected = lost(x)
        score_sd = np.sqrt(SHARE_SD**2 + (SHARE_PART * np.clip(expected, 0, 0.9)) ** 2)
        return np.concatenate(
            [
                (np.log(value[kept_kld]) - log_damage[kept_kld]) / LOG_SD,
                (np.log(ratio[kept_ppl]) - shared[3] - log_damage[kept_ppl]) / LOG_SD,
                ((share - expected) / score_sd)[is_score],
                (damage - shared[4] + shared[5] * bits) / LINE_SD,
                departure / MODEL_SD,
                [shared[3], shared[2] / 0.5, (shared[0] - 0.5) / 0.5],
            ]
        )

    start = np.concatenate([2.0 - 1.2 * bits, np.zeros(n_model), [0.3, 0.0, 0.0, 0.0, 2.0, 1.2]])
    x, covariance = least_squares(residuals, start)
    damage, departure, shared = parts(x)
    error = np.sqrt(np.diag(covariance))
    reach = float(np.mean((baseline - chance)[is_score]))
    counts = np.bincount(of_type[kept_kld | kept_ppl | is_score], minlength=n_type).astype(np.float64)
    report(rows, share, lost(x), is_score, effective(x), value, ratio, kept_kld, kept_ppl, shared)
    for name, amount in zip(models, departure, strict=True):
        print(f"{name:32} departs {amount:+.2f}")
    coefficients = {
        "scale": (math.exp(shared[1]), error[n_type + n_model + 1]),
        "damage_exponent": (math.exp(shared[2]), error[n_type + n_model + 2]),
        "size_exponent": (shared[0], error[n_type + n_model]),
        "reach": (reach, float("nan")),
    }
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "name", "bits_per_weight", "value", "log_standard_error", "rows", "basis"])
        for name, (number, se) in coefficients.items():
            writer.writerow(
                ["coefficient", name, "", f"{number:.5g}", "" if math.isnan(se) else f"{se:.3f}", len(rows), ""]
            )
        for row in types:
            writer.writerow(_line(row, types, index, damage, error, counts))
    print("coefficients", {name: round(number, 3) for name, (number, _) in coefficients.items()})


def _line(
    row: dict[str, str],
    types: list[dict[str, str]],
    index: dict[str, int],
    damage: Floats,
    error: Floats,
    counts: Floats,
) -> list[object]:
    name, bits = row["quantization"], row["bits_per_weight"]
    if row["same_as"]:
        position = index[row["same_as"]]
        return [
            "type",
            name,
            bits,
            f"{math.exp(damage[position]):.5g}",
            f"{error[position]:.3f}",
            0,
            f"as {row['same_as']}: {row['why']}",
        ]
    if name not in index:
        return ["type", name, bits, 0, "", 0, row["why"]]
    position = index[name]
    basis = "published figures" if counts[position] else "from bits per weight: no published figure"
    return [
        "type",
        name,
        bits,
        f"{math.exp(damage[position]):.5g}",
        f"{error[position]:.3f}",
        int(counts[position]),
        basis,
    ]


def report(rows, share, expected, is_score, log_damage, value, ratio, kept_kld, kept_ppl, shared) -> None:  # type: ignore[no-untyped-def]
    for position, row in enumerate(rows):
        label = f"{row['model']:30} {row['quantization']:10}"
        if is_score[position]:
            print(f"{label} lost share {share[position]:+.3f} fitted {expected[position]:+.3f}")
        elif kept_kld[position]:
            print(f"{label} divergence {value[position]:.4f} fitted {math.exp(log_damage[position]):.4f}")
        elif kept_ppl[position]:
            print(f"{label} ln ratio {ratio[position]:.4f} fitted {math.exp(log_damage[position] + shared[3]):.4f}")
    gap = 100 * np.abs(share - expected)[is_score]
    print(f"score rows: mean gap {gap.mean():.2f}% of reach, median {np.median(gap):.2f}%")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fit the points lost by quantization.")
    parser.add_argument("--out", type=Path, default=OUT, help="where the fitted table goes")
    main(parser.parse_args().out)
