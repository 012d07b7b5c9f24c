"""From what you have and what you need to a ranked answer.

Catalog query → first rules → estimates → rules on estimates → scores → picks, alternatives and near misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.catalog.queries import candidates_per_runtime, find_model, kinds_per_runtime
from recommender.catalog.queries import runtimes as catalog_runtimes
from recommender.device.budget import Budget, memory_budget
from recommender.device.detect import THIS_MACHINE
from recommender.engine import placement, same_engine, scoring
from recommender.engine.candidates import CandidateCache, Candidates, question, take
from recommender.engine.check import check_need
from recommender.engine.estimate_placed import estimate_where_placed
from recommender.engine.estimate_rows import default_threads
from recommender.engine.picks import Judged, alternatives, build_one, build_picks, near_misses
from recommender.engine.rules import ESTIMATE_RULES, RULES, Case, Verdict
from recommender.engine.runtime_rules import RuntimeOnDevice, first_broken
from recommender.errors import UnknownNameError, unknown
from recommender.estimate.calibrate import Calibration
from recommender.estimate.rough import with_rough_shapes
from recommender.estimate.speed import SideTerms, row_terms
from recommender.runtimes import Runtime, all_runtimes
from recommender.runtimes import runtime as get_runtime
from recommender.types import (
    BATCH_TOKENS,
    UBATCH_TOKENS,
    Device,
    Floats,
    Need,
    Pick,
    Recommendation,
    SettingsColumns,
    Task,
)

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_cache = CandidateCache()
_APP_SYSTEMS = ("linux", "windows", "macos")  # where this app itself runs


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
    asked = _understood(device, need, catalog)
    need, budget, numbers = asked.need, asked.budget, asked.numbers
    running = tuple(name for name, rule in asked.broken.items() if not rule)
    left_out = _left_out(asked.broken, catalog) if running else {}
    outdone: tuple[tuple[str, str], ...] = ()
    if running:
        points = scoring.runtime_points(asked.runtimes, need)
        outdone = same_engine.outdone(asked.runtimes, running, points, asked.device)
    running = running or tuple(asked.runtimes)
    found = _cache.get(catalog, question(need, asked.task, running, outdone, _free_bytes(budget), numbers))
    case = _case(asked, found)

    first = [rule(case) for rule in RULES]
    failures = _count_failures(first, len(found.variants))
    passing = np.flatnonzero(failures == 0)
    missing_one = np.flatnonzero(failures == 1)[: int(numbers["near_miss_rows"])]
    judged = _judged(asked, case, first, np.concatenate([passing, missing_one]), calibration)
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
    asked = _understood(device, need, catalog)
    running = tuple(name for name, rule in asked.broken.items() if not rule) or tuple(asked.runtimes)
    found = _cache.get(catalog, question(asked.need, asked.task, running, (), np.inf, asked.numbers))
    case = _case(asked, found)
    fitting = np.flatnonzero(_count_failures([rule(case) for rule in RULES], len(found.variants)) == 0)
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
    asked = _understood(device, need, catalog)
    if runtime not in asked.runtimes:
        raise unknown("runtime", runtime, list(asked.runtimes))
    # Everything the catalog knows of it, however large and whoever would have to convert it: the rules have the word.
    wanted = replace(need, models=(model,), quantizations=(quantization,) if quantization else ())
    wanted = replace(wanted, own_conversion=True, experimental=True)
    asking = question(wanted, asked.task, (runtime,), (), np.inf, asked.numbers)
    found = _cache.get(catalog, asking)
    rows = np.flatnonzero((found.variants.quantization == quantization) & (found.variants.runtime == runtime))
    if not len(rows):
        return None
    case = _case(asked, take(found, rows))
    judged = _judged(asked, case, [rule(case) for rule in RULES], np.arange(len(rows)), calibration)
    row = int(np.lexsort((-judged.scores.total, judged.failures))[0])
    broken = [verdict for verdict in judged.verdicts if verdict.fails[row]]
    against = [verdict.reason(row) for verdict in broken]
    changes = [verdict.change(row) for verdict in broken]
    if case.candidates.support[row] == "experimental" and not need.experimental:
        against.append(f"{asked.runtimes[runtime].row.name} takes it only as an experimental set-up")
        changes.append("allow experimental set-ups")
    _, prompt, gen = _workload(judged.case, asked.device)
    variants, memory = with_rough_shapes(judged.case.candidates.variants), judged.estimates.memory
    device = placement.seen_from(str(judged.case.accelerator[row]), asked.device)
    terms = row_terms(variants, judged.settings, memory, device, prompt + gen / 2, row)
    return Named(build_one(judged, catalog, row), tuple(against), tuple(changes), terms)


@dataclass(frozen=True)
class _Asked:
    """A device and a need as they were understood."""

    device: Device
    need: Need
    task: Task
    context_tokens: int
    budget: Budget
    runtimes: dict[str, RuntimeOnDevice]
    broken: dict[str, str]  # runtime → the first rule it breaks, or ""
    numbers: dict[str, float]


def _understood(device: Device, need: Need, catalog: Catalog) -> _Asked:
    task = catalog.task(need.task)
    check_need(need, task, catalog)
    need = replace(need, models=tuple(find_model(catalog, name).model_id for name in need.models))
    device = _as_asked(device, need)
    runtimes = _runtimes_on(device, need, catalog)
    broken = {name: first_broken(need, runtime) for name, runtime in runtimes.items()}
    running = [name for name, rule in broken.items() if not rule]
    for name in running or runtimes:
        for form, quantization in kinds_per_runtime(catalog).get(name, ()):
            reason = get_runtime(name).quantization_reason(form, quantization, device)
            runtimes[name].quantization_reasons[form, quantization] = reason
    return _Asked(
        device,
        need,
        task,
        need.context_tokens or task.context_tokens,
        memory_budget(device),
        runtimes,
        broken,
        scoring.scoring_numbers(),
    )


def _free_bytes(budget: Budget) -> float:
    return (budget.ram_bytes or np.inf) + (0.0 if budget.unified else budget.gpu_bytes or 0.0)


def _case(asked: _Asked, found: Candidates) -> Case:
    longest_useful_s = scoring.answer_times(asked.need, asked.task)[1] * asked.numbers["useless_ratio"]
    accelerator = placement.of_rows(found, asked.runtimes, asked.device, asked.need, asked.context_tokens)
    return Case(
        asked.need,
        asked.task,
        asked.context_tokens,
        asked.budget,
        found,
        asked.runtimes,
        longest_useful_s,
        asked.device,
        accelerator,
    )


def _judged(
    asked: _Asked,
    case: Case,
    first: Sequence[Verdict],
    rows: NDArray[np.int64],
    calibration: Calibration | None,
) -> Judged:
    """Some rows of a case with their estimates, their scores and what every rule says of them."""
    case = replace(case, candidates=take(case.candidates, rows), accelerator=case.accelerator[rows])
    settings, prompt, gen = _workload(case, asked.device)
    case, estimates = estimate_where_placed(case, settings, prompt, gen, calibration)
    verdicts = [_at(verdict, rows) for verdict in first] + [rule(case, estimates) for rule in ESTIMATE_RULES]
    return Judged(
        case, settings, estimates, scoring.score(case, estimates), verdicts, _count_failures(verdicts, len(rows))
    )


def _as_asked(device: Device, need: Need) -> Device:
    """The device with the need's platform, form factor and accelerator applied."""
    if need.platform:
        device = replace(device, os=need.platform)
    if need.form_factor:
        device = replace(device, kind=need.form_factor)
    if need.accelerator == "cpu":
        device = replace(device, gpus=())
    return device


def _runtimes_on(device: Device, need: Need, catalog: Catalog) -> dict[str, RuntimeOnDevice]:
    rows = {row.id: row for row in catalog_runtimes(catalog)}
    unknown = [name for name in need.runtimes if name not in rows]
    if unknown:
        raise UnknownNameError(f"There is no runtime called {unknown[0]!r}. Choose from: {', '.join(rows)}.")
    return {
        runtime.id: RuntimeOnDevice(
            rows[runtime.id],
            runtime.device_reason(device, need.experimental),
            runtime.accelerators_for(device, need.experimental),
            _can_try(runtime, rows[runtime.id].try_here, device),
        )
        for runtime in all_runtimes()
        if runtime.id in rows and (not need.runtimes or runtime.id in need.runtimes)
    }


def _can_try(runtime: Runtime, built_in: bool, device: Device) -> bool:
    """Whether this app can run it: here, what is installed; elsewhere, what it brings once it is installed there."""
    if device.id == THIS_MACHINE:
        return runtime.can_try_here()
    return built_in and device.os in _APP_SYSTEMS


def _left_out(broken: dict[str, str], catalog: Catalog) -> dict[str, int]:
    """Rule → candidates of runtimes that break it; they are not even read from the catalog."""
    counts = candidates_per_runtime(catalog)
    left_out: dict[str, int] = {}
    for name, rule in broken.items():
        if rule and counts.get(name):
            left_out[rule] = left_out.get(rule, 0) + counts[name]
    return left_out


def _count_failures(verdicts: Sequence[Verdict], rows: int) -> NDArray[np.int64]:
    return sum((verdict.fails.astype(np.int64) for verdict in verdicts), start=np.zeros(rows, dtype=np.int64))


def _at(verdict: Verdict, rows: NDArray[np.int64]) -> Verdict:
    """A verdict over all rows, seen from a selection of them."""
    return replace(
        verdict,
        fails=verdict.fails[rows],
        short_by=verdict.short_by[rows],
        reason=lambda row: verdict.reason(int(rows[row])),
        change=lambda row: verdict.change(int(rows[row])),
    )


def _workload(case: Case, device: Device) -> tuple[SettingsColumns, Floats, Floats]:
    """How every row would be run, and the tokens of the task's profile: prompt and generated, shape (n,)."""
    count = len(case.candidates.variants)
    gen = case.task.answer_tokens + np.where(case.candidates.thinks, float(case.task.thinking_tokens), 0.0)
    room = max(case.context_tokens - case.task.answer_tokens, 1)
    prompt = np.full(count, float(min(case.task.prompt_tokens, room)))
    settings = SettingsColumns(
        context_tokens=np.full(count, float(case.context_tokens)),
        kv_type=np.full(count, "f16", dtype=object),
        batch_tokens=np.full(count, float(BATCH_TOKENS)),
        ubatch_tokens=np.full(count, float(UBATCH_TOKENS)),
        parallel=np.full(count, float(case.need.users)),
        threads=np.full(count, float(default_threads(device))),
        gpu_layers=np.full(count, -1.0),
        flash_attn=np.ones(count, dtype=np.bool_),
    )
    return settings, prompt, gen


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
