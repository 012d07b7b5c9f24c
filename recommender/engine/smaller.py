"""What to run instead when memory ran out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from recommender.catalog.queries import variant_columns
from recommender.device.budget import memory_budget
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_one
from recommender.engine.recommend import recommend
from recommender.errors import RecommenderError
from recommender.types import Memory, Need

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog
    from recommender.estimate.calibrate import Calibration


def next_smaller(
    failed: EstimateRequest, catalog: Catalog, calibration: Calibration | None = None
) -> EstimateAnswer | None:
    """The largest quantization of the same model that needs less memory and fits in what is free; where none does,
    the best model that does; ``None`` when nothing fits."""
    limit = _needed(estimate_one(failed, catalog, calibration).estimate.memory)
    free = memory_budget(failed.device).ram_bytes
    if free is not None:
        limit = min(limit, free)
    found = [
        answer
        for row in variant_columns(catalog, failed.model, failed.runtime)
        if (answer := _estimate(replace(failed, quantization=str(row["quantization"])), catalog, calibration))
        and _needed(answer.estimate.memory) < limit
    ]
    if found:
        return max(found, key=lambda answer: _needed(answer.estimate.memory))
    need = Need(context_tokens=failed.context_tokens, runtimes=(failed.runtime,))
    for pick in recommend(failed.device, need, catalog, calibration=calibration).picks:
        if pick.quantization and _needed(pick.estimate.memory) < limit:
            other = replace(failed, model=pick.model_id, quantization=pick.quantization)
            return _estimate(other, catalog, calibration)
    return None


def _estimate(request: EstimateRequest, catalog: Catalog, calibration: Calibration | None) -> EstimateAnswer | None:
    try:
        return estimate_one(request, catalog, calibration)
    except RecommenderError:
        return None


def _needed(memory: Memory | None) -> float:
    """Bytes that cannot be given back while it runs; infinite where that is not known."""
    return memory.total_bytes - memory.reclaimable_bytes if memory else float("inf")
