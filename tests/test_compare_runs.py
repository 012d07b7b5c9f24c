from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.compare_runs import Comparison, Difference, compare, comparison_markdown
from recommender.present import jsonable
from recommender.types import Measurement, Memory
from tests.measured import MEASURED

MEMORY = Memory(4e8, 1e8, 5e7, 2e7, 5.7e8, provenance="measured here")
ONE = dataclasses.replace(
    MEASURED,
    prefill_tokens_per_s=210.0,
    prefill_low=205.0,
    prefill_high=215.0,
    decode_tokens_per_s=30.0,
    decode_low=29.0,
    decode_high=31.0,
    memory=MEMORY,
    cpu_steal_fraction=0.0,
)


def decoding(low: float, median: float, high: float, **changes: object) -> Measurement:
    changes |= {"decode_low": low, "decode_tokens_per_s": median, "decode_high": high}
    return dataclasses.replace(ONE, id="two", **changes)  # type: ignore[arg-type]


def of(comparison: Comparison, name: str) -> Difference:
    return next(one for one in comparison.differences if one.name == name)


def decode(b: Measurement, a: Measurement = ONE) -> Difference:
    return of(compare(a, b), "Decode")


# ── speeds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_ranges_apart_and_a_large_difference_are_beyond_the_noise() -> None:
    found = decode(decoding(44.0, 45.0, 46.0))
    assert found.percent == pytest.approx(50.0)
    assert found.beyond_noise is True
    assert "29.0–31.0 and 44.0–46.0 tok/s" in found.verdict


def test_overlapping_ranges_are_within_the_noise_however_large_the_difference() -> None:
    found = decode(decoding(30.9, 45.0, 46.0))
    assert found.beyond_noise is False
    assert "overlap" in found.verdict


def test_a_difference_that_runs_of_one_setup_have_among_themselves_is_within_the_noise() -> None:
    near = decoding(31.5, 31.6, 31.7)
    assert decode(near).beyond_noise is False
    assert "one setup" in decode(near).verdict


def test_a_gpu_varies_less_from_run_to_run_than_a_cpu_so_a_smaller_difference_counts() -> None:
    on_gpu = dataclasses.replace(ONE.settings, gpu_layers=-1)
    faster = decoding(32.0, 32.5, 33.0)
    assert decode(faster).beyond_noise is False
    assert decode(dataclasses.replace(faster, settings=on_gpu), dataclasses.replace(ONE, settings=on_gpu)).beyond_noise


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"noisy": True, "noise_reason": "load average 9.0"}, "B is noisy (load average 9.0)"),
        ({"noisy": True}, "B is noisy (no reason kept)"),
        ({"repeats": 2}, "B has 2 repeats, fewer than 3"),
        ({"decode_low": math.nan}, "spread not kept"),
    ],
)
def test_nothing_is_said_of_a_speed_that_was_measured_badly(changes: dict[str, object], reason: str) -> None:
    b = dataclasses.replace(decoding(44.0, 45.0, 46.0), **changes)  # type: ignore[arg-type]
    found = decode(b)
    assert found.beyond_noise is None
    assert found.verdict == f"cannot be told: {reason}"
    assert found.percent == pytest.approx(50.0)


def test_two_noisy_runs_are_both_named() -> None:
    noisy = dataclasses.replace(ONE, noisy=True, noise_reason="busy")
    assert decode(noisy, noisy).verdict == "cannot be told: A is noisy (busy); B is noisy (busy)"


@pytest.mark.parametrize(("repeats", "other", "chance"), [(3, 3, 0.1), (5, 5, 2 / 252), (3, 5, 2 / 56), (1, 1, 1.0)])
def test_the_chance_that_ranges_of_one_setup_lie_apart_follows_from_the_repeats(
    repeats: int, other: int, chance: float
) -> None:
    a, b = (dataclasses.replace(ONE, repeats=number) for number in (repeats, other))
    assert compare(a, b).chance_apart == pytest.approx(chance)


# ── what has no spread, and memory ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "changes"),
    [("First token", {"ttft_s": 4.9}), ("Load", {"load_s": 1.6}), ("Peak resident", {"peak_resident_bytes": 12e8})],
)
def test_of_what_is_kept_without_a_spread_only_the_difference_is_said(name: str, changes: dict[str, float]) -> None:
    found = of(compare(ONE, dataclasses.replace(ONE, **changes)), name)  # type: ignore[arg-type]
    assert found.percent == pytest.approx(100.0)
    assert found.beyond_noise is None
    assert found.verdict == "spread not kept"


@pytest.mark.parametrize(
    ("memory", "beyond", "verdict"),
    [
        (dataclasses.replace(MEMORY, kv_cache_bytes=1e8 + 10_486, total_bytes=5.7e8 + 10_486), True, "real difference"),
        (dataclasses.replace(MEMORY, overhead_bytes=3e7, total_bytes=5.8e8), False, "the same buffers"),
        (MEMORY, False, "the same"),
        (None, None, "not kept in both runs"),
    ],
)
def test_a_difference_in_the_logged_buffers_is_real_and_one_in_the_process_is_not(
    memory: Memory | None, beyond: bool | None, verdict: str
) -> None:
    found = of(compare(ONE, dataclasses.replace(ONE, memory=memory, noisy=True)), "Memory")
    assert found.beyond_noise is beyond
    assert verdict in found.verdict


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({"settings": dataclasses.replace(ONE.settings, threads=8)}, ("threads", "4", "8")),
        ({"settings": dataclasses.replace(ONE.settings, flash_attn=False)}, ("flash attn", "yes", "no")),
        ({"prompt_tokens": 64}, ("prompt tokens", "512", "64")),
        ({"gen_tokens": 64}, ("generated tokens", "128", "64")),
        ({"runtime": "ollama"}, ("runtime", "llama.cpp", "ollama")),
        ({"binding": "other 1"}, ("binding", "xllamacpp 2026.10", "other 1")),
        ({"build": ""}, ("build", "b1", "not kept")),
        ({"file_sha256": "cd" * 32}, ("file checksum", "ab" * 6, "cd" * 6)),
        ({"device_key": "gpu|24"}, ("hardware", "cpu|16", "gpu|24")),
        ({"rehearsal": True}, ("rehearsal", "no", "yes")),
    ],
)
def test_a_condition_that_differs_is_named_and_no_other(
    changes: dict[str, object], condition: tuple[str, str, str]
) -> None:
    assert compare(ONE, dataclasses.replace(ONE, **changes)).conditions == (condition,)  # type: ignore[arg-type]


# ── any two runs ─────────────────────────────────────────────────────────────────────────────────────────────

SPEEDS = st.lists(st.floats(0.01, 1e5), min_size=3, max_size=3).map(sorted)
AMOUNTS = st.none() | st.floats(0.0, 1e12)


@st.composite
def runs(draw: st.DrawFn) -> Measurement:
    (low, median, high), (slow, usual, fast) = draw(SPEEDS), draw(SPEEDS)
    logged = draw(st.floats(0.0, 1e11))
    return dataclasses.replace(
        ONE,
        decode_low=low,
        decode_tokens_per_s=median,
        decode_high=high,
        prefill_low=slow,
        prefill_tokens_per_s=usual,
        prefill_high=fast,
        ttft_s=draw(st.floats(0.0, 1e4)),
        load_s=draw(st.floats(0.0, 1e4) | st.just(math.nan)),
        memory=draw(st.none() | st.just(Memory(logged, 0.0, 0.0, 2e7, logged + 2e7))),
        peak_resident_bytes=draw(AMOUNTS),
        repeats=draw(st.integers(1, 10)),
        noisy=draw(st.booleans()),
        noise_reason=draw(st.text(max_size=20)),
        settings=dataclasses.replace(ONE.settings, gpu_layers=draw(st.sampled_from([0, -1]))),
    )


@given(run=runs())
def test_a_run_does_not_differ_from_itself(run: Measurement) -> None:
    found = compare(run, run)
    assert found.conditions == ()
    assert not any(one.beyond_noise for one in found.differences)
    assert {one.percent for one in found.differences} <= {0.0, None}


@given(a=runs(), b=runs())
def test_the_other_way_round_only_the_signs_change(a: Measurement, b: Measurement) -> None:
    there, back = compare(a, b), compare(b, a)
    for one, other in zip(there.differences, back.differences, strict=True):
        assert (one.a, one.b) == (other.b, other.a)
        assert one.beyond_noise == other.beyond_noise
        assert (one.percent is None) == (other.percent is None)
        if one.percent is not None and other.percent is not None:
            assert (
                math.copysign(1, one.percent) == -math.copysign(1, other.percent) or one.percent == other.percent == 0
            )
    assert [(name, y, x) for name, x, y in there.conditions] == list(back.conditions)
    assert there.chance_apart == back.chance_apart


@given(a=runs(), b=runs())
def test_any_comparison_is_json_and_a_table_of_markdown(a: Measurement, b: Measurement) -> None:
    found = compare(a, b)
    exported = json.loads(json.dumps(jsonable(found), allow_nan=False))
    assert [one["name"] for one in exported["differences"]] == [one.name for one in found.differences]
    rows = [line for line in comparison_markdown(found).splitlines() if line.startswith("|")]
    columns = [row.replace("\\|", "").count("|") for row in rows]
    assert columns[:8] == [6] * 8
    assert set(columns[8:]) <= {4}


def test_the_markdown_has_both_runs_their_figures_and_their_conditions() -> None:
    text = comparison_markdown(compare(ONE, decoding(44.0, 45.0, 46.0, binding="other | 1", memory=None)))
    assert "maker/model Q4_K_M, llama.cpp (other \\| 1), 2026-11-23T17:00:00Z" in text
    assert "| Decode | 30.0 tok/s | 45.0 tok/s | +50.0% | beyond the noise" in text
    assert "| Memory | 544 MiB | – | – | not kept in both runs |" in text
    assert "| binding | xllamacpp 2026.10 | other \\| 1 |" in text
    assert "10% of comparisons" in text
    assert "All conditions were the same." in comparison_markdown(compare(ONE, ONE))
