"""Candidates out of the catalog: the question's part that SQL can answer, as columns.

Everything here depends on the need and on coarse facts of the device (which runtimes run there, how large a file
could be), so the result is kept for the next question that has them in common.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from recommender.types import Floats, Need, Task, Texts, VariantColumns

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
    thinks: NDArray[np.bool_]  # writes thinking tokens before it answers this task
    context_max: Floats  # tokens; NaN where not recorded
    commercial: Texts  # yes, conditions, no or ""
    tools: Texts  # yes, no or ""
    availability: Texts  # file, repo, convert or service
    support: Texts  # yes or experimental
    published_bytes: Floats  # of the file below; NaN where its exact size is not known
    repo: Texts
    file: Texts
    layout: Texts  # exact, rough or ""
    base: Texts  # the model it was tuned from, or itself
    kinds: tuple[tuple[str, str, str], ...]  # the different (runtime, format, quantization) in the rows
    kind: NDArray[np.int64]  # each row's index into ``kinds``
    superseded_by: Texts  # the newer model that takes its place, or ""
    considered: int  # variants × runtimes in the catalog before anything was left out
    left_out: dict[str, int]  # reason → how many the catalog query left out

    @property
    def runtime_names(self) -> set[str]:
        return {runtime for runtime, _, _ in self.kinds}


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
        language_weight=scoring["language_weight"],
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


class CandidateCache:
    """The last few answers of the catalog query, per catalog build."""

    def __init__(self, size: int = 32) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, Question], Candidates] = OrderedDict()

    def get(self, catalog: Catalog, asked: Question) -> Candidates:
        key = (catalog.fingerprint, asked)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = _query(catalog, asked)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found


_SQL = """
WITH task_weights AS (SELECT unnest($capabilities) AS capability, unnest($weights) AS weight),
-- A hybrid model that thinks on this task has the abilities measured that way.
mode AS (
    SELECT model_id, CASE WHEN thinking = 'hybrid' AND $hybrid_thinks THEN '@thinking' ELSE '' END AS suffix FROM models
),
ability AS (
    SELECT a.model_id,
           sum(w.weight * a.score) AS score,
           sum(w.weight * a.standard_error) AS standard_error,
           sum(a.evidence) AS evidence
    FROM mode JOIN abilities a USING (model_id) JOIN task_weights w ON a.capability = w.capability || mode.suffix
    GROUP BY a.model_id
),
wanted AS (SELECT unnest($languages) AS language),
spoken AS (
    SELECT m.model_id,
           avg(coalesce(l.score, g.score)) AS score,
           avg(coalesce(l.standard_error, g.standard_error)) AS standard_error,
           sum(coalesce(l.evidence, 0)) AS evidence
    FROM mode m CROSS JOIN wanted
    LEFT JOIN abilities l ON l.model_id = m.model_id AND l.capability = 'lang:' || wanted.language || m.suffix
    LEFT JOIN abilities g ON g.model_id = m.model_id AND g.capability = 'multilingual' || m.suffix
    GROUP BY m.model_id
),
model AS (
    SELECT m.model_id, m.context_max, coalesce(m.commercial_use, '') AS commercial,
           coalesce(m.tool_calling, '') AS tools, coalesce(nullif(m.base_model, ''), m.model_id) AS base,
           (m.thinking = 'yes' OR ($hybrid_thinks AND m.thinking = 'hybrid')) AS thinks,
           coalesce(m.superseded_by, '') AS superseded_by, m.params_total,
           coalesce(m.params_active, m.params_total) AS params_active,
           a.score * (1 - $language_weight) + coalesce(s.score, a.score) * $language_weight AS quality,
           a.standard_error * (1 - $language_weight)
                + coalesce(s.standard_error, a.standard_error) * $language_weight AS quality_se,
           a.evidence + coalesce(s.evidence, 0) AS evidence
    FROM models m JOIN ability a USING (model_id) LEFT JOIN spoken s USING (model_id)
    WHERE CASE WHEN len($models) > 0 THEN m.model_id IN (SELECT unnest($models))
          ELSE m.role IN (SELECT unnest($roles)) END
),
sized AS (
    SELECT v.*, model.* EXCLUDE (model_id), greatest(model.quality - coalesce(q.points, 0), 0) AS quality_left,
           row_number() OVER (PARTITION BY v.format, round(4 * log2(greatest(v.tensor_bytes, 1)))
                              ORDER BY quality_left DESC, v.model_id) AS place
    FROM variants v JOIN model USING (model_id)
    LEFT JOIN quant_losses q USING (model_id, quantization)
    WHERE (v.tensor_bytes IS NULL OR v.tensor_bytes <= $largest_bytes)
      AND (len($quantizations) = 0 OR v.quantization IN (SELECT unnest($quantizations)))
      AND ($convert OR v.availability <> 'convert')
),
-- Of one model's variants only those that no smaller one equals; file types that llama.cpp repacks run faster for
-- their size, so they are compared among themselves.
useful AS (
    FROM sized
    QUALIFY $all_quantizations OR quality_left > coalesce(max(quality_left) OVER (
        PARTITION BY model_id, format, repack_x86_bytes > 0, repack_arm_bytes > 0
        ORDER BY tensor_bytes, quality_left DESC, quantization
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), -1)
),
pairs AS (SELECT unnest($outdone) AS runtime, unnest($better) AS better),
outdone AS (
    SELECT b.model_id, b.format, b.quantization, pairs.runtime FROM candidates b JOIN pairs ON b.runtime = pairs.better
    WHERE $experimental OR b.support <> 'experimental'
)
SELECT c.model_id, c.quantization, c.runtime, c.format, coalesce(h.architecture, '') AS architecture,
       sized.file_bytes, sized.tensor_bytes, sized.input_embedding_bytes, sized.output_bytes,
       sized.read_bytes_per_token, sized.params_total, sized.params_active,
       h.n_layer, h.n_embd, h.n_vocab, h.n_head, h.n_ff_live AS n_ff,
       h.k_full_elements_per_token, h.v_full_elements_per_token,
       h.k_window_elements_per_token, h.v_window_elements_per_token, h.window_tokens, h.state_bytes,
       h.v_full_even_elements_per_token, h.v_window_even_elements_per_token,
       sized.repack_x86_bytes, sized.repack_arm_bytes,
       sized.layout = 'exact' AS exact, sized.quality_left AS quality, sized.quality_se, sized.evidence,
       coalesce(sized.thinks, FALSE) AS thinks, sized.context_max, sized.commercial, sized.tools,
       sized.availability, c.support, sized.base, sized.superseded_by,
       sized.published_bytes, sized.repo, sized.file, coalesce(sized.layout, '') AS layout
FROM candidates c
JOIN useful AS sized USING (model_id, format, quantization)
ANTI JOIN outdone o USING (model_id, format, quantization, runtime)
LEFT JOIN shapes h USING (model_id)
WHERE c.runtime IN (SELECT unnest($runtimes))
  AND ($experimental OR c.support <> 'experimental')
  AND (sized.place <= $per_class OR NOT $prune)
ORDER BY quality DESC, c.model_id, c.quantization, c.runtime
"""

_LEFT_OUT = """
SELECT 'role', count(*) FROM candidates c JOIN models m USING (model_id)
WHERE m.role NOT IN (SELECT unnest($roles)) AND c.runtime IN (SELECT unnest($runtimes))
"""


def _kinds(variants: VariantColumns) -> tuple[tuple[tuple[str, str, str], ...], NDArray[np.int64]]:
    """The different (runtime, format, quantization) and each row's index into them."""
    known: dict[tuple[str, str, str], int] = {}
    index = [
        known.setdefault(key, len(known))
        for key in zip(variants.runtime, variants.format, variants.quantization, strict=True)
    ]
    return tuple(known), np.array(index, dtype=np.int64)


def _query(catalog: Catalog, asked: Question) -> Candidates:
    cursor = catalog.cursor()
    models = catalog.count("models")
    rows = cursor.execute(
        _SQL,
        {
            "capabilities": [name for name, _ in asked.weights],
            "weights": [weight for _, weight in asked.weights],
            "languages": list(asked.languages),
            "language_weight": asked.language_weight if asked.languages else 0.0,
            "hybrid_thinks": asked.hybrid_thinks,
            "roles": list(asked.roles),
            "models": list(asked.models),
            "quantizations": list(asked.quantizations),
            "runtimes": list(asked.runtimes),
            "outdone": [runtime for runtime, _ in asked.outdone],
            "better": [better for _, better in asked.outdone],
            "largest_bytes": asked.largest_bytes,
            "all_quantizations": asked.all_quantizations,
            "convert": asked.convert,
            "experimental": asked.experimental,
            "prune": models > asked.prune_above_models and not asked.models,
            "per_class": asked.prune_per_size_class,
        },
    ).fetchnumpy()
    left_out = {}
    if not asked.models:
        left_out = dict(
            catalog.cursor()
            .execute(_LEFT_OUT, {"roles": list(asked.roles), "runtimes": list(asked.runtimes)})
            .fetchall()
        )

    def text(name: str) -> Texts:
        return np.asarray(rows[name], dtype=object)

    def number(name: str) -> Floats:
        values = rows[name]
        if isinstance(values, np.ma.MaskedArray):
            return np.asarray(np.ma.filled(values.astype(np.float64), np.nan), dtype=np.float64)
        return np.asarray(values, dtype=np.float64)

    variants = VariantColumns(
        **{name: text(name) for name in _TEXT},
        **{name: number(name) for name in _NUMBERS},
        exact=number("exact") > 0,
    )
    kinds, kind = _kinds(variants)
    return Candidates(
        variants=variants,
        quality=number("quality"),
        quality_se=number("quality_se"),
        evidence=number("evidence"),
        thinks=number("thinks") > 0,
        context_max=number("context_max"),
        commercial=text("commercial"),
        tools=text("tools"),
        availability=text("availability"),
        support=text("support"),
        base=text("base"),
        superseded_by=text("superseded_by"),
        published_bytes=number("published_bytes"),
        repo=text("repo"),
        file=text("file"),
        layout=text("layout"),
        kinds=kinds,
        kind=kind,
        considered=catalog.count("candidates"),
        left_out=left_out,
    )
