"""Measurements on this hardware move the estimates for everything else on it.

The log ratio of a measured to an estimated speed is taken as the sum of what the machine does to every model on one
backend, what it does to one kernel (each type of weights has its own, per instruction set), what is peculiar to
one model and quantization, and the run's own noise. The terms are Gaussian with the spreads that the fit found on
devices left out of it (``catalog/speed_spreads.csv``), so the best guess for each is their posterior: it starts at a
factor of 1 and gives way as runs come in. Decode and prefill are kept apart.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from recommender import paths
from recommender.estimate.speed_tables import speed_tables
from recommender.types import Floats, Measurement, RangeColumns, Texts, VariantColumns

__all__ = ["Calibration", "Spread", "calibration"]

PHASES = ("decode", "prefill")
# A run further than this many standard deviations from what is expected counts as if it were at this distance.
CLIP = 2.5


@dataclass(frozen=True)
class Spread:
    """Standard deviations of log speed around the fit: between machines, models on one machine, and runs."""

    between_devices: float
    within_device: float
    between_runs: float  # of one setup on one machine
    class_share: float  # of the variance within a machine: what models read by one kernel have in common


@dataclass(frozen=True)
class Term:
    """A log factor: best guess and variance."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Calibration:
    """What was learned on one machine. Without measurements every method returns what it was given."""

    device_key: str
    count: int  # runs that counted: noisy ones and those without a prediction do not
    machine: Mapping[tuple[str, str], Term]  # (phase, backend) → factor for a model that says nothing else
    classes: Mapping[tuple[str, str, str], Term]  # (phase, backend, kernel) → whole factor
    models: Mapping[tuple[str, str, str, str], Term]  # (phase, backend, model_id, quantization) → whole factor
    spreads: Mapping[tuple[str, str], Spread]  # (phase, backend) → the fit's spreads

    @property
    def applies(self) -> bool:
        return self.count > 0

    def decode(self, speed: RangeColumns, variants: VariantColumns, gpu_layers: Floats | None = None) -> RangeColumns:
        """Decode speeds corrected, shape (n,). ``gpu_layers`` per row tells CPU from GPU; without it the side measured
        most often is assumed."""
        return self._correct("decode", speed, variants, gpu_layers)

    def prefill(self, speed: RangeColumns, variants: VariantColumns, gpu_layers: Floats | None = None) -> RangeColumns:
        """Prefill speeds corrected, as ``decode``."""
        return self._correct("prefill", speed, variants, gpu_layers)

    def factor(self, phase: str, backend: str) -> float:
        """What this machine's speed is multiplied by for a model that was never run on it; 1 without measurements."""
        term = self.machine.get((phase, backend))
        return math.exp(term.mean) if term else 1.0

    def _correct(
        self, phase: str, speed: RangeColumns, variants: VariantColumns, gpu_layers: Floats | None
    ) -> RangeColumns:
        backends = self._backends(phase, variants.runtime, gpu_layers)
        classes = _classes(variants.quantization)
        shift, shrink = np.zeros(len(variants)), np.ones(len(variants))
        for (term_phase, backend), term in self.machine.items():
            if term_phase != phase:
                continue
            spread = self.spreads[(phase, backend)]
            prior = spread.between_devices**2 + spread.within_device**2
            here = backends == backend
            found = [(here, term, spread.within_device**2)]
            for key, common in self.classes.items():
                if key[:2] == (phase, backend):
                    found.append(
                        (here & (classes == key[2]), common, (1 - spread.class_share) * spread.within_device**2)
                    )
            for own, total in self.models.items():
                if own[:2] == (phase, backend):
                    same = here & (variants.model_id == own[2]) & (variants.quantization == own[3])
                    found.append((same, total, 0.0))
            for rows, best, unknown in found:  # the most particular comes last
                shift[rows] = best.mean
                shrink[rows] = math.sqrt((best.variance + unknown) / prior)
        value = speed.value * np.exp(shift)
        with np.errstate(divide="ignore", invalid="ignore"):
            low = value * (speed.low / speed.value) ** shrink
            high = value * (speed.high / speed.value) ** shrink
        return RangeColumns(value=value, low=low, high=high)

    def _backends(self, phase: str, runtimes: Texts, gpu_layers: Floats | None) -> Texts:
        names, inverse = np.unique(np.asarray(runtimes, dtype=str), return_inverse=True)
        engines = np.array([_engine(str(name)) for name in names], dtype=object)[inverse]
        if gpu_layers is None:
            measured = [backend for term_phase, backend in self.machine if term_phase == phase]
            usual = "gpu" if any(backend.endswith("gpu") for backend in measured) else "cpu"
            sides = np.full(len(runtimes), usual, dtype=object)
        else:
            sides = np.where(np.nan_to_num(gpu_layers) != 0, "gpu", "cpu").astype(object)
        return np.asarray(engines + "-" + sides)


def calibration(
    measurements: Sequence[Measurement],
    device_key: str,
    priors: Mapping[str, tuple[float, float]] | None = None,
) -> Calibration:
    """Learn from the runs whose ``device_key`` is this machine's.

    Args:
        measurements: finished runs, in any order; noisy ones are ignored.
        device_key: of the machine whose estimates are to be corrected.
        priors: measurement id → (decode, prefill) tokens/s as estimated *without* calibration. Where it is missing,
            the prediction stored with the run is used, which then must have been made without calibration too:
            a corrected prediction would teach that nothing needs correcting.
    """
    runs = [run for run in measurements if run.device_key == device_key and not run.noisy]
    newest = _newest_builds(runs)
    machine: dict[tuple[str, str], Term] = {}
    classes: dict[tuple[str, str, str], Term] = {}
    models: dict[tuple[str, str, str, str], Term] = {}
    spreads: dict[tuple[str, str], Spread] = {}
    counted: set[str] = set()
    for phase in PHASES:
        groups: dict[str, dict[tuple[str, str], list[Term]]] = {}
        for run in runs:
            backend = f"{_engine(run.runtime)}-{'cpu' if run.settings.gpu_layers == 0 else 'gpu'}"
            spread = spread_of(phase, backend)
            ratio = _ratio(run, phase, priors)
            if ratio is None:
                continue
            counted.add(run.id)
            spreads[(phase, backend)] = spread
            age = newest[run.runtime].index(_build(run))
            noise = _noise(run, phase, spread) + age * spread.within_device**2
            groups.setdefault(backend, {}).setdefault((run.model_id, run.quantization), []).append(Term(ratio, noise))
        for backend, by_model in groups.items():
            spread = spreads[(phase, backend)]
            found = {key: _mean(terms) for key, terms in by_model.items()}
            machine[(phase, backend)], common, own = _posterior(found, spread)
            classes |= {(phase, backend, name): term for name, term in common.items()}
            models |= {(phase, backend, *key): term for key, term in own.items()}
    return Calibration(device_key, len(counted), machine, classes, models, spreads)


def spread_of(phase: str, backend: str) -> Spread:
    """The fit's spreads for a backend such as ``llama.cpp-cpu``, by its side."""
    return _spreads()[(phase, backend.rsplit("-", 1)[1])]


def _posterior(
    seen: Mapping[tuple[str, str], Term], spread: Spread
) -> tuple[Term, dict[str, Term], dict[tuple[str, str], Term]]:
    """Posterior factors given what was seen of each (model, quantization): of the machine, and the whole factor of a
    new model of each class seen and of each model seen.

    Observation i is machine + class + own + noise, all Gaussian with mean 0, so the posterior of any sum t of terms is
    cov(t, seen) · cov(seen)⁻¹ · seen (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2.2).
    """
    names = list(seen)
    labels = _classes(np.array([quantization for _, quantization in names], dtype=object))
    values = np.array([term.mean for term in seen.values()])
    device, common = spread.between_devices**2, spread.class_share * spread.within_device**2
    own = spread.within_device**2 - common
    centre = float(np.median(values)) if len(values) > 2 else 0.0
    far = np.abs(values - centre) / math.hypot(spread.between_devices, spread.within_device)
    # A wild run is taken to be mostly noise: it keeps its pull, which would otherwise grow with its distance.
    noise = np.array([term.variance for term in seen.values()])
    noise = noise + np.maximum(far / CLIP - 1.0, 0.0) * (own + noise)
    shared = device + common * (labels[:, None] == labels[None, :])
    inverse = np.linalg.inv(shared + np.diag(own + noise))

    def term(covariance: Floats, prior: float) -> Term:
        weights = covariance @ inverse
        return Term(float(weights @ values), max(prior - float(weights @ covariance), 0.0))

    machine = term(np.full(len(names), device), device)
    classes = {str(name): term(device + common * (labels == name), device + common) for name in dict.fromkeys(labels)}
    whole = {
        name: term(shared[i] + own * (np.arange(len(names)) == i), device + common + own)
        for i, name in enumerate(names)
    }
    return machine, classes, whole


def _mean(terms: Sequence[Term]) -> Term:
    weights = [1 / term.variance for term in terms]
    total = sum(weights)
    return Term(sum(w * t.mean for w, t in zip(weights, terms, strict=True)) / total, 1 / total)


def _ratio(run: Measurement, phase: str, priors: Mapping[str, tuple[float, float]] | None) -> float | None:
    measured = run.decode_tokens_per_s if phase == "decode" else run.prefill_tokens_per_s
    stored = run.predicted_decode_tokens_per_s if phase == "decode" else run.predicted_prefill_tokens_per_s
    predicted = priors[run.id][PHASES.index(phase)] if priors and run.id in priors else stored
    if not predicted or not measured or not (math.isfinite(predicted) and math.isfinite(measured)):
        return None
    return math.log(measured / predicted) if predicted > 0 and measured > 0 else None


def _noise(run: Measurement, phase: str, spread: Spread) -> float:
    """Variance of the log of the run's median: the spread between runs of one setup, or that of its own repeats.

    The range of n values is about √n standard deviations for the few repeats used here (n ≤ 10).
    """
    low, high = (run.decode_low, run.decode_high) if phase == "decode" else (run.prefill_low, run.prefill_high)
    floor = spread.between_runs**2
    if run.repeats < 2 or not 0 < low <= high:
        return floor
    deviation = math.log(high / low) / math.sqrt(run.repeats)
    return max(deviation**2, floor)


def _build(run: Measurement) -> str:
    return f"{run.binding} {run.build}"


def _newest_builds(runs: Sequence[Measurement]) -> dict[str, list[str]]:
    """Builds of each runtime, newest first by when they were last measured."""
    last: dict[str, dict[str, str]] = {}
    for run in runs:
        seen = last.setdefault(run.runtime, {})
        seen[_build(run)] = max(seen.get(_build(run), ""), run.measured_at)
    return {runtime: sorted(seen, key=lambda b: seen[b], reverse=True) for runtime, seen in last.items()}


def _classes(quantizations: Texts) -> Texts:
    """Which kernel reads each quantization (n,), "" where it is unknown."""
    names, inverse = np.unique(np.asarray(quantizations, dtype=str), return_inverse=True)
    return np.array([speed_tables().kernel(str(name)) for name in names], dtype=object)[inverse]


def _engine(runtime: str) -> str:
    """The engine a runtime bundles: measured on one, corrected on all that share its kernels."""
    for accelerator in ("cpu", "cuda", "metal"):
        backend = speed_tables().backend(runtime, accelerator)
        if backend and backend.evidence in ("own", "bundled"):
            return backend.family.rsplit("-", 1)[0]
    return runtime


@lru_cache(maxsize=1)
def _spreads() -> dict[tuple[str, str], Spread]:
    with (paths.catalog_dir() / "speed_spreads.csv").open(newline="", encoding="utf-8") as handle:
        return {
            (row["phase"], row["side"]): Spread(**{field.name: float(row[field.name]) for field in fields(Spread)})
            for row in csv.DictReader(handle)
        }
