from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from recommender.calibrated import calibration_here, priors, request_of
from recommender.catalog.store import Catalog
from recommender.device import device_key
from recommender.engine.estimate_rows import estimate_one
from recommender.types import Device, Measurement, Settings
from tests.measured import MEASURED

SETTINGS = Settings(1024, "f16", 2048, 512, 1, 4, 0, True)


def run(device: Device, model_id: str = "Qwen/Qwen3-0.6B", **changes: object) -> Measurement:
    base = replace(
        MEASURED,
        id=uuid.uuid4().hex,
        measured_at="2026-11-01T00:00:00+00:00",
        device_name=device.name,
        device_key=device_key(device),
        model_id=model_id,
        quantization="Q4_0",
        settings=SETTINGS,
        prompt_tokens=128,
        gen_tokens=32,
        decode_tokens_per_s=1.0,
        decode_low=1.0,
        decode_high=1.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def measured(device: Device, catalog: Catalog, times: float, model_id: str = "Qwen/Qwen3-0.6B") -> Measurement:
    """A run at ``times`` the uncorrected estimate, that was shown exactly what it then measured."""
    one = run(device, model_id)
    decode, prefill = (speed * times for speed in priors([one], device, catalog)[one.id])
    return replace(
        one,
        decode_tokens_per_s=decode,
        decode_low=decode,
        decode_high=decode,
        prefill_tokens_per_s=prefill,
        prefill_low=prefill,
        prefill_high=prefill,
        predicted_decode_tokens_per_s=decode,
        predicted_prefill_tokens_per_s=prefill,
    )


def test_a_corrected_prediction_that_was_stored_does_not_undo_the_correction(laptop: Device, catalog: Catalog) -> None:
    found = calibration_here(laptop, catalog, [measured(laptop, catalog, 0.5)])
    assert found is not None
    assert found.factor("decode", "llama.cpp-cpu") < 0.8
    assert found.factor("prefill", "llama.cpp-cpu") < 0.8


def test_more_runs_that_say_the_same_bring_every_estimate_closer(laptop: Device, catalog: Catalog) -> None:
    ids = ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B", "meta-llama/Llama-3.2-1B-Instruct"]
    runs = [measured(laptop, catalog, 0.5, model_id) for model_id in ids]
    other = request_of(run(laptop, "HuggingFaceTB/SmolLM2-1.7B-Instruct"), laptop)
    prior = estimate_one(other, catalog).estimate.decode_tokens_per_s
    assert prior is not None
    gaps = []
    for count in range(len(runs) + 1):
        figure = estimate_one(other, catalog, calibration_here(laptop, catalog, runs[:count])).estimate
        assert figure.decode_tokens_per_s is not None
        gaps.append(abs(figure.decode_tokens_per_s.value / prior.value - 0.5))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.1


def test_a_bandwidth_that_was_learned_later_changes_what_the_runs_teach(laptop: Device, catalog: Catalog) -> None:
    runs = [measured(laptop, catalog, 1.0)]
    probed = replace(laptop, bandwidth_bytes_per_s=2 * (laptop.bandwidth_bytes_per_s or 0.0))
    before, after = (calibration_here(device, catalog, runs) for device in (laptop, probed))
    assert before is not None
    assert after is not None
    assert before.factor("decode", "llama.cpp-cpu") == pytest.approx(1.0)
    assert after.factor("decode", "llama.cpp-cpu") < 0.95


def test_noisy_runs_other_hardware_and_unknown_models_teach_nothing(laptop: Device, catalog: Catalog) -> None:
    good = measured(laptop, catalog, 0.5)
    useless = [
        replace(good, noisy=True),
        replace(good, device_key="another machine"),
        replace(good, id="of an unknown model", model_id="somebody/unheard-of"),
    ]
    assert calibration_here(laptop, catalog, useless) is None
    assert calibration_here(laptop, catalog, []) is None
