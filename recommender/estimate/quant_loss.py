"""What a model loses by quantization, in points of 0–100 ability, by quantization type and model size.

Each type has a *damage*: the mean Kullback-Leibler divergence (nats per token) between the quantized and the full
model's next-token distributions, at eight billion parameters. Smaller models suffer more, and the share of a model's
ability above guessing that is lost grows with the damage and saturates:

    lost = 1 − exp(−scale × (damage × (parameters / 8e9)^−size_exponent)^damage_exponent)
    points = lost × reach

``reach`` is the mean distance between a full model's score and guessing over the fitted rows. Damages and
coefficients are fitted by ``scripts/fit_quant_loss.py`` from the published figures in
``catalog/quant_loss_evidence.csv`` and kept in ``catalog/quant_loss.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from recommender.errors import CatalogError, UnknownNameError, unknown
from recommender.paths import catalog_dir
from recommender.types import Floats, Texts

REFERENCE_PARAMS = 8e9


@dataclass(frozen=True)
class LossTable:
    """The fitted table. ``damage`` is in nats per token, 0 for unquantized types; ``bits`` are bits per weight."""

    damage: Mapping[str, float]
    bits: Mapping[str, float]
    scale: float
    damage_exponent: float
    size_exponent: float
    reach: float

    def lost_share(self, params_total: Floats, damage: Floats) -> Floats:
        """Share of the ability above guessing that is lost, 0–1."""
        relative = np.maximum(params_total, 1.0) / REFERENCE_PARAMS
        effective = damage * relative**-self.size_exponent
        return -np.expm1(-self.scale * effective**self.damage_exponent)


def read_loss_table(path: Path | None = None) -> LossTable:
    """Read ``catalog/quant_loss.csv``."""
    path = path or catalog_dir() / "quant_loss.csv"
    damage, bits, numbers = {}, {}, {}
    with path.open(encoding="utf-8", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                if row["kind"] == "coefficient":
                    numbers[row["name"]] = float(row["value"])
                else:
                    damage[row["name"]], bits[row["name"]] = float(row["value"]), float(row["bits_per_weight"])
            except ValueError as error:
                raise CatalogError(
                    f"{path.name}, line {line}: {error}. Run scripts/fit_quant_loss.py again."
                ) from error
    try:
        return LossTable(damage, bits, **numbers)
    except TypeError as error:
        raise CatalogError(f"{path.name}: {error}. Run scripts/fit_quant_loss.py again.") from error


@lru_cache(maxsize=1)
def _shipped() -> LossTable:
    return read_loss_table()


def loss_points(
    params_total: Floats, quantization: Texts, native: Texts | None = None, table: LossTable | None = None
) -> Floats:
    """Points of 0–100 ability lost by quantization, shape (n,); 0 where unquantized.

    Args:
        params_total: total parameters, shape (n,); an unknown size (NaN) is taken as eight billion.
        quantization: type of each row, shape (n,); "" (managed) loses nothing.
        native: the type each model was trained for, "" where it was trained unquantized. A model loses nothing at its
            native type, at one that holds the same values, or at one with more bits.

    Raises:
        UnknownNameError: a type that the table does not have; the nearest ones are in the message.
    """
    table = table or _shipped()
    sizes = np.nan_to_num(np.asarray(params_total, dtype=np.float64), nan=REFERENCE_PARAMS)
    lost = table.lost_share(sizes, _damages(table, quantization))
    if native is not None:
        _damages(table, native)  # refuses unknown types
        same = np.array([a != "" and _holds(table, a, b) for b, a in zip(quantization, native, strict=True)])
        lost = np.where(same, 0.0, lost)
    return np.asarray(table.reach * lost, dtype=np.float64)


def _damages(table: LossTable, types: Texts) -> Floats:
    places: dict[str, int] = {}  # sorting many texts takes longer than looking each up
    index = [places.setdefault(str(name), len(places)) for name in types]
    names = list(places)
    missing = [name for name in names if name and name not in table.damage]
    if missing:
        raise _unknown_type(min(missing), table)
    return np.array([table.damage[name] if name else 0.0 for name in names], dtype=np.float64)[
        np.array(index, dtype=np.intp)
    ]


def _unknown_type(name: str, table: LossTable) -> UnknownNameError:
    return unknown("quantization", name, list(table.damage))


def _holds(table: LossTable, native: str, used: str) -> bool:
    # Types fitted as one ("same_as" in quant_loss_types.csv) hold the same values: TQ1_0 only packs them tighter.
    return used == "" or table.bits[used] >= table.bits[native] or table.damage[used] == table.damage[native]
