"""Estimates of named models: settings change them the way they must, and a bad row stays alone."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog import Catalog
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_one, estimate_rows
from recommender.errors import BadInputError, RecommenderError, UnknownNameError
from recommender.types import Device, Memory

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODEL = "Qwen/Qwen3-4B"


def _estimate(catalog: Catalog, device: Device, **options: object) -> EstimateAnswer:
    request = EstimateRequest(MODEL, "Q4_K_M", device)
    return estimate_one(dataclasses.replace(request, **options), catalog)  # type: ignore[arg-type]


def _memory(answer: EstimateAnswer) -> Memory:
    assert answer.estimate.memory is not None
    return answer.estimate.memory


def _decode(answer: EstimateAnswer) -> float:
    assert answer.estimate.decode_tokens_per_s is not None
    return answer.estimate.decode_tokens_per_s.value


@given(context=st.integers(1024, 60000), more=st.integers(0, 60000))
@few
def test_memory_never_falls_with_the_context(catalog: Catalog, laptop: Device, context: int, more: int) -> None:
    short, long = (_estimate(catalog, laptop, context_tokens=tokens) for tokens in (context, context + more))
    assert _memory(short).total_bytes <= _memory(long).total_bytes


@given(depth=st.integers(0, 8000), more=st.integers(0, 8000))
@few
def test_decode_never_speeds_up_as_the_context_fills(catalog: Catalog, laptop: Device, depth: int, more: int) -> None:
    near, far = (
        _estimate(catalog, laptop, context_tokens=16384, depth_tokens=tokens) for tokens in (depth, depth + more)
    )
    assert _decode(far) <= _decode(near)


def test_a_smaller_cache_type_takes_less_cache_and_nothing_else(catalog: Catalog, laptop: Device) -> None:
    f16, q8 = (_memory(_estimate(catalog, laptop, kv_type=kind)) for kind in ("f16", "q8_0"))
    assert q8.kv_cache_bytes == pytest.approx(f16.kv_cache_bytes * 34 / 64)
    assert q8.weights_bytes == f16.weights_bytes


@pytest.mark.parametrize("parallel", [2, 5])
def test_each_sequence_has_a_cache_of_its_own(catalog: Catalog, laptop: Device, parallel: int) -> None:
    one, many = (_memory(_estimate(catalog, laptop, parallel=count)) for count in (1, parallel))
    assert many.kv_cache_bytes == pytest.approx(parallel * one.kv_cache_bytes)


def test_layers_on_the_gpu_are_as_many_as_asked_and_no_more_than_there_are(
    catalog: Catalog, workstation: Device
) -> None:
    layers = [_estimate(catalog, workstation, gpu_layers=count).settings.gpu_layers for count in (0, 10, 9999, -1)]
    assert layers[:2] == [0, 10]
    assert layers[2] == layers[3] == 37  # 36 layers and the output head


def test_each_layer_on_a_faster_gpu_speeds_decode_up(catalog: Catalog, workstation: Device) -> None:
    speeds = [_decode(_estimate(catalog, workstation, gpu_layers=count)) for count in (0, 12, 24, 37)]
    assert speeds == sorted(speeds)
    assert speeds[-1] > 2 * speeds[0]


def test_a_machine_without_a_gpu_puts_no_layer_on_one(catalog: Catalog, laptop: Device) -> None:
    answer = _estimate(catalog, laptop, gpu_layers=20)
    assert answer.settings.gpu_layers == 0
    assert _memory(answer).gpu_bytes == 0


def test_two_cards_hold_more_layers_than_one(catalog: Catalog, workstation: Device) -> None:
    small = dataclasses.replace(workstation.gpus[0], memory_bytes=2.0 * 1024**3, memory_free_bytes=1.8 * 1024**3)
    device = dataclasses.replace(workstation, gpus=(small,))
    one, two = (_estimate(catalog, device, devices=count).settings.gpu_layers for count in (1, 2))
    assert one < two


def test_a_file_of_another_size_scales_the_weights(catalog: Catalog, laptop: Device) -> None:
    usual = _estimate(catalog, laptop)
    assert usual.estimate.file_bytes is not None
    twice = _estimate(catalog, laptop, model_bytes=2 * usual.estimate.file_bytes)
    assert twice.estimate.file_bytes == pytest.approx(2 * usual.estimate.file_bytes)
    assert _memory(twice).weights_bytes > 1.8 * _memory(usual).weights_bytes
    assert _memory(twice).kv_cache_bytes == _memory(usual).kv_cache_bytes
    assert _decode(twice) < _decode(usual)


def test_more_tokens_to_read_and_write_take_longer(catalog: Catalog, laptop: Device) -> None:
    def answer_s(prompt: int, gen: int) -> float:
        figure = _estimate(catalog, laptop, prompt_tokens=prompt, gen_tokens=gen).estimate.answer_time_s
        assert figure is not None
        return figure.value

    assert answer_s(100, 50) < answer_s(1000, 50) < answer_s(1000, 200)


def test_a_bad_row_yields_its_error_and_the_others_go_on(catalog: Catalog, laptop: Device, workstation: Device) -> None:
    good = EstimateRequest(MODEL, "Q4_K_M", laptop)
    requests = [
        good,
        dataclasses.replace(good, model="Qwen/Qwen3-4C"),
        dataclasses.replace(good, quantization="Q9"),
        dataclasses.replace(good, device=workstation),
        dataclasses.replace(good, context_tokens=0),
        dataclasses.replace(good, runtime="azure-ai-foundry"),
    ]
    answers = estimate_rows(requests, catalog)
    kinds = [isinstance(answer, RecommenderError) for answer in answers]
    assert kinds == [False, True, True, False, True, True]
    assert answers[0] == estimate_one(good, catalog)
    assert answers[3] == estimate_one(requests[3], catalog)


def test_rows_for_many_machines_each_get_their_own(catalog: Catalog, laptop: Device, workstation: Device) -> None:
    requests = [EstimateRequest(MODEL, "Q4_K_M", device) for device in (laptop, workstation, laptop, workstation)]
    answers = estimate_rows(requests, catalog)
    assert answers[0] == answers[2] != answers[1] == answers[3]


def test_no_rows_are_no_answers(catalog: Catalog) -> None:
    assert estimate_rows([], catalog) == []


def test_names_are_found_whatever_their_letter_case(catalog: Catalog, laptop: Device) -> None:
    plain = _estimate(catalog, laptop)
    assert _estimate(catalog, laptop, model="qwen/qwen3-4b", quantization="q4_k_m") == plain
    assert _estimate(catalog, laptop, model="Qwen3-4B") == plain


@pytest.mark.parametrize(
    "options",
    [
        {"context_tokens": 0},
        {"context_tokens": 10**9},
        {"batch_tokens": 0},
        {"ubatch_tokens": -1},
        {"parallel": 0},
        {"threads": 0},
        {"gpu_layers": -2},
        {"devices": 0},
        {"prompt_tokens": 0},
        {"gen_tokens": 0},
        {"depth_tokens": -1},
        {"depth_tokens": 5000},
        {"model_bytes": 0.0},
        {"model_bytes": float("nan")},
        {"kv_type": "q3_k"},
        {"quantization": "Q4"},
        {"runtime": "ollama2"},
    ],
)
def test_nonsense_is_refused(catalog: Catalog, laptop: Device, options: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        _estimate(catalog, laptop, **options)


def test_an_unknown_model_brings_the_nearest_ones(catalog: Catalog, laptop: Device) -> None:
    with pytest.raises(UnknownNameError, match="Qwen/Qwen3-4B"):
        _estimate(catalog, laptop, model="Qwen/Qwen3-4C")
