"""Soft preferences. A score is a sum of parts, each a weight times a value of 0–100 that can be read on its own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from recommender.engine.rules import Case
from recommender.engine.runtime_rules import GPU_ACCELERATORS, RuntimeOnDevice
from recommender.engine.words import seconds, size
from recommender.errors import BadInputError, nearest
from recommender.estimate import Estimates
from recommender.paths import catalog_dir
from recommender.types import Floats, Need, ScorePart, Task

_PATIENCE = "answer_time_scale"
PARTS = ("quality", "speed", "memory", "runtime")
# A browser's way to the GPU is no accelerator to praise: what it reaches of the GPU's speed is not known.
_PRAISED_GPUS = tuple(name for name in GPU_ACCELERATORS if name != "webgpu")
_WHERE = {"managed": "runs as a managed service", "": "runs on nothing here"}
# Memory of unknown size is scored as if it were this many times the floor (16 GiB).
_UNKNOWN_MEMORY_FLOORS = 64


@cache
def scoring_numbers() -> dict[str, float]:
    """``catalog/scoring.csv``: name → value; units and reasons stand beside them in the file."""
    with (catalog_dir() / "scoring.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: float(row["value"]) for row in csv.DictReader(file)}


@cache
def _all_weights() -> dict[str, dict[str, float]]:
    with (catalog_dir() / "priorities.csv").open(encoding="utf-8", newline="") as file:
        columns = (*PARTS, _PATIENCE)
        return {row["priority"]: {name: float(row[name]) for name in columns} for row in csv.DictReader(file)}


def priorities() -> tuple[str, ...]:
    return tuple(_all_weights())


def weights(priority: str) -> dict[str, float]:
    """Weight of each part under a priority; they sum to 1.

    Raises:
        BadInputError: there is no such priority.
    """
    known = _all_weights()
    if priority not in known:
        close = ", ".join(nearest(priority, list(known))) or ", ".join(known)
        raise BadInputError(f"There is no priority called {priority!r}. Choose one of: {close}.")
    return {part: known[priority][part] for part in PARTS}


def answer_times(need: Need, task: Task) -> tuple[float, float]:
    """Answer times that score 100 and 0 for this task and priority, s."""
    patience = _all_weights()[need.priority][_PATIENCE]
    return task.answer_good_s * patience, task.answer_bad_s * patience


@dataclass(frozen=True)
class Scores:
    """Values of 0–100 by part and the weighted sum, shape (n,)."""

    values: dict[str, Floats]
    weights: dict[str, float]
    total: Floats

    def parts(self, row: int, why: dict[str, str]) -> tuple[ScorePart, ...]:
        return tuple(
            ScorePart(
                name,
                self.weights[name],
                float(self.values[name][row]),
                float(self.weights[name] * self.values[name][row]),
                why[name],
            )
            for name in PARTS
        )


def _log_share(value: Floats, worst: float, best: float) -> Floats:
    """0 at ``worst`` or beyond, 100 at ``best`` or beyond, even in ratios between."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (np.log(worst) - np.log(np.maximum(value, 1e-12))) / (np.log(worst) - np.log(best))
    return np.asarray(np.clip(share, 0.0, 1.0) * 100.0, dtype=np.float64)


def runtime_points(runtimes: Mapping[str, RuntimeOnDevice], need: Need) -> dict[str, float]:
    """The runtime part of the score, 0–100, of each runtime on its device, for any model."""
    best = _best_accelerator(runtimes)
    return {name: _points(runtime, runtime.accelerator, need, best) for name, runtime in runtimes.items()}


def _best_accelerator(runtimes: Mapping[str, RuntimeOnDevice]) -> str:
    """The fastest that any runtime uses there."""
    used = {name for runtime in runtimes.values() for name in runtime.accelerators}
    return next((name for name in (*_PRAISED_GPUS, "npu") if name in used), "cpu")


def _points(runtime: RuntimeOnDevice, accelerator: str, need: Need, best: str) -> float:
    numbers = scoring_numbers()
    accelerated = accelerator in (best, "managed") or (accelerator in _PRAISED_GPUS and best != "cpu")
    return (
        numbers["runtime_accelerator"] * accelerated
        + numbers["runtime_try_here"] * runtime.can_try_here
        + numbers["runtime_users"] * (need.users <= 1 or _made_for_many(runtime, accelerator))
    )


def _made_for_many(runtime: RuntimeOnDevice, accelerator: str) -> bool:
    """Only on a GPU has anybody measured that an engine made for many users serves them better."""
    return runtime.row.managed or (runtime.row.many_users and accelerator in GPU_ACCELERATORS)


def score(case: Case, estimates: Estimates) -> Scores:
    """Score every row of ``case``; ``estimates`` has the same rows."""
    numbers = scoring_numbers()
    rows = case.candidates
    doubt = numbers["caution_standard_errors"] * rows.quality_se + numbers["caution_quant_loss"] * rows.quant_loss
    quality = np.clip(rows.quality - doubt, 0.0, 100.0)
    # Between the predicted and the slow end of the range: a wide range is no recommendation.
    time = estimates.answer_time
    cautious_s = time.value ** (1 - numbers["caution_slow_share"]) * time.high ** numbers["caution_slow_share"]
    good_s, bad_s = answer_times(case.need, case.task)
    speed = _log_share(cautious_s, bad_s, good_s)
    floor = numbers["smallest_floor_bytes"]
    ceiling = max(case.free_bytes, 2 * floor) if np.isfinite(case.free_bytes) else _UNKNOWN_MEMORY_FLOORS * floor
    memory = _log_share(estimates.memory.total_bytes - estimates.memory.reclaimable_bytes, ceiling, floor)

    best = _best_accelerator(case.runtimes)
    names, index = case.placement.names, case.placement.index
    points = {
        name: [_points(runtime, accelerator, case.need, best) for accelerator in names]
        for name, runtime in case.runtimes.items()
    }
    of_kinds = np.array([points[runtime] for runtime, _, _ in rows.kinds], dtype=np.float64).reshape(
        len(rows.kinds), len(names)
    )
    runtime_value = of_kinds[rows.kind, index]

    # A managed service has no speed and no memory here: neither praised nor blamed for it. A speed that nobody knows
    # is no reason to recommend anything.
    managed = np.array([case.runtimes[runtime].row.managed for runtime, _, _ in rows.kinds], dtype=np.bool_)[rows.kind]
    unknown = np.where(managed, 50.0, 0.0)
    speed = np.where(np.isnan(speed), unknown, speed)
    memory = np.where(np.isnan(memory), unknown, memory)
    values = {"quality": quality, "speed": speed, "memory": memory, "runtime": runtime_value}
    chosen = weights(case.need.priority)
    total = sum((chosen[name] * values[name] for name in PARTS), start=np.zeros(len(quality)))
    return Scores(values, chosen, total)


def explain_parts(case: Case, estimates: Estimates, row: int) -> dict[str, str]:
    """A sentence per part for one row."""
    rows = case.candidates
    runtime = case.runtimes[rows.variants.runtime[row]]
    answer_s, slow_s = float(estimates.answer_time.value[row]), float(estimates.answer_time.high[row])
    total_bytes = float(estimates.memory.total_bytes[row] - estimates.memory.reclaimable_bytes[row])
    good_s, bad_s = answer_times(case.need, case.task)
    numbers = scoring_numbers()
    accelerator = case.placement.at(row)
    praise = [_WHERE.get(accelerator, f"runs on the {accelerator.upper()} here")]
    if runtime.can_try_here:
        praise.append("can be tried and measured in this app")
    if case.need.users > 1:
        made = _made_for_many(runtime, accelerator)
        praise.append("batches many users" if made else "is made for few users at once")
    return {
        "quality": (
            f"{rows.quality[row]:.0f} of 100 on this task, less {numbers['caution_standard_errors']:g} of its standard "
            f"error of {rows.quality_se[row]:.1f} and {numbers['caution_quant_loss'] * rows.quant_loss[row]:.1f} for "
            f"what this quantization may cost beyond the average; {rows.evidence[row]:.0f} benchmark scores behind it"
        ),
        "speed": (
            ("no speed of its own to compare" if runtime.row.managed else "its speed here is not known, which scores 0")
            if np.isnan(answer_s)
            else f"an answer in {seconds(answer_s)}, {seconds(slow_s)} at the slow end of its range, judged "
            f"{numbers['caution_slow_share']:.0%} of the way; {seconds(good_s)} scores 100, "
            f"{seconds(bad_s)} scores 0"
        ),
        "memory": (
            "takes no memory here"
            if np.isnan(total_bytes)
            else f"takes {size(total_bytes)}; {size(numbers['smallest_floor_bytes'])} scores 100, all free memory 0"
        ),
        "runtime": f"{runtime.row.name} {', '.join(praise)}",
    }
