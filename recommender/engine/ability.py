"""How good every model of the catalog is at a task, before quantization takes its part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.types import Floats

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_THINKING = "@thinking"  # what a capability is called where it was measured with the model thinking
_ELSE = "multilingual"  # stands for a language in which a model was not measured
_WORDS = ("yes", "hybrid")


@dataclass(frozen=True)
class Abilities:
    """Columns over all models in the catalog's order, shape (m,)."""

    quality: Floats  # 0–100; NaN where nothing says how good a model is at the task
    quality_se: Floats
    evidence: Floats  # benchmark scores behind it
    thinks: NDArray[np.bool_]  # writes thinking tokens before it answers


def abilities(
    catalog: Catalog,
    weights: Sequence[tuple[str, float]],
    languages: Sequence[str],
    language_weight: float,
    hybrid_thinks: bool,
) -> Abilities:
    """The weighted mean of the capabilities that a task needs, and of the wanted languages beside it.

    A hybrid model that thinks on the task has the abilities measured that way.
    """
    always, hybrid = (_thinking(catalog) == word for word in _WORDS)
    switched = hybrid & hybrid_thinks

    def measured(capability: str) -> Floats:
        """Score, standard error and evidence: shape (3, m)."""
        plain = _capability(catalog, capability)
        return np.where(switched, _capability(catalog, capability + _THINKING), plain) if hybrid_thinks else plain

    told = [(measured(name), weight) for name, weight in weights]
    total = np.zeros((3, len(hybrid)))
    for columns, weight in told:
        total += np.nan_to_num(columns) * [[weight], [weight], [1.0]]
    quality, error, evidence = total
    quality[np.all([np.isnan(columns[0]) for columns, _ in told], axis=0)] = np.nan
    if languages:
        general, spoken, known = measured(_ELSE), np.zeros((2, len(hybrid))), np.zeros(len(hybrid))
        for language in languages:
            own = measured(f"lang:{language}")
            columns = np.where(np.isnan(own), general, own)[:2]
            known += ~np.isnan(columns[0])
            spoken += np.nan_to_num(columns)
            evidence += np.nan_to_num(own[2])
        means = np.divide(spoken, known, out=np.stack([quality, error]), where=known > 0)
        quality, error = (1 - language_weight) * total[:2] + language_weight * means
    return Abilities(quality, error, evidence, always | switched)


def _thinking(catalog: Catalog) -> NDArray[np.object_]:
    """Whether each model writes thinking tokens: yes, no, hybrid or ""."""
    sql = "SELECT coalesce(thinking, '') AS thinking FROM models ORDER BY rowid"
    return catalog.keep(
        "thinking", lambda: np.asarray(catalog.cursor().execute(sql).fetchnumpy()["thinking"], dtype=object)
    )


def _capability(catalog: Catalog, capability: str) -> Floats:
    """Score, standard error and evidence of every model, shape (3, m); NaN where there is none."""
    nothing = np.full((3, len(_thinking(catalog))), np.nan)
    names = catalog.keep(
        "capabilities",
        lambda: {name for (name,) in catalog.cursor().execute("SELECT DISTINCT capability FROM abilities").fetchall()},
    )
    if capability not in names:  # any language may be asked for, so what is not there is not kept
        return nothing

    def read() -> Floats:
        rows = (
            catalog.cursor()
            .execute(
                "SELECT m.rowid AS place, a.score, a.standard_error, a.evidence"
                " FROM abilities a JOIN models m USING (model_id) WHERE a.capability = $1",
                [capability],
            )
            .fetchnumpy()
        )
        nothing[:, rows["place"]] = [rows["score"], rows["standard_error"], rows["evidence"]]
        return nothing

    return catalog.keep(f"capability {capability}", read)
