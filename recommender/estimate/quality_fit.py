"""The latent-ability model: a Gaussian tree of makers, families, lineages and models, fitted by EM.

Every score is put on the logit scale, ``z = logit(share)``, and modelled as

    z = protocol + slope × (loading · ability) + noise

``loading`` says which capabilities a benchmark measures (data), ``slope``, the protocol's level (one per benchmark and
evaluator, shrunk to the benchmark's mean) and the noise are fitted. The ability of a model is a vector with one entry
per capability,

    ability = prior(size, date, training kind) + maker + family + lineage + own

where the last four are Gaussian with fitted covariance matrices over capabilities: a model that is good at one thing
is expected to be good at related things, and relatives resemble each other. The posterior is exact: messages go up
the tree and down again. This is factor analysis with missing data (Rubin and Thayer 1982, EM for factor analysis)
on a hierarchical prior, with the two-parameter slopes and locations of item response theory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.estimate.quality_rows import Ints, Observations
from recommender.types import Floats


@dataclass(frozen=True)
class Tree:
    """Parents by level, nearest last: ``parents[0]`` maps families to makers, ``parents[-1]`` entities to lineages."""

    parents: tuple[Ints, ...]
    sizes: tuple[int, ...]  # nodes per level, top first


@dataclass
class Fit:
    """Fitted parameters and the posterior. C capabilities, E entities, F features, I items, P protocols."""

    weights: Floats  # (F, C) prior regression
    covariances: list[Floats]  # one (C, C) per level of the tree, top first
    slope: Floats  # (I,)
    level: Floats  # (P,) location of each protocol
    item_level: Floats  # (I,) mean location over protocols
    item_level_variance: Floats  # (I,)
    noise: Floats  # (I,) variance on the logit scale of a mid-scale score
    mean: Floats  # (E, C) posterior mean of the ability
    covariance: Floats  # (E, C, C) posterior covariance


def logit(share: Floats) -> Floats:
    """log-odds of a share, held away from 0 and 1 by half a percent."""
    kept = np.clip(share, 0.005, 0.995)
    return np.log(kept / (1 - kept))


def expit(z: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-z))


@dataclass(frozen=True)
class Settings:
    """Priors of the fit. Each is weak: with the rows of the catalog the data outweigh them."""

    rounds: int = 30
    slope_sd: float = 0.35  # of a benchmark's slope around 1; this fixes the scale of abilities
    level_sd: float = 1.5  # of a benchmark's location around 0
    protocol_sd: float = 0.25  # of an evaluator's shift on one benchmark
    weight_sd: float = 1.0  # of a prior regression weight
    noise_start: float = 0.15
    noise_rows: float = 4.0  # prior rows behind noise_start
    extreme: float = 0.02  # variance of a score's own uncertainty, over share × (1 − share)
    covariance_rows: float = 20.0  # prior rows behind each level's starting covariance
    start_variance: tuple[float, ...] = (0.05, 0.15, 0.10, 0.10)
    start_correlation: float = 0.6
    outlier_degrees: float = 5.0  # Student t degrees of freedom of the noise


class _Problem:
    def __init__(self, data: Observations, loadings: Floats, features: Floats, tree: Tree, settings: Settings) -> None:
        self.data, self.loadings, self.features, self.tree, self.settings = data, loadings, features, tree, settings
        self.z = logit(data.share)
        share = np.clip(data.share, 0.005, 0.995)
        self.own_variance = settings.extreme / (share * (1 - share)) - settings.extreme * 4
        self.loading = loadings[data.item]  # (n, C)
        self.item_of_protocol = np.array([item for item, _ in data.protocols], dtype=np.int64)
        self.outer = np.einsum("ic,id->icd", loadings, loadings)


def fit(data: Observations, loadings: Floats, features: Floats, tree: Tree, settings: Settings | None = None) -> Fit:
    """Fit the model.

    Args:
        data: n observations over E entities, I items and P protocols.
        loadings: (I, C) how much each item measures each capability; rows sum to 1.
        features: (E, F) of the prior, each about −2 to 2; one of them constant.
        tree: which family, lineage and maker each entity belongs to.
    """
    settings = settings or Settings()
    problem = _Problem(data, loadings, features, tree, settings)
    n_cap = loadings.shape[1]
    base = np.full((n_cap, n_cap), settings.start_correlation) + (1 - settings.start_correlation) * np.eye(n_cap)
    starts = [variance * base for variance in settings.start_variance]
    state = Fit(
        weights=np.zeros((features.shape[1], n_cap)),
        covariances=[start.copy() for start in starts],
        slope=np.ones(len(data.items)),
        level=np.zeros(len(data.protocols)),
        item_level=np.zeros(len(data.items)),
        item_level_variance=np.zeros(len(data.items)),
        noise=np.full(len(data.items), settings.noise_start),
        mean=np.zeros((len(data.entities), n_cap)),
        covariance=np.zeros((len(data.entities), n_cap, n_cap)),
    )
    outlier = np.ones(len(data))
    _locate(problem, state, outlier, first=True)
    for _ in range(settings.rounds):
        deviations = _posterior(problem, state, outlier)
        _regress(problem, state, deviations)
        _spread(problem, state, deviations, starts)
        outlier = _items(problem, state, outlier)
    _posterior(problem, state, outlier)
    return state


def _row_weights(problem: _Problem, state: Fit, outlier: Floats) -> Floats:
    return outlier / (state.noise[problem.data.item] + problem.own_variance)


def _posterior(problem: _Problem, state: Fit, outlier: Floats) -> list[tuple[Floats, Floats]]:
    """Messages up and down the tree; sets the entities' posterior and returns each level's deviations with covariance."""
    data = problem.data
    n_entity, n_cap = state.mean.shape
    weight = _row_weights(problem, state, outlier)
    slope = state.slope[data.item]
    prior = problem.features @ state.weights
    counts = np.zeros((n_entity, len(data.items)))
    np.add.at(counts, (data.entity, data.item), weight * slope**2)
    precision = (counts @ problem.outer.reshape(len(data.items), -1)).reshape(n_entity, n_cap, n_cap)
    expected = slope * np.einsum("nc,nc->n", problem.loading, prior[data.entity])
    residual = problem.z - state.level[data.protocol] - expected
    pull = np.zeros((n_entity, len(data.items)))
    np.add.at(pull, (data.entity, data.item), weight * slope * residual)
    shift = pull @ problem.loadings
    eye = np.eye(n_cap)
    messages = [(precision, shift)]
    for depth in range(len(problem.tree.parents) - 1, -1, -1):
        precision, shift = messages[0]
        sigma = state.covariances[depth + 1]
        kept = np.linalg.solve(eye + precision @ sigma, np.concatenate([precision, shift[..., None]], axis=2))
        up_precision = np.zeros((problem.tree.sizes[depth], n_cap, n_cap))
        up_shift = np.zeros((problem.tree.sizes[depth], n_cap))
        np.add.at(up_precision, problem.tree.parents[depth], kept[..., :-1])
        np.add.at(up_shift, problem.tree.parents[depth], kept[..., -1])
        messages.insert(0, (up_precision, up_shift))
    deviations = []
    parent_mean = np.zeros((problem.tree.sizes[0], n_cap))
    parent_cov = np.zeros((problem.tree.sizes[0], n_cap, n_cap))
    for depth, (precision, shift) in enumerate(messages):
        sigma = state.covariances[depth]
        if depth:
            index = problem.tree.parents[depth - 1]
            parent_mean, parent_cov = parent_mean[index], parent_cov[index]
        # own deviation given the parent: D (shift − precision·parent), D = (Σ⁻¹ + precision)⁻¹ = Σ (I + precision Σ)⁻¹
        inside = np.linalg.inv(eye + precision @ sigma)
        d = sigma @ inside
        a = d @ precision  # deviation = D·shift − A·parent
        deviation = np.einsum("ncd,nd->nc", d, shift) - np.einsum("ncd,nd->nc", a, parent_mean)
        spread = d + a @ parent_cov @ a.transpose(0, 2, 1)
        keep = eye - a
        parent_mean = parent_mean + deviation
        parent_cov = d + keep @ parent_cov @ keep.transpose(0, 2, 1)
        deviations.append((deviation, spread))
    state.mean = prior + parent_mean
    state.covariance = 0.5 * (parent_cov + parent_cov.transpose(0, 2, 1))
    return deviations


def _regress(problem: _Problem, state: Fit, deviations: list[tuple[Floats, Floats]]) -> None:
    """Prior weights by ridge regression of what the own deviations leave, on entities that have scores."""
    seen = np.bincount(problem.data.entity, minlength=len(state.mean)) > 0
    target = (problem.features @ state.weights + deviations[-1][0])[seen]
    features = problem.features[seen]
    variance = np.trace(state.covariances[-1]) / state.covariances[-1].shape[0]
    ridge = variance / problem.settings.weight_sd**2
    gram = features.T @ features + ridge * np.eye(features.shape[1])
    state.weights = np.linalg.solve(gram, features.T @ target)


def _spread(problem: _Problem, state: Fit, deviations: list[tuple[Floats, Floats]], starts: list[Floats]) -> None:
    """Each level's covariance: mean outer product of its deviations, shrunk to where it started."""
    rows = problem.settings.covariance_rows
    for depth, (mean, spread) in enumerate(deviations):
        total = mean.T @ mean + spread.sum(axis=0)
        state.covariances[depth] = (total + rows * starts[depth]) / (len(mean) + rows)


def _locate(problem: _Problem, state: Fit, outlier: Floats, first: bool = False) -> None:
    """Levels of items and protocols given the abilities."""
    data, settings = problem.data, problem.settings
    weight = _row_weights(problem, state, outlier)
    expected = state.slope[data.item] * np.einsum("nc,nc->n", problem.loading, state.mean[data.entity])
    residual = problem.z - expected
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


def _items(problem: _Problem, state: Fit, outlier: Floats) -> Floats:
    """Slopes, levels and noise of the items given the posterior; returns the rows' new outlier weights."""
    data, settings = problem.data, problem.settings
    n_item = len(data.items)
    loading = problem.loading
    ability = np.einsum("nc,nc->n", loading, state.mean[data.entity])
    variance = np.zeros(len(data))
    for start in range(0, len(data), 2048):
        part = slice(start, start + 2048)
        variance[part] = np.einsum(
            "nc,ncd,nd->n", loading[part], state.covariance[data.entity[part]], loading[part], optimize=True
        )
    weight = _row_weights(problem, state, outlier)
    centred = problem.z - state.level[data.protocol]
    top = np.bincount(data.item, weight * ability * centred, n_item) + 1 / settings.slope_sd**2
    bottom = np.bincount(data.item, weight * (ability**2 + variance), n_item) + 1 / settings.slope_sd**2
    state.slope = np.clip(top / bottom, 0.1, 3.0)
    _locate(problem, state, outlier)
    slope = state.slope[data.item]
    square = (problem.z - state.level[data.protocol] - slope * ability) ** 2 + slope**2 * variance
    degrees = settings.outlier_degrees
    total = state.noise[data.item] + problem.own_variance
    outlier = (degrees + 1) / (degrees + square / total)
    # each row's share of its squared error that is the item's noise and not the score's own uncertainty
    share = state.noise[data.item] / total
    own = share**2 * outlier * square + share * problem.own_variance
    rows = np.bincount(data.item, minlength=n_item)
    state.noise = (np.bincount(data.item, own, n_item) + settings.noise_rows * settings.noise_start) / (
        rows + settings.noise_rows
    )
    return outlier


def predict(state: Fit, loadings: Floats, entity: Ints, item: Ints, protocol_level: Floats) -> tuple[Floats, Floats]:
    """Expected logit and its variance (noise of the benchmark included) for entities × items, shape (n,)."""
    loading = loadings[item]
    ability = np.einsum("nc,nc->n", loading, state.mean[entity])
    variance = np.einsum("nc,ncd,nd->n", loading, state.covariance[entity], loading, optimize=True)
    z = protocol_level + state.slope[item] * ability
    return z, state.slope[item] ** 2 * variance + state.noise[item]
