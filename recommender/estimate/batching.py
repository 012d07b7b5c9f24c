"""How well an engine serves many users at once, beside one that was made for it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache

from recommender.paths import catalog_dir


@cache
def _shares() -> Mapping[str, float]:
    found: dict[str, list[float]] = {}
    with (catalog_dir() / "runtime_batching.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ratio = float(row["tokens_per_s"]) / float(row["reference_tokens_per_s"])
            found.setdefault(row["engine"], []).append(math.log(ratio))
    return {engine: math.exp(sum(logs) / len(logs)) for engine, logs in found.items()}


def batch_share(engine: str) -> float:
    """Share of the speed that reading the weights once for all users would allow, of an engine on a GPU.

    The geometric mean over the rows of ``runtime_batching.csv``, each the speed of all users together beside the
    reference engine's on the same GPU; 1 for an engine without rows.
    """
    return _shares().get(engine, 1.0)
