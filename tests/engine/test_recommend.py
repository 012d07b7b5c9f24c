"""Answers for common machines: sane sizes, every limit met, bad input refused in a sentence."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog import Catalog
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.errors import BadInputError, UnknownNameError
from recommender.types import GIB, Device, Need, Pick, Recommendation

# The fixtures are frozen or read-only, so examples may share them.
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TASKS = ("chat", "reasoning", "code", "summarize", "rag", "extract", "tools", "translate", "write", "teach", "classify")


def _params(catalog: Catalog, pick: Pick) -> float:
    return catalog.model(pick.model_id).params_total


def _resident(pick: Pick) -> float:
    assert pick.estimate.memory is not None
    return pick.estimate.memory.total_bytes - pick.estimate.memory.reclaimable_bytes


def _models(answer: Recommendation) -> set[str]:
    return {pick.model_id for pick in answer.picks}


# ── sane answers ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("device", "ram_gib", "smallest_b", "largest_b"),
    [
        ("galaxy-s24", None, 0.3, 9),
        ("raspberry-pi-5", 8, 0.2, 5),
        ("macbook-air-m2", 8, 0.5, 12),
        ("macbook-pro-m2-max", None, 3, 60),
        ("cpu-intel-core-i7-13700h", None, 0.5, 40),
        ("rtx-4060", None, 1.5, 40),
        ("rtx-4090", None, 3, 130),
    ],
)
def test_the_pick_is_of_a_size_the_machine_can_carry(
    catalog: Catalog, device: str, ram_gib: float | None, smallest_b: float, largest_b: float
) -> None:
    answer = recommend(preset(device, ram_gib), Need(), catalog, top=1)
    assert smallest_b <= _params(catalog, answer.picks[0]) / 1e9 <= largest_b


def test_a_larger_machine_gets_a_better_pick_when_quality_goes_first(catalog: Catalog) -> None:
    need = Need(priority="quality")
    found = [
        recommend(preset(name), need, catalog, top=1).picks[0].quality
        for name in ("raspberry-pi-5", "cpu-intel-core-i7-13700h", "rtx-4090")
    ]
    assert found == sorted(found)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_an_answer_on_a_common_laptop(catalog: Catalog, laptop: Device, task: str) -> None:
    answer = recommend(laptop, Need(task=task), catalog, top=3)
    assert len(answer.picks) == 3
    assert all(pick.command and pick.reasons for pick in answer.picks)


def test_priorities_pull_the_pick_their_way(catalog: Catalog, laptop: Device) -> None:
    def first(priority: str) -> Pick:
        return recommend(laptop, Need(priority=priority), catalog, top=1).picks[0]  # type: ignore[arg-type]

    quality, speed, smallest = first("quality"), first("speed"), first("smallest")
    assert quality.quality >= speed.quality
    assert speed.estimate.answer_time_s is not None
    assert quality.estimate.answer_time_s is not None
    assert speed.estimate.answer_time_s.value <= quality.estimate.answer_time_s.value
    assert _resident(smallest) < _resident(quality)


def test_the_same_question_has_the_same_answer(catalog: Catalog, laptop: Device) -> None:
    first, second = (recommend(laptop, Need(task="code"), catalog) for _ in range(2))
    assert first.picks == second.picks
    assert [miss.pick for miss in first.near_misses] == [miss.pick for miss in second.near_misses]


def test_top_cuts_the_list_and_changes_nothing_else(catalog: Catalog, laptop: Device) -> None:
    every, three = recommend(laptop, Need(), catalog), recommend(laptop, Need(), catalog, top=3)
    assert [pick.model_id for pick in three.picks] == [pick.model_id for pick in every.picks[:3]]
    assert three.considered == every.considered


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_pick_fits_free_memory_and_leaves_the_reserve(catalog: Catalog, laptop: Device) -> None:
    reserve = 3 * GIB
    answer = recommend(laptop, Need(memory_reserve_bytes=reserve), catalog)
    assert answer.memory_budget_bytes is not None
    assert answer.picks
    assert all(_resident(pick) <= answer.memory_budget_bytes - reserve for pick in answer.picks)


def test_a_card_and_main_memory_each_hold_their_part(catalog: Catalog, workstation: Device) -> None:
    answer = recommend(workstation, Need(priority="quality"), catalog)
    assert answer.memory_budget_bytes is not None
    assert answer.gpu_budget_bytes is not None
    for pick in answer.picks:
        memory = pick.estimate.memory
        assert memory is not None
        assert memory.gpu_bytes <= answer.gpu_budget_bytes
        assert _resident(pick) - memory.gpu_bytes <= answer.memory_budget_bytes


def test_a_gpu_that_shares_the_memory_holds_no_more_than_its_share(catalog: Catalog) -> None:
    mac = preset("macbook-pro-m2-max")
    answer = recommend(mac, Need(priority="quality"), catalog)
    assert answer.gpu_budget_bytes is not None
    assert answer.memory_budget_bytes is not None
    assert answer.gpu_budget_bytes <= answer.memory_budget_bytes
    on_gpu = [pick for pick in answer.picks if pick.runtime in ("llama.cpp", "mlx")]
    assert on_gpu
    assert all(_resident(pick) <= answer.gpu_budget_bytes for pick in on_gpu)


def test_a_shared_gpu_without_a_usable_backend_does_not_take_the_memory_away(catalog: Catalog) -> None:
    """A Snapdragon laptop's GPU has no llama.cpp backend here: its runtimes still have the machine's memory."""
    answer = recommend(preset("surface-pro-11", 16), Need(runtimes=("foundry-local",)), catalog)
    assert answer.picks


@given(
    context=st.sampled_from([None, 2048, 8192, 32768]),
    decode=st.sampled_from([None, 5.0, 20.0]),
    ttft=st.sampled_from([None, 3.0]),
    answer_s=st.sampled_from([None, 30.0, 120.0]),
    commercial=st.booleans(),
    task=st.sampled_from(["chat", "code", "tools"]),
)
@few
def test_every_pick_meets_every_limit(
    catalog: Catalog,
    laptop: Device,
    context: int | None,
    decode: float | None,
    ttft: float | None,
    answer_s: float | None,
    commercial: bool,
    task: str,
) -> None:
    need = Need(
        task=task,
        context_tokens=context,
        min_decode_tokens_per_s=decode,
        max_ttft_s=ttft,
        max_answer_time_s=answer_s,
        commercial=commercial,
    )
    for pick in recommend(laptop, need, catalog).picks:
        model, estimate = catalog.model(pick.model_id), pick.estimate
        assert estimate.decode_tokens_per_s
        assert estimate.ttft_s
        assert estimate.answer_time_s
        assert decode is None or estimate.decode_tokens_per_s.value >= decode
        assert ttft is None or estimate.ttft_s.value <= ttft
        assert answer_s is None or estimate.answer_time_s.value <= answer_s
        assert not commercial or model.commercial_use in ("yes", "conditions")
        assert context is None or model.context_max is None or model.context_max >= context
        assert task != "tools" or model.tool_calling != "no"


@given(ram=st.floats(2, 64), more=st.floats(0, 64))
@few
def test_more_memory_never_takes_a_model_away(catalog: Catalog, laptop: Device, ram: float, more: float) -> None:
    def fitting(free_gib: float) -> set[str]:
        device = dataclasses.replace(laptop, ram_bytes=160.0 * GIB, ram_free_bytes=free_gib * GIB)
        # Every quantization, and no thinning of older models: what fits must still fit.
        return {
            f"{pick.model_id} {pick.quantization}"
            for pick in recommend(device, Need(models=_SOME, all_quantizations=True), catalog).picks
        }

    assert fitting(ram) <= fitting(ram + more)


_SOME = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "microsoft/Phi-4-mini-instruct", "google/gemma-3-4b-it")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("min_decode_tokens_per_s", (1.0, 5.0, 10.0, 20.0, 60.0)),
        ("max_answer_time_s", (600.0, 60.0, 20.0, 5.0)),
        ("max_ttft_s", (60.0, 5.0, 1.0, 0.2)),
        ("memory_reserve_bytes", (0.0, 4.0 * GIB, 8.0 * GIB, 11.0 * GIB)),
        ("disk_reserve_bytes", (0.0, 190.0 * GIB, 197.0 * GIB, 199.0 * GIB)),
        ("context_tokens", (2048, 8192, 32768, 131072)),
    ],
)
def test_a_tighter_limit_never_adds_a_candidate(
    catalog: Catalog, laptop: Device, name: str, values: tuple[float, ...]
) -> None:
    before: set[tuple[str, str | None, str]] | None = None
    for value in values:
        need = dataclasses.replace(Need(all_quantizations=True, models=_SOME), **{name: value})
        answer = recommend(laptop, need, catalog)
        found = {(pick.model_id, pick.quantization, pick.runtime) for pick in answer.picks}
        assert before is None or found <= before, f"{name} {value} added {found - before}"
        before = found


def test_languages_never_exclude_a_model(catalog: Catalog, laptop: Device) -> None:
    plain = recommend(laptop, Need(all_quantizations=True), catalog)
    asked = recommend(laptop, Need(languages=("sw", "is", "xx"), all_quantizations=True), catalog)
    fitting = {model.model_id for model in catalog.models()} & _models(plain)
    assert fitting == _models(asked)


def test_a_longer_context_takes_more_memory(catalog: Catalog, laptop: Device) -> None:
    def resident(context: int) -> float:
        need = Need(models=("Qwen/Qwen3-4B",), quantizations=("Q4_K_M",), context_tokens=context)
        return _resident(recommend(laptop, need, catalog).picks[0])

    assert resident(2048) < resident(8192) < resident(32768)


def test_more_users_take_more_cache(catalog: Catalog, workstation: Device) -> None:
    def cache(users: int) -> float:
        need = Need(models=("Qwen/Qwen3-4B",), quantizations=("Q4_K_M",), runtimes=("llama.cpp",), users=users)
        memory = recommend(workstation, need, catalog).picks[0].estimate.memory
        assert memory is not None
        return memory.kv_cache_bytes

    assert cache(4) == pytest.approx(4 * cache(1))


# ── unknown machines ─────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_memory_leaves_nothing_out_and_says_so(catalog: Catalog, laptop: Device) -> None:
    unknown = dataclasses.replace(laptop, ram_bytes=None, ram_free_bytes=None)
    answer = recommend(unknown, Need(), catalog)
    assert answer.memory_budget_bytes is None
    assert "memory" not in answer.rejected
    assert answer.picks
    assert any("memory is not known" in note for note in answer.notes)


def test_unknown_bandwidth_widens_the_range_and_says_so(catalog: Catalog, laptop: Device) -> None:
    need = Need(models=("Qwen/Qwen3-4B",), quantizations=("Q4_K_M",), runtimes=("llama.cpp",))

    def width(device: Device) -> float:
        figure = recommend(device, need, catalog).picks[0].estimate.decode_tokens_per_s
        assert figure is not None
        return figure.high / figure.low

    unknown = dataclasses.replace(laptop, bandwidth_bytes_per_s=None)
    assert width(unknown) > width(laptop)
    assert any("bandwidth is not known" in note for note in recommend(unknown, need, catalog).notes)


def test_a_machine_of_which_nothing_is_known_still_gets_an_answer(catalog: Catalog) -> None:
    bare = Device(id="bare", name="Something", kind="desktop", os="linux", arch="x86-64")
    assert recommend(bare, Need(), catalog).picks


def test_a_machine_too_small_for_anything_says_what_missed(catalog: Catalog, laptop: Device) -> None:
    tiny = dataclasses.replace(laptop, ram_bytes=0.2 * GIB, ram_free_bytes=0.1 * GIB)
    answer = recommend(tiny, Need(), catalog)
    assert not answer.picks
    assert answer.rejected["memory"] > 0


# ── thinking ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hybrid_model_that_thinks_is_judged_as_measured_thinking_and_pays_for_it(
    catalog: Catalog, workstation: Device
) -> None:
    """On a task where it thinks first, its quality is the thinking mode's and its answer takes longer."""
    hybrid = next(model for model in catalog.models() if model.model_id == "Qwen/Qwen3-4B")
    assert hybrid.thinking == "hybrid"
    rows = (
        catalog.cursor()
        .execute(
            "SELECT capability, score FROM abilities WHERE model_id = ? AND capability IN ('code', 'code@thinking')",
            [hybrid.model_id],
        )
        .fetchall()
    )
    scores = dict(rows)
    assert scores["code@thinking"] > scores["code"]
    need = Need(task="code", models=(hybrid.model_id,), quantizations=("Q8_0",), runtimes=("llama.cpp",))
    pick = recommend(workstation, need, catalog).picks[0]
    task = catalog.task("code")
    assert task.hybrid_thinks
    wanted = {f"{name}@thinking": weight for name, weight in task.weights.items()}
    thinking = (
        catalog.cursor()
        .execute("SELECT capability, score FROM abilities WHERE model_id = ?", [hybrid.model_id])
        .fetchall()
    )
    expected = sum(wanted.get(name, 0.0) * score for name, score in thinking)
    assert pick.quality == pytest.approx(expected, abs=1.0)
    assert any("tokens of thinking included" in reason for reason in pick.reasons)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "chta"}, "chat"),
        ({"models": ("Qwen/Qwen3-4",)}, "Qwen/Qwen3-4B"),
        ({"runtimes": ("lama.cpp",)}, "llama.cpp"),
    ],
)
def test_an_unknown_name_brings_the_nearest_real_ones(
    catalog: Catalog, laptop: Device, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UnknownNameError, match=words) as caught:
        recommend(laptop, dataclasses.replace(Need(), **changes), catalog)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"context_tokens": 0},
        {"context_tokens": -1},
        {"context_tokens": 10**12},
        {"context_tokens": 10},
        {"users": 0},
        {"users": 10**9},
        {"min_decode_tokens_per_s": 0.0},
        {"min_decode_tokens_per_s": float("nan")},
        {"max_ttft_s": -2.0},
        {"max_answer_time_s": float("inf")},
        {"memory_reserve_bytes": -1.0},
        {"disk_reserve_bytes": float("nan")},
        {"priority": "best"},
        {"placement": "cloud"},
        {"accelerator": "tpu"},
        {"platform": "beos"},
        {"form_factor": "watch"},
        {"enterprise": ("sso",)},
        {"languages": ("English",)},
        {"quantizations": ("Q4_K",)},
    ],
)
def test_nonsense_is_refused_in_a_sentence(catalog: Catalog, laptop: Device, changes: dict[str, object]) -> None:
    with pytest.raises(BadInputError) as caught:
        recommend(laptop, dataclasses.replace(Need(), **changes), catalog)  # type: ignore[arg-type]
    message = str(caught.value)
    assert len(message) > 20
    assert message[-1] in ".?"
