"""How much better estimates get once this machine was measured: rehearse many models, leave each out in turn.

    PYTHONPATH=. python benchmarks/calibration.py --keep runs.json        # measure (about 20 s a run), then judge
    PYTHONPATH=. python benchmarks/calibration.py --from runs.json --json # judge what was measured before

Every combination of model and quantization is rehearsed in each of several rounds, so that the machine's own
repeat-to-repeat spread stands beside the errors. A combination is predicted from the others only: none of its own runs
calibrates it, and with ``--leave-out model`` no run of the same model in another quantization does either.
Noisy runs calibrate nothing and are not predicted. ``--noisy`` takes those whose own repeats agree: on a machine that
others use, with a thread on a core of its own, they are the best there is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from recommender.calibrated import calibration_here, request_of
from recommender.catalog.store import Catalog, open_catalog
from recommender.device import this_machine
from recommender.engine.estimate_rows import EstimateRequest, estimate_one
from recommender.errors import RecommenderError
from recommender.runner.noise import MAX_SPREAD
from recommender.runner.protocol import from_dict
from recommender.runner.rehearse import rehearse
from recommender.trial import plan_rehearsal
from recommender.types import Device, Measurement

# From 0.1B to 4B parameters read per token; dense, windowed, convolution, state-space and experts; old, K and IQ types.
COMBINATIONS = (
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "Q8_0"),
    ("google/gemma-3-270m-it", "Q8_0"),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", "F16"),
    ("Qwen/Qwen3-0.6B", "Q4_0"),
    ("Qwen/Qwen3-0.6B", "Q6_K"),
    ("google/gemma-3-1b-it", "Q4_K_M"),
    ("LiquidAI/LFM2-1.2B", "Q4_0"),
    ("meta-llama/Llama-3.2-1B-Instruct", "Q4_K_M"),
    ("meta-llama/Llama-3.2-1B-Instruct", "Q8_0"),
    ("ibm-granite/granite-4.0-h-1b", "Q4_K_M"),
    ("Qwen/Qwen2.5-1.5B-Instruct", "Q5_K_M"),
    ("Qwen/Qwen3-1.7B", "IQ4_XS"),
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "Q3_K_M"),
    ("ibm-granite/granite-4.0-h-tiny", "Q4_K_M"),
    ("allenai/OLMoE-1B-7B-0125-Instruct", "Q4_0"),
    ("meta-llama/Llama-3.2-3B-Instruct", "Q4_0"),
    ("Qwen/Qwen3-4B", "Q4_K_M"),
)
PHASES = ("decode", "prefill")
WAIT_STEP_S = 5.0


@dataclass(frozen=True)
class Row:
    """One combination and phase, tokens per second; ``spread`` is (largest − smallest) ÷ median over the rounds."""

    model_id: str
    quantization: str
    phase: str
    measured: float
    spread: float
    before: float
    after: float
    noisy: bool

    @property
    def error_before(self) -> float:
        return self.before / self.measured - 1

    @property
    def error_after(self) -> float:
        return self.after / self.measured - 1


def wait_until_quiet(load: float, patience_s: float) -> bool:
    """Wait for the last second to use less than ``load`` CPUs; False when the patience ends first.

    Not the load average: that remembers our own last run for a minute.
    """
    deadline = time.monotonic() + patience_s
    cpus = psutil.cpu_count() or 1
    while psutil.cpu_percent(interval=1.0) / 100 * cpus > load:
        if time.monotonic() > deadline:
            return False
        time.sleep(WAIT_STEP_S)
    return True


def measure_all(arguments: argparse.Namespace, device: Device, catalog: Catalog) -> list[Measurement]:
    """Round after round, so that a slow minute does not hit all runs of one combination."""
    runs: list[Measurement] = _read(arguments.keep) if arguments.keep and arguments.keep.exists() else []
    wanted = [pair for pair in COMBINATIONS if not arguments.only or any(part in pair[0] for part in arguments.only)]
    for number in range(arguments.rounds):
        for model_id, quantization in wanted:
            for _ in range(arguments.attempts):
                quiet = wait_until_quiet(arguments.load, arguments.patience)
                try:
                    run = measure_one(model_id, quantization, arguments, device, catalog)
                except RecommenderError as error:
                    print(f"{model_id} {quantization}: {error}", file=sys.stderr, flush=True)
                    break
                runs.append(run)
                if arguments.keep:
                    arguments.keep.write_text(json.dumps([asdict(one) for one in runs], indent=1), encoding="utf-8")
                print(
                    f"round {number + 1} {model_id} {quantization}: decode {run.decode_tokens_per_s:.1f} "
                    f"({run.decode_low:.1f}–{run.decode_high:.1f}), prefill {run.prefill_tokens_per_s:.0f} tok/s"
                    f"{'' if quiet else ', begun while the machine was busy'}"
                    f"{f', noisy: {run.noise_reason}' if run.noisy else ''}",
                    file=sys.stderr,
                    flush=True,
                )
                if not run.noisy:
                    break
    return runs


def measure_one(
    model_id: str, quantization: str, arguments: argparse.Namespace, device: Device, catalog: Catalog
) -> Measurement:
    """One rehearsal with the counts that were asked for, or those that take about 20 s."""
    request = EstimateRequest(model_id, quantization, device, context_tokens=1024, threads=arguments.threads)
    plan = plan_rehearsal(request, catalog, None, arguments.prompt_tokens, arguments.gen_tokens)
    return rehearse(plan.rehearsal(arguments.binding), catalog, device)


def judge(runs: Sequence[Measurement], device: Device, catalog: Catalog, leave_out: str) -> list[Row]:
    """Predict each combination before and after calibration on the others."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for run in runs:
        groups.setdefault((run.model_id, run.quantization), []).append(run)
    rows = []
    for (model_id, quantization), own in groups.items():
        others = [
            run
            for run in runs
            if run.model_id != model_id or (leave_out == "combination" and run.quantization != quantization)
        ]
        request = request_of(own[0], device)
        before = estimate_one(request, catalog).estimate
        after = estimate_one(request, catalog, calibration_here(device, catalog, others)).estimate
        for phase in PHASES:
            name = f"{phase}_tokens_per_s"
            values = [getattr(run, name) for run in own]
            measured = statistics.median(values)
            rows.append(
                Row(
                    model_id,
                    quantization,
                    phase,
                    measured,
                    (max(values) - min(values)) / measured if len(values) > 1 else float("nan"),
                    getattr(before, name).value,
                    getattr(after, name).value,
                    all(run.noisy for run in own),
                )
            )
    return rows


def summary(rows: Sequence[Row], runs: Sequence[Measurement]) -> dict[str, Any]:
    """Medians per phase; fractions."""
    found: dict[str, Any] = {}
    for phase in PHASES:
        mine = [row for row in rows if row.phase == phase]
        spreads = [row.spread for row in mine if row.spread == row.spread]
        within = [_spread(run, phase) for run in runs]
        found[phase] = {
            "combinations": len(mine),
            "median_abs_error_before": statistics.median(abs(row.error_before) for row in mine) if mine else None,
            "median_abs_error_after": statistics.median(abs(row.error_after) for row in mine) if mine else None,
            "worst_after": max((abs(row.error_after) for row in mine), default=None),
            "spread_between_rounds": statistics.median(spreads) if spreads else None,
            "spread_within_runs": statistics.median(within) if within else None,
        }
    return found


def _spread(run: Measurement, phase: str) -> float:
    return float((getattr(run, f"{phase}_high") - getattr(run, f"{phase}_low")) / getattr(run, f"{phase}_tokens_per_s"))


def _read(path: Path) -> list[Measurement]:
    return [from_dict(Measurement, row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _percent(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:+.0%}"


def text(rows: Sequence[Row], totals: dict[str, Any]) -> str:
    """The tables for a terminal."""
    lines = []
    for phase in PHASES:
        lines.append(f"{phase:50s} measured  before  error   after  error  spread between rounds")
        lines += [
            f"  {row.model_id + ' ' + row.quantization:48s} {row.measured:8.1f} {row.before:7.1f} "
            f"{_percent(row.error_before):>6s} {row.after:7.1f} {_percent(row.error_after):>6s} "
            f"{_percent(row.spread):>6s}{'  noisy' if row.noisy else ''}"
            for row in rows
            if row.phase == phase
        ]
        mine = totals[phase]
        lines += [
            f"  median error before {_percent(mine['median_abs_error_before'])}, after "
            f"{_percent(mine['median_abs_error_after'])} of {mine['combinations']} left out; the machine's own spread "
            f"{_percent(mine['spread_between_rounds'])} between rounds, {_percent(mine['spread_within_runs'])} within",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--attempts", type=int, default=3, help="runs of a combination until one is quiet")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--binding", choices=("llama-cpp-python", "xllamacpp"))
    parser.add_argument("--prompt-tokens", type=int)
    parser.add_argument("--gen-tokens", type=int)
    parser.add_argument("--only", nargs="*", metavar="PART", help="models whose id has one of these")
    parser.add_argument("--load", type=float, default=0.3, help="start a run when less CPUs than this are in use")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait for that")
    parser.add_argument("--keep", type=Path, metavar="FILE.json", help="add the runs to this file")
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE.json", help="measure nothing, judge these")
    parser.add_argument("--leave-out", choices=("combination", "model"), default="combination")
    parser.add_argument("--noisy", action="store_true", help="take noisy runs as if they were quiet")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device = this_machine()
    with open_catalog() as catalog:
        runs = _read(arguments.source) if arguments.source else measure_all(arguments, device, catalog)
        noisy = sum(run.noisy for run in runs)
        used = [run for run in runs if not run.noisy]
        if arguments.noisy:
            used = [replace(run, noisy=False) for run in runs if _spread(run, "decode") <= MAX_SPREAD]
        rows = judge(used, device, catalog, arguments.leave_out)
    totals = summary(rows, used)
    if arguments.json:
        table = [asdict(row) | {"error_before": row.error_before, "error_after": row.error_after} for row in rows]
        print(json.dumps({"runs": len(runs), "noisy_runs": noisy, "summary": totals, "rows": table}, indent=1))
    else:
        print(f"{len(runs)} runs on {device.name}, {noisy} of them noisy")
        print(text(rows, totals))


if __name__ == "__main__":
    main()
