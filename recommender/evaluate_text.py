"""The error tables as Markdown, for a terminal and for README."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recommender.evaluate import Evaluation

_HEAD = "| What | Rows | Median | 90th percentile | Within 25% | Bias | In the 80% range |"
_RULE = "|---|---:|---:|---:|---:|---:|---:|"


def evaluation_text(found: Evaluation) -> str:
    """One table for bytes, memory and speed, one for quality, and what was skipped and why."""
    lines = [_HEAD, _RULE]
    if found.files:
        lines += _rows("File bytes", found.files)
    for name, table in found.memory.items():
        lines += _rows(f"Memory: {name.replace('_', ' ')}", table)
    speed = found.speed
    for name, left_out in (("Decode, devices left out", speed.decode), ("Prefill, devices left out", speed.prefill)):
        if left_out:
            lines += _rows(name, left_out)
            balanced = _percent(left_out.device_balanced_median)
            lines.append(f"| {name}: by device | {left_out.devices} | {balanced} | | | | |")
    for name, fitted in speed.fitted.items():
        lines += _rows(f"{name.capitalize()}, rows it was fitted on", fitted)
    for name, floor in speed.noise_floor.items():
        lines.append(
            f"| Noise of the measured {name} rows themselves | {floor.rows} | {_percent(floor.median_abs_error)} "
            f"| {_percent(floor.p90_abs_error)} | | | |"
        )
    quality = found.quality
    if quality:
        lines += [
            "",
            "| Quality, a fifth of the scores hidden | Rows | Mean error, points | Baseline | Rank correlation |",
            "|---|---:|---:|---:|---:|",
            f"| all | {quality.rows} | {quality.mean_abs_error:.1f} | {quality.baseline_mean_abs_error:.1f} "
            f"| {quality.rank_correlation:.2f} |",
        ]
        lines += [
            f"| {name} | {table.rows} | {table.mean_abs_error:.1f} | {table.baseline_mean_abs_error:.1f} "
            f"| {table.rank_correlation:.2f} |"
            for name, table in quality.by_class.items()
        ]
    lines += ["", *_skipped(found), *_anomalies(found)]
    return "\n".join(lines)


def _rows(name: str, table: Any) -> list[str]:
    found = [_row(name, table)]
    return found + [_row(f"{name}: {kind}", part) for kind, part in table.by_class.items()]


def _row(name: str, table: Any) -> str:
    return (
        f"| {name} | {table.rows} | {_percent(table.median_abs_error)} | {_percent(table.p90_abs_error)} "
        f"| {_percent(table.within_25)} | {_percent(table.bias, signed=True)} | {_percent(table.interval_share)} |"
    )


def _percent(value: float | None, signed: bool = False) -> str:
    if value is None or value != value:
        return ""
    digits = 2 if abs(value) < 0.01 else 1 if abs(value) < 0.1 else 0
    return f"{value:+.{digits}%}" if signed else f"{value:.{digits}%}"


def _skipped(found: Evaluation) -> list[str]:
    parts: dict[str, Mapping[str, int]] = {}
    if found.files:
        parts["files"] = found.files.skipped
    if found.memory:
        parts["memory"] = next(iter(found.memory.values())).skipped
    for name, table in (("decode", found.speed.decode), ("prefill", found.speed.prefill)):
        if table:
            parts[name] = table.skipped
    if found.quality:
        parts["quality"] = found.quality.skipped
    return [
        f"Skipped in {name} ({found.sources.get(_SOURCES.get(name, name), '')}): "
        + ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1]))
        for name, reasons in parts.items()
        if reasons
    ]


_SOURCES = {"decode": "measurements", "prefill": "measurements", "quality": "benchmarks"}


def _anomalies(found: Evaluation) -> list[str]:
    lines = []
    if found.files and found.files.anomalies:
        lines += ["", "Standard files more than 1% off:", *(f"- {name}" for name in found.files.anomalies)]
    for part, table in found.memory.items():
        if table.anomalies:
            lines += ["", f"Loads whose {part.replace('_', ' ')} is more than 1% off:"]
            lines += [f"- {name}" for name in table.anomalies]
    return lines
