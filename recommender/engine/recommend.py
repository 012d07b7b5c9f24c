"""From what you have and what you need to a ranked answer.

Catalog query → first rules → estimates → rules on estimates → scores → picks, alternatives and near misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.catalog.queries import candidates_per_runtime
from recommender.engine import placement, same_engine, scoring
from recommender.engine.candidates import question, take
from recommender.engine.judging import CACHE, case_of, count_failures, free_bytes, judge, understood, workload
from recommender.engine.picks import alternatives, build_one, build_picks, near_misses
from recommender.engine.rules import RULES, Verdict
from recommender.errors import unknown
from recommender.estimate.calibrate import Calibration
from recommender.estimate.rough import with_rough_shapes
from recommender.estimate.speed import SideTerms, row_terms
from recommender.types import (
    Device,
    Need,
    Pick,
    Recommendation,
)

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


def recommend(
    device: Device,
    need: Need,
    catalog: Catalog,
    calibration: Calibration | None = None,
    top: int | None = None,
) -> Recommendation:
    """Rank what fits the device and the need.

    Args:
        device: the machine; unknown fields stay unknown and are said in ``notes``.
        need: task, limits and priority.
        catalog: an open catalog.
        calibration: what was measured on this hardware, if anything.
        top: how many picks to return; ``None`` returns all.

    Raises:
        UnknownNameError: the task, a model, quantization or runtime is not in the catalog.
        BadInputError: a limit makes no sense.

    Example:
        >>> recommend(detect(), Need(task="code"), open_catalog()).picks[0].model_id  # doctest: +SKIP
    """
    asked = understood(device, need, catalog)
    need, budget, numbers = asked.need, asked.budget, asked.numbers
    running = tuple(name for name, rule in asked.broken.items() if not rule)
    left_out = _left_out(asked.broken, catalog) if running else {}
    outdone: tuple[tuple[str, str], ...] = ()
    if running:
        points = scoring.runtime_points(asked.runtimes, need)
        outdone = same_engine.outdone(asked.runtimes, running, points, asked.device)
    running = running or tuple(asked.runtimes)
    found = CACHE.get(catalog, question(need, asked.task, running, outdone, free_bytes(budget), numbers))
    case = case_of(asked, found)

    first = [rule(case) for rule in RULES]
    failures = count_failures(first, len(found.variants))
    passing = np.flatnonzero(failures == 0)
    missing_one = np.flatnonzero(failures == 1)[: int(numbers["near_miss_rows"])]
    judged = judge(asked, case, first, np.concatenate([passing, missing_one]), calibration)
    picks = build_picks(judged, catalog, top, int(numbers["max_per_base"]))
    missed = near_misses(judged, catalog, numbers, picks)
    rejected = left_out | found.left_out | _rejected(first, failures, judged.verdicts[len(first) :], len(passing))
    return Recommendation(
        device=asked.device,
        need=need,
        task=asked.task,
        context_tokens=asked.context_tokens,
        memory_budget_bytes=budget.ram_bytes,
        gpu_budget_bytes=budget.gpu_bytes or None,
        picks=picks,
        alternatives=alternatives(picks, missed, numbers),
        near_misses=missed,
        pareto=_pareto(picks),
        considered=found.considered,
        rejected=rejected,
        catalog_date=catalog.date,
        notes=(*budget.reasons, *_notes(asked.device)),
    )


def qualities(device: Device, need: Need, catalog: Catalog) -> tuple[tuple[str, str, float], ...]:
    """(model id, quantization, quality of 100) of every variant that any runtime on the device takes and whose licence,
    context and abilities satisfy the need; memory and speed are not looked at."""
    asked = understood(device, need, catalog)
    running = tuple(name for name, rule in asked.broken.items() if not rule) or tuple(asked.runtimes)
    found = CACHE.get(catalog, question(asked.need, asked.task, running, (), np.inf, asked.numbers))
    case = case_of(asked, found)
    fitting = np.flatnonzero(count_failures([rule(case) for rule in RULES], len(found.variants)) == 0)
    variants = found.variants
    rows = zip(variants.model_id[fitting], variants.quantization[fitting], found.quality[fitting], strict=True)
    return tuple(dict.fromkeys((str(model), str(name), float(quality)) for model, name, quality in rows))


@dataclass(frozen=True)
class Named:
    """One combination that was asked for by name, judged as ``recommend`` judges it."""

    pick: Pick
    against: tuple[str, ...]  # why it would not be recommended, one sentence per rule it breaks; none when it fits
    changes: tuple[str, ...]  # what would admit it, one per reason
    terms: tuple[SideTerms, ...]  # where the time of one token goes, before any calibration


def judge_named(
    device: Device,
    need: Need,
    combination: tuple[str, str, str],
    catalog: Catalog,
    calibration: Calibration | None = None,
) -> Named | None:
    """One model id × quantization ("" where managed) × runtime with the figures and the score that ``recommend``
    gives it for the same need, whether it fits or not; ``None`` where the catalog has no such combination.

    Raises:
        UnknownNameError: the task, the model or the runtime is not in the catalog.
        BadInputError: a limit makes no sense.
    """
    model, quantization, runtime = combination
    if need.runtimes and runtime not in need.runtimes:
        need = replace(need, runtimes=(*need.runtimes, runtime))
    asked = understood(device, need, catalog)
    if runtime not in asked.runtimes:
        raise unknown("runtime", runtime, list(asked.runtimes))
    # Everything the catalog knows of it, however large and whoever would have to convert it: the rules have the word.
    wanted = replace(need, models=(model,), quantizations=(quantization,) if quantization else ())
    wanted = replace(wanted, own_conversion=True, experimental=True)
    asking = question(wanted, asked.task, (runtime,), (), np.inf, asked.numbers)
    found = CACHE.get(catalog, asking)
    rows = np.flatnonzero((found.variants.quantization == quantization) & (found.variants.runtime == runtime))
    if not len(rows):
        return None
    case = case_of(asked, take(found, rows))
    judged = judge(asked, case, [rule(case) for rule in RULES], np.arange(len(rows)), calibration)
    row = int(np.lexsort((-judged.scores.total, judged.failures))[0])
    broken = [verdict for verdict in judged.verdicts if verdict.fails[row]]
    against = [verdict.reason(row) for verdict in broken]
    changes = [verdict.change(row) for verdict in broken]
    if case.candidates.support[row] == "experimental" and not need.experimental:
        against.append(f"{asked.runtimes[runtime].row.name} takes it only as an experimental set-up")
        changes.append("allow experimental set-ups")
    _, prompt, gen = workload(judged.case, asked.device)
    variants, memory = with_rough_shapes(judged.case.candidates.variants), judged.estimates.memory
    device = placement.seen_from(judged.case.placement.at(row), asked.device)
    terms = row_terms(variants, judged.settings, memory, device, prompt + gen / 2, row)
    return Named(build_one(judged, catalog, row), tuple(against), tuple(changes), terms)


def _left_out(broken: dict[str, str], catalog: Catalog) -> dict[str, int]:
    """Rule → candidates of runtimes that break it; they are not even read from the catalog."""
    counts = candidates_per_runtime(catalog)
    left_out: dict[str, int] = {}
    for name, rule in broken.items():
        if rule and counts.get(name):
            left_out[rule] = left_out.get(rule, 0) + counts[name]
    return left_out


def _rejected(
    first: Sequence[Verdict], failures: NDArray[np.int64], later: Sequence[Verdict], passing: int
) -> dict[str, int]:
    """Rule → how many candidates it kept out, each counted once, at the first rule that said no."""
    counts: dict[str, int] = {}
    left = np.ones(len(failures), dtype=np.bool_)
    for verdict in first:
        out = verdict.fails & left
        left &= ~verdict.fails
        if out.any():
            counts[verdict.rule] = int(out.sum())
    left = np.ones(passing, dtype=np.bool_)
    for verdict in later:
        out = verdict.fails[:passing] & left
        left &= ~verdict.fails[:passing]
        if out.any():
            counts[verdict.rule] = counts.get(verdict.rule, 0) + int(out.sum())
    return counts


def _pareto(picks: Sequence[Pick]) -> tuple[int, ...]:
    """Indices of picks that no other beats in both quality and decode speed, best quality first."""
    speeds = {
        index: pick.estimate.decode_tokens_per_s.value
        for index, pick in enumerate(picks)
        if pick.estimate.decode_tokens_per_s is not None
    }
    front: list[int] = []
    fastest = -np.inf
    for index in sorted(speeds, key=lambda index: (-picks[index].quality, -speeds[index])):
        if speeds[index] > fastest:
            front.append(index)
            fastest = speeds[index]
    return tuple(front)


def _notes(device: Device) -> tuple[str, ...]:
    notes = []
    if device.bandwidth_bytes_per_s is None and not device.gpus:
        notes.append("Memory bandwidth is not known, so speeds have a wide range; a ten-second probe narrows it.")
    if device.ram_bytes is None:
        notes.append("The amount of memory is not known, so nothing was left out for needing too much.")
    return tuple(notes)
