from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import paths
from recommender.errors import CatalogError
from recommender.estimate import speed
from recommender.estimate.roofline import batch_weight_bytes
from recommender.estimate.speed_hardware import GPU_CLASSES, INSTRUCTION_SETS, cpu_class, gpu_class
from recommender.estimate.speed_tables import COEFFICIENT_NAMES, normal_label, speed_tables
from recommender.types import Gpu, RangeColumns
from tests.estimate.speed_rows import ALL_ON_GPU, cpu_device, floats, gpu_device, memory, settings, texts, variants


def decode(device, rows=None, gpu_layers=0.0, depth=0.0, **setting):
    rows = variants() if rows is None else rows
    n = len(rows)
    return speed.decode(rows, settings(n, **setting), memory(n, gpu_layers), device, floats(n, depth))


def prefill(device, rows=None, gpu_layers=0.0, prompt=512.0):
    rows = variants() if rows is None else rows
    n = len(rows)
    return speed.prefill(rows, settings(n), memory(n, gpu_layers), device, floats(n, prompt))


bandwidths = st.floats(8e9, 1.5e12)


@given(bandwidths, st.floats(1.0, 8.0), st.sampled_from(["laptop", "desktop", "server", "phone"]))
def test_more_memory_bandwidth_never_makes_a_cpu_slower(bandwidth, factor, kind):
    slow = cpu_device(bandwidth_bytes_per_s=bandwidth, kind=kind)
    fast = cpu_device(bandwidth_bytes_per_s=bandwidth * factor, kind=kind)
    assert decode(fast).value[0] >= decode(slow).value[0] * (1 - 1e-9)


@given(bandwidths, st.floats(1.0, 8.0))
def test_more_memory_bandwidth_never_makes_decode_on_a_gpu_slower(bandwidth, factor):
    slow = decode(gpu_device(bandwidth=bandwidth), gpu_layers=ALL_ON_GPU).value[0]
    fast = decode(gpu_device(bandwidth=bandwidth * factor), gpu_layers=ALL_ON_GPU).value[0]
    assert fast >= slow * (1 - 1e-9)


@given(st.integers(1, 64), st.integers(1, 64))
def test_more_threads_never_make_decode_slower(one, other):
    device = cpu_device(physical_cores=64)
    fewer, more = sorted((one, other))
    assert decode(device, threads=floats(1, more)).value[0] >= decode(device, threads=floats(1, fewer)).value[0]


@given(st.floats(2e8, 7e10), st.floats(1.0, 20.0), st.sampled_from([0.0, ALL_ON_GPU, ALL_ON_GPU / 2]))
def test_a_larger_model_is_never_faster(params, factor, gpu_layers):
    device = gpu_device()
    small, large = variants(params=params), variants(params=params * factor)
    assert decode(device, large, gpu_layers).value[0] <= decode(device, small, gpu_layers).value[0]
    assert prefill(device, large, gpu_layers).value[0] <= prefill(device, small, gpu_layers).value[0]


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.sampled_from([0.0, ALL_ON_GPU]))
def test_a_deeper_context_is_never_faster(one, other, gpu_layers):
    near, far = sorted((one, other))
    device = gpu_device()
    assert (
        decode(device, gpu_layers=gpu_layers, depth=far).value[0]
        <= decode(device, gpu_layers=gpu_layers, depth=near).value[0]
    )


@given(
    st.sampled_from([None, 30e9, 300e9]),
    st.sampled_from([None, 30e12]),
    st.sampled_from(["llama.cpp", "ollama", "vllm", "onnx-genai"]),
    st.sampled_from(["laptop", "desktop", "server", "workstation", "mini-pc", "browser"]),
)
def test_every_range_holds_its_value_and_is_positive(bandwidth, flops, runtime, kind):
    device = gpu_device(bandwidth=bandwidth, flops=flops, kind=kind)
    rows = variants(runtime=runtime)
    for found in (decode(device, rows, ALL_ON_GPU), prefill(device, rows, ALL_ON_GPU), decode(device, rows, 0)):
        assert 0 < found.low[0] < found.value[0] < found.high[0] < np.inf


@given(st.integers(0, ALL_ON_GPU - 1))
def test_each_layer_moved_to_a_faster_gpu_helps(layers):
    device = gpu_device()
    assert decode(device, gpu_layers=layers + 1).value[0] > decode(device, gpu_layers=layers).value[0]


def test_layers_on_both_sides_take_the_sum_of_their_times():
    device = gpu_device()
    cpu, gpu, half = (1 / decode(device, gpu_layers=n).value[0] for n in (0, ALL_ON_GPU, ALL_ON_GPU / 2))
    assert half == pytest.approx((cpu + gpu) / 2)


def test_a_window_bounds_what_depth_costs():
    full = variants()
    windowed = replace(
        full,
        k_full_elements_per_token=floats(1, 0),
        v_full_elements_per_token=floats(1, 0),
        k_window_elements_per_token=full.k_full_elements_per_token,
        v_window_elements_per_token=full.v_full_elements_per_token,
        window_tokens=floats(1, 1024),
    )
    device = gpu_device()
    assert decode(device, windowed, ALL_ON_GPU, depth=1024).value == decode(device, full, ALL_ON_GPU, depth=1024).value
    far = decode(device, windowed, ALL_ON_GPU, depth=32768).value
    assert far == decode(device, windowed, ALL_ON_GPU, depth=1024).value
    assert decode(device, full, ALL_ON_GPU, depth=32768).value < far


def test_a_quantized_cache_is_read_faster():
    device = gpu_device()
    plain = decode(device, gpu_layers=ALL_ON_GPU, depth=30000)
    quantized = decode(device, gpu_layers=ALL_ON_GPU, depth=30000, kv_type=texts(1, "q8_0"))
    assert quantized.value[0] > plain.value[0]


def test_only_active_experts_are_read_for_a_token_but_all_for_a_prompt():
    dense = variants(params=30e9)
    routed = replace(dense, read_bytes_per_token=dense.read_bytes_per_token / 10, params_active=dense.params_total / 10)
    device = gpu_device()
    assert decode(device, routed, ALL_ON_GPU).value[0] > 3 * decode(device, dense, ALL_ON_GPU).value[0]
    one_batch = prefill(device, routed, ALL_ON_GPU, prompt=64).value[0]
    full_batches = prefill(device, routed, ALL_ON_GPU, prompt=512).value[0]
    assert full_batches > 2 * one_batch


def test_unknown_bandwidth_gives_a_wider_range_and_never_silence():
    known = decode(gpu_device(), gpu_layers=ALL_ON_GPU)
    unknown = decode(gpu_device(bandwidth=None), gpu_layers=ALL_ON_GPU)
    assert np.isfinite(unknown.value[0])
    assert unknown.high[0] / unknown.low[0] > 1.5 * known.high[0] / known.low[0]


def test_unknown_arithmetic_gives_a_wider_prefill_range():
    known = prefill(gpu_device(), gpu_layers=ALL_ON_GPU)
    unknown = prefill(gpu_device(flops=None), gpu_layers=ALL_ON_GPU)
    assert unknown.high[0] / unknown.low[0] > 1.2 * known.high[0] / known.low[0]


@given(params=st.floats(0.1e9, 30e9))
def test_small_models_have_the_wider_range(params):
    device = cpu_device()
    row = decode(device, variants(params=params))
    large = decode(device, variants(params=8e9))
    width, usual = (np.log(x.high[0] / x.low[0]) for x in (row, large))
    factor = speed_tables().small_widths[("decode", "cpu")]
    assert width / usual == pytest.approx(factor if params <= 2e9 else 1.0)


def test_a_runtime_without_measurements_borrows_llama_cpp_with_a_wider_range():
    device = gpu_device()
    own, stand_in = decode(device, gpu_layers=33), decode(device, variants(runtime="onnx-genai"), 33)
    assert stand_in.value[0] == own.value[0]
    assert stand_in.low[0] < own.low[0]
    assert stand_in.high[0] > own.high[0]
    assert "stand-in" in speed_tables().backends[("onnx-genai", "cuda")].note


def test_a_runtime_that_bundles_llama_cpp_has_the_same_estimate():
    device = cpu_device()
    one, other = decode(device), decode(device, variants(runtime="ollama"))
    assert (one.low[0], one.value[0], one.high[0]) == (other.low[0], other.value[0], other.high[0])


def test_rows_that_cannot_run_there_are_unknown_and_leave_the_others_alone():
    rows = variants(3)
    rows.runtime[1] = "azure-ai-foundry"
    found = decode(cpu_device(), rows)
    assert np.isnan(found.value[1])
    assert np.isfinite(found.value[[0, 2]]).all()


def test_a_model_without_shape_is_estimated_from_its_size():
    unknown = {
        name: floats(1, np.nan)
        for name in ("n_layer", "n_embd", "n_vocab", "k_full_elements_per_token", "v_full_elements_per_token")
    }
    known = decode(cpu_device(), depth=2000).value[0]
    assert decode(cpu_device(), variants(**unknown), depth=2000).value[0] == pytest.approx(known, rel=0.25)


def test_the_first_token_comes_after_the_prompt_and_one_step():
    prompt, generated = floats(1, 1000), floats(1, 200)
    ttft, answer = speed.latency(
        RangeColumns(floats(1, 500), floats(1, 400), floats(1, 600)),
        RangeColumns(floats(1, 20), floats(1, 15), floats(1, 25)),
        prompt,
        generated,
    )
    assert ttft.value[0] == pytest.approx(1000 / 500 + 1 / 20)
    assert answer.value[0] == pytest.approx(1000 / 500 + 200 / 20)
    assert ttft.low[0] < ttft.value[0] < ttft.high[0]
    assert answer.low[0] < answer.value[0] < answer.high[0]


def test_a_larger_file_takes_longer_to_load_and_a_measured_disk_is_believed():
    small, large = variants(params=1e9), variants(params=8e9)
    of = [speed.load_time(rows, memory(), cpu_device()) for rows in (small, large)]
    assert of[0].low[0] < of[0].value[0] < of[0].high[0]
    assert of[1].value[0] == pytest.approx(8 * of[0].value[0])
    measured = speed.load_time(large, memory(), cpu_device(), disk_bytes_per_s=1e9)
    assert measured.value[0] == pytest.approx(large.file_bytes[0] / 1e9)


def test_the_fastest_gpu_of_a_machine_is_used():
    weak = Gpu("Built in", "intel", "vulkan", None, None, 51e9, 1e12, unified=True)
    device = replace(gpu_device(), gpus=(weak, *gpu_device().gpus))
    assert decode(device, gpu_layers=33).value[0] == decode(gpu_device(), gpu_layers=33).value[0]


def test_a_gpu_that_no_runtime_knows_gives_unknown_speeds_not_an_error():
    strange = replace(gpu_device().gpus[0], backend="abacus", compute_capability="very old")
    found = decode(replace(gpu_device(), gpus=(strange,)), gpu_layers=ALL_ON_GPU)
    assert np.isnan(found.value[0])


def test_threads_beyond_the_usual_ones_add_nothing_and_half_of_them_cost_speed():
    hybrid = cpu_device(isa=("avx2", "avx_vnni"), physical_cores=24, performance_cores=8)
    full = decode(hybrid).value[0]
    assert decode(hybrid, threads=floats(1, 8)).value[0] == full
    assert decode(hybrid, threads=floats(1, 24)).value[0] == full
    assert decode(hybrid, threads=floats(1, 4)).value[0] < full


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_every_family_that_a_runtime_maps_to_was_fitted(phase):
    tables = speed_tables()
    for backend in tables.backends.values():
        assert tables.fit(backend.family, "any", phase).phase == phase


def test_every_hardware_class_has_coefficients_of_the_right_sign():
    tables = speed_tables()
    for fit in tables.fits.values():
        assert fit.interval_low < 0 < fit.interval_high
        assert all(np.isfinite(fit.values[name]) for name in COEFFICIENT_NAMES)
        for name in COEFFICIENT_NAMES:
            if name not in ("bandwidth_balance", "compute_balance"):
                assert fit.values[name] > 0, (fit.backend_family, name)
        assert fit.values["bandwidth_balance"] < 1
    cpu_classes = {name for family, name, _ in tables.fits if family == "llama.cpp-cpu"}
    assert {f"{isa}-{form}" for isa in INSTRUCTION_SETS for form in ("laptop", "desktop")} <= cpu_classes
    assert set(GPU_CLASSES) <= {name for family, name, _ in tables.fits if family == "llama.cpp-cuda"}


def test_a_family_without_coefficients_is_an_error_that_says_what_to_do():
    with pytest.raises(CatalogError, match="fit_speed"):
        speed_tables().fit("nothing-cpu", "any", "decode")


@pytest.mark.parametrize(
    ("isa", "kind", "expected"),
    [
        (("avx2", "avx512", "avx512_vnni", "avx512_bf16"), "laptop", "avx512_bf16-laptop"),
        (("avx2", "AVX-VNNI"), "mini-pc", "avx_vnni-laptop"),
        (("avx2",), "workstation", "avx2-server"),
        (("neon", "dotprod", "i8mm"), "phone", "i8mm-small"),
        ((), "desktop", "scalar-desktop"),
    ],
)
def test_the_class_of_a_cpu_is_its_best_instructions_and_its_form(isa, kind, expected):
    assert cpu_class(isa, kind) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("cuda", "desktop", "RTX 3060", False, "8.6"), "desktop"),
        (("cuda", "laptop", "RTX 3060", False, "8.6"), "laptop"),
        (("cuda", "desktop", "RTX 3060 Laptop GPU", False, "8.6"), "laptop"),
        (("cuda", "desktop", "GTX 1080", False, "6.1"), "legacy"),
        (("metal", "laptop", "M2", True, ""), "unified"),
        (("metal", "phone", "A17", True, ""), "small"),
        (("vulkan", "mini-pc", "780M", True, ""), "unified"),
    ],
)
def test_the_class_of_a_gpu_is_its_form(arguments, expected):
    assert gpu_class(*arguments) == expected


@given(st.text(max_size=30))
def test_normalising_a_quantization_label_twice_changes_nothing_more(label):
    once = normal_label(label)
    assert normal_label(once) == once or label.casefold().startswith("ud-")


@pytest.mark.parametrize(
    ("label", "quantization"),
    [("UD-Q4_K_XL", "Q4_K_M"), ("q8_0", "Q8_0"), ("IQ4_XS_R4", "IQ4_XS"), ("Q4_0 (4-bit)", "Q4_0"), ("AWQ", "")],
)
def test_labels_from_the_world_name_a_file_type(label, quantization):
    found = speed_tables().label(label)
    assert found is not None
    assert found.quantization == quantization


@pytest.mark.parametrize(
    ("name", "kernel"),
    [("Q4_K_M", "q4_k"), ("Q4_K_S", "q4_k"), ("Q4_0", "q4_0"), ("IQ4_XS", "iq4_xs"), ("Q6_K", "q6_k"), ("nothing", "")],
)
def test_file_types_that_differ_only_in_their_mix_share_a_kernel(name, kernel):
    assert speed_tables().kernel(name) == kernel


def test_more_bits_belong_to_larger_files_in_the_label_table():
    labels = ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"]
    bits = [found.bits_per_weight for name in labels if (found := speed_tables().label(name))]
    assert len(bits) == len(labels)
    assert all(a < b for a, b in pairwise(bits))


def test_every_reviewed_measurement_keeps_its_source_and_a_reason_where_it_is_set_aside():
    with (paths.catalog_dir() / "measurements.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len({row["row_id"] for row in rows}) == len(rows)
    known = {row["row_id"] for row in rows}
    for row in rows:
        assert row["source"]
        assert row["evidence"]
        assert 0 <= float(row["weight"]) <= 1
        assert not row["duplicate_of"] or row["duplicate_of"] in known


def test_sequences_decoded_together_share_the_weights_but_not_the_experts():
    work = speed.decode_work(variants(), settings(1), floats(1, 100))
    assert batch_weight_bytes(work, 32.0)[0] == work.weight_bytes[0]
    routed = replace(work, stored_weight_bytes=work.weight_bytes * 10, moe=np.array([True]))
    alone, few, many = (batch_weight_bytes(routed, count)[0] for count in (1.0, 4.0, 500.0))
    assert alone == work.weight_bytes[0]
    assert 3 * alone < few < 4 * alone
    assert many == pytest.approx(routed.stored_weight_bytes[0])


def test_more_sequences_are_slower_each_and_faster_together_with_a_wider_range():
    alone, together = (decode(gpu_device(), gpu_layers=ALL_ON_GPU, parallel=floats(1, count)) for count in (1, 8))
    assert alone.value[0] / 8 < together.value[0] < alone.value[0]
    assert together.high[0] / together.low[0] > alone.high[0] / alone.low[0]
