"""The field guide's 14 situations: the recommendation agrees with the guide, or the catalog says why not."""

from __future__ import annotations

import re

import pytest

from recommender.catalog import Catalog, ScenarioRow
from recommender.engine.scenarios import agrees, lesson_choice, situations
from recommender.types import Pick


@pytest.fixture(scope="module")
def table(catalog: Catalog) -> list[tuple[ScenarioRow, Pick]]:
    """Each situation with its pick, printed as a table (``pytest -s`` shows it)."""
    found = []
    for one in situations(catalog):
        assert one.pick is not None, f"{one.scenario.id}: nothing fits"
        found.append((one.scenario, one.pick))
    print("\n| situation | the guide | recommended | score | agrees |\n|---|---|---|---|---|")
    for scenario, pick in found:
        print(
            f"| {scenario.title} | {lesson_choice(scenario)} "
            f"| {pick.name}, {pick.quantization or 'managed'}, {pick.runtime} | {pick.score:.1f} "
            f"| {'yes' if agrees(pick, scenario) else 'no'} |"
        )
    return found


def test_every_situation_of_the_guide_is_there_once(catalog: Catalog) -> None:
    scenarios = catalog.scenarios()
    assert len(scenarios) == 14
    assert len({scenario.title for scenario in scenarios}) == 14


def test_every_situation_states_a_choice_and_is_limited_to_the_models_the_guide_names(catalog: Catalog) -> None:
    for scenario in catalog.scenarios():
        assert scenario.lesson_choice_model or scenario.lesson_choice_runtime, scenario.id
        assert scenario.need.models, scenario.id
        assert len(scenario.need.models) < 12, scenario.id


def test_the_pick_agrees_with_the_guide_or_the_difference_is_explained_with_numbers(
    table: list[tuple[ScenarioRow, Pick]],
) -> None:
    for scenario, pick in table:
        if not agrees(pick, scenario):
            picked = f"{pick.name} {pick.quantization} {pick.runtime}"
            assert scenario.differs_because, f"{scenario.id}: {picked} is picked; say why in differs_because"
            assert any(letter.isdigit() for letter in scenario.differs_because), scenario.id


def test_no_difference_is_explained_that_is_not_there(table: list[tuple[ScenarioRow, Pick]]) -> None:
    stale = [scenario.id for scenario, pick in table if scenario.differs_because and agrees(pick, scenario)]
    assert not stale, f"these agree with the guide now: empty their differs_because: {stale}"


def test_most_situations_agree_with_the_guide(table: list[tuple[ScenarioRow, Pick]]) -> None:
    assert sum(agrees(pick, scenario) for scenario, pick in table) >= 12


@pytest.mark.parametrize("whole_catalog", [False, True])
def test_a_difference_is_told_with_the_figures_of_both_and_the_higher_score_is_ours(
    whole_catalog: bool, catalog: Catalog
) -> None:
    differing = [one for one in situations(catalog, whole_catalog) if not one.agrees]
    assert differing
    for one in differing:
        assert one.pick is not None
        assert one.pick.name in one.compared
        scores = re.search(r"score ([\d.]+) against ([\d.]+)$", one.compared)
        assert scores, one.compared
        assert float(scores[1]) >= float(scores[2]), one.compared


def test_agreement_needs_no_figures(catalog: Catalog) -> None:
    assert all(one.compared == "" for one in situations(catalog) if one.agrees)
