"""How good each model is at what, on one 0–100 scale, with a standard error and the evidence behind it.

The scale is the score to expect on a capability's reference benchmarks (the rows of ``catalog/benchmark_types.csv``
marked ``reference``), averaged: an ability of 62 in "math" means 62 points on the mix of GSM8K, MATH-500 and AIME 2024.
Languages are read on the language's own benchmark; where that is a mean rank, 100 is the best rank and 0 the worst.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recommender.errors import CatalogError
from recommender.estimate.quality_fit import Fit, Settings, Tree, expit, fit
from recommender.estimate.quality_rows import (
    CAPABILITIES,
    BenchmarkType,
    Entity,
    Ints,
    ModelFacts,
    Observations,
    Row,
    model_facts,
    observations,
    read_types,
)
from recommender.types import Floats, Texts

THINKING_SUFFIX = "@thinking"


@dataclass(frozen=True)
class Ability:
    """One model's ability.

    ``capability`` is one of the eight, ``lang:xx`` for a language, or either with ``@thinking`` appended: what a hybrid
    model reaches when it thinks first (its plain rows are for answering at once). ``score`` is in points of 0–100,
    ``standard_error`` in the same points; ``evidence`` counts the benchmarks that measured this model on it, 0 where
    only its size, date, kind and relatives speak.
    """

    model_id: str
    capability: str
    score: float
    standard_error: float
    evidence: int


@dataclass(frozen=True)
class AbilityColumns:
    """Abilities as columns of equal length; see :class:`Ability`."""

    model_id: Texts
    capability: Texts
    score: Floats
    standard_error: Floats
    evidence: Ints


def fit_abilities(
    benchmarks: Iterable[Row],
    models: Iterable[Row],
    types: Sequence[BenchmarkType] | None = None,
    settings: Settings | None = None,
) -> list[Ability]:
    """Abilities of every text model of the catalog in every capability, in the order of ``models``.

    Args:
        benchmarks: rows of ``catalog/benchmarks.csv``, text or typed; rows of models outside the catalog help to
            place the benchmarks.
        models: rows of ``catalog/models.csv``.
        types: what each benchmark measures; read from ``catalog/benchmark_types.csv`` when not given.

    Raises:
        CatalogError: a capability has no reference benchmark with a score.
    """
    columns = ability_columns(benchmarks, models, types, settings)
    return [Ability(*row) for row in zip(*(values.tolist() for values in vars(columns).values()), strict=True)]


def ability_columns(
    benchmarks: Iterable[Row],
    models: Iterable[Row],
    types: Sequence[BenchmarkType] | None = None,
    settings: Settings | None = None,
) -> AbilityColumns:
    """The same as columns, for many models."""
    types = types if types is not None else read_types()
    catalog = [row for row in models if str(row.get("role") or "") != "embedding"]
    data = observations(benchmarks, catalog, types)
    wanted = [(str(row["model_id"]), thinking, suffix) for row in catalog for thinking, suffix in _modes(row)]
    data = with_entities(data, catalog, [Entity(model_id, thinking) for model_id, thinking, _ in wanted])
    names, loadings = capability_loadings(data.items)
    state = fit(data, loadings, features(data), family_tree(data.facts), settings)
    index = {entity: position for position, entity in enumerate(data.entities)}
    entity = np.array([index[Entity(model_id, thinking)] for model_id, thinking, _ in wanted], dtype=np.int64)
    counts, nothing = _evidence(data, names, loadings), np.zeros(len(names), dtype=np.int64)
    on_scale = [_on_scale(state, data.items, c, name, entity) for c, name in enumerate(names)]
    suffixed = {suffix: np.array([name + suffix for name in names], dtype=object) for _, _, suffix in wanted}
    return AbilityColumns(
        model_id=np.repeat(np.array([model_id for model_id, *_ in wanted], dtype=object), len(names)),
        capability=np.array([suffixed[suffix] for *_, suffix in wanted], dtype=object).reshape(-1),
        score=_rounded(score for score, _ in on_scale),
        standard_error=_rounded(error for _, error in on_scale),
        evidence=np.array([counts.get(model_id, nothing) for model_id, *_ in wanted], dtype=np.int64).reshape(-1),
    )


def _rounded(columns: Iterable[Floats]) -> Floats:
    """One column per capability as one array, model by model, to a hundredth of a point."""
    return np.asarray(np.round(np.column_stack(list(columns)), 2).reshape(-1), dtype=np.float64)


def _modes(model: Row) -> tuple[tuple[float, str], ...]:
    """How a model answers: (thinking, suffix of its capability names)."""
    kind = str(model.get("thinking") or "")
    if kind == "hybrid":
        return ((0.0, ""), (1.0, THINKING_SUFFIX))
    return ((1.0, ""),) if kind == "yes" else ((0.0, ""),)


def with_entities(data: Observations, models: Sequence[Row], entities: Iterable[Entity]) -> Observations:
    """``data`` with entities added that have no scores of their own."""
    known = set(data.entities)
    new = [entity for entity in dict.fromkeys(entities) if entity not in known]
    facts = model_facts(models, (entity.model_id for entity in new))
    return replace(
        data,
        entities=data.entities + tuple(new),
        facts=data.facts + tuple(facts[entity.model_id] for entity in new),
    )


def capability_loadings(items: Sequence[BenchmarkType]) -> tuple[list[str], Floats]:
    """Names of the capabilities, the eight first, and loadings of shape (items, capabilities)."""
    languages = sorted({name for item in items for name in item.capabilities if name.startswith("lang:")})
    names = [*CAPABILITIES, *languages]
    loadings = np.array([[item.capabilities.get(name, 0.0) for name in names] for item in items])
    return names, loadings.reshape(len(items), len(names))


def features(data: Observations) -> Floats:
    """What the prior sees of each entity, shape (E, F); unknown sizes and dates are 0 with a flag of their own."""
    size = _log2([fact.params_total for fact in data.facts], 7e9) / 2
    share = _log2([fact.params_active / fact.params_total for fact in data.facts], 1.0) / 2
    year = np.array([fact.released for fact in data.facts]) - 2025.0
    thinking = np.array([entity.thinking for entity in data.entities])
    kinds = [[fact.base, fact.code, fact.vision, fact.translation] for fact in data.facts]
    known_size = np.nan_to_num(size)
    return np.column_stack(
        [
            np.ones(len(thinking)),
            known_size,
            known_size**2 / 2,
            np.nan_to_num(share),
            np.clip(np.nan_to_num(year), -2.0, 2.0),
            np.isnan(year),
            np.isnan(size),
            thinking,
            thinking * known_size,
            np.array(kinds, dtype=float).reshape(len(thinking), 4),
        ]
    )


def _log2(values: Sequence[float], unit: float) -> Floats:
    return np.maximum(np.log2(np.array(values, dtype=float) / unit), -7.0)


def family_tree(facts: Sequence[ModelFacts]) -> Tree:
    """Maker → family → lineage → entity."""
    lineages = [(fact.maker, fact.family, fact.lineage) for fact in facts]
    lineage_nodes, of_entity = _index(lineages)
    family_nodes, of_lineage = _index([node[:2] for node in lineage_nodes])
    maker_nodes, of_family = _index([node[:1] for node in family_nodes])
    sizes = (len(maker_nodes), len(family_nodes), len(lineage_nodes), len(facts))
    return Tree((of_family, of_lineage, of_entity), sizes)


def _index(values: Sequence[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], Ints]:
    nodes = list(dict.fromkeys(values))
    position = {node: index for index, node in enumerate(nodes)}
    return nodes, np.array([position[value] for value in values], dtype=np.int64)


def _evidence(data: Observations, names: Sequence[str], loadings: Floats) -> dict[str, Ints]:
    """Benchmarks with a score, per model and capability; a score in any language but English is multilingual too."""
    measures = loadings > 0
    foreign = [c for c, name in enumerate(names) if name.startswith("lang:") and name != "lang:en"]
    measures[:, names.index("multilingual")] |= measures[:, foreign].any(axis=1)
    pairs = {(data.entities[entity].model_id, item) for entity, item in zip(data.entity, data.item, strict=True)}
    counts: dict[str, Ints] = {}
    for model_id, item in pairs:
        counts[model_id] = counts.get(model_id, np.zeros(len(names), dtype=np.int64)) + measures[item]
    return counts


def _on_scale(state: Fit, items: Sequence[BenchmarkType], c: int, name: str, entity: Ints) -> tuple[Floats, Floats]:
    """Expected score of ``entity`` on the reference mix of capability ``c`` and its standard error."""
    mix = [index for index, item in enumerate(items) if item.reference and item.capabilities.get(name, 0) > 0]
    if not mix:
        raise CatalogError(f"No reference benchmark of {name} has a score: mark another one in benchmark_types.csv.")
    loading = state.loading[mix]
    share = expit(state.item_level[mix] + state.mean[entity] @ loading.T)  # (n, m)
    top = [items[index].points(np.ones(1))[0] for index in mix]
    reach = np.array(top) - [items[index].points(np.zeros(1))[0] for index in mix]
    points = [items[index].points(share[:, place]) for place, index in enumerate(mix)]
    slope = reach * share * (1 - share) / len(mix)
    # Var(Σ slope · loading · ability): what the loadings make of the covariances is the same for many entities.
    between = (loading @ state.covariance @ loading.T)[state.covariances_of[entity]]
    variance = np.einsum("ni,nij,nj->n", slope, between, slope)
    return np.sum(points, axis=0) / len(mix), np.sqrt(variance)
