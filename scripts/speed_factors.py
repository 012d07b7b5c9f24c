"""The model behind ``fit_speed.py``: coefficients as products of factors, and the solver that finds the factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommender.estimate.measured import Measured
from recommender.estimate.measured_work import PhaseRows, phase_rows
from recommender.estimate.roofline import Coefficients
from recommender.estimate.speed_tables import COEFFICIENT_NAMES, SMALL_PARAMS, SpeedTables

SCALE = 0.15  # log error from which a row loses its pull (Cauchy)


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
        # Sampling, the request's way through a server, and the start of a graph are the engine's own.
        ("fixed_s", x.accelerator, 3e-4, 1.5),
        ("fixed_s", f"engine {x.family}", 1.0, 1.5),
        ("layer_s", x.accelerator, 2e-5 if cpu else 4e-5, 1.0),
        ("layer_s", f"engine {x.family}", 1.0, 0.5),
        ("layer_s", f"form {x.accelerator} {x.form}", 1.0, 0.3),
        ("element_s", x.side, 3e-8 if cpu else 1e-9, 1.0),
        ("weight_efficiency", x.accelerator, 0.65, 0.5),
        ("weight_efficiency", f"engine {x.family}", 1.0, 0.3),
        ("weight_efficiency", f"form {x.accelerator} {x.form}", 1.0, 0.2),
        # Instruction sets date cores, and later cores keep more reads under way.
        ("weight_efficiency", f"isa {x.isa}", 1.0, 0.2 if cpu else 1e-3),
        ("weight_efficiency", f"quant {x.side} {x.quant_class}", 1.0, 0.15),
        ("bandwidth_balance", x.accelerator, 0.0, 0.15),
        ("compute_balance", x.side, 0.0, 1e-3),
        ("kv_efficiency", x.accelerator, 0.5, 0.4),
        ("moe_efficiency", x.accelerator, 0.8, 0.3),
        ("compute", f"isa {x.isa}" if cpu else x.accelerator, 4e10 if cpu else 0.3, 0.7),
        ("compute", f"engine {x.family}", 1.0, 0.4),
        ("compute", f"quant {x.side} {x.quant_class}", 1.0, 0.3),
        ("attention", x.side, 0.3, 0.7),
        ("thread_exponent", x.side, 0.0, 0.1 if cpu else 1e-3),
    ]


def prefill_prior(x: Levels) -> list[tuple[str, str, float, float]]:
    cpu = x.side == "cpu"
    return [
        ("fixed_s", x.accelerator, 1e-3, 1.0),
        ("layer_s", x.accelerator, 2e-4, 1.0),
        ("layer_s", f"engine {x.family}", 1.0, 0.5),
        ("element_s", x.side, 1e-9 if cpu else 1e-11, 1.0),
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


@dataclass(frozen=True)
class Problem:
    """Rows of one phase (decode or prefill) and what the fit needs beside them."""

    rows: PhaseRows
    levels: tuple[Levels, ...]
    row_id: np.ndarray
    device: np.ndarray
    weight: np.ndarray
    kernel: np.ndarray  # which of an engine's kernels reads the weights
    configuration: np.ndarray  # rows with the same value measured the same thing

    @property
    def phase(self) -> str:
        return self.rows.phase

    @property
    def target(self) -> np.ndarray:
        """Log tokens/s as measured."""
        return np.log(self.rows.measured)

    @property
    def small(self) -> np.ndarray:
        return np.asarray(self.rows.params_total <= SMALL_PARAMS)

    def predict(self, c: Coefficients) -> np.ndarray:
        """Log tokens/s."""
        return np.log(self.rows.tokens_per_s(c))


def problem(data: Measured, phase: str, tables: SpeedTables) -> Problem:
    rows = phase_rows(data, phase, tables)
    levels = tuple(
        Levels(str(family), side.accelerator, side.hardware_class, str(quant_class))
        for family, side, quant_class in zip(rows.family, rows.sides, rows.quant_class, strict=True)
    )
    kernels = np.array([tables.kernel(name) for name in data.variants.quantization], dtype=object)
    columns = (data.row_id, data.device, data.weight, kernels, data.configuration)
    return Problem(rows, levels, *(column[rows.kept] for column in columns))


def balanced(p: Problem, chosen: np.ndarray) -> np.ndarray:
    """Row weights: evidence, divided by the square root of the device's rows in the same family."""
    keys = np.array([f"{d}|{x.family}" for d, x in zip(p.device, p.levels, strict=True)])
    _, inverse, counts = np.unique(keys[chosen], return_inverse=True, return_counts=True)
    return p.weight[chosen] / np.sqrt(counts[inverse])


def fit(p: Problem, model: Model, chosen: np.ndarray) -> np.ndarray:
    return solve(p, model, chosen, balanced(p, chosen))
