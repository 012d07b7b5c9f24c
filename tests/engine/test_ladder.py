from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.catalog import Catalog
from recommender.catalog.queries import variant_columns
from recommender.device import preset, with_overrides
from recommender.engine.ladder import Rung, ladder, usual_model
from recommender.engine.recommend import judge_named, recommend
from recommender.engine.tiers import tiers
from recommender.errors import BadInputError, UnknownNameError
from recommender.types import Device, Need

SMALL, TERNARY = "Qwen/Qwen3-0.6B", "microsoft/bitnet-b1.58-2B-4T"
ODD_ROWS = "google/gemma-3-1b-it"  # 1,152 wide: no multiple of 256


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


def test_a_published_file_of_another_mix_has_its_own_memory_and_says_so(catalog: Catalog, laptop: Device) -> None:
    rungs = by_name(ladder(ODD_ROWS, laptop, 4096, catalog))
    rung = rungs["Q4_0"]
    assert any("larger than the type's usual mix" in note for note in rung.notes)
    assert rung.estimate is not None
    assert rung.estimate.memory is not None
    assert rung.estimate.memory.total_bytes > (rung.file_bytes or 0.0)
    assert not any("usual mix" in note for note in rungs["Q8_0"].notes)


def test_every_step_that_can_be_had_has_memory_speed_and_a_loss_that_says_what_it_is_from(
    catalog: Catalog, laptop: Device
) -> None:
    for rung in ladder(SMALL, laptop, 4096, catalog):
        if rung.file_bytes is None:
            assert rung.against
            continue
        assert rung.estimate is not None
        assert rung.estimate.memory is not None
        assert rung.estimate.decode_tokens_per_s is not None
        assert rung.loss_points is not None
        assert rung.loss_basis


@pytest.mark.parametrize("device_id", ["rtx-a4000", "macbook-air-m1", "pixel-8a"])
def test_a_step_fits_where_find_says_that_its_memory_does(device_id: str, catalog: Catalog) -> None:
    device, context = preset(device_id), 8192
    for rung in ladder("Qwen/Qwen3-8B", device, context, catalog):
        if rung.file_bytes is None or rung.quantization.startswith("TQ"):
            continue
        need = Need(context_tokens=context, max_answer_time_s=1e9)
        named = judge_named(device, need, ("Qwen/Qwen3-8B", rung.quantization, rung.runtime), catalog)
        assert named is not None
        assert rung.fits == (not any("short by" in reason for reason in named.against)), rung.quantization


def test_a_gpu_that_shares_the_memory_holds_its_share_only(catalog: Catalog) -> None:
    mac = with_overrides(preset("macbook-air-m4", 32), free_ram_gib=31.0)
    rung = by_name(ladder("Qwen/Qwen3-14B", mac, 4096, catalog))["F16"]
    memory = rung.estimate.memory if rung.estimate else None
    assert memory is not None
    assert memory.total_bytes < 31 * 2**30
    assert not rung.fits
    assert "short by" in rung.against


def test_ternary_types_cost_a_model_that_was_not_trained_for_them_dearly(catalog: Catalog, laptop: Device) -> None:
    rungs = by_name(ladder(SMALL, laptop, 4096, catalog))
    assert "not trained ternary" in rungs["TQ1_0"].loss_basis
    assert any("convert it yourself" in note for note in rungs["TQ1_0"].notes)
    assert (rungs["TQ1_0"].loss_points or 0.0) > (rungs["Q2_K"].loss_points or 0.0)
    assert rungs["I2_S"].file_bytes is None
    assert "this one was not" in rungs["I2_S"].against


def test_a_model_trained_ternary_loses_nothing_at_any_ternary_type(catalog: Catalog, laptop: Device) -> None:
    rungs = by_name(ladder(TERNARY, laptop, 4096, catalog))
    assert rungs["I2_S"].runtime == "bitnet.cpp"
    for name in ("I2_S", "TQ2_0", "TQ1_0"):
        assert rungs[name].loss_points == 0.0, name
        assert rungs[name].loss_basis == "trained in I2_S"
        assert rungs[name].file_bytes is not None


def test_a_runtime_that_computes_on_the_processor_has_its_speed_beside_a_gpu_too(catalog: Catalog) -> None:
    rung = by_name(ladder(TERNARY, preset("rtx-a4000"), 4096, catalog))["I2_S"]
    assert rung.estimate is not None
    assert rung.estimate.decode_tokens_per_s is not None
    assert rung.estimate.memory is not None
    assert rung.estimate.memory.gpu_bytes == 0


def test_a_step_whose_runtime_does_not_run_there_says_so(catalog: Catalog) -> None:
    rung = by_name(ladder(TERNARY, preset("pixel-8a"), 4096, catalog))["I2_S"]
    assert not rung.fits
    assert "Android" in rung.against
    assert rung.estimate is None
    assert rung.file_bytes is not None


def test_rows_that_are_no_multiple_of_the_block_are_said(catalog: Catalog, laptop: Device) -> None:
    rungs = by_name(ladder(ODD_ROWS, laptop, 4096, catalog))
    assert any("no multiple of 256" in note for note in rungs["Q4_K_M"].notes)
    assert not any("no multiple" in note for note in rungs["Q8_0"].notes)
    assert rungs["Q6_K"].saved == pytest.approx(rungs["Q8_0"].saved, abs=0.05)
    even = by_name(ladder(SMALL, laptop, 4096, catalog))
    assert not any("no multiple" in note for rung in even.values() for note in rung.notes)


def test_a_model_that_llama_cpp_does_not_load_has_the_reason_on_every_step(catalog: Catalog, laptop: Device) -> None:
    without = next(model for model in catalog.models() if not variant_columns(catalog, model.model_id, "llama.cpp"))
    rungs = ladder(without.model_id, laptop, 1024, catalog)
    assert all(rung.file_bytes is None and "does not load" in rung.against for rung in rungs)


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
    assert all("short by" in rung.against for rung in short)
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


def test_the_usual_model_is_the_first_pick_that_has_a_ladder(catalog: Catalog, laptop: Device) -> None:
    first = recommend(laptop, Need(), catalog, top=1).picks[0]
    assert variant_columns(catalog, first.model_id, "llama.cpp")
    assert usual_model(laptop, catalog) == first.model_id


def test_where_nothing_fits_the_usual_model_is_a_small_one_with_a_ladder(catalog: Catalog, laptop: Device) -> None:
    full = with_overrides(laptop, free_ram_gib=0.0)
    assert not recommend(full, Need(), catalog).picks
    rungs = ladder(usual_model(full, catalog), full, 1024, catalog)
    assert by_name(rungs)["F16"].file_bytes is not None


def test_the_tiers_hold_every_model_once_and_typical_ones_grow(catalog: Catalog, laptop: Device) -> None:
    found = tiers(laptop, catalog)
    assert [tier.name for tier in found] == ["Micro", "Small", "Medium", "Large"]
    assert sum(tier.models for tier in found) == catalog.count("models")
    typical = [tier.typical_bytes or 0.0 for tier in found]
    assert typical == sorted(typical)
    assert all(tier.examples for tier in found)
