"""``recommender runtimes``: one model on every runtime, what each would run it with or why it does not."""

from __future__ import annotations

import argparse
from typing import Any

from recommender.cli_need import need_from
from recommender.cli_shared import calibration_of, catalog_with_notes
from recommender.errors import BadInputError
from recommender.types import Device


def runtimes_command(arguments: argparse.Namespace, device: Device) -> tuple[list[dict[str, Any]], str]:
    """Every runtime's verdict as JSON and as text.

    Raises:
        UnknownNameError: a name that the catalog does not have.
        BadInputError: no model was named.
    """
    from recommender.engine.why_runtime import best, compared, why_runtimes
    from recommender.present import pick_json

    if not arguments.model:
        raise BadInputError("Say which model: --model ID. `recommender catalog models` lists them.")
    with catalog_with_notes() as catalog:
        need, calibration = need_from(arguments), calibration_of(device, catalog)
        verdicts = why_runtimes(device, need, arguments.model, catalog, arguments.quant or "", calibration)
    chosen = best(verdicts)
    values = [
        {
            "runtime": verdict.runtime,
            "name": verdict.name,
            "runs": verdict.runs,
            "reason": verdict.reason,
            "rule": verdict.rule,
            "pick": pick_json(verdict.pick) if verdict.pick else None,
        }
        for verdict in verdicts
    ]
    width = max(len(verdict.name) for verdict in verdicts)
    lines = []
    for verdict in verdicts:
        pick = verdict.pick
        how = f"{pick.quantization or 'managed'} on {pick.accelerator}" if pick and verdict.runs else "–"
        said = compared(verdict, chosen) if chosen else verdict.reason
        lines.append(f"{verdict.name:{width}s}  {'yes' if verdict.runs else 'no ':3s}  {how:24s}  {said}")
    return values, "\n".join(lines)
