"""Benchmark rows made ready for the ability model: matched to a known benchmark, put on a 0–1 scale, grouped by model.

``catalog/benchmark_types.csv`` says what each benchmark measures and between which scores it runs. Rows that measure
nothing on the list of capabilities (pictures, sound, safety), that were taken on a quantized model, or that repeat
another row are left out.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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

    def share(self, score: float) -> float:
        """``score`` as a share of the way from worst to best; outside 0–1 when it is worse than guessing."""
        return (score - self.worst) / (self.best - self.worst)

    def points(self, share: Floats) -> Floats:
        """The inverse of ``share``, as points of 0–100 where higher is better (a rank is shown as its share)."""
        if self.best < self.worst or self.best < 20:
            return 100.0 * share
        return self.worst + (self.best - self.worst) * share


@dataclass(frozen=True)
class Entity:
    """What a score belongs to: one model in one way of answering."""

    model_id: str
    thinking: float  # 1 thinks before it answers, 0 does not, 0.5 the source does not say


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
    languages: frozenset[str]


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
            f"{path.name}, line {number}: {row['capabilities']!r} must name known capabilities with weights that sum to 1."
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


def _year(value: object) -> float:
    parts = [part for part in re.split(r"\D+", str(value or "")) if part]
    if not parts or not 2015 <= int(parts[0]) <= 2100:
        return math.nan
    month = int(parts[1]) if len(parts) > 1 else 7
    day = int(parts[2]) if len(parts) > 2 else 15
    return int(parts[0]) + (month - 1) / 12 + (day - 1) / 365


def model_facts(models: Iterable[Row], extra_ids: Iterable[str] = ()) -> dict[str, ModelFacts]:
    """Facts of the catalog's models and, as far as their names tell, of other models that have scores."""
    catalog = {str(row["model_id"]): row for row in models}
    families = {family_key(model_id): str(row.get("family") or "") for model_id, row in catalog.items()}
    dates: dict[str, list[float]] = {}
    for row in catalog.values():
        year = _year(row.get("release_date"))
        if not math.isnan(year):
            dates.setdefault(str(row.get("family") or ""), []).append(year)
    facts = {}
    for model_id in (*catalog, *(extra for extra in extra_ids if extra not in catalog)):
        row = catalog.get(model_id, {})
        facts[model_id] = _facts(model_id, row, families, dates)
    return facts


def _facts(model_id: str, row: Row, families: Mapping[str, str], dates: Mapping[str, list[float]]) -> ModelFacts:
    key = family_key(model_id)
    family = str(row.get("family") or "")
    while not family and key:
        family = families.get(key, "")
        key = key.rpartition("-")[0]
    family = family or family_key(model_id)
    total = number(row.get("params_total"))
    total = size_in_name(model_id) if math.isnan(total) else total
    active = number(row.get("params_active"))
    year = _year(row.get("release_date"))
    known = dates.get(family, [])
    words = set(re.split(r"[^a-z0-9]+", model_id.casefold()))
    role = str(row.get("role") or "")
    languages = frozenset(
        part.strip() for part in re.split(r"[,;| ]+", str(row.get("languages") or "")) if part.strip()
    )
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
        languages=languages,
    )


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
    return 0.5 if kind == "hybrid" and mode != "base" else 0.0


def observations(
    benchmarks: Iterable[Row], models: Iterable[Row], types: Iterable[BenchmarkType] | None = None
) -> Observations:
    """The usable rows of ``benchmarks``; each score of one model, benchmark, mode and evaluator is kept once.

    Rows of models outside the catalog are kept: they place the benchmarks on one scale.
    """
    types = tuple(types) if types is not None else read_types()
    by_id = {str(row["model_id"]): row for row in models}
    spelled = {model_id.casefold(): model_id for model_id in by_id}
    rows = list(benchmarks)
    matched: dict[str, BenchmarkType | None] = {}
    base_ids = {str(row["model_id"]) for row in rows if row.get("mode") == "base"} - set(by_id)
    found: dict[tuple[str, float, str, str], list[tuple[float, int]]] = {}
    kinds: dict[str, BenchmarkType] = {}
    for index, row in enumerate(rows):
        name = str(row["benchmark"])
        if name not in matched:
            matched[name] = match_type(name, types)
        kind = matched[name]
        mode = str(row.get("mode") or "")
        share = kind.share(number(row["score"])) if kind is not None and kind.name else math.nan
        if kind is None or not kind.name or math.isnan(share) or "quantised" in mode or "quantized" in mode:
            continue
        if not -0.6 <= share <= 1.0 and kind.best < 20:  # judged 1–10 but given times ten
            share = kind.share(number(row["score"]) / 10)
        if share > 1.0 or share < -0.6:
            continue
        kinds[kind.name] = kind
        model_id = spelled.get(str(row["model_id"]).casefold(), str(row["model_id"]))
        thinking = _thinking(row, by_id.get(model_id, {}))
        found.setdefault((model_id, thinking, kind.name, _protocol(row)), []).append((share, index))
    facts = model_facts(by_id.values(), dict.fromkeys(key[0] for key in found))
    entities = list(dict.fromkeys(Entity(key[0], key[1]) for key in found))
    items = [kinds[name] for name in sorted(kinds)]
    item_index = {kind.name: index for index, kind in enumerate(items)}
    entity_index = {entity: index for index, entity in enumerate(entities)}
    protocols = list(dict.fromkeys((item_index[key[2]], key[3]) for key in found))
    protocol_index = {protocol: index for index, protocol in enumerate(protocols)}
    out = []
    for (model_id, thinking, name, protocol), scores in found.items():
        where = (entity_index[Entity(model_id, thinking)], item_index[name], protocol_index[item_index[name], protocol])
        out += [(*where, share, index) for share, index in {share: (share, index) for share, index in scores}.values()]
    columns = np.array(out, dtype=float).reshape(len(out), 5).T
    model_of = [facts[entity.model_id] for entity in entities]
    model_of = [_as_base(fact) if fact.model_id in base_ids else fact for fact in model_of]
    return Observations(
        entity=columns[0].astype(np.int64),
        item=columns[1].astype(np.int64),
        protocol=columns[2].astype(np.int64),
        share=columns[3],
        entities=tuple(entities),
        facts=tuple(model_of),
        items=tuple(items),
        protocols=tuple(protocols),
        row=columns[4].astype(np.int64),
    )


def _as_base(fact: ModelFacts) -> ModelFacts:
    return replace(fact, base=True)


def _protocol(row: Row) -> str:
    """Who measured, and how where that shifts the scores: base models few-shot, a validation split."""
    mode = str(row.get("mode") or "")
    way = mode if mode in ("base", "val", "zero-shot") else ""
    evaluator = str(row.get("evaluator") or "")
    if evaluator.startswith("model maker"):
        evaluator = "model maker " + str(row["model_id"]).partition("/")[0].casefold()
    return f"{evaluator}|{way}"
