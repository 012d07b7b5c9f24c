"""Write the error tables of ``recommender evaluate`` into README.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recommender.catalog.store import open_catalog
from recommender.evaluate import Evaluation, evaluate

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- numbers: begin -->\n", "<!-- numbers: end -->\n"


def main() -> None:
    with open_catalog() as catalog:
        table = "\n".join(lines(evaluate(catalog), catalog.date)) + "\n"
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")


def lines(found: Evaluation, date: str) -> Iterator[str]:
    """The figures people ask for first; ``recommender evaluate`` prints all."""
    yield (
        f"Catalog of {date}. Errors are absolute and relative to the truth. Speeds are those of devices that the fit\n"
        "never saw. The rules for compute buffers were worked out on these same loads; weights and cache follow from\n"
        "the architecture alone.\n"
    )
    yield "| What | Judged against | Rows | Median error | 90th percentile | Within 30% | In the 80% range |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    if found.files:
        within = f"File bytes, standard mixes (95% of them within {_percent(found.files.p95_abs_error)})"
        yield _row(within, "published files", found.files)
    for part, table in found.memory.items():
        yield _row(f"Memory: {part.replace('_', ' ')}", "llama.cpp's load log", table)
    for name, table in (("Decode", found.speed.decode), ("Prefill", found.speed.prefill)):
        if table is None:
            continue
        yield _row(name, "published runs", table)
        yield (
            f"| {name}, every device counted once | published runs | {table.devices} devices "
            f"| {_percent(table.device_balanced_median)} | | | |"
        )
        for kind in ("cpu", "gpu", "up to 2B"):
            if kind in table.by_class:
                label = {"cpu": "CPUs", "gpu": "GPUs", "up to 2B": "models up to 2B"}[kind]
                yield _row(f"{name}, {label}", "published runs", table.by_class[kind])
    for name, floor in found.speed.noise_floor.items():
        yield (
            f"| Noise among the {name} rows of one configuration | themselves | {floor.rows} "
            f"| {_percent(floor.median_abs_error)} | {_percent(floor.p90_abs_error)} | | |"
        )
    quality = found.quality
    if quality:
        yield ""
        yield (
            f"Quality, with a fifth of the benchmark scores hidden: {quality.mean_abs_error:.1f} points of 100 mean "
            f"error over {quality.rows} scores ({quality.baseline_mean_abs_error:.1f} for the additive baseline), rank "
            f"correlation within benchmarks {quality.rank_correlation:.2f} "
            f"({quality.baseline_rank_correlation:.2f}), {quality.interval_share:.0%} inside the 80% range."
        )


def _row(name: str, truth: str, table: Any) -> str:
    inside = getattr(table, "interval_share", None)
    return (
        f"| {name} | {truth} | {table.rows} | {_percent(table.median_abs_error)} | {_percent(table.p90_abs_error)} "
        f"| {_percent(table.within_30)} | {_percent(inside) if inside is not None else ''} |"
    )


def _percent(value: float) -> str:
    if value < 0.00005:
        return "< 0.01%"
    return f"{value:.{2 if value < 0.01 else 1 if value < 0.1 else 0}%}"


if __name__ == "__main__":
    main()
