from __future__ import annotations

import csv
import math

import pytest

from recommender import paths
from recommender.estimate.evaluate_speed import evaluate_speed
from recommender.estimate.measured import read_measured
from recommender.estimate.speed_tables import speed_tables


def read(name: str) -> list[dict[str, str]]:
    with (paths.catalog_dir() / name).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


DEVICES, MODELS, MEASUREMENTS = read("devices.csv"), read("models.csv"), read("measurements.csv")
REVIEW = ("model_id", "reviewed_params_b", "reviewed_active_params_b", "evidence", "weight", "duplicate_of", "outlier")


def row(**changes: str) -> dict[str, str]:
    """A plain llama-bench row of a known model on a known GPU, as a foreign file has it."""
    plain = dict.fromkeys((key for key in MEASUREMENTS[0] if key not in (*REVIEW, "review_note")), "")
    plain |= {
        "row_id": "new-1",
        "device": "rtx-3060",
        "n_devices": "1",
        "backend": "llama.cpp CUDA",
        "model": "Llama-3.1-8B",
        "params_b": "8.03",
        "quant": "Q4_K_M",
        "prompt_tokens": "512",
        "gen_tokens": "128",
        "batch": "1",
        "prefill_tok_s": "2000",
        "decode_tok_s": "60",
        "notes": "llama-bench",
        "source": "a file",
    }
    return plain | changes


def evaluate(*rows: dict[str, str]):
    return evaluate_speed(rows, DEVICES, MODELS)


def skipped(**changes: str) -> dict[str, int]:
    return read_measured([row(**changes)], DEVICES, MODELS, speed_tables())[1]


@pytest.fixture(scope="module")
def shipped():
    return evaluate_speed(MEASUREMENTS, DEVICES, MODELS)


def test_a_row_measured_twice_as_fast_moves_the_bias_by_a_factor_of_two():
    first = evaluate(row(decode_tok_s="30")).decode
    doubled = evaluate(row(decode_tok_s="60")).decode
    assert doubled.rows == first.rows == 1
    assert doubled.bias == pytest.approx(first.bias - math.log(2))


def test_a_row_without_review_columns_is_read_like_a_reviewed_one():
    assert evaluate(row()).decode.rows == 1
    assert evaluate(row()).decode.median_abs_error < 0.5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": "no-such-device"}, "device not in the catalog"),
        ({"n_devices": "2"}, "several devices"),
        ({"batch": "8"}, "batch above 1"),
        ({"notes": "speculative/MTP flag or mention"}, "speculative decoding"),
        ({"quant": "no-such-type"}, "quantization unknown"),
        ({"model": "something", "params_b": ""}, "model size unknown"),
        ({"n_gpu_layers": "10", "model": "Llama-9.9-8B"}, "layers partly on the CPU"),
        ({"params_b": "70", "model": "a 70B"}, "larger than the GPU's memory"),
        ({"decode_tok_s": "500"}, "faster than memory can deliver the weights"),
        ({"decode_tok_s": "", "prefill_tok_s": ""}, "no speed"),
        ({"backend": "llamafile CUDA", "notes": "host cpu 9950X3D"}, "engine known to be slow on that host"),
    ],
)
def test_a_row_that_cannot_be_compared_is_counted_with_its_reason(changes, reason):
    assert skipped(**changes) == {reason: 1}


@pytest.mark.parametrize(
    ("backend", "version", "family"),
    [
        ("llama.cpp CPU", "b2794", "llama.cpp-2024-cpu"),
        ("llama.cpp CPU", "b9000", "llama.cpp-cpu"),
        ("T-MAC CPU", "b2794", "t-mac-cpu"),
        ("LiteRT-LM CPU", "LiteRT-LM 0.16 / mlx-swift", "litert-lm-cpu"),
    ],
)
def test_a_release_may_count_as_another_engine_but_only_where_a_pattern_asks_for_it(backend, version, family):
    data = read_measured(
        [row(device="cpu-amd-ryzen-9-5950x", backend=backend, version=version, decode_tok_s="5")],
        DEVICES,
        MODELS,
        speed_tables(),
    )[0]
    assert list(data.family) == [family]


def test_a_size_that_was_rounded_gives_way_to_the_name():
    rounded = read_measured([row(model="Nobody-0.5B", params_b="1")], DEVICES, MODELS, speed_tables())[0]
    assert rounded.variants.params_total[0] == pytest.approx(0.5e9)


def test_active_experts_are_read_from_the_name():
    routed = read_measured([row(model="Nobody-8B-A1B", params_b="8")], DEVICES, MODELS, speed_tables())[0]
    dense = read_measured([row(model="Nobody-8B", params_b="8")], DEVICES, MODELS, speed_tables())[0]
    ratio = dense.variants.read_bytes_per_token[0] / routed.variants.read_bytes_per_token[0]
    assert ratio == pytest.approx(8)


def test_a_resolver_is_asked_only_for_rows_without_a_reviewed_model():
    asked: list[str] = []

    def resolve(name: str, size: float | None) -> str | None:
        asked.append(name)
        return "meta-llama/Llama-3.1-8B-Instruct"

    read_measured([row()], DEVICES, MODELS, speed_tables(), resolve)
    read_measured([row(model_id="meta-llama/Llama-3.1-8B-Instruct")], DEVICES, MODELS, speed_tables(), resolve)
    assert asked == ["Llama-3.1-8B"]


def test_an_empty_file_has_empty_tables():
    empty = evaluate()
    assert empty.decode.rows == 0
    assert empty.prefill.rows == 0


def test_the_shipped_rows_are_judged_by_fits_that_left_their_device_out(shipped):
    for phase in ("decode", "prefill"):
        left_out, fitted = getattr(shipped, phase), shipped.fitted[phase]
        assert fitted.rows >= 0.95 * left_out.rows
        assert left_out.median_abs_error > fitted.median_abs_error


def test_shares_and_classes_add_up(shipped):
    table = shipped.decode
    assert table.by_class["cpu"].rows + table.by_class["gpu"].rows == table.rows
    assert sum(t.rows for name, t in table.by_class.items() if name.startswith("evidence ")) == table.rows
    assert table.within_25 <= table.within_30
    assert table.median_abs_error <= table.p90_abs_error <= table.p95_abs_error
    assert table.rows + sum(table.skipped.values()) == len(MEASUREMENTS)


def test_left_out_ranges_hold_about_their_share(shipped):
    assert 0.75 <= shipped.decode.interval_share <= 0.88
    assert 0.75 <= shipped.prefill.interval_share <= 0.88


def test_at_least_three_quarters_of_comparable_rows_are_used(shipped):
    skipped_for_a_fault = {
        key: count
        for key, count in shipped.decode.skipped.items()
        if key
        not in (
            "several devices",
            "batch above 1",
            "speculative decoding",
            "device not in the catalog",
            "device without a known bandwidth",
            "model size unknown",
            "no decode speed or prompt length",
        )
    }
    assert sum(skipped_for_a_fault.values()) <= 0.25 * (shipped.decode.rows + sum(skipped_for_a_fault.values()))


def test_a_noise_floor_stands_beside_the_errors(shipped):
    for name, floor in shipped.noise_floor.items():
        assert floor.rows >= 2 * floor.configurations > 0, name
        assert floor.median_abs_error < 0.2
