"""The field guide's situations: the guide's choice beside ours, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recommender.catalog.facts import ScenarioRow
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.types import Pick

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


@dataclass(frozen=True)
class Situation:
    """One situation with our answer; ``pick`` is ``None`` where nothing fits."""

    scenario: ScenarioRow
    pick: Pick | None
    agrees: bool


def situations(catalog: Catalog, whole_catalog: bool = False) -> tuple[Situation, ...]:
    """Every situation answered, limited to the models the guide names unless ``whole_catalog``."""
    return tuple(_answered(scenario, catalog, whole_catalog) for scenario in catalog.scenarios())


def _answered(scenario: ScenarioRow, catalog: Catalog, whole_catalog: bool) -> Situation:
    need = replace(scenario.need, models=()) if whole_catalog else scenario.need
    picks = recommend(preset(scenario.device_id, scenario.ram_gib), need, catalog, top=1).picks
    pick = picks[0] if picks else None
    return Situation(scenario, pick, pick is not None and agrees(pick, scenario))


def agrees(pick: Pick, scenario: ScenarioRow) -> bool:
    """As far as the guide states a choice: a model's name may leave out its size, as in "Gemma 3"."""
    return (
        _letters(pick.name).startswith(_letters(scenario.lesson_choice_model))
        and scenario.lesson_choice_quantization in ("", pick.quantization)
        and scenario.lesson_choice_runtime in ("", pick.runtime)
    )


def lesson_choice(scenario: ScenarioRow) -> str:
    """What the guide chooses, in words."""
    choice = (scenario.lesson_choice_model, scenario.lesson_choice_quantization, scenario.lesson_choice_runtime)
    return ", ".join(part for part in choice if part)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
