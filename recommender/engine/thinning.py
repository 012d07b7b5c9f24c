"""Which variants of a large catalog are worth an estimate: the best by quality in each class of size.

Every model has a dozen variants, so a catalog of 20,000 models has some 300,000. What the choice looks at is read once
per catalog; a question then takes array arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.types import Floats, Texts

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog
    from recommender.engine.candidates import Question

# A class is a fourth of a doubling, within a format. Of equals, the first by name is kept.
_SQL = """
SELECT v.variant_id, m.rowid AS model, v.quantization, v.availability = 'convert' AS converted,
       coalesce(v.tensor_bytes, 0) AS tensor_bytes, coalesce(q.points, 0) AS points,
       dense_rank() OVER (ORDER BY v.format, round(4 * log2(greatest(v.tensor_bytes, 1)))) AS size_class
FROM variants v JOIN models m USING (model_id) LEFT JOIN quant_losses q USING (model_id, quantization)
ORDER BY size_class, v.model_id, v.quantization
"""


@dataclass(frozen=True)
class _Variants:
    """Every variant by class of size, shape (n,), and the models' roles."""

    variant_id: NDArray[np.int64]
    model: NDArray[np.int64]  # place among the catalog's models
    quantization: NDArray[np.int64]  # index into ``quantizations``
    quantizations: tuple[str, ...]
    converted: NDArray[np.bool_]  # nobody publishes it
    tensor_bytes: Floats
    points: Floats  # of 100, lost by quantization
    ends: NDArray[np.int64]  # where each class of size ends
    roles: Texts  # of the models


def best_by_size(catalog: Catalog, asked: Question, quality: Floats) -> list[int]:
    """Ids of the variants that are kept for a question.

    Args:
        catalog: an open catalog.
        asked: its limits on role, size, quantization and who publishes a file.
        quality: of every model for the task, before quantization, shape (m,).
    """
    every = catalog.keep("variants by size", lambda: _read(catalog))
    left = quality[every.model] - every.points
    fits = np.isin(every.roles, asked.roles)[every.model] & (every.tensor_bytes <= asked.largest_bytes)
    fits &= ~np.isnan(left)
    if asked.quantizations:
        fits &= np.array([name in asked.quantizations for name in every.quantizations])[every.quantization]
    if not asked.convert:
        fits &= ~every.converted
    rows = np.flatnonzero(fits)
    kept = [
        same[np.argsort(-left[same], kind="stable")[: asked.prune_per_size_class]]
        for same in np.split(rows, np.searchsorted(rows, every.ends))
    ]
    found: list[int] = every.variant_id[np.concatenate(kept)].tolist()
    return found


def _read(catalog: Catalog) -> _Variants:
    columns = catalog.cursor().execute(_SQL).fetchnumpy()
    names, quantization = np.unique(columns["quantization"].astype(str), return_inverse=True)
    roles = catalog.cursor().execute("SELECT coalesce(role, '') AS role FROM models ORDER BY rowid").fetchnumpy()
    return _Variants(
        variant_id=columns["variant_id"].astype(np.int64),
        model=columns["model"].astype(np.int64),
        quantization=quantization,
        quantizations=tuple(names.tolist()),
        converted=columns["converted"].astype(np.bool_),
        tensor_bytes=columns["tensor_bytes"].astype(np.float64),
        points=columns["points"].astype(np.float64),
        ends=np.cumsum(np.bincount(columns["size_class"].astype(np.int64))),
        roles=np.asarray(roles["role"], dtype=object),
    )
