"""How well an engine serves many users at once, beside one that was made for it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache

from recommender.paths import catalog_dir


@cache
def _shares() -> tuple[Mapping[str, float], float]:
    """Share of each engine in the table, and that of any other engine: the mean of those that were measured."""
    found: dict[str, list[float]] = {}
    references = set()
    with (catalog_dir() / "runtime_batching.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ratio = float(row["tokens_per_s"]) / float(row["reference_tokens_per_s"])
            found.setdefault(row["engine"], []).append(math.log(ratio))
            references.add(row["reference_engine"])
    means = {engine: sum(logs) / len(logs) for engine, logs in found.items()}
    other = math.exp(sum(means.values()) / len(means)) if means else 1.0
    return {engine: math.exp(mean) for engine, mean in means.items()} | dict.fromkeys(references, 1.0), other


def batch_share(engine: str) -> float:
    """Share of the speed that reading the weights once for all users would allow, of an engine on a GPU.

    The geometric mean over the rows of ``runtime_batching.csv``, each the speed of all users together beside the
    reference engine's on the same GPU. The reference engine has 1; what nobody measured is no reason to recommend an
    engine, so one without rows has the mean of those that have.
    """
    shares, other = _shares()
    return shares.get(engine, other)
