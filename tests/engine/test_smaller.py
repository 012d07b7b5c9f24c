from __future__ import annotations

from dataclasses import replace

from recommender.catalog.store import Catalog
from recommender.engine.estimate_rows import EstimateRequest, estimate_one
from recommender.engine.smaller import next_smaller
from recommender.types import GIB, Device, Memory


def needed(memory: Memory | None) -> float:
    assert memory is not None
    return memory.total_bytes - memory.reclaimable_bytes


def test_the_next_smaller_quantization_of_the_same_model_comes_first(catalog: Catalog, laptop: Device) -> None:
    failed = EstimateRequest("Qwen/Qwen3-4B", "Q8_0", laptop)
    found = next_smaller(failed, catalog)
    assert found is not None
    assert found.model_id == "Qwen/Qwen3-4B"
    assert needed(found.estimate.memory) < needed(estimate_one(failed, catalog).estimate.memory)


def test_it_fits_in_what_is_free(catalog: Catalog, laptop: Device) -> None:
    tight = replace(laptop, ram_free_bytes=2.5 * GIB)
    found = next_smaller(EstimateRequest("Qwen/Qwen3-4B", "Q8_0", tight), catalog)
    assert found is not None
    assert needed(found.estimate.memory) < 2.5 * GIB


def test_where_no_quantization_fits_another_model_is_offered(catalog: Catalog, laptop: Device) -> None:
    tight = replace(laptop, ram_free_bytes=0.8 * GIB)
    found = next_smaller(EstimateRequest("Qwen/Qwen3-4B", "Q4_K_M", tight), catalog)
    assert found is not None
    assert found.model_id != "Qwen/Qwen3-4B"
    assert needed(found.estimate.memory) < 0.8 * GIB


def test_where_nothing_fits_nothing_is_offered(catalog: Catalog, laptop: Device) -> None:
    assert (
        next_smaller(EstimateRequest("Qwen/Qwen3-4B", "Q4_K_M", replace(laptop, ram_free_bytes=1e6)), catalog) is None
    )
