"""The fitted numbers behind speed estimates, read once from ``catalog/``.

``speed_coefficients.csv``, ``speed_quant_factors.csv`` and ``speed_fallbacks.csv`` are written by
``scripts/fit_speed.py``; ``speed_backends.csv`` and ``quant_labels.csv`` are reviewed by hand, with sources.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender import paths
from recommender.errors import CatalogError
from recommender.estimate.roofline import Coefficients
from recommender.types import Floats

Ints = NDArray[np.intp]

COEFFICIENT_NAMES = tuple(field.name for field in fields(Coefficients))
PHASES = ("decode", "prefill")
# Overheads, which differ most between engines, are much of the time of models up to this size: they spread more.
SMALL_PARAMS = 2e9


@dataclass(frozen=True)
class Fit:
    """One row of the coefficient table."""

    backend_family: str
    hardware_class: str
    phase: str
    values: Mapping[str, float]
    interval_low: float  # log offset of the 80% range below the value; negative
    interval_high: float
    rows: int
    devices: int


@dataclass(frozen=True)
class Backend:
    """Which family's coefficients a runtime uses on an accelerator."""

    family: str
    evidence: str  # own: fitted on this runtime; bundled: it ships that engine; none: the engine is a stand-in
    note: str


@dataclass(frozen=True)
class Label:
    """What a quantization's name says about its weights."""

    bits_per_weight: float
    quant_class: str
    quantization: str  # the GGUF file type whose rules apply; "" where none do


@dataclass(frozen=True)
class Fallback:
    """A stand-in for an unknown figure of a device: the median of its kind and how far its kind spreads."""

    typical: float
    log_spread: float  # standard deviation of the logarithm
    devices: int


class SpeedTables:
    """All tables of one catalog folder, each read at its first use. ``speed_tables()`` gives the shipped ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._asked: dict[str, Label | None] = {}
        self._known: dict[tuple[tuple[tuple[str, str], ...], str], Floats] = {}

    @cached_property
    def fits(self) -> dict[tuple[str, str, str], Fit]:
        rows = _rows(self.folder / "speed_coefficients.csv")
        return {(row["backend_family"], row["hardware_class"], row["phase"]): _fit(row) for row in rows}

    @cached_property
    def backends(self) -> dict[tuple[str, str], Backend]:
        rows = _rows(self.folder / "speed_backends.csv")
        return {
            (row["runtime"], row["accelerator"]): Backend(row["backend_family"], row["evidence"], row["source"])
            for row in rows
        }

    @cached_property
    def labels(self) -> dict[str, Label]:
        rows = _rows(self.folder / "quant_labels.csv")
        return {
            row["label"].casefold(): Label(float(row["bits_per_weight"]), row["quant_class"], row["quantization"])
            for row in rows
        }

    @cached_property
    def quant_factors(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        rows = _rows(self.folder / "speed_quant_factors.csv")
        return {
            (row["side"], row["phase"], row["quant_class"]): (float(row["weight_factor"]), float(row["compute_factor"]))
            for row in rows
        }

    @cached_property
    def fallbacks(self) -> dict[tuple[str, str, str], Fallback]:
        return parse_fallbacks(_rows(self.folder / "speed_fallbacks.csv"))

    @cached_property
    def small_widths(self) -> dict[tuple[str, str], float]:
        rows = _rows(self.folder / "speed_spreads.csv")
        return {(row["phase"], row["side"]): float(row["small_width"]) for row in rows}

    @cached_property
    def size_laws(self) -> dict[str, tuple[float, float]]:
        return parse_size_laws(_rows(self.folder / "size_laws.csv"))

    def size_law(self, quantity: str, params_total: Floats) -> Floats:
        """What models of this many parameters (n,) usually have: a power law over the catalog's models."""
        intercept, slope = self.size_laws[quantity]
        return np.asarray(np.exp(intercept + slope * np.log(params_total)))

    def backend(self, runtime: str, accelerator: str) -> Backend | None:
        """The family for a runtime on an accelerator; None when the runtime does not run there."""
        return self.backends.get((runtime, accelerator))

    def width(self, phase: str, accelerator: str, params_total: Floats) -> Floats:
        """What log ranges are multiplied by for models of this size (n,): 1, or more for small ones."""
        small = self.small_widths[(phase, "cpu" if accelerator == "cpu" else "gpu")]
        return np.where(params_total <= SMALL_PARAMS, small, 1.0)

    def stand_in_spread(self) -> float:
        """How far engines lie from llama.cpp on the same hardware (log standard deviation)."""
        return self.fallback("engine", "any", "speed_ratio").log_spread

    def label(self, quantization: str) -> Label | None:
        """Bits and class of a quantization's name as runtimes and benchmark tables write it."""
        if quantization not in self._asked:
            self._asked[quantization] = self.labels.get(normal_label(quantization))
        return self._asked[quantization]

    def kernel(self, quantization: str) -> str:
        """Which of an engine's kernels reads most of the weights: file types that differ in their mix share one
        (Q4_K_S and Q4_K_M are both Q4_K); "" where the quantization is unknown."""
        label = self.label(quantization)
        if label is None:
            return ""
        return re.sub(r"^(q\d_k)_[a-z]+$", r"\1", (label.quantization or normal_label(quantization)).casefold())

    def fit(self, family: str, hardware_class: str, phase: str) -> Fit:
        """The coefficients of a family on a class; a class that was never measured uses the family's ``any`` row."""
        for key in ((family, hardware_class, phase), (family, "any", phase)):
            if key in self.fits:
                return self.fits[key]
        raise CatalogError(
            f"speed_coefficients.csv has no row for backend family {family!r}, phase {phase!r}: "
            "run scripts/fit_speed.py, or name a fitted family in speed_backends.csv."
        )

    def fallback(self, side: str, kind: str, quantity: str) -> Fallback:
        """The stand-in for an unknown figure, by kind of device, or of any kind when the kind is new."""
        for key in ((side, kind, quantity), (side, "any", quantity), ("gpu", "any", quantity)):
            if key in self.fallbacks:
                return self.fallbacks[key]
        raise CatalogError(f"speed_fallbacks.csv has no {quantity} for a {side}: run scripts/fit_speed.py.")

    def gather(
        self,
        keys: Sequence[tuple[str, str]],
        key_of_row: Ints,
        quant_classes: Sequence[str],
        quant_of_row: Ints,
        phase: str,
    ) -> tuple[Coefficients, Floats, Floats]:
        """Coefficients per row (n,), and the log offsets (low, high) of their ranges per key.

        Rows are given as indices (n,) into the distinct (backend family, hardware class) ``keys`` and into the
        distinct quantization classes, so that each is looked up once however many rows there are.
        """
        *values, low, high = self._fitted(tuple(keys), phase)
        found = {name: column[key_of_row] for name, column in zip(COEFFICIENT_NAMES, values, strict=True)}
        factors = np.array(
            [
                self.quant_factors.get((side, phase, name), (1.0, 1.0))
                for side in ("cpu", "gpu")
                for name in quant_classes
            ]
        ).reshape(-1, 2)
        first_of_key = np.array([0 if family.endswith("-cpu") else len(quant_classes) for family, _ in keys], np.intp)
        factor_of_row = first_of_key[key_of_row] + quant_of_row
        found["weight_efficiency"] *= factors[:, 0][factor_of_row]
        found["compute"] *= factors[:, 1][factor_of_row]
        return Coefficients(**found), low, high

    def _fitted(self, keys: tuple[tuple[str, str], ...], phase: str) -> Floats:
        """Every coefficient and both ends of the range, shape (coefficients + 2, keys); the same keys come often."""
        if (keys, phase) not in self._known:
            fits = [self.fit(family, hardware_class, phase) for family, hardware_class in keys]
            rows = [
                [*(fit.values[name] for name in COEFFICIENT_NAMES), fit.interval_low, fit.interval_high] for fit in fits
            ]
            self._known[keys, phase] = np.array(rows, dtype=np.float64).reshape(-1, len(COEFFICIENT_NAMES) + 2).T.copy()
        return self._known[keys, phase]


def parse_fallbacks(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], Fallback]:
    """(side, device kind, quantity) → stand-in."""
    return {
        (row["side"], row["device_kind"], row["quantity"]): Fallback(
            float(row["typical"]), float(row["log_spread"]), int(row["devices"])
        )
        for row in rows
    }


def parse_size_laws(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Quantity → (intercept, slope) of its logarithm over the logarithm of parameters."""
    return {row["quantity"]: (float(row["log_intercept"]), float(row["slope"])) for row in rows}


def normal_label(quantization: str) -> str:
    """A quantization's name without what does not change its bits: dynamic-mix prefixes, repacked suffixes, notes."""
    text = quantization.strip().casefold().split(" (")[0]
    text = re.sub(r"^(ud|unsloth-dynamic)-", "", text)
    return re.sub(r"_r[48]$", "", text)


def _fit(row: Mapping[str, str]) -> Fit:
    return Fit(
        backend_family=row["backend_family"],
        hardware_class=row["hardware_class"],
        phase=row["phase"],
        values={name: float(row.get(name) or 0.0) for name in COEFFICIENT_NAMES},
        interval_low=float(row["interval_low"]),
        interval_high=float(row["interval_high"]),
        rows=int(row["rows"]),
        devices=int(row["devices"]),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError as error:
        raise CatalogError(f"{path.name} is missing from the catalog folder {path.parent}.") from error


@lru_cache(maxsize=1)
def speed_tables() -> SpeedTables:
    """The tables that ship with the product."""
    return SpeedTables(paths.catalog_dir())
