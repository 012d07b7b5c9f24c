"""The field guide's situations: the guide's choice beside ours, whether they agree, and by what numbers they differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recommender.catalog.facts import ScenarioRow
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.engine.words import rate, seconds, size
from recommender.types import Device, Memory, Need, Pick

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


@dataclass(frozen=True)
class Situation:
    """One situation with our answer; ``pick`` is ``None`` where nothing fits."""

    scenario: ScenarioRow
    pick: Pick | None
    agrees: bool
    compared: str = ""  # where they differ: our pick's figures against those of the guide's choice


def situations(catalog: Catalog, whole_catalog: bool = False) -> tuple[Situation, ...]:
    """Every situation answered, limited to the models the guide names unless ``whole_catalog``."""
    return tuple(_answered(scenario, catalog, whole_catalog) for scenario in catalog.scenarios())


def _answered(scenario: ScenarioRow, catalog: Catalog, whole_catalog: bool) -> Situation:
    need = replace(scenario.need, models=()) if whole_catalog else scenario.need
    device = preset(scenario.device_id, scenario.ram_gib)
    picks = recommend(device, need, catalog, top=1).picks
    if not picks:
        return Situation(scenario, None, False, "Nothing passes the limits of this question")
    if agrees(picks[0], scenario):
        return Situation(scenario, picks[0], True)
    return Situation(scenario, picks[0], False, _compared(picks[0], scenario, device, scenario.need, catalog))


def _compared(ours: Pick, scenario: ScenarioRow, device: Device, need: Need, catalog: Catalog) -> str:
    """Our pick against the best that the guide's choice comes to under the same limits."""
    answer = recommend(device, replace(need, all_quantizations=True), catalog)
    theirs = next((pick for pick in answer.picks if agrees(pick, scenario)), None)
    if theirs is not None:
        return f"{_choice(ours)} against {_choice(theirs)}: {_figures(ours, theirs)}"
    missed = next((miss for miss in answer.near_misses if agrees(miss.pick, scenario)), None)
    why = f": {missed.reason}" if missed else ""
    return f"Nothing of the guide's choice passes the limits of this question{why}"


def _figures(ours: Pick, theirs: Pick) -> str:
    pairs = [("quality", f"{ours.quality:.0f}", f"{theirs.quality:.0f} of 100")]
    one, other = ours.estimate, theirs.estimate
    if one.answer_time_s and other.answer_time_s:
        pairs.append(("answer in", seconds(one.answer_time_s.value), seconds(other.answer_time_s.value)))
    if one.decode_tokens_per_s and other.decode_tokens_per_s:
        pairs.append(("decode", rate(one.decode_tokens_per_s.value), rate(other.decode_tokens_per_s.value)))
    if one.memory and other.memory:
        pairs.append(("memory", _resident(one.memory), _resident(other.memory)))
    pairs.append(("score", f"{ours.score:.1f}", f"{theirs.score:.1f}"))
    return ", ".join(f"{what} {first} against {second}" for what, first, second in pairs)


def _resident(memory: Memory) -> str:
    return size(memory.charged_bytes)


def _choice(pick: Pick) -> str:
    return " ".join(part for part in (pick.name, pick.quantization or "managed", pick.runtime) if part)


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
