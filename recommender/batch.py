"""The first picks rehearsed one after another, and ranked again by what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommender.catalog.queries import architecture_of
from recommender.engine.estimate_rows import EstimateRequest
from recommender.errors import RecommenderError
from recommender.trial import RehearsalPlan, plan_rehearsal
from recommender.types import Device, Measurement, Pick, Recommendation

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog
    from recommender.estimate.calibrate import Calibration

FIRST = 5
# What the rehearsal's runtime stands for: Ollama computes with llama.cpp.
_RUNTIMES = ("llama.cpp", "ollama")


@dataclass(frozen=True)
class Planned:
    """A pick and how it would be rehearsed, or why it cannot be. ``rank`` 1 is the best."""

    rank: int
    pick: Pick
    plan: RehearsalPlan | None = None
    problem: str = ""


@dataclass(frozen=True)
class Reranked:
    """A pick with its rank before and after; ``after`` is ``None`` when it does not fit any more.

    ``measurement`` is ``None`` when it was not rehearsed.
    """

    before: int
    after: int | None
    pick: Pick  # as it was predicted before
    measurement: Measurement | None


def plan_batch(
    answer: Recommendation, catalog: Catalog, calibration: Calibration | None = None, first: int = FIRST
) -> tuple[Planned, ...]:
    """How the first picks would be rehearsed. Those of other runtimes, or of a shape that is not known, say why not."""
    return tuple(
        _planned(rank, pick, answer.device, catalog, calibration)
        for rank, pick in enumerate(answer.picks[:first], start=1)
    )


def _planned(rank: int, pick: Pick, device: Device, catalog: Catalog, calibration: Calibration | None) -> Planned:
    if pick.runtime not in _RUNTIMES or not pick.quantization or not pick.settings:
        return Planned(rank, pick, problem=f"{pick.runtime} cannot be rehearsed here.")
    request = EstimateRequest(pick.model_id, pick.quantization, device, context_tokens=pick.settings.context_tokens)
    try:
        architecture_of(catalog, pick.model_id)
        return Planned(rank, pick, plan_rehearsal(request, catalog, calibration))
    except RecommenderError as error:
        return Planned(rank, pick, problem=str(error))


def rerank(
    before: Sequence[Pick], measured: Mapping[tuple[str, str], Measurement], after: Recommendation
) -> tuple[Reranked, ...]:
    """The same picks in the order that they have now.

    Args:
        before: the picks that were rehearsed, best first.
        measured: (model_id, quantization) → its rehearsal.
        after: the same question asked again, with the rehearsals among what the estimates were corrected by.
    """
    places = {
        (pick.model_id, pick.quantization): place for place, pick in reversed(list(enumerate(after.picks, start=1)))
    }
    rows = [
        Reranked(
            rank,
            places.get((pick.model_id, pick.quantization)),
            pick,
            measured.get((pick.model_id, pick.quantization or "")),
        )
        for rank, pick in enumerate(before, start=1)
    ]
    return tuple(sorted(rows, key=lambda row: (row.after is None, row.after or 0, row.before)))
