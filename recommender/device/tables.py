"""The device room's own tables: ``catalog/devices.csv`` and ``catalog/reserves.csv``, read once and kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from recommender import paths
from recommender.errors import CatalogError

Row = Mapping[str, str]


class Limit(NamedTuple):
    """One row of ``reserves.csv`` that applies to a machine."""

    value: str
    unit: str
    confidence: str  # measured, secondary or assumed
    notes: str
    source: str

    @property
    def number(self) -> float:
        return float(self.value)


def _read(path: Path) -> tuple[Row, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(csv.DictReader(file))
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror}. Install the package again.") from error


@cache
def device_rows() -> Mapping[str, Row]:
    """Every row of ``devices.csv`` by id, in the file's order, benchmark anchors included."""
    return {row["id"]: row for row in _read(paths.catalog_dir() / "devices.csv")}


@cache
def _reserve_rows() -> tuple[Row, ...]:
    return _read(paths.catalog_dir() / "reserves.csv")


def limit(rule: str, *, os: str = "", kind: str = "", memory_gb: float = 0.0) -> Limit | None:
    """The first row of ``rule`` that fits; an empty ``os`` or ``kind`` in the table fits every machine.

    ``memory_gb`` picks among rows that hold for a range of RAM: from ``memory_gb_min`` up to, not including,
    ``memory_gb_max``.
    """
    for row in _reserve_rows():
        if row["rule"] != rule or row["os"] not in ("", os) or row["kind"] not in ("", kind):
            continue
        upper = float(row["memory_gb_max"]) if row["memory_gb_max"] else float("inf")
        if float(row["memory_gb_min"] or 0) <= memory_gb < upper:
            return Limit(row["value"], row["unit"], row["confidence"], row["notes"], row["source"])
    return None
