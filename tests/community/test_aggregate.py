"""What is counted, what is set aside and why, and what corrects estimates; whatever is in the store."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import paths
from recommender.calibrated import calibration_here
from recommender.catalog.store import Catalog
from recommender.community import feed, judging
from recommender.community.aggregate import as_measurement, summary
from recommender.community.record import record_text, row_of
from recommender.community.stores import Row, open_store
from recommender.community.words import summary_json, summary_text
from recommender.device import device_key
from recommender.engine.estimate_rows import EstimateRequest, estimate_one
from recommender.types import GIB, Device
from tests.community.made import MODEL, QUANTIZATION, keyed, measured, row, shared


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> Path:
    """A place of its own to share in, and nothing remembered of another test's."""
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "local")
    monkeypatch.setattr("recommender.settings._IN_FORCE", [])
    monkeypatch.setattr(paths, "community_database", lambda: tmp_path / "community.duckdb")
    monkeypatch.setattr(paths, "contributor_file", lambda: tmp_path / "contributor")
    feed._kept(catalog).clear()
    return tmp_path


def agreeing(device: Device, catalog: Catalog, count: int, times: float = 0.6, **changes: object) -> list[Row]:
    """Runs of so many contributors, each a little off the other."""
    return [
        row(measured(device, catalog, times * (1 + 0.01 * number), **changes), device, number)
        for number in range(count)
    ]


# ── what is set aside ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bandwidth", [51.2e9, None])
def test_a_million_tokens_per_second_are_set_aside_with_the_physics_that_forbid_them(
    laptop: Device, catalog: Catalog, bandwidth: float | None
) -> None:
    device = replace(laptop, bandwidth_bytes_per_s=bandwidth)
    good = agreeing(device, catalog, 2)
    wild = row(measured(device, catalog, 0.6), device, 7, decode_low=1e6, decode_tokens_per_s=1e6, decode_high=1e6)
    for known in (device, None):
        found = summary([*good, wild], catalog, known)
        [group], [aside] = found.groups, found.set_aside
        assert aside.id == wild.id
        assert "1,000,000 tok/s would read" in aside.reason
        assert group.decode_tokens_per_s.high < 1000
        assert (group.runs, group.contributors) == (2, 2)


@pytest.mark.parametrize(("times", "phase"), [(1 / 30, "decode"), (30.0, "prefill")])
def test_what_is_far_from_the_estimate_for_its_own_settings_is_set_aside(
    laptop: Device, catalog: Catalog, times: float, phase: str
) -> None:
    right, wrong = measured(laptop, catalog, 1.0), measured(laptop, catalog, times)
    names = [f"{phase}_{end}" for end in ("low", "tokens_per_s", "high")]
    odd = row(replace(right, **{name: getattr(wrong, name) for name in names}), laptop)
    [aside] = summary([odd], catalog, laptop).set_aside
    assert f"{phase} is too far from the estimate" in aside.reason


def test_where_the_estimate_is_sure_less_is_too_far(
    workstation: Device, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_physics = judging._rules() | {"bandwidth_times": 1e9}
    monkeypatch.setattr(judging, "_rules", lambda: without_physics)
    run = measured(workstation, catalog, 1.0)
    [one] = summary([row(run, workstation)], catalog, workstation).groups[0].counted
    width = math.log(one.decode.high / one.decode.value)
    for ranges, aside in ((4.5, 0), (5.5, 1)):
        assert ranges * width < math.log(10)
        speed = one.decode.value * math.exp(ranges * width)
        odd = replace(run, decode_low=speed, decode_tokens_per_s=speed, decode_high=speed)
        assert len(summary([row(odd, workstation)], catalog, workstation).set_aside) == aside


def test_one_among_many_that_disagrees_is_set_aside_and_does_not_move_the_median(
    laptop: Device, catalog: Catalog
) -> None:
    good = agreeing(laptop, catalog, 6)
    odd = row(measured(laptop, catalog, 1.5), laptop, 99)
    alone, with_odd = summary(good, catalog, laptop), summary([*good, odd], catalog, laptop)
    assert with_odd.groups == alone.groups
    [aside] = with_odd.set_aside
    assert aside.id == odd.id
    assert "the median of 7 contributors" in aside.reason
    # Of four, nobody can say who is wrong: all count, and the median of four is between them.
    assert summary([*good[:3], odd], catalog, laptop).set_aside == ()


def test_a_contributor_has_one_voice_however_much_it_shares(laptop: Device, catalog: Catalog) -> None:
    honest = agreeing(laptop, catalog, 3)
    loud = [row(measured(laptop, catalog, 1.5, gen_tokens=number), laptop, 77) for number in range(20, 60)]
    [group] = summary([*honest, *loud], catalog, laptop).groups
    assert (group.runs, group.contributors) == (43, 4)
    [without] = summary(honest, catalog, laptop).groups
    assert group.decode_tokens_per_s.value < 1.02 * without.decode_tokens_per_s.high


def test_groups_are_of_one_hardware_model_runtime_version_and_side(
    laptop: Device, workstation: Device, catalog: Catalog
) -> None:
    on_cpu = replace(measured(workstation, catalog, 1.0).settings, gpu_layers=0)
    rows = [
        row(measured(laptop, catalog, 1.0), laptop),
        row(measured(workstation, catalog, 1.0), workstation),
        row(measured(workstation, catalog, 1.0, settings=on_cpu), workstation),
        row(measured(workstation, catalog, 1.0, build="b2"), workstation),
        row(measured(workstation, catalog, 1.0, quantization="Q8_0"), workstation),
    ]
    found = summary(rows, catalog)
    assert len(found.groups) == 5
    assert {group.side for group in found.groups} == {"cpu", "gpu"}
    assert found.set_aside == ()
    assert len(summary(rows, catalog, workstation).groups) == 4
    assert summary(rows, catalog, replace(laptop, ram_bytes=64.0 * GIB)).groups == ()


def test_the_words_name_counts_ranges_and_reasons(laptop: Device, catalog: Catalog) -> None:
    rows = [*agreeing(laptop, catalog, 3), Row("f" * 32, "k", "no JSON")]
    found = summary(rows, catalog, laptop)
    text = summary_text(found)
    assert "3 runs of 3 contributors; corrects estimates: yes" in text
    assert "a record that cannot be read (ffffffff): It is no JSON." in text
    values = json.loads(json.dumps(summary_json(found), allow_nan=False))
    assert values["groups"][0]["contributors"] == 3
    assert values["set_aside"][0]["reason"] == "It is no JSON."
    assert summary_text(summary([], catalog)) == "Nothing was shared yet."


# ── what it corrects ─────────────────────────────────────────────────────────────────────────────────────────


def decode(device: Device, catalog: Catalog, model: str = MODEL) -> float:
    request = EstimateRequest(model, QUANTIZATION, device, gpu_layers=0)
    figure = estimate_one(request, catalog, calibration_here(device, catalog, [])).estimate.decode_tokens_per_s
    assert figure is not None
    return figure.value


def test_three_contributors_correct_the_estimates_of_the_same_hardware_and_of_no_other(
    laptop: Device, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(laptop, ram_bytes=64.0 * GIB)
    before, elsewhere = decode(laptop, catalog), decode(other, catalog)
    store = open_store("local")
    for number, one in enumerate(agreeing(laptop, catalog, 3)):
        assert decode(laptop, catalog) == before, f"{number} contributors are too few"
        store.add(one)
        feed._kept(catalog).clear()
    assert 0.55 * before < decode(laptop, catalog) < 0.8 * before
    assert decode(laptop, catalog, "Qwen/Qwen3-4B") < decode(other, catalog, "Qwen/Qwen3-4B")
    assert decode(other, catalog) == elsewhere
    monkeypatch.delenv("RIGHTSIZE_COMMUNITY")
    assert decode(laptop, catalog) == before


def test_what_was_measured_here_goes_before_what_others_say_of_the_same(laptop: Device, catalog: Catalog) -> None:
    store = open_store("local")
    for one in agreeing(laptop, catalog, 5, 0.5):
        store.add(one)
    mine = measured(laptop, catalog, 1.0, measured_at="2020-01-01T00:00:00+00:00", build="an old one")
    found = calibration_here(laptop, catalog, [mine])
    assert found is not None
    assert found.models["decode", "llama.cpp-cpu", MODEL, QUANTIZATION].mean == pytest.approx(0.0, abs=1e-6)


def test_other_builds_of_others_do_not_make_a_run_made_here_count_for_less(laptop: Device, catalog: Catalog) -> None:
    mine = measured(laptop, catalog, 0.6, build="an old one")
    alone = calibration_here(laptop, catalog, [mine])
    store = open_store("local")
    for build in ("b7", "b8", "b9"):
        for one in agreeing(laptop, catalog, 3, 0.6, model_id="Qwen/Qwen3-4B", build=build):
            store.add(one)
    feed._kept(catalog).clear()
    both = calibration_here(laptop, catalog, [mine])
    assert alone is not None
    assert both is not None
    own = ("decode", "llama.cpp-cpu", MODEL, QUANTIZATION)
    assert both.models[own].variance <= alone.models[own].variance


@pytest.mark.parametrize("runtime", ["wllama", "wllama-webgpu", "wllama-threads"])
def test_a_browser_s_speeds_are_shown_and_correct_nothing_native(
    laptop: Device, catalog: Catalog, runtime: str
) -> None:
    run = measured(laptop, catalog, 1.0, runtime="wllama")
    rows = [row(replace(run, runtime=runtime), laptop, number) for number in range(4)]
    [group] = summary(rows, catalog, laptop).groups
    assert (group.runtime, group.contributors, group.corrects) == (runtime, 4, False)
    assert "in a browser" in summary_text(summary(rows, catalog, laptop))


def test_machines_of_the_same_hardware_that_differ_count_for_less(laptop: Device, catalog: Catalog) -> None:
    def as_run(*times: float) -> Any:
        rows = [row(measured(laptop, catalog, one), laptop, number) for number, one in enumerate(times)]
        [group] = summary(rows, catalog, laptop).groups
        return as_measurement(group, laptop)

    alike, apart = as_run(0.59, 0.6, 0.61), as_run(0.4, 0.6, 0.9)
    assert alike.decode_tokens_per_s == pytest.approx(apart.decode_tokens_per_s)
    assert apart.decode_high / apart.decode_low == pytest.approx(0.9 / 0.4)
    assert apart.device_key == device_key(laptop)


def test_a_place_that_cannot_be_read_takes_no_answer_down(
    laptop: Device, catalog: Catalog, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = decode(laptop, catalog)
    (home / "community.duckdb").write_text("no database")
    feed._kept(catalog).clear()
    assert decode(laptop, catalog) == before
    assert "not a database" in feed.shared_with_this_hardware(laptop, catalog)[1]
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "nowhere:secret")
    assert decode(laptop, catalog) == before
    assert "secret" not in feed.shared_with_all(catalog)[1]
    monkeypatch.delenv("RIGHTSIZE_COMMUNITY")
    monkeypatch.setenv("RIGHTSIZE_SETTINGS", str(home / "no such file"))
    assert decode(laptop, catalog) == before


# ── whatever is in the store ─────────────────────────────────────────────────────────────────────────────────

NUMBERS = st.floats(min_value=1e-9, max_value=1e9) | st.sampled_from([1e-300, 1e9, 1e6, 1.0, 5e-324])
COUNTS = st.sampled_from([1, 2, 512, 4096, 65_536, 10_000_000])
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "contributor": st.sampled_from(["0" * 16, "1" * 16, "2" * 16]),
        "decode": NUMBERS,
        "prefill": NUMBERS,
        "ttft_s": st.floats(0, 1e6),
        "memory_bytes": st.none() | st.floats(0, 1e15),
        "prompt_tokens": COUNTS,
        "gen_tokens": COUNTS,
        "quantization": st.sampled_from(["Q8_0", "Q4_K_M", "F16", "none", "ä|*"]),
        "runtime": st.sampled_from(["llama.cpp", "ollama", "vllm", "wllama-x", "mlx", "azure-ai-foundry", "?"]),
        "day": st.sampled_from(["2099-12-31", "2000-01-01"]),
        "settings": st.fixed_dictionaries(
            {},
            optional={
                "context_tokens": COUNTS,
                "kv_type": st.sampled_from(["q4_0", "f32", "nonsense"]),
                "ubatch_tokens": COUNTS,
                "parallel": st.integers(1, 1024),
                "threads": st.integers(1, 65_536),
                "gpu_layers": st.integers(-1, 65_536),
            },
        ),
        "device": st.fixed_dictionaries(
            {},
            optional={
                "bandwidth_gb_s": st.none() | st.floats(1e-300, 20_000),
                "ram_gib": st.none() | st.sampled_from([0, 1, 65_536]),
                "physical_cores": st.none() | st.sampled_from([1, 65_536]),
                "isa": st.lists(st.text(max_size=5), max_size=3),
                "arch": st.sampled_from(["arm64", "x86-64"]),
                "os": st.sampled_from(["macos", "android", "linux"]),
                "gpus": st.lists(
                    st.fixed_dictionaries(
                        {
                            "name": st.text(st.characters(codec="ascii"), max_size=5),
                            "vendor": st.just("nvidia"),
                            "backend": st.sampled_from(["", "cuda", "metal", "vulkan"]),
                            "memory_gib": st.none() | st.sampled_from([0, 1, 65_536]),
                            "bandwidth_gb_s": st.none() | st.floats(1e-9, 20_000),
                            "fp16_tflops": st.none() | st.floats(1e-9, 100_000),
                            "compute_capability": st.sampled_from(["", "8.6", "no"]),
                            "unified": st.booleans(),
                        }
                    ),
                    max_size=2,
                ),
            },
        ),
    },
)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(CHANGES | st.text() | st.binary().map(repr), max_size=4))
def test_whatever_rows_are_in_the_store_medians_are_finite_within_what_was_shared_and_nothing_fails(
    rows: list[Any], catalog: Catalog
) -> None:
    device = Device("d", "d", "laptop", "linux", "x86-64", physical_cores=8, ram_bytes=16.0 * GIB)
    good = shared(measured(device, catalog, 1.0), device)
    stored = [Row(good.id, good.hardware, record_text(good))]
    for number, changes in enumerate(rows):
        stored.append(Row(str(number), "k", changes if isinstance(changes, str) else _changed(good, changes)))
    for known in (device, None):
        found = summary(stored, catalog, known)
        seen = {one.id for one in found.set_aside}
        for group in found.groups:
            assert group.runs == len(group.counted) > 0
            assert 0 < group.contributors <= group.runs
            for name in ("decode_tokens_per_s", "prefill_tokens_per_s", "ttft_s"):
                figure, said = getattr(group, name), [getattr(one.run, name) for one in group.counted]
                assert min(said) <= figure.low <= figure.value <= figure.high <= max(said)
                assert math.isfinite(figure.value)
            run = as_measurement(group, device)
            for speed in (run.decode_low, run.decode_tokens_per_s, run.decode_high, run.prefill_tokens_per_s):
                assert math.isfinite(speed)
                assert speed > 0
            assert not seen & {one.run.id for one in group.counted}
        assert json.dumps(summary_json(found), allow_nan=False)
        assert summary_text(found)


def _changed(good: Any, changes: dict[str, Any]) -> str:
    """A record with these values; with the key of its content where it can have one."""
    values = asdict(good)
    for name, value in changes.items():
        if name in ("decode", "prefill"):
            values |= {f"{name}_{end}": value for end in ("low", "tokens_per_s", "high")}
        else:
            values[name] = values[name] | value if isinstance(value, dict) else value
    text = json.dumps(values)
    try:
        from recommender.community.record import _adapter

        return record_text(keyed(_adapter().validate_json(text)))
    except ValueError:
        return text


def test_the_median_of_a_group_is_that_of_its_contributors(laptop: Device, catalog: Catalog) -> None:
    runs = [shared(measured(laptop, catalog, times), laptop, who) for who, times in enumerate((0.7, 0.9, 0.75))]
    runs.append(shared(measured(laptop, catalog, 0.8, gen_tokens=127), laptop, 1))
    [group] = summary(map(row_of, runs), catalog, laptop).groups
    speeds = [run.decode_tokens_per_s for run in runs]
    assert group.decode_tokens_per_s.value == median([speeds[0], median([speeds[1], speeds[3]]), speeds[2]])
