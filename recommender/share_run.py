"""A measured run as others get it: predicted beside measured, as rows, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from recommender.engine.words import rate, seconds, size
from recommender.markdown import cell, table
from recommender.present import jsonable
from recommender.types import Measurement

__all__ = [
    "NO_DIFFERENCE",
    "beside",
    "conditions",
    "origin",
    "predicted_beside_measured",
    "run_markdown",
    "run_name",
    "run_text",
]

NO_DIFFERENCE = "–"  # where nothing was predicted
_CLIENT = "openai"  # measured at an address: a server's, not this hardware's


def run_name(run: Measurement) -> str:
    return f"{run.model_id} {run.quantization}".strip()


def origin(run: Measurement) -> str:
    """Where a run's figures come from: "measured on a MacBook Air, 2026-11-20"."""
    where = "from" if run.runtime == _CLIENT else "on"
    return f"measured {where} {run.device_name or 'hardware without a name'}, {run.measured_at[:10]}"


def predicted_beside_measured(run: Measurement) -> list[tuple[str, str, str, str]]:
    """Rows of figure, predicted, measured and the difference."""
    rows: list[tuple[str, str, str, str]] = []

    def add(name: str, predicted: float | None, value: float | None, words: Callable[[float], str]) -> None:
        if value is not None:
            rows.append(beside(name, predicted, value, words))

    add("Decode", run.predicted_decode_tokens_per_s, run.decode_tokens_per_s, rate)
    add("Prefill", run.predicted_prefill_tokens_per_s, run.prefill_tokens_per_s, rate)
    add("First token", run.predicted_ttft_s, run.ttft_s, seconds)
    if run.memory:
        add("Memory", run.predicted_memory_bytes, run.memory.total_bytes, size)
    return rows


def beside(
    name: str, predicted: float | None, value: float, words: Callable[[float], str]
) -> tuple[str, str, str, str]:
    """One row of figure, predicted, measured and the difference."""
    off = f"{value / predicted - 1:+.0%}" if predicted else NO_DIFFERENCE
    return name, words(predicted) if predicted else "no prediction", words(value), off


def conditions(run: Measurement) -> list[tuple[str, str]]:
    """What the run was made under, by name. An address that was asked stays out of it: it may be a private one."""
    settings = run.settings
    told = [
        ("Device", run.device_name),
        ("Hardware", run.device_key),
        ("Measured", run.measured_at),
        ("Runtime", f"{run.runtime} ({run.binding})"),
        ("Tokens", f"{run.prompt_tokens} of prompt, {run.gen_tokens} generated"),
        ("Repeats", f"{run.repeats}; decode {rate(run.decode_low)} to {rate(run.decode_high)}"),
        (
            "Settings",
            f"context {settings.context_tokens}, {settings.threads} thread{'' if settings.threads == 1 else 's'}, "
            f"{settings.gpu_layers} layers on the GPU, KV cache {settings.kv_type}",
        ),
        ("File", f"{run.file_name}, {size(run.file_bytes)}" if run.file_name else ""),
        ("File's SHA-256", run.file_sha256),
        ("Rehearsal", "weights without values" if run.rehearsal else ""),
        ("Noisy", (run.noise_reason or "yes") if run.noisy else ""),
    ]
    return [(name, value) for name, value in told if value]


def run_text(run: Measurement, address: str) -> str:
    """The run as JSON with the fields of :class:`Measurement`, and its link."""
    shown = replace(run, build="") if run.runtime == _CLIENT else run
    return json.dumps({**jsonable(shown), "link": address}, indent=1, allow_nan=False)


def run_markdown(run: Measurement, address: str) -> str:
    """A short report that stands alone."""
    return (
        f"# {cell(run_name(run))}, {cell(origin(run))}\n\n"
        f"{table(('Figure', 'Predicted', 'Measured', 'Difference'), predicted_beside_measured(run))}\n\n"
        f"{table(('Condition', 'Value'), conditions(run))}\n\n<{address}>\n"
    )
