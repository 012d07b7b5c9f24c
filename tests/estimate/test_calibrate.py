from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.estimate.calibrate import CLIP, calibration, spread_of
from recommender.types import Measurement, RangeColumns, Settings
from tests.estimate.speed_rows import floats, texts, variants

KEY = "cpu|8|32"


def run(decode_ratio=1.0, prefill_ratio=1.0, **changes) -> Measurement:
    """A quiet run of the model that ``variants()`` is, on a CPU, beside what was predicted without calibration."""
    decode, prefill = 10.0 * decode_ratio, 100.0 * prefill_ratio
    gpu_layers = changes.pop("gpu_layers", 0)
    measurement = Measurement(
        id=changes.pop("id", "one"),
        measured_at="2026-01-02T00:00:00Z",
        device_name="A machine",
        device_key=KEY,
        model_id="maker/model",
        quantization="Q4_K_M",
        file_name="model.gguf",
        file_sha256="",
        file_bytes=5e9,
        runtime="llama.cpp",
        binding="xllamacpp 1",
        build="b1",
        settings=Settings(4096, "f16", 2048, 512, 1, 8, gpu_layers, True),
        prompt_tokens=512,
        gen_tokens=128,
        repeats=3,
        prefill_tokens_per_s=prefill,
        prefill_low=prefill * 0.99,
        prefill_high=prefill * 1.01,
        decode_tokens_per_s=decode,
        decode_low=decode * 0.99,
        decode_high=decode * 1.01,
        ttft_s=1.0,
        load_s=1.0,
        memory=None,
        peak_resident_bytes=None,
        load_average_before=0.1,
        load_average_after=0.1,
        cpu_steal_fraction=0.0,
        noisy=False,
        predicted_decode_tokens_per_s=10.0,
        predicted_prefill_tokens_per_s=100.0,
    )
    return replace(measurement, **changes)


def estimate(n: int = 1) -> RangeColumns:
    return RangeColumns(floats(n, 10.0), floats(n, 7.0), floats(n, 15.0))


def other_model(n: int = 1, **changes):
    return variants(n, model_id=texts(n, "maker/another"), **changes)


def moved(found, rows=None, phase="decode", gpu_layers=None) -> float:
    rows = other_model() if rows is None else rows
    return float(getattr(found, phase)(estimate(), rows, gpu_layers).value[0]) / 10.0


ratios = st.floats(0.3, 3.0)


def test_without_measurements_nothing_changes():
    found = calibration([], KEY)
    assert not found.applies
    assert found.count == 0
    before = estimate()
    for after in (found.decode(before, variants()), found.prefill(before, variants())):
        assert (after.value[0], after.low[0], after.high[0]) == pytest.approx((10.0, 7.0, 15.0))


def test_a_run_on_other_hardware_changes_nothing():
    assert not calibration([run(0.5, device_key="another")], KEY).applies


def test_a_noisy_run_is_ignored():
    assert not calibration([run(0.5, noisy=True, noise_reason="load")], KEY).applies


def test_a_run_without_a_prediction_is_ignored():
    unknown = run(0.5, predicted_decode_tokens_per_s=None, predicted_prefill_tokens_per_s=None)
    assert not calibration([unknown], KEY).applies


@given(ratios)
def test_one_run_moves_other_models_toward_it_but_only_partly(ratio):
    factor = moved(calibration([run(ratio)], KEY))
    low, high = sorted((1.0, ratio))
    assert low - 1e-9 <= factor <= high + 1e-9
    if abs(math.log(ratio)) > 0.05:
        assert abs(math.log(factor)) < 0.95 * abs(math.log(ratio))
        assert factor != 1.0


@given(ratios)
def test_the_model_that_was_measured_moves_closer_than_others(ratio):
    found = calibration([run(ratio)], KEY)
    own, other = moved(found, variants()), moved(found)
    assert abs(math.log(own / ratio)) <= abs(math.log(other / ratio)) + 1e-9


@given(st.floats(0.6, 1.6))
def test_the_prior_gives_way_as_evidence_grows(ratio):
    one = [run(ratio)]
    many = [run(ratio, id=str(i), model_id=f"maker/{i}") for i in range(8)]
    few, lots = moved(calibration(one, KEY)), moved(calibration(many, KEY))
    assert abs(math.log(lots / ratio)) <= abs(math.log(few / ratio)) + 1e-9


@given(st.lists(st.tuples(ratios, ratios), min_size=1, max_size=6))
def test_ranges_narrow_and_still_hold_the_value(pairs):
    runs = [run(d, p, id=str(i), model_id=f"maker/{i % 3}") for i, (d, p) in enumerate(pairs)]
    found = calibration(runs, KEY)
    for rows in (other_model(), variants(model_id=texts(1, "maker/0"))):
        after = found.decode(estimate(), rows)
        assert after.low[0] < after.value[0] < after.high[0]
        assert after.high[0] / after.low[0] < 15.0 / 7.0


def test_one_wild_run_among_many_does_not_carry_the_rest_away():
    quiet = [run(1.0, id=str(i), model_id=f"maker/{i}") for i in range(6)]
    wild = run(0.05, id="wild", model_id="maker/wild")
    spread = spread_of("decode", "llama.cpp-cpu")
    step = CLIP * math.hypot(spread.between_devices, spread.within_device) / 7
    assert moved(calibration([*quiet, wild], KEY)) > math.exp(-1.5 * step)


@given(st.floats(0.3, 0.9))
def test_a_kernel_that_was_measured_moves_more_than_the_others(ratio):
    found = calibration([run(1.0, ratio)], KEY)
    alike, unlike, unknown = (
        moved(found, other_model(quantization=texts(1, name)), "prefill") for name in ("Q4_K_S", "Q4_0", "no-such-type")
    )
    assert ratio < alike < unlike < 1.0
    assert unlike == pytest.approx(unknown)


def test_one_kernel_does_not_carry_another_along():
    slow = [run(1.0, 0.5, id=f"q4 {i}", model_id=f"maker/{i}", quantization="Q4_K_S") for i in range(4)]
    usual = [run(1.0, 1.0, id=f"q8 {i}", model_id=f"maker/{i}", quantization="Q8_0") for i in range(4)]
    found = calibration([*slow, *usual], KEY)
    assert moved(found, other_model(quantization=texts(1, "Q4_K_M")), "prefill") < 0.7
    assert moved(found, other_model(quantization=texts(1, "Q8_0")), "prefill") > 0.85


def test_decode_and_prefill_are_corrected_apart():
    found = calibration([run(0.5, 2.0)], KEY)
    assert moved(found) < 0.8
    assert moved(found, phase="prefill") > 1.25


def test_runs_on_the_cpu_say_nothing_about_the_gpu():
    found = calibration([run(0.5)], KEY)
    assert moved(found, gpu_layers=floats(1, 33)) == 1.0
    assert moved(found, gpu_layers=floats(1, 0)) < 0.8
    on_gpu = calibration([run(0.5, gpu_layers=-1)], KEY)
    assert moved(on_gpu, gpu_layers=floats(1, 33)) < 0.8
    assert moved(on_gpu, gpu_layers=floats(1, 0)) == 1.0


def test_runtimes_that_share_an_engine_share_what_was_learned():
    found = calibration([run(0.5)], KEY)
    assert moved(found, other_model(runtime="ollama")) == moved(found)
    assert moved(found, other_model(runtime="vllm")) == 1.0


def test_a_run_with_scattered_repeats_weighs_less_than_a_quiet_one():
    quiet = run(0.5)
    scattered = replace(quiet, decode_low=2.0, decode_high=10.0)
    assert moved(calibration([quiet], KEY)) < moved(calibration([scattered], KEY)) < 1.0


def test_old_builds_fade_when_a_newer_one_was_measured():
    old = run(0.5, id="old", build="b1", measured_at="2026-01-01T00:00:00Z")
    new = run(1.0, id="new", build="b2", measured_at="2026-03-01T00:00:00Z")
    faded = moved(calibration([old, new], KEY), variants())
    same_build = moved(calibration([replace(old, build="b2"), new], KEY), variants())
    assert same_build < faded < 1.0


def test_predictions_made_without_calibration_win_over_stored_ones():
    stored = run(0.5, predicted_decode_tokens_per_s=5.0)
    assert moved(calibration([stored], KEY)) == pytest.approx(1.0)
    assert moved(calibration([stored], KEY, {stored.id: (10.0, 100.0)})) < 0.8


@given(st.permutations(range(5)))
def test_the_order_of_runs_does_not_matter(order):
    runs = [run(0.6 + 0.1 * i, id=str(i), model_id=f"maker/{i % 2}") for i in range(5)]
    assert moved(calibration([runs[i] for i in order], KEY)) == pytest.approx(moved(calibration(runs, KEY)))


def test_unknown_speeds_stay_unknown():
    before = RangeColumns(floats(1, np.nan), floats(1, np.nan), floats(1, np.nan))
    assert np.isnan(calibration([run(0.5)], KEY).decode(before, variants()).value[0])
