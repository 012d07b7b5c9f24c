"""How good models are at a task: checked against the same sums written out row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recommender.catalog import Catalog
from recommender.engine.ability import abilities

Measured = dict[tuple[str, str], tuple[float, float, int]]


@pytest.fixture(scope="module")
def measured(catalog: Catalog) -> Measured:
    rows = catalog.cursor().execute("SELECT * FROM abilities").fetchall()
    return {(model, capability): (score, error, evidence) for model, capability, score, error, evidence in rows}


@pytest.fixture(scope="module")
def models(catalog: Catalog) -> list[tuple[str, str]]:
    return catalog.cursor().execute("SELECT model_id, coalesce(thinking, '') FROM models ORDER BY rowid").fetchall()


@pytest.mark.parametrize("hybrid_thinks", [False, True])
@pytest.mark.parametrize("languages", [(), ("de", "zh"), ("xx",)], ids=["no language", "two", "one nobody measured"])
def test_every_model_has_the_weighted_sum_of_what_was_measured_of_it(
    catalog: Catalog,
    measured: Measured,
    models: list[tuple[str, str]],
    hybrid_thinks: bool,
    languages: tuple[str, ...],
) -> None:
    weights = (("coding", 0.75), ("math", 0.25))
    found = abilities(catalog, weights, languages, 0.5 if languages else 0.0, hybrid_thinks)
    seen = 0
    for place, (model, thinking) in enumerate(models):
        switched = hybrid_thinks and thinking == "hybrid"
        suffix = "@thinking" if switched else ""
        assert found.thinks[place] == (thinking == "yes" or switched)
        told = [(measured.get((model, name + suffix)), weight) for name, weight in weights]
        known = [(row, weight) for row, weight in told if row]
        if not known:
            assert math.isnan(found.quality[place])
            continue
        seen += 1
        quality = sum(row[0] * weight for row, weight in known)
        error = sum(row[1] * weight for row, weight in known)
        evidence = sum(row[2] for row, _ in known)
        if languages:
            own = [measured.get((model, f"lang:{language}{suffix}")) for language in languages]
            general = measured.get((model, f"multilingual{suffix}"))
            spoken = [row for row in (one or general for one in own) if row]
            evidence += sum(row[2] for row in own if row)
            if spoken:
                quality = (quality + sum(row[0] for row in spoken) / len(spoken)) / 2
                error = (error + sum(row[1] for row in spoken) / len(spoken)) / 2
        assert found.quality[place] == pytest.approx(quality)
        assert found.quality_se[place] == pytest.approx(error)
        assert found.evidence[place] == evidence
    assert seen > 200


def test_a_task_that_needs_nothing_measured_knows_no_quality(catalog: Catalog) -> None:
    assert np.isnan(abilities(catalog, (("nobody measures this", 1.0),), (), 0.0, False).quality).all()
