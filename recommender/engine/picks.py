"""From judged rows to what a person reads: picks, their alternatives, and what just missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.catalog.queries import models_by_id
from recommender.engine.reasons import Rival, pick_reasons
from recommender.engine.rules import Case, Verdict
from recommender.engine.scoring import Scores, explain_parts, scoring_numbers
from recommender.engine.words import seconds, size
from recommender.estimate import Estimates
from recommender.estimate.memory import memory_formula
from recommender.runtimes import RuntimeModel, runtime
from recommender.types import (
    Estimate,
    Figure,
    Floats,
    Kinds,
    Memory,
    NearMiss,
    Pick,
    RangeColumns,
    Settings,
    SettingsColumns,
)

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


_BELOW_ALL = 1000.0  # points; a score has at most 100


@dataclass(frozen=True)
class Judged:
    """Rows with their estimates, scores and verdicts; all arrays have shape (n,)."""

    case: Case
    settings: SettingsColumns
    estimates: Estimates
    scores: Scores
    verdicts: Sequence[Verdict]
    failures: NDArray[np.int64]  # how many rules each row breaks

    @cached_property
    def successors(self) -> dict[str, str]:
        """The newer model that takes the place of each model that has one."""
        names, index = self.case.candidates.variants.models
        newer = self.case.candidates.superseded_by
        outdated = np.flatnonzero(~newer.among(""))
        return {names[index[row]]: newer[row] for row in outdated[np.unique(index[outdated], return_index=True)[1]]}

    def models(self, which: NDArray[np.bool_] | NDArray[np.int64] | list[int]) -> set[str]:
        """Ids of the models of some rows."""
        names, index = self.case.candidates.variants.models
        there = np.zeros(len(names), dtype=np.bool_)
        there[index[which]] = True
        return {names[model] for model in np.flatnonzero(there)}


def build_picks(judged: Judged, catalog: Catalog, top: int | None, max_per_base: int = 0) -> tuple[Pick, ...]:
    """The rows that break no rule, best score first; one per model unless all quantizations were asked for.

    ``max_per_base`` limits how many models tuned from one base are shown; 0 means no limit.
    """
    every = judged.case.need.all_quantizations
    rows = np.flatnonzero(judged.failures == 0)
    order = _without_superseded(judged, _best_first(judged, rows if every else _best_of_models(judged, rows)))
    chosen: list[int] = []
    limited = iter(order) if every else _one_per_model(judged, order, max_per_base)
    for row in limited:
        if top is not None and len(chosen) >= top:
            break
        chosen.append(row)
    builder = _Builder(judged, catalog, chosen)
    picks = [builder.pick(row) for row in chosen]
    return tuple(
        replace(
            pick,
            reasons=pick_reasons(
                judged.case,
                picks,
                place,
                bool(judged.case.candidates.thinks[row]),
                None if place else _rivals(judged, row),
            ),
        )
        for place, (pick, row) in enumerate(zip(picks, chosen, strict=True))
    )


def _rivals(judged: Judged, row: int) -> tuple[Rival, ...]:
    """The best fitting row of the same model with each other engine, best score first."""
    variants = judged.case.candidates.variants
    model_of_row = variants.models[1]
    same = (model_of_row == model_of_row[row]) & (judged.failures == 0)
    engines = {memory_formula(str(variants.runtime[row]))}
    found = []
    for other in sorted(np.flatnonzero(same), key=lambda other: -judged.scores.total[other]):
        engine = memory_formula(str(variants.runtime[other]))
        if engine not in engines:
            engines.add(engine)
            decode = float(judged.estimates.decode.value[other])
            found.append(
                Rival(
                    judged.case.runtimes[variants.runtime[other]].row.name,
                    str(variants.quantization[other]) or "the service's weights",
                    decode if np.isfinite(decode) else None,
                    float(judged.case.candidates.quality[other]),
                )
            )
    return tuple(rival for rival in found if rival.decode_tokens_per_s is not None)


def build_one(judged: Judged, catalog: Catalog, row: int) -> Pick:
    """One row as a pick, whether or not it breaks a rule."""
    return _Builder(judged, catalog, [row]).pick(row)


def near_misses(
    judged: Judged, catalog: Catalog, numbers: dict[str, float], picks: Sequence[Pick] = ()
) -> tuple[NearMiss, ...]:
    """Rows that break exactly one rule: of each model the one that needs the smallest change, best models first.

    What is clearly weaker than the first pick is no loss and is left out. So are models that fit in another
    quantization or whose successor fits, and no rule takes more than half of the places.
    """
    fitting = judged.models(judged.failures == 0)
    passed_over = fitting | _outdated(judged, fitting)
    worth = picks[0].quality - numbers["near_miss_points"] if picks else -np.inf
    names, model_of_row = judged.case.candidates.variants.models
    seen = np.array([name not in passed_over for name in names], dtype=np.bool_)[model_of_row]
    rows = np.flatnonzero((judged.failures == 1) & (judged.case.candidates.quality >= worth) & seen)
    rule_of_row = np.argmax([verdict.fails[rows] for verdict in judged.verdicts], axis=0)
    short = np.array([verdict.short_by[rows] for verdict in judged.verdicts])[rule_of_row, np.arange(len(rows))]
    # What needs twice the memory has not just missed.
    furthest_bytes = judged.case.free_bytes * (numbers["near_miss_size_ratio"] - 1)
    in_bytes = np.array([verdict.unit == "bytes" for verdict in judged.verdicts])[rule_of_row]
    just = np.flatnonzero(~in_bytes | (short <= furthest_bytes))
    just = just[np.lexsort((rows[just], short[just], model_of_row[rows[just]]))]
    first = np.unique(model_of_row[rows[just]], return_index=True)[1]  # of each model
    by_row = {int(rows[place]): judged.verdicts[rule_of_row[place]] for place in just[first]}
    limit = int(numbers["near_misses"])
    chosen: list[int] = []
    by_rule: Counter[str] = Counter()
    for row in _best_first(judged, np.array(sorted(by_row), dtype=np.int64)):
        rule = by_row[row].rule
        if by_rule[rule] * 2 >= limit:
            continue
        by_rule[rule] += 1
        chosen.append(row)
        if len(chosen) == limit:
            break
    builder = _Builder(judged, catalog, chosen)
    return tuple(
        NearMiss(
            builder.pick(row),
            by_row[row].rule,
            by_row[row].reason(row),
            float(by_row[row].short_by[row]),
            by_row[row].unit,
            by_row[row].change(row),
        )
        for row in chosen
    )


def alternatives(
    picks: Sequence[Pick], missed: Sequence[NearMiss], numbers: dict[str, float]
) -> tuple[tuple[str, Pick], ...]:
    """At most two other ways to go, each with its trade in a sentence: a faster one, and a better one."""
    if not picks:
        return ()
    first = picks[0]
    found = []
    answer_s = _answer_s(first)
    faster = [
        pick
        for pick in picks[1:]
        if _answer_s(pick) < np.inf
        and _answer_s(pick) <= answer_s * numbers["faster_ratio"]
        and pick.quality < first.quality
    ]
    if faster:
        pick = max(faster, key=lambda pick: pick.score)
        trade = f"{seconds(_answer_s(pick))} instead of {seconds(answer_s)} an answer"
        found.append((f"Faster, weaker: {trade}, quality {pick.quality:.0f} instead of {first.quality:.0f}", pick))
    better = [pick for pick in picks[1:] if pick.quality >= first.quality + numbers["better_points"]]
    lacking = [
        miss
        for miss in missed
        if miss.rule == "memory" and miss.pick.quality >= first.quality + numbers["better_points"]
    ]
    if better:
        pick = max(better, key=lambda pick: pick.score)
        price, trade = _price(first, pick)
        found.append((f"Better, {price}: {trade}, quality {pick.quality:.0f} instead of {first.quality:.0f}", pick))
    elif lacking:
        miss = min(lacking, key=lambda miss: miss.short_by)
        quality = f"quality {miss.pick.quality:.0f} instead of {first.quality:.0f}"
        found.append((f"Better, needs {size(miss.short_by)} more memory: {quality}", miss.pick))
    return tuple(found)


def _price(first: Pick, better: Pick) -> tuple[str, str]:
    """What a better pick costs beside the first: time, else memory, else certainty."""
    if _answer_s(better) > _answer_s(first):
        return "slower", f"{seconds(_answer_s(better))} instead of {seconds(_answer_s(first))} an answer"
    if _resident_bytes(better) > _resident_bytes(first):
        return "larger", f"{size(_resident_bytes(better))} instead of {size(_resident_bytes(first))} of memory"
    return "less sure", f"a standard error of {better.quality_se:.1f} instead of {first.quality_se:.1f} points"


def _resident_bytes(pick: Pick) -> float:
    memory = pick.estimate.memory
    return 0.0 if memory is None else memory.charged_bytes


def _answer_s(pick: Pick) -> float:
    figure = pick.estimate.answer_time_s
    return float("inf") if figure is None else figure.value


def _best_first(judged: Judged, rows: NDArray[np.int64]) -> list[int]:
    """Rows by score, then by name, so that equal scores never change places between runs.

    What is too weak for the task comes after everything else, however fast and small, unless the person named it.
    """
    variants = judged.case.candidates.variants
    total, weak = _rank(judged, rows)
    order = np.lexsort((_by_name(variants.quantizations, rows), _by_name(variants.runtimes, rows), -total, weak))
    found: list[int] = rows[order].tolist()
    return found


def _rank(judged: Judged, rows: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """Score of some rows, and whether they are too weak for the task."""
    weak = judged.case.candidates.quality[rows] < scoring_numbers()["least_quality"]
    return np.round(judged.scores.total[rows], 9), weak & (not judged.case.need.models)


def _best_of_models(judged: Judged, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that may come first of their model: sorting all takes longer than looking for these."""
    names, model_of_row = judged.case.candidates.variants.models
    total, weak = _rank(judged, rows)
    value = np.where(weak, total - _BELOW_ALL, total)
    best = np.full(len(names), -np.inf)
    np.maximum.at(best, model_of_row[rows], value)
    return np.compress(value == best[model_of_row[rows]], rows)


def _by_name(kinds: Kinds, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's place in the alphabet of its kind."""
    names, index = kinds
    place = {name: place for place, name in enumerate(sorted(names))}
    return np.array([place[name] for name in names], dtype=np.int64)[index[rows]]


def _without_superseded(judged: Judged, rows: list[int]) -> list[int]:
    """Leave out models whose successor is among the rows too: where only the older one fits, it stays."""
    model_ids = judged.case.candidates.variants.model_id
    outdated = _outdated(judged, judged.models(rows))
    return [row for row in rows if model_ids[row] not in outdated]


def _outdated(judged: Judged, fitting: set[str]) -> set[str]:
    """Models with a successor among those that fit; none where the person named the models."""
    if judged.case.need.models:
        return set()

    def newer_fits(model: str) -> bool:
        newer = judged.successors.get(model, "")
        return bool(newer) and (newer in fitting or newer_fits(newer))

    return {model for model in judged.successors if newer_fits(model)}


def _one_per_model(judged: Judged, rows: Iterable[int], max_per_base: int) -> Iterator[int]:
    seen: set[str] = set()
    per_base: Counter[str] = Counter()
    variants = judged.case.candidates.variants
    for row in rows:
        model, base = variants.model_id[row], judged.case.candidates.base[row]
        if model in seen or (max_per_base and per_base[base] >= max_per_base):
            continue
        seen.add(model)
        per_base[base] += 1
        yield row


WITHOUT_SHELL = ("ios",)
_LAYOUTS = {"exact": "exact layout", "rough": "rough estimate"}


@dataclass(frozen=True)
class _Variant:
    """Where a row's file is, as ``RuntimeModel.of`` reads it."""

    format: str
    repo: str
    file: str


class _Builder:
    """Makes picks of rows; what the catalog says about them is read once for all."""

    def __init__(self, judged: Judged, catalog: Catalog, rows: Sequence[int]) -> None:
        self._judged = judged
        self._models = models_by_id(catalog, {judged.case.candidates.variants.model_id[row] for row in rows})

    def pick(self, row: int) -> Pick:
        judged = self._judged
        rows = judged.case.candidates
        variants = rows.variants
        model = self._models[variants.model_id[row]]
        variant = _Variant(variants.format[row], rows.repo[row], rows.file[row])
        managed = variants.format[row] == "managed"
        pick = Pick(
            model_id=model.model_id,
            name=model.name,
            family=model.family,
            tier=model.tier,
            quantization=None if managed else variants.quantization[row],
            runtime=variants.runtime[row],
            settings=None if managed else self._settings(row),
            estimate=self._estimate(row, managed),
            quality=float(rows.quality[row]),
            quality_se=float(rows.quality_se[row]),
            quality_evidence=int(rows.evidence[row]),
            score=float(judged.scores.total[row]),
            score_parts=judged.scores.parts(row, explain_parts(judged.case, judged.estimates, row)),
            reasons=(),
            command="",
            license=model.license or "",
            file_repo=rows.repo[row],
            file_name=rows.file[row],
            experimental=rows.support[row] == "experimental",
            accelerator=judged.case.placement.at(row),
        )
        return replace(pick, command=self._command(pick, RuntimeModel.of(model, variant)))

    def _command(self, pick: Pick, model: RuntimeModel) -> str:
        """The command for the accelerator that the estimate is for; where no shell runs one, a line that says so."""
        case = self._judged.case
        command = runtime(pick.runtime).command(pick, model, pick.accelerator)
        if case.device.os in WITHOUT_SHELL:
            where = f"{model.repo}/{model.file}".strip("/") if model.repo else model.base_repo
            return f"# {case.device.os} runs no commands: load {where} in an app built on {runtime(pick.runtime).name}"
        return command

    def _settings(self, row: int) -> Settings:
        columns = self._judged.settings
        return Settings(
            context_tokens=int(columns.context_tokens[row]),
            kv_type=str(columns.kv_type[row]),
            batch_tokens=int(columns.batch_tokens[row]),
            ubatch_tokens=int(columns.ubatch_tokens[row]),
            parallel=int(columns.parallel[row]),
            threads=int(columns.threads[row]),
            gpu_layers=gpu_layers_of(self._judged.estimates, row),
            flash_attn=bool(columns.flash_attn[row]),
        )

    def _estimate(self, row: int, managed: bool) -> Estimate:
        estimates, rows = self._judged.estimates, self._judged.case.candidates
        if managed:
            return Estimate(None, "managed service", None, None, None, None, None)
        published = float(rows.published_bytes[row])
        known = np.isfinite(published)
        return Estimate(
            file_bytes=published if known else float(rows.variants.file_bytes[row]),
            file_provenance=("published file" if rows.repo[row] else "the file itself")
            if known
            else _LAYOUTS.get(rows.layout[row], ""),
            memory=memory_of(estimates, row, exact=bool(rows.variants.exact[row])),
            prefill_tokens_per_s=figure(estimates.prefill, row),
            decode_tokens_per_s=figure(estimates.decode, row),
            ttft_s=figure(estimates.ttft, row),
            answer_time_s=figure(estimates.answer_time, row),
            load_s=figure(estimates.load, row),
        )


def gpu_layers_of(estimates: Estimates, row: int) -> int:
    """Layers on a GPU; 0 for runtimes that do not split by layer."""
    layers = float(estimates.memory.gpu_layers[row])
    return int(layers) if np.isfinite(layers) else 0


def memory_of(estimates: Estimates, row: int, exact: bool) -> Memory:
    """One row's memory by part."""
    columns = estimates.memory
    names = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "overhead_bytes", "total_bytes")
    parts = {name: float(getattr(columns, name)[row]) for name in (*names, "reclaimable_bytes", "gpu_bytes")}
    return Memory(**parts, provenance="estimated" if exact else "rough estimate")


def figure(columns: RangeColumns, row: int) -> Figure | None:
    """One row's value with its range; ``None`` where there is none."""
    value = float(columns.value[row])
    if not np.isfinite(value):
        return None
    return Figure(value, float(columns.low[row]), float(columns.high[row]), "estimated")
