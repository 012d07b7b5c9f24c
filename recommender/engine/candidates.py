"""Candidates out of the catalog: the question's part that SQL can answer, as columns.

Everything here depends on the need and on coarse facts of the device (which runtimes run there, how large a file
could be), so the result is kept for the next question that has them in common.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recommender.catalog.queries import candidates_per_role
from recommender.engine.ability import Abilities, abilities
from recommender.engine.thinning import best_by_size
from recommender.estimate.rough import with_rough_shapes
from recommender.types import Floats, Need, Task, TextColumn, Texts, VariantColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recommender.catalog.store import Catalog

_TEXT = ("model_id", "quantization", "runtime", "format", "architecture")
_NUMBERS = (
    "file_bytes",
    "tensor_bytes",
    "input_embedding_bytes",
    "output_bytes",
    "read_bytes_per_token",
    "params_total",
    "params_active",
    "n_layer",
    "n_embd",
    "n_vocab",
    "n_head",
    "n_ff",
    "k_full_elements_per_token",
    "v_full_elements_per_token",
    "k_window_elements_per_token",
    "v_window_elements_per_token",
    "window_tokens",
    "state_bytes",
    "repack_x86_bytes",
    "repack_arm_bytes",
    "v_full_even_elements_per_token",
    "v_window_even_elements_per_token",
)


@dataclass(frozen=True)
class Candidates:
    """Rows to judge, best quality first. Arrays have shape (n,)."""

    variants: VariantColumns
    quality: Floats  # 0–100 for this task, after the loss from quantization
    quality_se: Floats
    evidence: Floats
    quant_loss: Floats  # points of it that quantization took
    thinks: NDArray[np.bool_]  # writes thinking tokens before it answers this task
    context_max: Floats  # tokens; NaN where not recorded
    commercial: TextColumn  # yes, conditions, no or ""
    tools: TextColumn  # yes, no or ""
    availability: TextColumn  # file, repo, convert or service
    support: TextColumn  # yes or experimental
    published_bytes: Floats  # of the file below; NaN where its exact size is not known
    repo: TextColumn
    file: TextColumn
    in_pieces: NDArray[np.bool_]  # it was published as several files
    layout: TextColumn  # exact, rough or ""
    base: TextColumn  # the model it was tuned from, or itself
    kinds: tuple[tuple[str, str, str], ...]  # the different (runtime, format, quantization) in the rows
    kind: NDArray[np.int64]  # each row's index into ``kinds``
    superseded_by: TextColumn  # the newer model that takes its place, or ""
    considered: int  # variants × runtimes in the catalog before anything was left out
    left_out: dict[str, int]  # reason → how many the catalog query left out


@dataclass(frozen=True)
class Question:
    """What the catalog query depends on."""

    weights: tuple[tuple[str, float], ...]
    languages: tuple[str, ...]
    language_weight: float
    hybrid_thinks: bool
    roles: tuple[str, ...]
    runtimes: tuple[str, ...]
    outdone: tuple[tuple[str, str], ...]  # (runtime, a better one of the same engine)
    largest_bytes: float
    models: tuple[str, ...]
    quantizations: tuple[str, ...]
    all_quantizations: bool
    convert: bool  # variants that nobody publishes too
    experimental: bool
    prune_above_models: int
    prune_per_size_class: int


def question(
    need: Need,
    task: Task,
    runtimes: tuple[str, ...],
    outdone: tuple[tuple[str, str], ...],
    budget_bytes: float,
    scoring: dict[str, float],
) -> Question:
    """The catalog's part of a need. The size limit is rounded up, so that near budgets share one query."""
    limit = max(budget_bytes, 1.0) * scoring["near_miss_size_ratio"]
    return Question(
        weights=tuple(sorted((name, weight) for name, weight in task.weights.items() if weight)),
        languages=tuple(sorted(set(need.languages))),
        language_weight=scoring["language_weight"] if need.languages else 0.0,
        hybrid_thinks=task.hybrid_thinks,
        roles=tuple(sorted(task.roles)),
        runtimes=tuple(sorted(runtimes)),
        outdone=outdone,
        largest_bytes=2.0 ** math.ceil(math.log2(limit)) if math.isfinite(limit) else math.inf,
        models=tuple(sorted(need.models)),
        quantizations=tuple(sorted(need.quantizations)),
        all_quantizations=need.all_quantizations or bool(need.quantizations),
        convert=need.own_conversion,
        experimental=need.experimental,
        prune_above_models=int(scoring["prune_above_models"]),
        prune_per_size_class=int(scoring["prune_per_size_class"]),
    )


T = TypeVar("T")


class CandidateCache:
    """The last few answers of the catalog's queries, per catalog build.

    What the catalog says of the rows and what it says of the models' abilities are kept apart: another task or
    language changes only the second, which is small.
    """

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Hashable, ...], Any] = OrderedDict()

    def get(self, catalog: Catalog, asked: Question) -> Candidates:
        """The candidates for a question, best quality first."""
        return self._keep(("judged", catalog.fingerprint, asked), lambda: self._judge(catalog, asked))

    def _judge(self, catalog: Catalog, asked: Question) -> Candidates:
        of_models = (asked.weights, asked.languages, asked.language_weight, asked.hybrid_thinks)
        known = self._keep(("abilities", catalog.fingerprint, of_models), lambda: abilities(catalog, *of_models))
        if catalog.count("models") > asked.prune_above_models and not asked.models:
            # Thinning looks at quality, so there the rows depend on the whole question.
            return _judged(_rows(catalog, asked, best_by_size(catalog, asked, known.quality)), known)
        of_rows = replace(asked, weights=(), languages=(), hybrid_thinks=False)
        return _judged(self._keep(("rows", catalog.fingerprint, of_rows), lambda: _rows(catalog, asked, None)), known)

    def _keep(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                known: T = self._kept[key]
                return known
        found = make()
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found


@dataclass(frozen=True)
class _Rows:
    """Candidates before they are judged, and what that takes; arrays have shape (n,)."""

    candidates: Candidates  # without quality
    points: Floats  # of 100, lost by quantization
    model: NDArray[np.int64]  # each row's place among the catalog's models


_ROWS = """
WITH model AS (
    SELECT m.model_id, m.rowid AS place, m.context_max, coalesce(m.commercial_use, '') AS commercial,
           coalesce(m.tool_calling, '') AS tools, coalesce(nullif(m.base_model, ''), m.model_id) AS base,
           coalesce(m.superseded_by, '') AS superseded_by, m.params_total,
           coalesce(m.params_active, m.params_total) AS params_active
    FROM models m
    WHERE CASE WHEN len($models) > 0 THEN m.model_id IN (SELECT unnest($models))
          ELSE m.role IN (SELECT unnest($roles)) END
),
sized AS (
    SELECT v.variant_id, v.model_id, v.format, v.quantization, v.tensor_bytes, coalesce(q.points, 0) AS points,
           v.repack_x86_bytes > 0 AS repacked_x86, v.repack_arm_bytes > 0 AS repacked_arm
    FROM variants v JOIN model USING (model_id)
    LEFT JOIN quant_losses q USING (model_id, quantization)
    WHERE {which}
),
-- Of one model's variants only those that no smaller one equals; file types that llama.cpp repacks run faster for
-- their size, so they are compared among themselves.
useful AS (
    SELECT variant_id, points FROM sized
    QUALIFY $all_quantizations OR points < coalesce(min(points) OVER (
        PARTITION BY model_id, format, repacked_x86, repacked_arm
        ORDER BY tensor_bytes, points, quantization
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 1e9)
),
taken AS (
    SELECT variant_id, t.runtime, t.support, useful.points FROM variant_runtimes t JOIN useful USING (variant_id)
    WHERE t.runtime IN (SELECT unnest($runtimes)) AND ($experimental OR t.support <> 'experimental')
),
pairs AS (SELECT unnest($outdone) AS runtime, unnest($better) AS better),
outdone AS (SELECT taken.variant_id, pairs.runtime FROM taken JOIN pairs ON taken.runtime = pairs.better)
SELECT v.model_id, v.quantization, t.runtime, v.format, coalesce(h.architecture, '') AS architecture,
       v.file_bytes, v.tensor_bytes, v.input_embedding_bytes, v.output_bytes,
       v.read_bytes_per_token, model.params_total, model.params_active,
       h.n_layer, h.n_embd, h.n_vocab, h.n_head, h.n_ff_live AS n_ff,
       h.k_full_elements_per_token, h.v_full_elements_per_token,
       h.k_window_elements_per_token, h.v_window_elements_per_token, h.window_tokens, h.state_bytes,
       h.v_full_even_elements_per_token, h.v_window_even_elements_per_token,
       v.repack_x86_bytes, v.repack_arm_bytes, v.layout = 'exact' AS exact, t.points, model.place,
       model.context_max, model.commercial, model.tools, v.availability, t.support, model.base, model.superseded_by,
       v.published_bytes, v.repo, v.file, coalesce(v.layout, '') AS layout
FROM taken t
ANTI JOIN outdone USING (variant_id, runtime)
JOIN variants v USING (variant_id)
JOIN model USING (model_id)
LEFT JOIN shapes h USING (model_id)
ORDER BY v.model_id, v.quantization, t.runtime
"""
_ALL = """
        (v.tensor_bytes IS NULL OR v.tensor_bytes <= $largest_bytes)
      AND (len($quantizations) = 0 OR v.quantization IN (SELECT unnest($quantizations)))
      AND ($convert OR v.availability <> 'convert')
"""
_CHOSEN = "v.variant_id IN (SELECT unnest($variants))"


def _numbered(keys: Iterable[T]) -> tuple[tuple[T, ...], NDArray[np.int64]]:
    """The different keys, and each row's index into them."""
    known: dict[T, int] = {}
    index = [known.setdefault(key, len(known)) for key in keys]
    return tuple(known), np.array(index, dtype=np.int64)


def _judged(rows: _Rows, models: Abilities) -> Candidates:
    """The rows of models whose ability is known, each with its quality, best first."""
    left = np.maximum(models.quality[rows.model] - rows.points, 0.0)
    known = np.flatnonzero(~np.isnan(left))
    order = known[np.argsort(-left[known], kind="stable")]
    found = replace(
        rows.candidates,
        quality=left,
        quality_se=models.quality_se[rows.model],
        evidence=models.evidence[rows.model],
        quant_loss=rows.points,
        thinks=models.thinks[rows.model],
    )
    return take(found, order)


def take(candidates: Candidates, rows: NDArray[np.int64]) -> Candidates:
    """The same columns for some rows only."""
    columns: dict[str, Any] = {
        name: column[rows] if isinstance(column, np.ndarray) else column.take(rows)
        for name, column in vars(candidates).items()
        if isinstance(column, np.ndarray | TextColumn | VariantColumns)
    }
    return replace(candidates, **columns)


def _rows(catalog: Catalog, asked: Question, variants: list[int] | None) -> _Rows:
    """Candidates of all variants that the question allows, or of these variants only."""
    values: dict[str, Any] = {
        "roles": list(asked.roles),
        "models": list(asked.models),
        "runtimes": list(asked.runtimes),
        "outdone": [runtime for runtime, _ in asked.outdone],
        "better": [better for _, better in asked.outdone],
        "all_quantizations": asked.all_quantizations,
        "experimental": asked.experimental,
    }
    if variants is None:
        which = _ALL
        values |= {
            "largest_bytes": asked.largest_bytes,
            "quantizations": list(asked.quantizations),
            "convert": asked.convert,
        }
    else:
        which = _CHOSEN
        values["variants"] = variants
    rows = catalog.cursor().execute(_ROWS.replace("{which}", which), values).fetchnumpy()
    left_out = 0
    if not asked.models:
        left_out = sum(
            number
            for (role, runtime), number in candidates_per_role(catalog).items()
            if role not in asked.roles and runtime in asked.runtimes
        )

    def text(name: str) -> Texts:
        return np.asarray(rows[name], dtype=object)

    def told(name: str) -> TextColumn:
        return TextColumn.of(text(name))

    def number(name: str) -> Floats:
        found = rows[name]
        if isinstance(found, np.ma.MaskedArray):
            return np.asarray(np.ma.filled(found.astype(np.float64), np.nan), dtype=np.float64)
        return np.asarray(found, dtype=np.float64)

    columns = VariantColumns(
        **{name: text(name) for name in _TEXT},
        **{name: number(name) for name in _NUMBERS},
        exact=number("exact") > 0,
    )
    columns = with_rough_shapes(columns)
    _ = (columns.runtimes, columns.quantizations, columns.models)  # told apart once, for all that take some of the rows
    kinds, kind = _numbered(zip(columns.runtime, columns.format, columns.quantization, strict=True))
    nothing = np.zeros(len(columns))
    candidates = Candidates(
        variants=columns,
        quality=nothing,
        quality_se=nothing,
        evidence=nothing,
        quant_loss=nothing,
        thinks=nothing > 0,
        context_max=number("context_max"),
        commercial=told("commercial"),
        tools=told("tools"),
        availability=told("availability"),
        support=told("support"),
        base=told("base"),
        superseded_by=told("superseded_by"),
        published_bytes=number("published_bytes"),
        repo=told("repo"),
        file=told("file"),
        in_pieces=np.array(["*" in file for file in rows["file"].tolist()], dtype=np.bool_),
        layout=told("layout"),
        kinds=kinds,
        kind=kind,
        considered=catalog.count("candidates"),
        left_out={"role": left_out} if left_out else {},
    )
    return _Rows(candidates, number("points"), np.asarray(rows["place"], dtype=np.int64))
