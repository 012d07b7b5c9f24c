"""The tiers of small language models, with what the catalog has of each and what a typical one needs on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommender.engine.estimate_rows import EstimateRequest, estimate_one
from recommender.errors import RecommenderError
from recommender.types import Device

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

# What a typical model of a tier is taken at.
QUANTIZATION, CONTEXT_TOKENS = "Q4_K_M", 4096
_EXAMPLES = 4
# The lesson's rounded bounds; ``models.csv`` has each model's tier by its exact parameters.
_BOUNDS = {
    "Micro": "100M to 1.4B",
    "Small": "1.5B to 13.9B",
    "Medium": "14B to 30B",
    "Large": "31B and more, outside the SLM range",
}


@dataclass(frozen=True)
class Tier:
    name: str
    bounds: str
    models: int
    examples: tuple[str, ...]
    typical_bytes: float | None  # memory of the model of middle size; ``None`` where it cannot be estimated


# The best half of a tier's models by general ability, newest first.
_BEST = """
WITH ranked AS (
    SELECT m.tier, m.name, m.release_date, percent_rank() OVER (PARTITION BY m.tier ORDER BY a.score) AS place
    FROM models m JOIN abilities a ON a.model_id = m.model_id AND a.capability = 'general'
    WHERE m.role IN ('instruct', 'hybrid', 'thinking') AND coalesce(m.superseded_by, '') = ''
)
SELECT name FROM ranked WHERE tier = $1 AND place >= 0.5 ORDER BY release_date DESC, name LIMIT $2
"""

_MIDDLE = """
SELECT m.model_id FROM models m JOIN variants v USING (model_id)
WHERE m.tier = $1 AND v.quantization = $2 AND v.layout = 'exact' ORDER BY v.file_bytes, m.model_id
"""


def tiers(device: Device, catalog: Catalog) -> tuple[Tier, ...]:
    """All four, smallest first."""
    return tuple(_tier(name, bounds, device, catalog) for name, bounds in _BOUNDS.items())


def _tier(name: str, bounds: str, device: Device, catalog: Catalog) -> Tier:
    cursor = catalog.cursor()
    models = cursor.execute("SELECT count(*) FROM models WHERE tier = $1", [name]).fetchone()
    examples = [row[0] for row in cursor.execute(_BEST, [name, _EXAMPLES]).fetchall()]
    ids = [row[0] for row in cursor.execute(_MIDDLE, [name, QUANTIZATION]).fetchall()]
    typical = _needed(ids[len(ids) // 2], device, catalog) if ids else None
    return Tier(name, bounds, int(models[0]) if models else 0, tuple(examples), typical)


def _needed(model_id: str, device: Device, catalog: Catalog) -> float | None:
    request = EstimateRequest(model_id, QUANTIZATION, device, context_tokens=CONTEXT_TOKENS)
    try:
        memory = estimate_one(request, catalog).estimate.memory
    except RecommenderError:
        return None
    return memory.total_bytes - memory.reclaimable_bytes if memory else None
