"""The latent-ability model: a Gaussian tree of makers, families, lineages and models, fitted by EM.

Every score is put on the logit scale, ``z = logit(share)``, and modelled as

    z = protocol + loading · ability + noise

What a benchmark measures is data; its ``loading`` is fitted around that, and so are the level of each protocol
(one per benchmark, evaluator and way of measuring, shrunk to the benchmark's own) and the noise. The ability of
a model is a vector with one entry per capability,

    ability = prior(size, date, training kind) + maker + family + lineage + own

where the last four are Gaussian with fitted covariance matrices over capabilities: a model that is good at one thing
is expected to be good at related things, and relatives resemble each other. The posterior is exact: messages go up
the tree and down again. This is factor analysis with missing data (Rubin and Thayer 1982, EM for factor analysis)
on a hierarchical prior, with the two-parameter slopes and locations of item response theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from recommender.estimate.quality_rows import Ints, Observations
from recommender.types import Floats


@dataclass(frozen=True)
class Tree:
    """Parents by level, nearest last: ``parents[0]`` maps families to makers, ``parents[-1]`` entities to lineages."""

    parents: tuple[Ints, ...]
    sizes: tuple[int, ...]  # nodes per level, top first

    def only(self, entities: Ints) -> Tree:
        """The part of the tree above ``entities``, renumbered in their order."""
        parents: list[Ints] = []
        kept = entities
        for level in reversed(self.parents):
            kept, index = np.unique(level[kept], return_inverse=True)
            parents.insert(0, index.astype(np.int64))
        return Tree(tuple(parents), (*tuple(int(index.max(initial=-1)) + 1 for index in parents), len(entities)))


@dataclass
class Fit:
    """Fitted parameters and the posterior. C capabilities, E entities, F features, I items, P protocols."""

    weights: Floats  # (F, C) prior regression
    covariances: list[Floats]  # one (C, C) per level of the tree, top first
    loading: Floats  # (I, C) how a benchmark's logit moves with each capability
    level: Floats  # (P,) location of each protocol
    item_level: Floats  # (I,) mean location over protocols
    item_level_variance: Floats  # (I,)
    noise: Floats  # (I,) variance on the logit scale of a mid-scale score
    mean: Floats  # (E, C) posterior mean of the ability
    covariances_of: Ints  # (E,) each entity's posterior covariance in …
    covariance: Floats  # (K, C, C): entities without scores share the one that their nearest scored relatives leave


def logit(share: Floats) -> Floats:
    """log-odds of a share, held away from 0 and 1 by half a percent."""
    kept = np.clip(share, 0.005, 0.995)
    return np.log(kept / (1 - kept))


def expit(z: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-z))


@dataclass(frozen=True)
class Settings:
    """Priors of the fit. Each is weak: with the rows of the catalog the data outweigh them."""

    rounds: int = 18
    slope_sd: float = 0.35  # of a benchmark's slope around 1; this fixes the scale of abilities
    stray_sd: float = 0.2  # of what a benchmark measures besides its own capabilities
    level_sd: float = 1.5  # of a benchmark's location around 0
    protocol_sd: float = 0.25  # of an evaluator's shift on one benchmark
    broad_share: float = 0.2  # of the models that must be measured on a capability before others may stray onto it
    weight_sd: float = 1.0  # of a prior regression weight
    noise_start: float = 0.25
    noise_rows: float = 4.0  # prior rows behind noise_start
    extreme: float = 0.008  # variance of a score's own uncertainty, over share × (1 − share)
    covariance_rows: float = 20.0  # prior rows behind each level's starting covariance
    start_variance: tuple[float, ...] = (0.05, 0.15, 0.15, 0.20)
    start_correlation: float = 0.6
    outlier_degrees: float = 8.0  # Student t degrees of freedom of the noise


class _Problem:
    def __init__(self, data: Observations, loadings: Floats, features: Floats, tree: Tree, settings: Settings) -> None:
        self.data, self.loadings, self.features, self.tree, self.settings = data, loadings, features, tree, settings
        self.z = logit(data.share)
        share = np.clip(data.share, 0.005, 0.995)
        self.own_variance = settings.extreme / (share * (1 - share)) - settings.extreme * 4
        self.item_of_protocol = np.array([item for item, _ in data.protocols], dtype=np.int64)
        self.rows_of_item = [np.flatnonzero(data.item == item) for item in range(len(data.items))]
        measured = np.zeros((len(data.entities), loadings.shape[1]), dtype=bool)
        np.logical_or.at(measured, data.entity, loadings[data.item] > 0)
        # a thinly measured capability is not to be defined by what other benchmarks have left over
        self.broad = np.flatnonzero(measured.mean(axis=0) >= settings.broad_share)
        self.groups = [_groups(parents) for parents in tree.parents]


def _groups(parents: Ints) -> tuple[Ints, Ints]:
    """Children sorted by parent, and where each parent's run starts; every parent has a child."""
    order = np.argsort(parents, kind="stable")
    return order, np.flatnonzero(np.r_[True, np.diff(parents[order]) > 0])


def fit(data: Observations, loadings: Floats, features: Floats, tree: Tree, settings: Settings | None = None) -> Fit:
    """Fit the model.

    Args:
        data: n observations over E entities, I items and P protocols.
        loadings: (I, C) how much each item measures each capability; rows sum to 1.
        features: (E, F) of the prior, each about −2 to 2; one of them constant.
        tree: which family, lineage and maker each entity belongs to.
    """
    settings = settings or Settings()
    seen = np.unique(data.entity)  # entities without scores only take the posterior, at the end
    position = np.zeros(len(data.entities), dtype=np.int64)
    position[seen] = np.arange(len(seen))
    scored = replace(data, entity=position[data.entity])
    problem = _Problem(scored, loadings, features[seen], tree.only(seen), settings)
    n_cap = loadings.shape[1]
    base = np.full((n_cap, n_cap), settings.start_correlation) + (1 - settings.start_correlation) * np.eye(n_cap)
    starts = [variance * base for variance in settings.start_variance]
    state = Fit(
        weights=np.zeros((features.shape[1], n_cap)),
        covariances=[start.copy() for start in starts],
        loading=loadings.copy(),
        level=np.zeros(len(data.protocols)),
        item_level=np.zeros(len(data.items)),
        item_level_variance=np.zeros(len(data.items)),
        noise=np.full(len(data.items), settings.noise_start),
        mean=np.zeros((len(seen), n_cap)),
        covariances_of=np.arange(len(seen)),
        covariance=np.zeros((len(seen), n_cap, n_cap)),
    )
    outlier = np.ones(len(data))
    _locate(problem, state, outlier)
    for _ in range(settings.rounds):
        levels = _posterior(problem, state, outlier)
        _regress(problem, state, levels)
        _spread(problem, state, levels, starts)
        outlier = _items(problem, state, outlier)
    _extend(state, _posterior(problem, state, outlier), features, tree, seen)
    return state


def _extend(state: Fit, levels: Sequence[_Level], features: Floats, tree: Tree, seen: Ints) -> None:
    """The posterior of every entity, from that of the scored ones and of what stands above them in the tree.

    Nothing is known of what is not above a scored entity but its parent's posterior, and the spread of its level
    beside that. There are many such entities and few such parents.
    """
    n_cap = state.loading.shape[1]
    mean, covariance = np.zeros((1, n_cap)), np.zeros((1, n_cap, n_cap))  # of the root, which has no deviation
    of_nodes = np.zeros(1, dtype=np.int64)  # each node's index into ``covariance``
    scored = [seen]
    for parents in reversed(tree.parents):
        scored.insert(0, np.unique(parents[scored[0]]))
    above = [np.zeros(tree.sizes[0], dtype=np.int64), *tree.parents]
    for parents, level, nodes, spread in zip(above, levels, scored, state.covariances, strict=True):
        others = np.ones(len(parents), dtype=np.bool_)
        others[nodes] = False
        inherited, index = np.unique(of_nodes[parents][others], return_inverse=True)
        covariance = np.concatenate([level.covariance, covariance[inherited] + spread])
        of_nodes = np.empty(len(parents), dtype=np.int64)
        of_nodes[nodes], of_nodes[others] = np.arange(len(nodes)), len(nodes) + index
        mean = mean[parents]
        mean[nodes] = level.mean
    state.mean = features @ state.weights + mean
    state.covariance = 0.5 * (covariance + covariance.transpose(0, 2, 1))
    state.covariances_of = of_nodes


def _row_weights(problem: _Problem, state: Fit, outlier: Floats) -> Floats:
    return outlier / (state.noise[problem.data.item] + problem.own_variance)


class _Level(NamedTuple):
    """One level of the tree: its nodes' deviations from their parents, and their sum from the top down to here."""

    deviation: Floats  # (n, C)
    spread: Floats  # (n, C, C), its covariance
    mean: Floats  # (n, C) of the sum
    covariance: Floats  # (n, C, C)


def _posterior(problem: _Problem, state: Fit, outlier: Floats) -> list[_Level]:
    """Messages up and down the tree: sets the entities' posterior, returns each level's."""
    data = problem.data
    n_entity, n_cap = len(problem.features), state.loading.shape[1]
    n_item = len(data.items)
    weight = _row_weights(problem, state, outlier)
    prior = problem.features @ state.weights
    cell = data.entity * n_item + data.item
    counts = np.bincount(cell, weight, n_entity * n_item).reshape(n_entity, n_item)
    outer = np.einsum("ic,id->icd", state.loading, state.loading).reshape(n_item, -1)
    precision = (counts @ outer).reshape(n_entity, n_cap, n_cap)
    expected = np.einsum("nc,nc->n", state.loading[data.item], prior[data.entity])
    residual = problem.z - state.level[data.protocol] - expected
    pull = np.bincount(cell, weight * residual, n_entity * n_item).reshape(n_entity, n_item)
    shift = pull @ state.loading
    eye = np.eye(n_cap)
    messages = [(precision, shift)]
    inverses: list[Floats] = []
    for depth in range(len(problem.tree.sizes) - 1, -1, -1):
        precision, shift = messages[0]
        inverses.insert(0, np.linalg.inv(eye + precision @ state.covariances[depth]))
        if depth:
            kept = inverses[0] @ np.concatenate([precision, shift[..., None]], axis=2)
            order, starts = problem.groups[depth - 1]
            up = np.add.reduceat(kept[order], starts, axis=0)
            messages.insert(0, (up[..., :-1], up[..., -1]))
    levels = []
    parent_mean = np.zeros((problem.tree.sizes[0], n_cap))
    parent_cov = np.zeros((problem.tree.sizes[0], n_cap, n_cap))
    for depth, (precision, shift) in enumerate(messages):
        if depth:
            index = problem.tree.parents[depth - 1]
            parent_mean, parent_cov = parent_mean[index], parent_cov[index]
        # own deviation given the parent: D (shift − precision·parent), D = (Σ⁻¹ + precision)⁻¹ = Σ (I + precision Σ)⁻¹
        d = state.covariances[depth] @ inverses[depth]
        a = d @ precision  # deviation = D·shift − A·parent
        deviation = np.einsum("ncd,nd->nc", d, shift) - np.einsum("ncd,nd->nc", a, parent_mean)
        through = a @ parent_cov
        spread = d + through @ a.transpose(0, 2, 1)
        parent_mean = parent_mean + deviation
        # Var(parent + deviation) = D + (I − A) Var(parent) (I − A)ᵀ
        parent_cov = spread + parent_cov - through - through.transpose(0, 2, 1)
        levels.append(_Level(deviation, spread, parent_mean, parent_cov))
    state.mean = prior + parent_mean
    state.covariance = 0.5 * (parent_cov + parent_cov.transpose(0, 2, 1))
    return levels


def _regress(problem: _Problem, state: Fit, levels: Sequence[_Level]) -> None:
    """Prior weights by ridge regression of what the own deviations leave."""
    features = problem.features
    target = features @ state.weights + levels[-1].deviation
    variance = np.trace(state.covariances[-1]) / state.covariances[-1].shape[0]
    ridge = variance / problem.settings.weight_sd**2
    gram = features.T @ features + ridge * np.eye(features.shape[1])
    state.weights = np.linalg.solve(gram, features.T @ target)


def _spread(problem: _Problem, state: Fit, levels: Sequence[_Level], starts: list[Floats]) -> None:
    """Each level's covariance: mean outer product of its deviations, shrunk to where it started."""
    rows = problem.settings.covariance_rows
    for depth, level in enumerate(levels):
        total = level.deviation.T @ level.deviation + level.spread.sum(axis=0)
        state.covariances[depth] = (total + rows * starts[depth]) / (len(level.deviation) + rows)


def _expected(problem: _Problem, state: Fit) -> Floats:
    data = problem.data
    return np.asarray(np.einsum("nc,nc->n", state.loading[data.item], state.mean[data.entity]), dtype=np.float64)


def _locate(problem: _Problem, state: Fit, outlier: Floats) -> None:
    """Levels of items and protocols given the abilities."""
    data, settings = problem.data, problem.settings
    weight = _row_weights(problem, state, outlier)
    residual = problem.z - _expected(problem, state)
    n_protocol = len(data.protocols)
    total = np.bincount(data.protocol, weight, n_protocol)
    pulled = np.bincount(data.protocol, weight * residual, n_protocol)
    between = 1 / settings.protocol_sd**2
    # the item's level with its protocols' shifts integrated out, then each protocol given the item
    seen = total * between / (total + between)
    mean = pulled / np.maximum(total, 1e-12)
    strength = np.bincount(problem.item_of_protocol, seen, len(data.items)) + 1 / settings.level_sd**2
    state.item_level = np.bincount(problem.item_of_protocol, seen * mean, len(data.items)) / strength
    state.item_level_variance = 1 / strength
    state.level = (pulled + between * state.item_level[problem.item_of_protocol]) / (total + between)


def _not_negative(gram: Floats, pull: Floats) -> Floats:
    """Solve gram·x = pull with x ≥ 0, dropping what turns negative: more ability never lowers an expected score."""
    x = np.zeros(len(pull))
    kept = np.arange(len(pull))
    while len(kept):
        solved = np.linalg.solve(gram[np.ix_(kept, kept)], pull[kept])
        if (solved >= 0).all():
            x[kept] = solved
            break
        kept = kept[solved > 0]
    return x


def _load(problem: _Problem, state: Fit, outlier: Floats) -> Floats:
    """Loadings of the items given the posterior: ridge regression around what the data file says they measure.

    Returns the part of each row's squared error that is uncertainty of the ability, shape (n,).
    """
    data, settings = problem.data, problem.settings
    weight = _row_weights(problem, state, outlier)
    centred = problem.z - state.level[data.protocol]
    uncertain = np.zeros(len(data))
    for item, rows in enumerate(problem.rows_of_item):
        said = problem.loadings[item]
        own = np.union1d(problem.broad, np.flatnonzero(said))
        who = data.entity[rows]
        ability = state.mean[who][:, own]
        spread = state.covariance[who][:, own[:, None], own]
        direction = said[own] / np.linalg.norm(said)
        tight = 1 / settings.stray_sd**2
        prior = tight * np.eye(len(own)) + (1 / settings.slope_sd**2 - tight) * np.outer(direction, direction)
        gram = (ability * weight[rows, None]).T @ ability + np.tensordot(weight[rows], spread, axes=1) + prior
        pull = (weight[rows] * centred[rows]) @ ability + prior @ said[own]
        state.loading[item, own] = loading = _not_negative(gram, pull)
        uncertain[rows] = (spread @ loading) @ loading
    return uncertain


def _items(problem: _Problem, state: Fit, outlier: Floats) -> Floats:
    """Loadings, levels and noise of the items given the posterior; returns the rows' new outlier weights."""
    data, settings = problem.data, problem.settings
    uncertain = _load(problem, state, outlier)
    _locate(problem, state, outlier)
    square = (problem.z - state.level[data.protocol] - _expected(problem, state)) ** 2 + uncertain
    degrees = settings.outlier_degrees
    total = state.noise[data.item] + problem.own_variance
    outlier = (degrees + 1) / (degrees + square / total)
    # the part of each row's squared error that is the item's noise and not the score's own uncertainty
    share = state.noise[data.item] / total
    own = share**2 * outlier * square + share * problem.own_variance
    rows = np.bincount(data.item, minlength=len(data.items))
    prior = settings.noise_rows * settings.noise_start
    state.noise = (np.bincount(data.item, own, len(data.items)) + prior) / (rows + settings.noise_rows)
    return outlier


def predict(state: Fit, entity: Ints, item: Ints, level: Floats) -> tuple[Floats, Floats]:
    """Expected logit and its variance, the benchmark's noise included, for entities × items; all of shape (n,)."""
    loading = state.loading[item]
    z = level + np.einsum("nc,nc->n", loading, state.mean[entity])
    variance = np.einsum(
        "nc,ncd,nd->n", loading, state.covariance[state.covariances_of[entity]], loading, optimize=True
    )
    return z, variance + state.noise[item]
