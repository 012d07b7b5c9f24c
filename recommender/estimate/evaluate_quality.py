"""How well hidden benchmark scores are predicted, and how well names are resolved.

Cells are groups of all rows of one model and one benchmark, so that no repeat of a hidden score stays visible. The
baseline is what the scores themselves say without any of the model's structure: one effect per model and one per
benchmark. Errors are in points of 0–100; a mean rank is shown as its share of the way from worst to best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import BadInputError
from recommender.estimate.names import Resolver
from recommender.estimate.quality import capability_loadings, family_tree, features
from recommender.estimate.quality_fit import expit, fit, logit, predict
from recommender.estimate.quality_rows import BenchmarkType, Observations, Row, observations, read_types
from recommender.types import Floats

Bools = NDArray[np.bool_]

HIDDEN_SHARE = 0.2
FEWEST_SCORES = 100  # the fit has about that many levels and slopes to place
SMALLEST_GROUP = 5  # hidden scores of a benchmark before their order means anything
TEN_PERCENT_POINT = 1.2816  # of the normal distribution: ± this holds 80%


@dataclass(frozen=True)
class QualityTable:
    """Errors over ``rows`` hidden scores, in points of 0–100. ``rank_correlation`` is within benchmarks, their mean."""

    rows: int
    mean_abs_error: float
    median_abs_error: float
    p90_abs_error: float
    p95_abs_error: float
    bias: float
    baseline_mean_abs_error: float
    rank_correlation: float
    baseline_rank_correlation: float
    interval_share: float  # of the hidden scores inside their 80% range
    skipped: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[str, QualityTable] = field(default_factory=dict)


def evaluate_quality(
    benchmarks: Iterable[Row],
    models: Iterable[Row],
    seed: int = 0,
    types: Sequence[BenchmarkType] | None = None,
    ranks: bool = False,
) -> QualityTable:
    """Hide a fifth of the cells, fit on the rest and compare.

    Args:
        benchmarks: rows of ``catalog/benchmarks.csv``.
        models: rows of ``catalog/models.csv``.
        seed: which cells are hidden.
        types: what each benchmark measures; read from the catalog when not given.
        ranks: count mean ranks in the headline too; they are easier, and always a class of their own.

    Raises:
        BadInputError: too few scores are of known benchmarks to hide any.
    """
    rows = list(benchmarks)
    types = types if types is not None else read_types()
    data = observations(rows, models, types)
    hidden = _hidden_cells(data, seed)
    if len(data) - hidden.sum() < FEWEST_SCORES or not hidden.any():
        raise BadInputError(
            f"{len(data)} of the {len(rows)} benchmark scores are of known benchmarks and models: too few to hide a "
            f"fifth and predict it from the rest. {FEWEST_SCORES} must remain."
        )
    state = fit(_only(data, ~hidden), capability_loadings(data.items)[1], features(data), family_tree(data.facts))
    shown = _only(data, hidden)
    z, variance = predict(state, shown.entity, shown.item, state.level[shown.protocol])
    inside = np.abs(logit(shown.share) - z) <= TEN_PERCENT_POINT * np.sqrt(variance)
    truth, found = _points(shown, shown.share), _points(shown, expit(z))
    baseline = additive_baseline(data, ~hidden)[hidden]
    columns = (truth, found, baseline, shown.item, inside)
    ranked = np.array([kind.ranks for kind in data.items])[shown.item]
    headline = np.ones(len(shown), dtype=np.bool_) if ranks else ~ranked
    main = np.array([max(kind.capabilities, key=lambda name: kind.capabilities[name]) for kind in data.items])
    of_row = np.array([name.partition(":")[0] for name in main])[shown.item]
    classes = {str(name): (of_row == name) & headline for name in np.unique(of_row[headline])}
    table = _table(*columns, keep=headline)
    return replace(
        table,
        skipped={"left out, unmatched or repeated": len(rows) - len(data)},
        by_class={
            name: _table(*columns, keep=keep) for name, keep in {**classes, "mean ranks": ranked}.items() if keep.any()
        },
    )


def _only(data: Observations, keep: Bools) -> Observations:
    return replace(
        data,
        entity=data.entity[keep],
        item=data.item[keep],
        protocol=data.protocol[keep],
        share=data.share[keep],
        row=data.row[keep],
    )


def _hidden_cells(data: Observations, seed: int) -> Bools:
    """Which rows are hidden: a fifth of the cells of model × benchmark, with all their rows."""
    cells = [(data.entities[entity].model_id, int(item)) for entity, item in zip(data.entity, data.item, strict=True)]
    distinct = sorted(set(cells))
    order = np.random.default_rng(seed).permutation(len(distinct))
    chosen = {distinct[index] for index in order[: int(HIDDEN_SHARE * len(distinct))]}
    return np.array([cell in chosen for cell in cells], dtype=np.bool_)


def _points(data: Observations, share: Floats) -> Floats:
    out = np.zeros(len(data))
    for index, kind in enumerate(data.items):
        rows = data.item == index
        out[rows] = kind.points(share[rows])
    return out


def additive_baseline(data: Observations, visible: Bools) -> Floats:
    """Model effect + benchmark effect, fitted on the visible rows by alternating least squares; points, all rows."""
    points = _points(data, data.share)
    ids = {model: index for index, model in enumerate(dict.fromkeys(entity.model_id for entity in data.entities))}
    model = np.array([ids[entity.model_id] for entity in data.entities], dtype=np.int64)[data.entity]
    overall = points[visible].mean()
    of_model, of_item = np.zeros(len(ids)), np.zeros(len(data.items))
    shrink = 0.5  # half a row at zero: an effect seen once is not taken whole
    for _ in range(100):
        left = (points - overall - of_model[model])[visible]
        of_item = np.bincount(data.item[visible], left, len(of_item)) / (
            np.bincount(data.item[visible], minlength=len(of_item)) + shrink
        )
        left = (points - overall - of_item[data.item])[visible]
        of_model = np.bincount(model[visible], left, len(of_model)) / (
            np.bincount(model[visible], minlength=len(of_model)) + shrink
        )
    return np.asarray(overall + of_model[model] + of_item[data.item], dtype=np.float64)


def rank_correlation(truth: Floats, found: Floats, group: NDArray[np.int64]) -> float:
    """Spearman's, within each group of five or more, averaged by their rows; NaN without such a group."""
    total, rows = 0.0, 0
    for value in np.unique(group):
        part = group == value
        if part.sum() < SMALLEST_GROUP or np.ptp(truth[part]) == 0:
            continue
        rows += int(part.sum())
        if np.ptp(found[part]) > 0:  # one answer for all tells no order
            total += float(np.corrcoef(_ranks(truth[part]), _ranks(found[part]))[0, 1]) * int(part.sum())
    return total / rows if rows else float("nan")


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties averaged."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - 0.5 * (counts + 1))[index], dtype=np.float64)


def _table(
    truth: Floats, found: Floats, baseline: Floats, item: NDArray[np.int64], inside: Bools, keep: Bools
) -> QualityTable:
    truth, found, baseline, item, inside = truth[keep], found[keep], baseline[keep], item[keep], inside[keep]
    error = np.abs(found - truth)
    return QualityTable(
        rows=len(truth),
        mean_abs_error=float(error.mean()),
        median_abs_error=float(np.median(error)),
        p90_abs_error=float(np.quantile(error, 0.9)),
        p95_abs_error=float(np.quantile(error, 0.95)),
        bias=float((found - truth).mean()),
        baseline_mean_abs_error=float(np.abs(baseline - truth).mean()),
        rank_correlation=rank_correlation(truth, found, item),
        baseline_rank_correlation=rank_correlation(truth, baseline, item),
        interval_share=float(inside.mean()),
    )


@dataclass(frozen=True)
class NamesTable:
    """How names with a known answer were resolved. Shares are fractions of the rows that should or did match."""

    rows: int
    right: int
    wrong: int
    missed: int  # the model is in the catalog and nothing was found
    refused: int  # the model is not in the catalog and nothing was found
    precision: float
    recall: float
    wrong_names: tuple[tuple[str, str, str], ...]  # text, what it is, what was said


def evaluate_names(
    pairs: Iterable[tuple[str, str]],
    models: Iterable[Mapping[str, Any]],
    aliases: Iterable[Mapping[str, Any]] = (),
    least_confidence: float = 0.0,
) -> NamesTable:
    """Resolve texts whose model is known.

    Args:
        pairs: text and the id of the model it means; ids outside the catalog should be refused.
        models: rows of ``catalog/models.csv``.
        aliases: rows of ``catalog/model_aliases.csv``.
        least_confidence: matches less sure than this count as refused.
    """
    catalog = list(models)
    resolver = Resolver(catalog, aliases)
    ids = {str(row["model_id"]) for row in catalog}
    counts = {"right": 0, "wrong": 0, "missed": 0, "refused": 0}
    answers: dict[str, str | None] = {}
    mistakes: dict[tuple[str, str, str], None] = {}
    for text, meant in pairs:
        if text not in answers:
            match = resolver.resolve(text)
            answers[text] = match.model_id if match and match.confidence >= least_confidence else None
        said = answers[text]
        if said is None:
            counts["missed" if meant in ids else "refused"] += 1
        elif said == meant:
            counts["right"] += 1
        else:
            counts["wrong"] += 1
            mistakes[text, meant, said] = None
    right, wrong, missed = counts["right"], counts["wrong"], counts["missed"]
    return NamesTable(
        rows=sum(counts.values()),
        **counts,
        precision=right / (right + wrong) if right + wrong else float("nan"),
        recall=right / (right + missed) if right + missed else float("nan"),
        wrong_names=tuple(mistakes),
    )
