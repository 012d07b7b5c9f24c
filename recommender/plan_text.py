"""A plan as JSON and as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recommender.engine.device_classes import device_classes
from recommender.engine.plan import Found, Plan, sentences
from recommender.engine.plan_steps import Step
from recommender.engine.words import rate
from recommender.present import jsonable, near_miss_json, pick_json
from recommender.types import Pick

ORDER = (
    "The catalog has no prices, so the order of the classes is a judgement: kinds of device by what one usually pays, "
    "graphics cards by their memory, and within a class by memory, bandwidth and year (catalog/device_classes.csv "
    "gives the reason for each)."
)
_SHOWN = 3


def plan_json(found: Plan, steps: Sequence[Step]) -> dict[str, Any]:
    """The plan with every machine of the class that meets it."""
    return {
        "sentences": list(sentences(found)),
        "class": jsonable(found.of_class),
        "machines": [_machine(one) for one in found.found],
        "in_class": found.in_class,
        "passed_over": [one.id for one in found.passed_over],
        "needed": jsonable(found.needed),
        "nearest": (
            {"device": found.nearest.device.name, **near_miss_json(found.nearest.miss)} if found.nearest else None
        ),
        "limit": found.limit,
        "steps": [_step(step) for step in steps],
        "need": jsonable(found.need),
        "least_quality": found.least_quality,
        "order": ORDER,
        "classes": [one.name for one in device_classes()],
    }


def _machine(one: Found) -> dict[str, Any]:
    return {
        "id": one.machine.preset_id,
        "name": one.device.name,
        "ram_bytes": one.device.ram_bytes,
        "bandwidth_bytes_per_s": one.device.bandwidth_bytes_per_s,
        "gpus": jsonable(one.device.gpus),
        "pick": pick_json(one.pick),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "what": step.what,
        "decode_tokens_per_s": jsonable(step.decode),
        "answer_time_s": jsonable(step.answer),
        "meets": step.same_fits,
        "largest_quantization": step.largest.quantization if step.largest else None,
        "best_model": pick_json(step.best) if step.best else None,
    }


def plan_text(found: Plan, steps: Sequence[Step]) -> str:
    """The plan in about twenty lines."""
    lines = list(sentences(found))
    for one in found.found[:_SHOWN]:
        decode = one.pick.estimate.decode_tokens_per_s
        speed = f", {rate(decode.value)}" if decode else ""
        lines.append(f"  {one.machine.preset_id:32s} {one.device.name}: {one.pick.quantization}{speed}")
    if steps:
        lines += ["", "What one more step buys"]
    for step in steps:
        speed = (
            f"{rate(step.decode.value)} ({rate(step.decode.low)} to {rate(step.decode.high)})" if step.decode else "–"
        )
        lines.append(f"  {step.what}: {speed}, largest {_largest(step.largest)}, best model {named(step.best)}")
    return "\n".join([*lines, "", ORDER])


def _largest(pick: Pick | None) -> str:
    return pick.quantization or "managed" if pick else "none"


def named(pick: Pick | None) -> str:
    """A pick in a few words, with its quality."""
    return f"{pick.name} {pick.quantization or ''} (quality {pick.quality:.0f})" if pick else "none"
