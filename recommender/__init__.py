"""Rightsize: which small language model, quantization and runtime to use on a machine, and why.

>>> from recommender import Need, open_catalog, recommend, this_machine
>>> answer = recommend(this_machine(), Need(task="code"), open_catalog())  # doctest: +SKIP
>>> answer.picks[0].command  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog, open_catalog
    from recommender.device import memory_budget, preset, this_machine
    from recommender.engine.estimate_rows import EstimateRequest, estimate_one, estimate_rows
    from recommender.engine.recommend import recommend
    from recommender.errors import RecommenderError
    from recommender.runner.measure import measure
    from recommender.runner.protocol import RunRequest
    from recommender.types import Device, Estimate, Measurement, Need, Pick, Recommendation

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Device",
    "Estimate",
    "EstimateRequest",
    "Measurement",
    "Need",
    "Pick",
    "Recommendation",
    "RecommenderError",
    "RunRequest",
    "estimate_one",
    "estimate_rows",
    "measure",
    "memory_budget",
    "open_catalog",
    "preset",
    "recommend",
    "this_machine",
]

_ROOMS = {
    "catalog.store": ("Catalog", "open_catalog"),
    "device": ("memory_budget", "preset", "this_machine"),
    "engine.estimate_rows": ("EstimateRequest", "estimate_one", "estimate_rows"),
    "engine.recommend": ("recommend",),
    "errors": ("RecommenderError",),
    "runner.measure": ("measure",),
    "runner.protocol": ("RunRequest",),
    "types": ("Device", "Estimate", "Measurement", "Need", "Pick", "Recommendation"),
}


def __getattr__(name: str) -> Any:
    # A run's own process imports this package too and must stay small, so each room is loaded when first asked for.
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"recommender.{room}"), name)
    raise AttributeError(f"module 'recommender' has no attribute {name!r}")
