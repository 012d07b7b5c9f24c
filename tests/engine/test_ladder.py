from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.catalog import Catalog
from recommender.catalog.queries import variant_columns
from recommender.device import preset, with_overrides
from recommender.engine.ladder import Rung, ladder
from recommender.engine.tiers import tiers
from recommender.errors import BadInputError, UnknownNameError
from recommender.types import Device

SMALL, TERNARY = "Qwen/Qwen3-0.6B", "microsoft/bitnet-b1.58-2B-4T"


@pytest.fixture(scope="module")
def laptop() -> Device:
    return preset("cpu-intel-core-i7-13700h")


def by_name(rungs: tuple[Rung, ...]) -> dict[str, Rung]:
    return {rung.quantization: rung for rung in rungs}


def test_the_ladder_goes_down_in_bytes_and_savings_are_counted_from_f16(catalog: Catalog, laptop: Device) -> None:
    rungs = ladder(SMALL, laptop, 4096, catalog)
    known = [rung for rung in rungs if rung.file_bytes is not None]
    assert known[0].quantization == "F16"
    assert [rung.file_bytes for rung in known] == sorted((rung.file_bytes or 0 for rung in known), reverse=True)
    first = known[0].file_bytes or 0.0
    for rung in known:
        assert rung.saved == pytest.approx(1 - (rung.file_bytes or 0.0) / first)


def test_a_published_files_exact_bytes_are_shown_where_they_are_known(catalog: Catalog, laptop: Device) -> None:
    rows = {row["quantization"]: row for row in variant_columns(catalog, SMALL, "llama.cpp")}
    rung = by_name(ladder(SMALL, laptop, 4096, catalog))["Q8_0"]
    assert rows["Q8_0"]["published_bytes"] == rung.file_bytes
    assert rung.file_provenance == "published file"


def test_every_step_that_can_be_had_has_memory_speed_and_loss(catalog: Catalog, laptop: Device) -> None:
    for rung in ladder(SMALL, laptop, 4096, catalog):
        if rung.file_bytes is None:
            assert rung.reason
            continue
        assert rung.estimate is not None
        assert rung.estimate.memory is not None
        assert rung.estimate.decode_tokens_per_s is not None
        assert rung.loss_points is not None


def test_ternary_types_say_that_they_are_for_weights_trained_so(catalog: Catalog, laptop: Device) -> None:
    rungs = by_name(ladder(SMALL, laptop, 4096, catalog))
    assert "ternary" in rungs["TQ1_0"].reason
    assert (rungs["TQ1_0"].loss_points or 0.0) > (rungs["Q2_K"].loss_points or 0.0)
    assert rungs["I2_S"].file_bytes is None
    assert "I2_S" in rungs["I2_S"].reason


def test_a_model_trained_ternary_loses_nothing_at_its_own_type(catalog: Catalog, laptop: Device) -> None:
    rung = by_name(ladder(TERNARY, laptop, 4096, catalog))["I2_S"]
    assert rung.runtime == "bitnet.cpp"
    assert rung.loss_points == 0.0
    assert rung.file_bytes is not None


def test_the_lessons_figures_stand_beside_the_model_they_are_of(catalog: Catalog, laptop: Device) -> None:
    own = by_name(ladder(SMALL, laptop, 4096, catalog))["Q4_0"]
    assert own.lesson_size is not None
    assert own.lesson_size.value == 0.35
    other = by_name(ladder("Qwen/Qwen3-8B", laptop, 4096, catalog))["Q4_0"]
    assert other.lesson_size is None
    assert other.lesson_memory is not None
    assert other.lesson_memory.value == 1.2


def test_what_does_not_fit_says_by_how_much(catalog: Catalog, laptop: Device) -> None:
    rungs = ladder("Qwen/Qwen3-8B", with_overrides(laptop, free_ram_gib=6.0), 4096, catalog)
    short = [rung for rung in rungs if rung.file_bytes is not None and not rung.fits]
    assert short
    assert all("short by" in rung.reason for rung in short)
    assert by_name(rungs)["Q4_0"].fits


@settings(max_examples=15, deadline=None)
@given(free_gib=st.floats(0.5, 64.0), more_gib=st.floats(0.0, 64.0))
def test_more_memory_never_takes_a_step_away(free_gib: float, more_gib: float, catalog: Catalog) -> None:
    laptop = preset("cpu-intel-core-i7-13700h", 128)
    fewer = ladder("Qwen/Qwen3-8B", with_overrides(laptop, free_ram_gib=free_gib), 4096, catalog)
    more = by_name(ladder("Qwen/Qwen3-8B", with_overrides(laptop, free_ram_gib=free_gib + more_gib), 4096, catalog))
    assert all(more[rung.quantization].fits for rung in fewer if rung.fits)


def test_a_context_that_makes_no_sense_is_refused(catalog: Catalog, laptop: Device) -> None:
    for context in (0, -1, 10**9):
        with pytest.raises(BadInputError):
            ladder(SMALL, laptop, context, catalog)
    with pytest.raises(UnknownNameError):
        ladder("nobody/nothing", laptop, 4096, catalog)


def test_the_tiers_hold_every_model_once_and_typical_ones_grow(catalog: Catalog, laptop: Device) -> None:
    found = tiers(laptop, catalog)
    assert [tier.name for tier in found] == ["Micro", "Small", "Medium", "Large"]
    assert sum(tier.models for tier in found) == catalog.count("models")
    typical = [tier.typical_bytes or 0.0 for tier in found]
    assert typical == sorted(typical)
    assert all(tier.examples for tier in found)
