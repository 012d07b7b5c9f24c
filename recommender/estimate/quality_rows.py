"""Benchmark rows made ready for the ability model: matched to a known benchmark, put on a 0–1 scale, grouped by model.

``catalog/benchmark_types.csv`` says what each benchmark measures and between which scores it runs. Rows that measure
nothing on the list of capabilities (pictures, sound, safety), that were taken on a quantized model, or that repeat
another row are left out.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import CatalogError
from recommender.estimate.names import family_key, size_in_name
from recommender.paths import catalog_dir
from recommender.types import Floats

Row = Mapping[str, Any]
Ints = NDArray[np.int64]

_family_key = lru_cache(maxsize=65536)(family_key)  # asked for three times per model

FEWEST_MODELS = 3  # a benchmark that fewer models took cannot be placed beside the others
UNSAID = 0.5  # thinking: the source does not say

CAPABILITIES = ("general", "reasoning", "math", "code", "instruction", "multilingual", "tools", "long_context")


@dataclass(frozen=True)
class BenchmarkType:
    """One line of ``benchmark_types.csv``. ``worst`` is what guessing gets (or the worst rank), ``best`` the top."""

    name: str  # "" where its rows are left out
    pattern: re.Pattern[str]
    capabilities: Mapping[str, float]  # shares that sum to 1
    worst: float
    best: float
    reference: bool  # part of the mix that the 0–100 scale is read on

    @property
    def ranks(self) -> bool:
        """Lower is better: a mean rank."""
        return self.best < self.worst

    @property
    def judged(self) -> bool:
        """Marks out of ten; some makers give them times ten."""
        return self.best == 10

    def share_of_score(self, score: float) -> float:
        """How far ``score`` is from worst to best, a little below 0 when worse than guessing; NaN when impossible."""
        if self.judged and score > self.best:
            score /= 10
        share = (score - self.worst) / (self.best - self.worst)
        return share if -0.6 <= share <= 1.0 else math.nan

    def points(self, share: Floats) -> Floats:
        """The inverse, in points of 0–100 where higher is better; ranks and marks are shown as their share."""
        if self.ranks or self.judged:
            return 100.0 * share
        return self.worst + (self.best - self.worst) * share


@dataclass(frozen=True)
class Entity:
    """What a score belongs to: one model in one way of answering."""

    model_id: str
    thinking: float  # 1 thinks before it answers, 0 does not, UNSAID


@dataclass(frozen=True)
class ModelFacts:
    """What the prior knows of a model."""

    model_id: str
    maker: str
    family: str
    lineage: str  # family and size: base, instruct and thinking versions share it
    params_total: float  # NaN where unknown
    params_active: float
    released: float  # year with fraction, NaN where unknown
    base: bool
    code: bool
    vision: bool
    translation: bool


@dataclass(frozen=True)
class Observations:
    """Scores as arrays of shape (n,), with what their indices stand for."""

    entity: Ints
    item: Ints
    protocol: Ints
    share: Floats  # 0–1, not clipped
    entities: tuple[Entity, ...]
    facts: tuple[ModelFacts, ...]  # of each entity's model
    items: tuple[BenchmarkType, ...]
    protocols: tuple[tuple[int, str], ...]  # item and who measured it how
    row: Ints  # index into the rows that were given

    def __len__(self) -> int:
        return len(self.share)


def read_types(path: Path | None = None) -> tuple[BenchmarkType, ...]:
    """The benchmark types of the catalog, in order: the first pattern that matches a name is its type."""
    path = path or catalog_dir() / "benchmark_types.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_type(row, number, path) for number, row in enumerate(csv.DictReader(file), start=2))


def _type(row: Row, number: int, path: Path) -> BenchmarkType:
    try:
        pattern = re.compile(row["pattern"], re.IGNORECASE)
        parts = [part.rpartition(":") for part in row["capabilities"].split(";") if part]
        capabilities = {name: float(weight) for name, _, weight in parts}
        worst, best = float(row["worst"] or 0), float(row["best"] or 100)
    except (ValueError, re.error) as error:
        raise CatalogError(
            f"{path.name}, line {number}: {error}. Write patterns and numbers as in the lines above."
        ) from error
    known = all(name in CAPABILITIES or name.startswith("lang:") for name in capabilities)
    if not known or (row["benchmark"] and not math.isclose(sum(capabilities.values()), 1.0)):
        raise CatalogError(
            f"{path.name}, line {number}: {row['capabilities']!r} must be known capabilities; their weights sum to 1."
        )
    return BenchmarkType(row["benchmark"], pattern, capabilities, worst, best, row["reference"] == "yes")


def match_type(benchmark: str, types: Iterable[BenchmarkType]) -> BenchmarkType | None:
    """The type of a benchmark's name; None for an unknown name."""
    return next((kind for kind in types if kind.pattern.fullmatch(benchmark.strip())), None)


def number(value: object) -> float:
    """A number from a CSV cell or a typed value; NaN for an empty or unreadable one."""
    try:
        return float(value) if value is not None and value != "" else math.nan  # type: ignore[arg-type]
    except ValueError:
        return math.nan


@lru_cache(maxsize=4096)
def _year(date: str) -> float:
    parts = [part for part in re.split(r"\D+", date) if part]
    if not parts or not 2015 <= int(parts[0]) <= 2100:
        return math.nan
    month = int(parts[1]) if len(parts) > 1 else 7
    day = int(parts[2]) if len(parts) > 2 else 15
    return int(parts[0]) + (month - 1) / 12 + (day - 1) / 365


def model_facts(models: Iterable[Row], ids: Iterable[str]) -> dict[str, ModelFacts]:
    """Facts of models of the catalog and, as far as their names tell, of others that have scores."""
    catalog = {str(row["model_id"]): row for row in models}
    families = {_family_key(model_id): str(row.get("family") or "") for model_id, row in catalog.items()}
    dates: dict[str, list[float]] = {}
    for row in catalog.values():
        year = _year(str(row.get("release_date") or ""))
        if not math.isnan(year):
            dates.setdefault(str(row.get("family") or ""), []).append(year)
    return {model_id: _facts(model_id, catalog.get(model_id, {}), families, dates) for model_id in ids}


def _facts(model_id: str, row: Row, families: Mapping[str, str], dates: Mapping[str, list[float]]) -> ModelFacts:
    key = _family_key(model_id)
    family = str(row.get("family") or "")
    while not family and key:
        family = families.get(key, "")
        key = key.rpartition("-")[0]
    family = family or _family_key(model_id)
    total = number(row.get("params_total"))
    total = size_in_name(model_id) if math.isnan(total) else total
    active = number(row.get("params_active"))
    year = _year(str(row.get("release_date") or ""))
    known = dates.get(family, [])
    words = set(re.split(r"[^a-z0-9]+", model_id.casefold()))
    role = str(row.get("role") or "")
    return ModelFacts(
        model_id=model_id,
        maker=model_id.partition("/")[0].casefold(),
        family=family,
        lineage=f"{family} {total / 1e9:.1f}B" if not math.isnan(total) else model_id,
        params_total=total,
        params_active=total if math.isnan(active) else active,
        released=year if not math.isnan(year) else float(np.mean(known)) if known else math.nan,
        base=role == "base" or bool(words & {"base", "pt"}),
        code=role == "code" or bool(words & {"code", "coder"}),
        vision=role == "vision" or bool(words & {"vl", "vision"}),
        translation=role == "translation",
    )


def _id(row: Row) -> str:
    """The model of a row: the catalog's id where the row stands under a renamed or repackaged one."""
    return str(row.get("catalog_model_id") or row["model_id"])


def _thinking(row: Row, model: Row) -> float:
    kind = str(model.get("thinking") or "")
    suffix = str(row.get("name_at_source") or "").partition("#")[2].split(" ")[0]
    mode = str(row.get("mode") or "")
    words = set(re.split(r"[^a-z0-9]+", str(row["model_id"]).casefold()))
    if kind == "yes":
        return 1.0
    if kind == "no":
        return 0.0
    if mode == "non-thinking" or suffix == "no-thinking":
        return 0.0
    if (
        mode == "thinking"
        or suffix in ("thinking", "low", "medium", "high")
        or words & {"thinking", "think", "reasoning"}
    ):
        return 1.0
    return UNSAID if kind == "hybrid" and mode != "base" else 0.0


@dataclass(frozen=True)
class _Score:
    entity: Entity
    kind: BenchmarkType
    protocol: str
    share: float
    row: int


def observations(
    benchmarks: Iterable[Row], models: Iterable[Row], types: Iterable[BenchmarkType] | None = None
) -> Observations:
    """The usable rows of ``benchmarks``, one per measurement: a figure that is quoted twice counts once.

    Rows of models outside the catalog are kept, because they place the benchmarks on one scale, unless their size is
    unknown: those are mostly not text generators, and teach the prior nothing.
    """
    catalog = {str(row["model_id"]): row for row in models}
    rows = list(benchmarks)
    scores = _scores(rows, catalog, tuple(types) if types is not None else read_types())
    facts = model_facts(catalog.values(), dict.fromkeys(score.entity.model_id for score in scores))
    scores = [score for score in scores if not math.isnan(facts[score.entity.model_id].params_total)]
    models_of: dict[str, set[str]] = defaultdict(set)
    for score in scores:
        models_of[score.kind.name].add(score.entity.model_id)
    scores = [score for score in scores if len(models_of[score.kind.name]) >= FEWEST_MODELS]
    # measured with few-shot prompts only, and not in the catalog: a base model whatever its name says
    base_ids = {_id(row) for row in rows if "base" in (row.get("mode"), row.get("model_kind"))} - set(catalog)
    entities = list(dict.fromkeys(score.entity for score in scores))
    items = sorted({score.kind.name: score.kind for score in scores}.values(), key=lambda kind: kind.name)
    item_index = {kind.name: index for index, kind in enumerate(items)}
    entity_index = {entity: index for index, entity in enumerate(entities)}
    protocols = list(dict.fromkeys((item_index[score.kind.name], score.protocol) for score in scores))
    protocol_index = {protocol: index for index, protocol in enumerate(protocols)}
    of_item = np.array([item_index[score.kind.name] for score in scores], dtype=np.int64)
    of_protocol = [protocol_index[item, score.protocol] for item, score in zip(of_item, scores, strict=True)]
    return Observations(
        entity=np.array([entity_index[score.entity] for score in scores], dtype=np.int64),
        item=of_item,
        protocol=np.array(of_protocol, dtype=np.int64),
        share=np.array([score.share for score in scores], dtype=np.float64),
        entities=tuple(entities),
        facts=tuple(
            replace(facts[entity.model_id], base=facts[entity.model_id].base or entity.model_id in base_ids)
            for entity in entities
        ),
        items=tuple(items),
        protocols=tuple(protocols),
        row=np.array([score.row for score in scores], dtype=np.int64),
    )


def _scores(rows: Sequence[Row], catalog: Mapping[str, Row], types: Sequence[BenchmarkType]) -> list[_Score]:
    spelled = {model_id.casefold(): model_id for model_id in catalog}
    matched = {name: match_type(name, types) for name in dict.fromkeys(str(row["benchmark"]) for row in rows)}
    found: dict[tuple[str, str, float], _Score] = {}
    for index, row in enumerate(rows):
        kind = matched[str(row["benchmark"])]
        mode = str(row.get("mode") or "")
        if kind is None or not kind.name or "quantised" in mode or str(row.get("variant") or "").startswith("q"):
            continue
        if row.get("model_kind") == "encoder":  # trained on each task, so not comparable
            continue
        share = kind.share_of_score(number(row["score"]))
        if math.isnan(share):
            continue
        model_id = spelled.get(_id(row).casefold(), _id(row))
        score = _Score(Entity(model_id, _thinking(row, catalog.get(model_id, {}))), kind, _protocol(row), share, index)
        known = found.setdefault((model_id, kind.name, round(share, 5)), score)
        if known.entity.thinking == UNSAID:  # the same figure, from a source that says how it was measured
            found[model_id, kind.name, round(share, 5)] = score
    return list(found.values())


def _protocol(row: Row) -> str:
    """Who measured, and how where that shifts the scores: few-shot, a validation split, a variant's name."""
    mode = str(row.get("mode") or "")
    way = mode if mode in ("base", "val", "zero-shot") else str(row["benchmark"]).casefold()
    evaluator = str(row.get("evaluator") or "")
    if evaluator.startswith("model maker"):
        evaluator = "model maker " + _id(row).partition("/")[0].casefold()
    return f"{evaluator}|{way}"
