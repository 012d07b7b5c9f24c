"""A question as it was understood, and rows of the catalog judged for it: what every answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.catalog.queries import find_model, kinds_per_runtime
from recommender.catalog.queries import runtimes as catalog_runtimes
from recommender.device.budget import Budget, memory_budget
from recommender.device.detect import THIS_MACHINE
from recommender.engine import placement, scoring
from recommender.engine.candidates import CandidateCache, Candidates, take
from recommender.engine.check import check_need
from recommender.engine.estimate_placed import estimate_where_placed
from recommender.engine.estimate_rows import default_threads
from recommender.engine.picks import Judged
from recommender.engine.rules import ESTIMATE_RULES, Case, Verdict
from recommender.engine.runtime_rules import RuntimeOnDevice, first_broken
from recommender.errors import UnknownNameError
from recommender.estimate.calibrate import Calibration
from recommender.runtimes import Runtime, all_runtimes
from recommender.runtimes import runtime as get_runtime
from recommender.types import BATCH_TOKENS, UBATCH_TOKENS, Device, Floats, Need, SettingsColumns, Task

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

CACHE = CandidateCache()
_APP_SYSTEMS = ("linux", "windows", "macos")  # where this app itself runs


@dataclass(frozen=True)
class Asked:
    """A device and a need as they were understood."""

    device: Device
    need: Need
    task: Task
    context_tokens: int
    budget: Budget
    runtimes: dict[str, RuntimeOnDevice]
    broken: dict[str, str]  # runtime → the first rule it breaks, or ""
    numbers: dict[str, float]


def understood(device: Device, need: Need, catalog: Catalog) -> Asked:
    """The question with names looked up, the device as the need has it, and every runtime held against both.

    Raises:
        UnknownNameError: the task, a model, quantization or runtime is not in the catalog.
        BadInputError: a limit makes no sense.
    """
    task = catalog.task(need.task)
    check_need(need, task, catalog)
    need = replace(need, models=tuple(find_model(catalog, name).model_id for name in need.models))
    device = _as_asked(device, need)
    runtimes = _runtimes_on(device, need, catalog)
    broken = {name: first_broken(need, runtime) for name, runtime in runtimes.items()}
    running = [name for name, rule in broken.items() if not rule]
    kinds = kinds_per_runtime(catalog)
    for name in running or runtimes:
        runtimes[name].quantization_reasons.update(_refusals(name, kinds.get(name, ()), _machine(device)))
    return Asked(
        device,
        need,
        task,
        need.context_tokens or task.context_tokens,
        memory_budget(device),
        runtimes,
        broken,
        scoring.scoring_numbers(),
    )


def free_bytes(budget: Budget) -> float:
    """Everything a model may take; infinite where it is unknown."""
    return (budget.ram_bytes or np.inf) + (0.0 if budget.unified else budget.gpu_bytes or 0.0)


def case_of(asked: Asked, found: Candidates) -> Case:
    """What the rules look at."""
    longest_useful_s = scoring.answer_times(asked.need, asked.task)[1] * asked.numbers["useless_ratio"]
    placed = placement.of_rows(found, asked.runtimes, asked.device, asked.need, asked.context_tokens)
    return Case(
        asked.need,
        asked.task,
        asked.context_tokens,
        asked.budget,
        found,
        asked.runtimes,
        longest_useful_s,
        asked.device,
        placed,
    )


def judge(
    asked: Asked,
    case: Case,
    first: Sequence[Verdict],
    rows: NDArray[np.int64],
    calibration: Calibration | None,
) -> Judged:
    """Some rows of a case with their estimates, their scores and what every rule says of them."""
    case = replace(case, candidates=take(case.candidates, rows), placement=case.placement.take(rows))
    settings, prompt, gen = workload(case, asked.device)
    case, settings, estimates = estimate_where_placed(case, settings, prompt, gen, calibration)
    verdicts = [_at(verdict, rows) for verdict in first] + [rule(case, estimates) for rule in ESTIMATE_RULES]
    return Judged(
        case, settings, estimates, scoring.score(case, estimates), verdicts, count_failures(verdicts, len(rows))
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
    machine = _machine(device)
    return {
        runtime.id: RuntimeOnDevice(
            rows[runtime.id],
            *_on_machine(runtime.id, machine, need.experimental),
            _can_try(runtime, rows[runtime.id].try_here, device),
        )
        for runtime in all_runtimes()
        if runtime.id in rows and (not need.runtimes or runtime.id in need.runtimes)
    }


def _machine(device: Device) -> Device:
    """What decides which runtimes run on a device, and nothing else of it: many questions have that in common."""
    return Device(
        id="",
        name="",
        kind=device.kind,
        os=device.os,
        arch=device.arch,
        cpu_model=device.cpu_model,
        isa=device.isa,
        gpus=device.gpus,
        npu_name=device.npu_name,
        npu_tops=device.npu_tops,
    )


@lru_cache(maxsize=4096)
def _on_machine(name: str, machine: Device, experimental: bool) -> tuple[str, tuple[str, ...]]:
    """Why a runtime does not run on a machine, or "", and what it computes on there."""
    runtime = get_runtime(name)
    return runtime.device_reason(machine, experimental), runtime.accelerators_for(machine, experimental)


@lru_cache(maxsize=4096)
def _refusals(name: str, kinds: tuple[tuple[str, str], ...], machine: Device) -> dict[tuple[str, str], str]:
    """Why a runtime does not take each (format, quantization) on a machine, or ""."""
    return {kind: get_runtime(name).quantization_reason(*kind, machine) for kind in kinds}


def _can_try(runtime: Runtime, built_in: bool, device: Device) -> bool:
    """Whether this app can run it: here, what is installed; elsewhere, what it brings once it is installed there."""
    if device.id == THIS_MACHINE:
        return runtime.can_try_here()
    return built_in and device.os in _APP_SYSTEMS


def count_failures(verdicts: Sequence[Verdict], rows: int) -> NDArray[np.int64]:
    """How many rules each row breaks, shape (rows,)."""
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


def workload(case: Case, device: Device) -> tuple[SettingsColumns, Floats, Floats]:
    """How every row would be run, and the tokens of the task's profile: prompt and generated, shape (n,)."""
    count = len(case.candidates.variants)
    gen = case.task.answer_tokens + np.where(case.candidates.thinks, float(case.task.thinking_tokens), 0.0)
    room = max(case.context_tokens - case.task.answer_tokens, 1)
    prompt = np.full(count, float(min(case.task.prompt_tokens, room)))
    settings = SettingsColumns(
        context_tokens=np.full(count, float(case.context_tokens)),
        kv_type=np.full(count, np.array("f16", dtype=object)),
        batch_tokens=np.full(count, float(BATCH_TOKENS)),
        ubatch_tokens=np.full(count, float(UBATCH_TOKENS)),
        parallel=np.full(count, float(case.need.users)),
        threads=np.full(count, float(default_threads(device))),
        gpu_layers=np.full(count, -1.0),
        flash_attn=np.ones(count, dtype=np.bool_),
    )
    return settings, prompt, gen
