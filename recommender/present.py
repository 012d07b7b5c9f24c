"""Answers as JSON-ready values and as text for a terminal. Page, command line and API show the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from recommender.engine.estimate_rows import EstimateAnswer
from recommender.engine.words import count, rate, seconds, size
from recommender.types import Estimate, Figure, NearMiss, Pick, Recommendation

_AS_THEY_ARE = (str, int, bool, type(None))  # most of an answer: told by their type alone, which is quick


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def jsonable(value: Any) -> Any:
    """Dataclasses, mappings and sequences as plain JSON values; what is not finite becomes null."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(kind):
        return {name: jsonable(getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def recommendation_json(answer: Recommendation) -> dict[str, Any]:
    """The recommendation as ``recommender recommend --json`` prints it."""
    return {
        "picks": [pick_json(pick) for pick in answer.picks],
        "alternatives": [{"trade": trade, **pick_json(pick)} for trade, pick in answer.alternatives],
        "near_misses": [near_miss_json(miss) for miss in answer.near_misses],
        "pareto": [answer.picks[index].model_id for index in answer.pareto],
        "considered": answer.considered,
        "rejected": dict(answer.rejected),
        "context_tokens": answer.context_tokens,
        "memory_budget_bytes": jsonable(answer.memory_budget_bytes),
        "gpu_budget_bytes": jsonable(answer.gpu_budget_bytes),
        "device": jsonable(answer.device),
        "need": jsonable(answer.need),
        "task": jsonable(answer.task),
        "catalog_date": answer.catalog_date,
        "notes": list(answer.notes),
    }


def pick_json(pick: Pick) -> dict[str, Any]:
    found: dict[str, Any] = jsonable(pick)
    found["estimate"] = estimate_json(pick.estimate)
    return found


def near_miss_json(miss: NearMiss) -> dict[str, Any]:
    extra = {"rule": miss.rule, "reason": miss.reason, "short_by": miss.short_by, "unit": miss.unit}
    return {**pick_json(miss.pick), **extra, "change": miss.change}


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate; ``memory`` keeps its parts, each figure its value, range and provenance."""
    found: dict[str, Any] = jsonable(estimate)
    return found


def answer_json(answer: EstimateAnswer) -> dict[str, Any]:
    return {
        "model_id": answer.model_id,
        "quantization": answer.quantization,
        "runtime": answer.runtime,
        "settings": jsonable(answer.settings),
        **estimate_json(answer.estimate),
    }


# ── for a terminal ───────────────────────────────────────────────────────────────────────────────────────────


def recommendation_text(answer: Recommendation) -> str:
    """The recommendation in a few dozen lines."""
    device = answer.device
    lines = [
        f"{device.name}: {_memory_line(answer)}",
        f"{answer.task.name}, context {count(answer.context_tokens)}",
        "",
    ]
    if not answer.picks:
        lines += ["Nothing fits.", *_rejections(answer), *_missed(answer)]
        return "\n".join(lines)
    first = answer.picks[0]
    lines += [_headline(first), *(f"  {reason}" for reason in first.reasons), "", f"  {first.command}", ""]
    lines += [f"{trade}\n  {_headline(pick)}" for trade, pick in answer.alternatives]
    if len(answer.picks) > 1:
        lines += ["", "Also fits"]
        lines += [f"  {place:2d}. {_headline(pick)}" for place, pick in enumerate(answer.picks[1:], start=2)]
    lines += _missed(answer)
    lines += [
        "",
        *answer.notes,
        f"Catalog of {answer.catalog_date}; {count(answer.considered)} combinations looked at.",
    ]
    return "\n".join(lines)


def _memory_line(answer: Recommendation) -> str:
    parts = []
    if answer.memory_budget_bytes is not None:
        parts.append(f"{size(answer.memory_budget_bytes)} of memory free")
    if answer.gpu_budget_bytes:
        parts.append(f"{size(answer.gpu_budget_bytes)} of GPU memory free")
    return ", ".join(parts) or "memory unknown"


def _headline(pick: Pick) -> str:
    parts = [f"{pick.name} · {pick.quantization or 'managed'} · {pick.runtime}"]
    estimate = pick.estimate
    if estimate.decode_tokens_per_s and estimate.answer_time_s and estimate.memory:
        parts.append(f"{rate(estimate.decode_tokens_per_s.value)}, answer in {seconds(estimate.answer_time_s.value)}")
        parts.append(size(estimate.memory.charged_bytes))
    parts.append(f"quality {pick.quality:.0f}")
    return " — ".join(parts)


def _missed(answer: Recommendation) -> list[str]:
    if not answer.near_misses:
        return []
    lines = [
        f"  {miss.pick.name} {miss.pick.quantization or ''}: {miss.reason} → {miss.change}"
        for miss in answer.near_misses
    ]
    return ["", "Just missed", *lines]


def _rejections(answer: Recommendation) -> list[str]:
    ordered = sorted(answer.rejected.items(), key=lambda item: -item[1])
    return [f"  {rule}: kept out {count(number)}" for rule, number in ordered]


def answer_text(answer: EstimateAnswer) -> str:
    """One estimate with its parts."""
    estimate, memory = answer.estimate, answer.estimate.memory
    lines = [f"{answer.model_id} {answer.quantization} with {answer.runtime}"]
    if estimate.file_bytes is not None:
        lines.append(f"  file     {size(estimate.file_bytes)} ({estimate.file_provenance})")
    if memory is not None:
        lines.append(
            f"  memory   {size(memory.total_bytes)}: weights {size(memory.weights_bytes)}, KV cache "
            f"{size(memory.kv_cache_bytes)}, compute {size(memory.compute_bytes)}, "
            f"overhead {size(memory.overhead_bytes)}"
        )
    for name, figure in (("prefill", estimate.prefill_tokens_per_s), ("decode", estimate.decode_tokens_per_s)):
        lines.append(f"  {name:8s} {_ranged(figure, rate)}")
    for name, figure in (("TTFT", estimate.ttft_s), ("answer", estimate.answer_time_s), ("load", estimate.load_s)):
        lines.append(f"  {name:8s} {_ranged(figure, seconds)}")
    return "\n".join(lines)


def _ranged(figure: Figure | None, words: Any) -> str:
    if figure is None:
        return "unknown"
    return f"{words(figure.value)} ({words(figure.low)} to {words(figure.high)}, {figure.provenance})"
