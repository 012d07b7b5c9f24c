"""Two runs side by side: what differs, whether it can be told from noise, and what else was not the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeGuard

from recommender.engine.words import seconds
from recommender.estimate.calibrate import spread_of
from recommender.runner.noise import MIN_REPEATS
from recommender.types import MIB, Measurement, Settings

__all__ = ["Comparison", "Difference", "compare", "comparison_markdown", "reading", "title"]

_LOG_STEP_BYTES = 0.01 * MIB  # what llama.cpp rounds its buffers to
_SHOWN_OF_CHECKSUM = 12

# What a run was made under, beside its settings. A difference in speed may come from any of these.
_CONDITIONS: dict[str, Callable[[Measurement], object]] = {
    "hardware": lambda run: run.device_key,
    "model": lambda run: run.model_id,
    "quantization": lambda run: run.quantization,
    "file checksum": lambda run: run.file_sha256[:_SHOWN_OF_CHECKSUM],
    "file bytes": lambda run: run.file_bytes,
    "runtime": lambda run: run.runtime,
    "binding": lambda run: run.binding,
    "build": lambda run: run.build,
    "prompt tokens": lambda run: run.prompt_tokens,
    "generated tokens": lambda run: run.gen_tokens,
    "repeats": lambda run: run.repeats,
    "rehearsal": lambda run: run.rehearsal,
}


@dataclass(frozen=True)
class Difference:
    """One quantity of two runs, ``None`` where a run did not keep it."""

    name: str
    unit: str  # "tok/s", "s" or "bytes"
    a: float | None
    b: float | None
    percent: float | None  # from a to b, of a; None unless both are above zero
    beyond_noise: bool | None  # None: cannot be told
    verdict: str  # the same in words

    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, both values, the difference and the verdict, as page and export show them."""
        percent = "–" if self.percent is None else f"{self.percent:+.1f}%"
        return self.name, _value(self.a, self.unit), _value(self.b, self.unit), percent, self.verdict


@dataclass(frozen=True)
class Comparison:
    """Two runs, how they differ, and under what. ``recommender.present.jsonable`` makes JSON of it."""

    a: Measurement
    b: Measurement
    differences: tuple[Difference, ...]
    conditions: tuple[tuple[str, str, str], ...]  # (name, a's, b's): only those that are not the same
    chance_apart: float  # how often two runs of one setup have ranges that do not overlap, 0–1


def compare(a: Measurement, b: Measurement) -> Comparison:
    """How ``b`` differs from ``a``.

    Decode and prefill speeds differ beyond the noise when both hold:

    - The ranges of the repeats do not overlap. Of n and m repeats that come from one setup, every order is equally
      likely, and 2 of the (n+m)!/(n! m!) ways to deal them out leave one run wholly above the other: for 3 and 3
      that is 2/20, so this alone is wrong once in ten comparisons (the two-sided rank-sum test of Wilcoxon, 1945, at
      its most extreme). Three repeats cannot do better.
    - The medians differ by more than two runs of one setup do: √2 times the standard deviation between runs that
      ``catalog/speed_spreads.csv`` has, in logarithms. Repeats of one run share its warmth, its memory and its
      neighbours, so their own range is narrower than that.

    Nothing is said of the speeds of a run that is marked noisy or has fewer repeats than ``MIN_REPEATS``. Time to the
    first token, load time and peak memory are kept without a spread. What the load log says of memory is exact.
    """
    told = "spread not kept"
    return Comparison(
        a=a,
        b=b,
        differences=(
            _speed("Decode", a, b),
            _speed("Prefill", a, b),
            _difference("First token", "s", a.ttft_s, b.ttft_s, None, told),
            _difference("Load", "s", a.load_s, b.load_s, None, told),
            _difference("Memory", "bytes", _total(a), _total(b), *_memory_verdict(a, b)),
            _difference("Peak resident", "bytes", a.peak_resident_bytes, b.peak_resident_bytes, None, told),
        ),
        conditions=tuple(
            (name, of_a, of_b)
            for (name, of_a), (_, of_b) in zip(_conditions(a), _conditions(b), strict=True)
            if of_a != of_b
        ),
        chance_apart=min(1.0, 2 / math.comb(a.repeats + b.repeats, a.repeats)),
    )


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown document: a table of the figures, one of the conditions, and how to read them."""
    a, b = comparison.a, comparison.b
    lines = [
        "# Two runs compared",
        "",
        *(f"- {name}: {_escaped(run)}" for name, run in (("A", title(a)), ("B", title(b)))),
        "",
        *_table(("Figure", "A", "B", "A to B", "Verdict"), [one.cells() for one in comparison.differences]),
        "",
        reading(comparison),
        "",
    ]
    if comparison.conditions:
        lines += ["Not the same in both:", "", *_table(("Condition", "A", "B"), comparison.conditions)]
    else:
        lines.append("All conditions were the same.")
    return "\n".join(lines) + "\n"


def reading(comparison: Comparison) -> str:
    """How far the verdicts can be trusted, in a sentence or two."""
    return (
        "A speed is beyond the noise when the repeats' ranges lie apart and the medians differ by more than two runs "
        f"of one setup usually do. The ranges of one setup lie apart in {comparison.chance_apart:.0%} of comparisons: "
        "a verdict is a hint, and another run of each makes it surer."
    )


def title(run: Measurement) -> str:
    """Which run it is, in one line."""
    return f"{run.model_id} {run.quantization}, {run.runtime} ({run.binding}), {run.measured_at}"


def _speed(name: str, a: Measurement, b: Measurement) -> Difference:
    phase = name.casefold()
    (_, median_a, _), (_, median_b, _) = _range(phase, a), _range(phase, b)
    return _difference(name, "tok/s", median_a, median_b, *_speed_verdict(phase, a, b))


def _speed_verdict(phase: str, a: Measurement, b: Measurement) -> tuple[bool | None, str]:
    if doubts := [doubt for letter, run in (("A", a), ("B", b)) if (doubt := _doubt(letter, run))]:
        return None, f"cannot be told: {'; '.join(doubts)}"
    ranges = _range(phase, a), _range(phase, b)
    if not all(_known(value) and value > 0 for one in ranges for value in one):
        return None, "cannot be told: spread not kept"
    (low_a, median_a, high_a), (low_b, median_b, high_b) = ranges
    if low_a <= high_b and low_b <= high_a:
        return False, "within the noise: the repeats' ranges overlap"
    usual = max(math.sqrt(2) * spread_of(phase, _backend(run)).between_runs for run in (a, b))
    if abs(math.log(median_b / median_a)) <= usual:
        return False, f"within the noise: two runs of one setup differ by {math.expm1(usual):.0%}"
    return True, f"beyond the noise: {low_a:.1f}–{high_a:.1f} and {low_b:.1f}–{high_b:.1f} tok/s"


def _doubt(letter: str, run: Measurement) -> str:
    """Why nothing can be said of a run's speeds; "" when something can."""
    if run.noisy:
        return f"{letter} is noisy ({run.noise_reason or 'no reason kept'})"
    return f"{letter} has {run.repeats} repeats, fewer than {MIN_REPEATS}" if run.repeats < MIN_REPEATS else ""


def _total(run: Measurement) -> float | None:
    return run.memory.total_bytes if run.memory else None


def _memory_verdict(a: Measurement, b: Measurement) -> tuple[bool | None, str]:
    if a.memory is None or b.memory is None:
        return None, ""
    logged = [one.weights_bytes + one.kv_cache_bytes + one.compute_bytes for one in (a.memory, b.memory)]
    if abs(logged[1] - logged[0]) >= _LOG_STEP_BYTES / 2:
        return True, "a real difference: the load log is exact to 0.01 MiB"
    if a.memory.total_bytes == b.memory.total_bytes:
        return False, "the same"
    return False, "the same buffers: the rest is the runtime's own memory, which varies"


def _difference(
    name: str, unit: str, a: float | None, b: float | None, beyond_noise: bool | None, verdict: str
) -> Difference:
    if not _known(a) or not _known(b):
        a, b = (value if _known(value) else None for value in (a, b))
        return Difference(name, unit, a, b, None, None, "not kept in both runs")
    percent = 100 * (b - a) / a if a > 0 and b > 0 else None
    return Difference(name, unit, a, b, percent, beyond_noise, verdict)


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _range(phase: str, run: Measurement) -> tuple[float, float, float]:
    """Low, median and high of the repeats, tokens per second."""
    if phase == "decode":
        return run.decode_low, run.decode_tokens_per_s, run.decode_high
    return run.prefill_low, run.prefill_tokens_per_s, run.prefill_high


def _backend(run: Measurement) -> str:
    return f"{run.runtime}-{'cpu' if run.settings.gpu_layers == 0 else 'gpu'}"


def _conditions(run: Measurement) -> list[tuple[str, str]]:
    named = [(name, _word(of(run))) for name, of in _CONDITIONS.items()]
    return named + [
        (field.name.replace("_", " "), _word(getattr(run.settings, field.name))) for field in fields(Settings)
    ]


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}"
    return "not kept" if value in ("", None) else str(value)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "s":
        return seconds(value)
    return f"{value / MIB:,.0f} MiB" if unit == "bytes" else f"{value:,.1f} {unit}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(map(_escaped, row))} |" for row in (head, ["---"] * len(head), *rows)]


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
