"""``recommender rehearse``: measure a model of the catalog here before anything is downloaded."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from recommender.batch import Reranked, plan_batch, rerank
from recommender.calibrated import calibration_here
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.store import Catalog, open_catalog
from recommender.device import this_machine
from recommender.engine.estimate_rows import EstimateRequest
from recommender.engine.recommend import recommend
from recommender.engine.words import rate, seconds, size
from recommender.errors import BadInputError, RecommenderError
from recommender.present import estimate_json, jsonable
from recommender.probe import plan_probe, read_memory
from recommender.runner import protocol
from recommender.runner.bindings import choose_binding
from recommender.runner.rehearse import REPEATS, rehearse
from recommender.trial import RehearsalPlan, plan_rehearsal
from recommender.types import Device, Estimate, Figure, Measurement, Need

RUNTIMES = ("llama.cpp", "ollama")
NO_DISK = "The load time leaves out reading the file from disk: there is nothing to read."
UPPER_BOUND = "Zeros draw less power than weights, so a GPU at its power limit may be slower with the real file."


def rehearse_command(arguments: argparse.Namespace) -> tuple[Any, str]:
    """Rehearse what the command line names, keep the measurement, and return it as JSON and as text.

    Raises:
        BadInputError: no model was named, its shape is not known, or a number makes no sense.
        RecommenderError: it would not fit, or could not be loaded or run.
    """
    if arguments.repeats < 1:
        raise BadInputError(f"--repeats must be at least 1, not {arguments.repeats}.")
    if arguments.runtime not in RUNTIMES:
        raise BadInputError(f"{arguments.runtime} cannot be rehearsed, only {' and '.join(RUNTIMES)}.")
    if arguments.top is not None:
        return _rehearse_first(arguments)
    if not arguments.model or not arguments.quant:
        raise BadInputError("Say what to rehearse: --model and --quant, or --top 5 for the first picks.")
    device = this_machine()
    binding = choose_binding(arguments.binding).id if arguments.runtime == RUNTIMES[0] else None
    with open_catalog() as catalog:
        request = EstimateRequest(
            arguments.model,
            arguments.quant,
            device,
            runtime=arguments.runtime,
            context_tokens=arguments.context,
            threads=arguments.threads,
            gpu_layers=arguments.gpu_layers,
        )
        plan = plan_rehearsal(
            request,
            catalog,
            calibration_here(device, catalog),
            arguments.prompt_tokens,
            arguments.gen_tokens,
            arguments.repeats,
        )
        result = _rehearse_and_keep(plan, device, catalog, binding, arguments.repeats, arguments.json)
    estimate = plan.forecast.estimate
    return rehearsal_json(result, estimate), rehearsal_text(result, estimate)


def _rehearse_first(arguments: argparse.Namespace) -> tuple[Any, str]:
    """Rehearse the first picks for a task and rank them again."""
    if arguments.top < 1:
        raise BadInputError(f"--top must be at least 1, not {arguments.top}.")
    device = this_machine()
    binding = choose_binding(arguments.binding).id
    need = Need(task=arguments.task, priority=arguments.priority)
    with open_catalog() as catalog:
        before = recommend(device, need, catalog, calibration=calibration_here(device, catalog))
        planned = plan_batch(before, catalog, calibration_here(device, catalog), arguments.top)
        measured, problems = {}, [f"{one.pick.name}: {one.problem}" for one in planned if one.problem]
        for one in planned:
            if one.plan is None:
                continue
            try:
                result = _rehearse_and_keep(one.plan, device, catalog, binding, REPEATS, arguments.json)
            except RecommenderError as error:
                problems.append(f"{one.pick.name}: {error}")
                continue
            measured[result.model_id, result.quantization] = result
        after = recommend(device, need, catalog, calibration=calibration_here(device, catalog))
    rows = rerank([one.pick for one in planned], measured, after)
    return batch_json(rows, problems), batch_text(rows, problems)


def batch_json(rows: Sequence[Reranked], problems: Sequence[str]) -> dict[str, Any]:
    """A batch of rehearsals, in the order that they have now."""
    found = [
        {
            "model_id": row.pick.model_id,
            "quantization": row.pick.quantization,
            "rank_before": row.before,
            "rank": row.after,
            "predicted_decode_tokens_per_s": jsonable(row.pick.estimate.decode_tokens_per_s),
            "measurement": jsonable(row.measurement) if row.measurement else None,
        }
        for row in rows
    ]
    return {"picks": found, "problems": list(problems)}


def batch_text(rows: Sequence[Reranked], problems: Sequence[str]) -> str:
    """A batch of rehearsals as lines."""
    lines = ["now  before  decode: measured, predicted"]
    for row in rows:
        result, predicted = row.measurement, row.pick.estimate.decode_tokens_per_s
        told = rate(result.decode_tokens_per_s) if result else "not measured"
        noisy = f", noisy: {result.noise_reason}" if result and result.noisy else ""
        guess = rate(predicted.value) if predicted else "unknown"
        lines.append(
            f"{row.after or 'out':>3}  {row.before:>6}  {row.pick.name} {row.pick.quantization}: {told}, {guess}{noisy}"
        )
    return "\n".join([*lines, *problems])


def probe_command(device: Device, quiet: bool) -> tuple[Device, dict[str, Any], list[str]]:
    """Measure memory, then rehearse a small model, and keep both: the device with its bandwidth, JSON and lines.

    Where no model can be rehearsed (no llama.cpp, no room), memory alone is measured and the reason is given.
    """
    probed = read_memory(device)
    found: dict[str, Any] = {
        "bandwidth_bytes_per_s": probed.bandwidth_bytes_per_s,
        "busy_cpus_before": probed.busy_cpus,
        "rehearsal": None,
        "problem": None,
    }
    lines = [f"  {probed.sentence}"]
    try:
        binding = choose_binding()
        with open_catalog() as catalog:
            plan = plan_probe(probed.device, catalog)
            result = _rehearse_and_keep(plan, probed.device, catalog, binding.id, REPEATS, quiet)
    except RecommenderError as error:
        found["problem"] = str(error)
        return probed.device, found, [*lines, f"  No run of llama.cpp: {error}"]
    estimate = plan.forecast.estimate
    lines += [f"  {line}" for line in rehearsal_text(result, estimate).splitlines()]
    return probed.device, {**found, "rehearsal": rehearsal_json(result, estimate)}, lines


def _rehearse_and_keep(
    plan: RehearsalPlan, device: Device, catalog: Catalog, binding: str | None, repeats: int, quiet: bool
) -> Measurement:
    """Run what was planned, with its progress on standard error unless ``quiet``, and store the result."""
    if not quiet:
        print(_announcement(plan, repeats), file=sys.stderr)
    result = rehearse(plan.rehearsal(binding, repeats), catalog, device, None if quiet else _report)
    store = MeasurementStore()
    store.add(result)
    for note in store.notes:
        print(f"recommender: {note}", file=sys.stderr)
    return result


def rehearsal_json(result: Measurement, estimate: Estimate) -> dict[str, Any]:
    """A rehearsal with the estimate (calibrated, as ``recommender estimate`` prints it) beside each figure."""
    found: dict[str, Any] = jsonable(result)
    beside = estimate_json(estimate)
    for name in ("prefill", "decode"):
        median, low, high = found[f"{name}_tokens_per_s"], found.pop(f"{name}_low"), found.pop(f"{name}_high")
        spread = {"median": median, "low": low, "high": high}
        found[f"{name}_tokens_per_s"] = {**spread, "estimate": beside[f"{name}_tokens_per_s"]}
    if found["memory"] is not None:
        found["memory"] = {**found["memory"], "estimate": beside["memory"]}
    return {**found, "estimate": beside, "notes": list(notes(result))}


def notes(result: Measurement) -> tuple[str, ...]:
    """What a rehearsal cannot show."""
    return (NO_DISK, UPPER_BOUND) if result.settings.gpu_layers else (NO_DISK,)


def rehearsal_text(result: Measurement, estimate: Estimate) -> str:
    """A rehearsal as lines, the estimate beside each figure."""
    lines = [
        f"{result.model_id} {result.quantization}, rehearsed with {result.binding}, {result.settings.threads} threads, "
        f"{result.prompt_tokens} + {result.gen_tokens} tokens, {result.repeats} repeats",
        f"  decode   {rate(result.decode_tokens_per_s)} ({rate(result.decode_low)} to {rate(result.decode_high)})"
        + _beside(estimate.decode_tokens_per_s, rate),
        f"  prefill  {rate(result.prefill_tokens_per_s)} ({rate(result.prefill_low)} to {rate(result.prefill_high)})"
        + _beside(estimate.prefill_tokens_per_s, rate),
        f"  TTFT     {seconds(result.ttft_s)}" + _beside(estimate.ttft_s, seconds),
        f"  load     {seconds(result.load_s)}" + _beside(estimate.load_s, seconds),
    ]
    memory, expected = result.memory, estimate.memory
    if memory is not None:
        lines.append("  memory   measured, estimated")
        for part in ("weights", "kv_cache", "compute", "overhead", "total", "reclaimable"):
            guess = size(getattr(expected, f"{part}_bytes")) if expected else "unknown"
            lines.append(f"    {part.replace('_', ' '):12s} {size(getattr(memory, f'{part}_bytes'))}, {guess}")
    if result.peak_resident_bytes:
        lines.append(f"  peak     {size(result.peak_resident_bytes)} resident")
    lines += [f"  {note}" for note in notes(result)]
    if result.noisy:
        lines.append(f"  Noisy, so it corrects nothing: {result.noise_reason}.")
    return "\n".join(lines)


def _announcement(plan: RehearsalPlan, repeats: int) -> str:
    time = f"about {seconds(plan.expected_s)}" if math.isfinite(plan.expected_s) else "an unknown time"
    return (
        f"Rehearsing {plan.forecast.model_id} {plan.forecast.quantization}: {repeats} × {plan.prompt_tokens} + "
        f"{plan.gen_tokens} tokens, {time}, downloads nothing …"
    )


def _report(event: protocol.Event) -> None:
    """Progress on standard error, a line per step."""
    if isinstance(event, protocol.Loading):
        print(f"Loading {size(event.file_bytes)} without weights with {event.binding} …", file=sys.stderr)
    elif isinstance(event, protocol.Repeat):
        print(f"Repeat {event.number} of {event.of}: {rate(event.decode_tokens_per_s)}", file=sys.stderr)


def _beside(figure: Figure | None, words: Any) -> str:
    if figure is None:
        return ""
    corrected = "" if figure.provenance == "estimated" else f" ({figure.provenance})"
    return f", estimated {words(figure.value)}{corrected}"
