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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recommender import paths
from recommender.estimate.measured import Measured, number, read_measured
from recommender.estimate.roofline import Coefficients, Hardware, Work, decode_seconds, prefill_seconds
from recommender.estimate.speed import classes_of, decode_work
from recommender.estimate.speed_hardware import GPU_CLASSES, INSTRUCTION_SETS, MEANINGFUL_FLOPS_PER_BYTE
from recommender.estimate.speed_tables import COEFFICIENT_NAMES, SpeedTables

FOLDS = 20
SEED = 7
SCALE = 0.15  # log error from which a row loses its pull (Cauchy)
COVERAGE = 0.8
# A range needs at least this many left-out rows of its own; with fewer it borrows from its accelerator, then from all.
ENOUGH_ROWS = 30


# ── the hierarchy of factors ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Factors:
    """Log factors by (coefficient, level), each with a Gaussian prior."""

    index: dict[tuple[str, str], int] = field(default_factory=dict)
    mean: list[float] = field(default_factory=list)
    deviation: list[float] = field(default_factory=list)

    def at(self, coefficient: str, level: str, mean: float, deviation: float) -> int:
        key = (coefficient, level)
        if key not in self.index:
            self.index[key] = len(self.mean)
            self.mean.append(mean)
            self.deviation.append(deviation)
        return self.index[key]


@dataclass(frozen=True)
class Levels:
    """Which levels a row (or a row of the output table) belongs to."""

    family: str
    accelerator: str
    hardware_class: str
    quant_class: str

    @property
    def side(self) -> str:
        return "cpu" if self.accelerator == "cpu" else "gpu"

    @property
    def isa(self) -> str:
        return self.hardware_class.split("-")[0] if self.side == "cpu" else ""

    @property
    def form(self) -> str:
        return self.hardware_class.split("-")[-1]


# (coefficient, level, prior median, prior standard deviation of the log); the product of the levels is the value.
# Medians are orders of magnitude to start from and deviations say how far a level may go without data.
def decode_prior(x: Levels) -> list[tuple[str, str, float, float]]:
    cpu = x.side == "cpu"
    return [
        ("fixed_s", x.accelerator, 2e-4, 1.0),
        ("layer_s", x.accelerator, 4e-5, 1.0),
        ("layer_s", f"engine {x.family}", 1.0, 0.5),
        ("layer_s", f"form {x.accelerator} {x.form}", 1.0, 0.3),
        ("weight_efficiency", x.accelerator, 0.65, 0.5),
        ("weight_efficiency", f"engine {x.family}", 1.0, 0.3),
        ("weight_efficiency", f"form {x.accelerator} {x.form}", 1.0, 0.2),
        ("weight_efficiency", f"quant {x.side} {x.quant_class}", 1.0, 0.15),
        ("bandwidth_balance", x.accelerator, 0.0, 0.15),
        ("compute_balance", x.side, 0.0, 1e-3),
        ("kv_efficiency", x.accelerator, 0.5, 0.4),
        ("moe_efficiency", x.accelerator, 0.8, 0.3),
        ("compute", f"isa {x.isa}" if cpu else x.accelerator, 4e10 if cpu else 0.3, 0.7),
        ("compute", f"engine {x.family}", 1.0, 0.4),
        ("compute", f"quant {x.side} {x.quant_class}", 1.0, 0.3),
        ("attention", x.side, 0.3, 0.7),
        ("thread_exponent", x.side, 0.0, 1e-3),
    ]


def prefill_prior(x: Levels) -> list[tuple[str, str, float, float]]:
    cpu = x.side == "cpu"
    return [
        ("fixed_s", x.accelerator, 1e-3, 1.0),
        ("layer_s", x.accelerator, 2e-4, 1.0),
        ("layer_s", f"engine {x.family}", 1.0, 0.5),
        ("weight_efficiency", x.side, 0.6, 0.2),
        ("bandwidth_balance", x.side, 0.0, 1e-3),
        ("compute_balance", x.accelerator, 0.0, 0.15),
        ("kv_efficiency", x.side, 0.5, 1e-3),
        ("moe_efficiency", x.accelerator, 0.5, 0.5),
        ("compute", f"isa {x.isa}" if cpu else x.accelerator, 6e10 if cpu else 0.4, 0.7),
        ("compute", f"engine {x.family}", 1.0, 0.4),
        ("compute", f"form {x.accelerator} {x.form}", 1.0, 0.3),
        ("compute", f"quant {x.side} {x.quant_class}", 1.0, 0.3),
        ("attention", x.accelerator, 0.3, 0.7),
        ("thread_exponent", x.side, 0.0, 0.15 if cpu else 1e-3),
    ]


STEP = 1e-4  # for numerical derivatives
LINEAR = {
    "bandwidth_balance": 0.0,
    "compute_balance": 0.0,
    "thread_exponent": 1.0,
}  # added to this instead of multiplied
Prior = Callable[[Levels], list[tuple[str, str, float, float]]]


def _assembled(sums: dict[str, np.ndarray]) -> Coefficients:
    return Coefficients(**{k: v + LINEAR[k] if k in LINEAR else np.exp(v) for k, v in sums.items()})


class Model:
    """Coefficients of every row as a function of one vector of log factors."""

    def __init__(self, prior: Prior, rows: Sequence[Levels]) -> None:
        self.prior = prior
        self.factors = Factors()
        self.columns: dict[str, list[np.ndarray]] = {}
        distinct = {row: self._indices(row) for row in dict.fromkeys(rows)}
        for name in COEFFICIENT_NAMES:
            depth = len(next(iter(distinct.values()))[name])
            self.columns[name] = [np.array([distinct[row][name][i] for row in rows]) for i in range(depth)]
        self.mean = np.array(self.factors.mean)
        self.deviation = np.array(self.factors.deviation)

    def _indices(self, row: Levels) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {name: [] for name in COEFFICIENT_NAMES}
        for name, level, median, deviation in self.prior(row):
            start = median if name in LINEAR else math.log(median)
            found[name].append(self.factors.at(name, level, start, deviation))
        return found

    def coefficients(self, vector: np.ndarray) -> Coefficients:
        return _assembled({name: sum(vector[column] for column in columns) for name, columns in self.columns.items()})

    def jacobian(self, p: Problem, vector: np.ndarray) -> np.ndarray:
        """Derivative of every row's prediction by every factor.

        A row's prediction depends on its own coefficients only, so one evaluation per coefficient is enough:
        its derivative is then spread over the factors that make it up.
        """
        sums = {name: sum(vector[column] for column in columns) for name, columns in self.columns.items()}
        base = p.predict(_assembled(sums))
        out = np.zeros((len(base), len(vector)))
        rows = np.arange(len(base))
        for name, columns in self.columns.items():
            slope = (p.predict(_assembled({**sums, name: sums[name] + STEP})) - base) / STEP
            for column in columns:
                out[rows, column] += slope
        return out

    def values(self, vector: np.ndarray, row: Levels, without_quant: bool) -> dict[str, float]:
        """Coefficients of one level combination, also one without rows (its own factors are then 1)."""
        out = dict.fromkeys(COEFFICIENT_NAMES, 0.0)
        for name, level, median, _ in self.prior(row):
            if without_quant and level.startswith("quant "):
                continue
            index = self.factors.index.get((name, level))
            start = median if name in LINEAR else math.log(median)
            out[name] += vector[index] if index is not None else start
        return {k: v + LINEAR[k] if k in LINEAR else math.exp(v) for k, v in out.items()}

    def quant_factor(self, vector: np.ndarray, name: str, side: str, quant_class: str) -> float:
        index = self.factors.index.get((name, f"quant {side} {quant_class}"))
        return math.exp(vector[index]) if index is not None else 1.0


def solve(p: Problem, model: Model, chosen: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Levenberg–Marquardt on Cauchy's loss of the log error of ``chosen`` rows, with the model's Gaussian priors."""
    mean, sd = model.mean, model.deviation
    target = p.target[chosen]

    def error(x: np.ndarray) -> np.ndarray:
        return p.predict(model.coefficients(x))[chosen] - target

    def cost(residual: np.ndarray, x: np.ndarray) -> float:
        loss = 0.5 * np.log1p((residual / SCALE) ** 2)
        return float((weight * loss).sum() + 0.5 * (((x - mean) / sd) ** 2).sum())

    x, damping = mean.copy(), 1e-2
    residual = error(x)
    current = cost(residual, x)
    for _ in range(100):
        jacobian = model.jacobian(p, x)[chosen]
        pull = weight / (1 + (residual / SCALE) ** 2) / SCALE**2
        hessian = jacobian.T @ (pull[:, None] * jacobian) + np.diag(1 / sd**2)
        gradient = jacobian.T @ (pull * residual) + (x - mean) / sd**2
        for _ in range(12):
            step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient)
            trial = error(x + step)
            after = cost(trial, x + step)
            if after < current:
                break
            damping *= 4
        else:
            return x
        gain = current - after
        x, residual, current, damping = x + step, trial, after, max(damping / 6, 1e-7)
        if gain < 1e-4 * current:
            return x
    return x


# ── one phase ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Problem:
    """Rows of one phase (decode or prefill) as arrays."""

    phase: str
    levels: tuple[Levels, ...]
    device: np.ndarray
    weight: np.ndarray
    target: np.ndarray  # log tokens/s
    predict: Callable[[Coefficients], np.ndarray]  # log tokens/s of all rows
    params: np.ndarray
    row_id: np.ndarray


def problem(data: Measured, phase: str, tables: SpeedTables) -> Problem:
    measured = data.decode_tokens_per_s if phase == "decode" else data.prefill_tokens_per_s
    keep = np.isfinite(measured) & (measured > 0)
    if phase == "prefill":
        keep &= np.isfinite(data.prompt_tokens)
    prompt = np.where(keep, np.nan_to_num(data.prompt_tokens, nan=512.0), 512.0)
    depth = data.depth_tokens if phase == "decode" else prompt / 2
    whole = decode_work(data.variants, data.settings, depth, tables)
    keep &= np.isfinite(whole.weight_bytes) & (whole.weight_bytes > 0)
    work = Work(**{name: value[keep] for name, value in vars(whole).items()})
    sides = [side for side, kept in zip(data.sides, keep, strict=True) if kept]
    threads = data.settings.threads[keep]
    nominal = np.array([side.flops for side in sides])
    is_cpu = np.array([side.accelerator == "cpu" for side in sides])
    flops = np.where(is_cpu & (threads > 0), threads, nominal)
    bandwidth, balance = (np.array([getattr(s, name) for s in sides]) for name in ("bandwidth_bytes_per_s", "balance"))
    hardware = Hardware(bandwidth, flops, balance)
    prompt, ubatch = prompt[keep], data.settings.ubatch_tokens[keep]

    def predict(c: Coefficients) -> np.ndarray:
        if phase == "decode":
            return -np.log(decode_seconds(work, hardware, c))
        return np.log(prompt / prefill_seconds(work, hardware, c, prompt, ubatch))

    names, of_row = classes_of(tables, data.variants.quantization)
    quants = np.array(names)[of_row][keep]
    families = data.family[keep]
    levels = tuple(
        Levels(str(f), side.accelerator, side.hardware_class, str(q))
        for f, side, q in zip(families, sides, quants, strict=True)
    )
    return Problem(
        phase,
        levels,
        data.device[keep],
        data.weight[keep],
        np.log(measured[keep]),
        predict,
        data.variants.params_total[keep],
        data.row_id[keep],
    )


def balanced(p: Problem, chosen: np.ndarray) -> np.ndarray:
    """Row weights: evidence, divided by the square root of the device's rows in the same family."""
    keys = np.array([f"{d}|{x.family}" for d, x in zip(p.device, p.levels, strict=True)])
    _, inverse, counts = np.unique(keys[chosen], return_inverse=True, return_counts=True)
    return p.weight[chosen] / np.sqrt(counts[inverse])


def fit(p: Problem, model: Model, chosen: np.ndarray) -> np.ndarray:
    return solve(p, model, chosen, balanced(p, chosen))


def folds_of(devices: np.ndarray, folds: int = FOLDS, seed: int = SEED) -> np.ndarray:
    """A fold per row such that all rows of a device share it."""
    names = sorted(set(devices))
    np.random.default_rng(seed).shuffle(names)
    place = {name: i % folds for i, name in enumerate(names)}
    return np.array([place[name] for name in devices])


def held_out_errors(p: Problem, model: Model) -> np.ndarray:
    """Log error (predicted − measured) of every row, predicted by a fit that saw no row of its device."""
    fold = folds_of(p.device)
    errors = np.empty(len(p.target))
    for k in range(FOLDS):
        vector = fit(p, model, np.flatnonzero(fold != k))
        left_out = fold == k
        errors[left_out] = (p.predict(model.coefficients(vector)) - p.target)[left_out]
    return errors


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────


def weighted_quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order])
    return float(np.interp(share * cumulative[-1], cumulative - weight[order] / 2, values[order]))


def interval(errors: np.ndarray, device: np.ndarray) -> tuple[float, float]:
    """Log offsets (low, high) of the range around a prediction: device-balanced quantiles of measured ÷ predicted."""
    _, inverse, counts = np.unique(device, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(counts[inverse])
    low = weighted_quantile(-errors, weight, (1 - COVERAGE) / 2)
    high = weighted_quantile(-errors, weight, (1 + COVERAGE) / 2)
    return min(low, -0.02), max(high, 0.02)


def interval_of(p: Problem, errors: np.ndarray, row: Levels) -> tuple[tuple[float, float], str]:
    """The narrowest group around ``row`` that has enough left-out rows, and its name."""
    groups: list[tuple[str, Callable[[Levels], bool]]] = [
        ("class", lambda x: x.family == row.family and x.hardware_class == row.hardware_class),
        ("family", lambda x: x.family == row.family),
        ("accelerator", lambda x: x.accelerator == row.accelerator),
        ("side", lambda x: x.side == row.side),
    ]
    for name, inside in groups:
        chosen = np.array([inside(x) for x in p.levels])
        if chosen.sum() >= ENOUGH_ROWS and len(set(p.device[chosen])) >= 5:
            return interval(errors[chosen], p.device[chosen]), name
    return interval(errors, p.device), "all"


def output_rows(p: Problem, model: Model, vector: np.ndarray, errors: np.ndarray) -> list[dict[str, object]]:
    families = dict.fromkeys((x.family, x.accelerator) for x in p.levels)
    forms = ("server", "desktop", "laptop", "small")
    cpu_classes = [f"{isa}-{form}" for isa in INSTRUCTION_SETS for form in forms]
    rows: list[dict[str, object]] = []
    for family, accelerator in families:
        for hardware_class in [*(cpu_classes if accelerator == "cpu" else GPU_CLASSES), "any"]:
            level = Levels(family, accelerator, hardware_class, "q4")
            inside = np.array([x.family == family and hardware_class in (x.hardware_class, "any") for x in p.levels])
            (low, high), basis = interval_of(p, errors, level)
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
                "devices": len(medians),
                "rows": int(chosen.sum()),
            }
        )
    return rows


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


def fallback_rows(devices: Iterable[dict[str, str]], disks: Iterable[dict[str, str]]) -> list[dict[str, object]]:
    """Median and log spread of bandwidth, threads and FLOPS per byte by kind of device, from the catalog's devices."""
    found: dict[tuple[str, str, str], list[float]] = {}

    def add(side: str, kind: str, quantity: str, value: float | None) -> None:
        if value:
            for key in ((side, kind, quantity), (side, "any", quantity)):
                found.setdefault(key, []).append(value)

    for row in devices:
        kind, names = row["kind"], f"{row['id']} {row['gpu_name']}".casefold()
        gpu, main = number(row, "gpu_mem_bw_gbs"), number(row, "cpu_mem_bw_gbs")
        add("cpu", kind, "bandwidth_bytes_per_s", main * 1e9 if main else None)
        threads = number(row, "cpu_perf_cores") or number(row, "cpu_cores")
        add("cpu", kind, "threads", threads)
        add("cpu", kind, "threads_per_byte", threads / (main * 1e9) if threads and main else None)
        if not gpu:
            continue
        flops = max(number(row, "gpu_fp16_tflops_dense") or 0.0, number(row, "gpu_fp32_tflops") or 0.0)
        ratio = flops * 1e12 / (gpu * 1e9) if flops else None
        vendor = {"apple": "metal", "iphone": "metal", "rx-": "rocm", "radeon": "rocm", "arc-": "sycl"}
        accelerators = [value for key, value in vendor.items() if key in names] or (
            ["cuda"]
            if any(key in names for key in ("rtx", "gtx", "geforce", "nvidia", "tesla", "quadro", "jetson"))
            else []
        )
        for side in ["gpu", *accelerators, *(["vulkan"] if "metal" not in accelerators else [])]:
            add(side, kind, "bandwidth_bytes_per_s", gpu * 1e9)
            if ratio and ratio >= MEANINGFUL_FLOPS_PER_BYTE:
                add(side, kind, "flops_per_byte", ratio)
    disk_rows = list(disks)
    own = {row["device_kind"] for row in disk_rows}
    for kind in own:
        for row in disk_rows:
            if row["device_kind"] == kind:
                found.setdefault(("disk", kind, "bandwidth_bytes_per_s"), []).append(float(row["bytes_per_s"]))
    rows: list[dict[str, object]] = []
    for (side, kind, quantity), values in sorted(found.items()):
        if len(values) < 3:
            continue
        logs = np.log(values)
        rows.append(
            {
                "side": side,
                "device_kind": kind,
                "quantity": quantity,
                "typical": f"{math.exp(np.median(logs)):.4g}",
                "log_spread": f"{np.std(logs, ddof=1):.4g}",
                "devices": len(values),
            }
        )
    return rows


def size_law_rows(models: Sequence[dict[str, str]]) -> list[dict[str, object]]:
    """Power laws of total parameters over the catalog's dense models."""
    quantities: dict[str, Callable[[dict[str, str]], float | None]] = {
        "n_layer": lambda m: number(m, "n_layer"),
        "kv_elements_per_token": _kv_elements,
        "embedding_elements": lambda m: _product(number(m, "vocab_size"), number(m, "n_embd")),
    }
    rows: list[dict[str, object]] = []
    for name, value_of in quantities.items():
        pairs = [
            (math.log(number(m, "params_total") or 1), math.log(value))
            for m in models
            if number(m, "params_total") and not number(m, "n_expert") and (value := value_of(m))
        ]
        x, y = np.array(pairs).T
        slope, intercept = np.polyfit(x, y, 1)
        rows.append(
            {
                "quantity": name,
                "log_intercept": f"{intercept:.5g}",
                "slope": f"{slope:.5g}",
                "log_spread": f"{np.std(y - slope * x - intercept):.4g}",
                "models": len(pairs),
            }
        )
    return rows


def _kv_elements(m: dict[str, str]) -> float | None:
    head_dim = number(m, "head_dim") or ((number(m, "n_embd") or 0) / (number(m, "n_head") or math.inf))
    return _product(2.0, number(m, "n_layer"), number(m, "n_head_kv"), head_dim)


def _product(*values: float | None) -> float | None:
    return None if any(v is None for v in values) else math.prod(v for v in values if v is not None) or None


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
    groups["≤ 2B"] = p.params <= 2e9
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
    # The reader needs these two; they come from devices and models alone.
    write(folder / "speed_fallbacks.csv", fallbacks) if not arguments.check else None
    write(folder / "size_laws.csv", size_law_rows(models)) if not arguments.check else None
    tables = SpeedTables(folder)
    data, skipped = read_measured(read(folder / "measurements.csv"), devices, models, tables)
    print(f"{len(data)} rows of {len(set(data.device))} devices; skipped {sum(skipped.values())}:")
    for reason, count in skipped.items():
        print(f"  {count:5} {reason}")
    coefficients: list[dict[str, object]] = []
    factors: list[dict[str, object]] = []
    spreads: list[dict[str, object]] = []
    for phase, prior in (("decode", decode_prior), ("prefill", prefill_prior)):
        p = problem(data, phase, tables)
        model = Model(prior, p.levels)
        errors = held_out_errors(p, model)
        summary(p, errors)
        vector = fit(p, model, np.arange(len(p.target)))
        coefficients += output_rows(p, model, vector, errors)
        factors += quant_rows(p, model, vector)
        spreads += spread_rows(p, errors)
        if phase == "decode":
            fallbacks.append(engine_spread(p, errors, model, vector))
    if arguments.check:
        return
    write(folder / "speed_coefficients.csv", coefficients)
    write(folder / "speed_quant_factors.csv", factors)
    write(folder / "speed_spreads.csv", spreads)
    write(folder / "speed_fallbacks.csv", fallbacks)


if __name__ == "__main__":
    main()
