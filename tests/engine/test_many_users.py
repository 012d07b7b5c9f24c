"""What changes when many people ask at once, and what a pick's command and near misses say."""

from __future__ import annotations

import pytest

from recommender.catalog.store import Catalog
from recommender.device.presets import preset
from recommender.engine.recommend import recommend
from recommender.types import Need


def test_each_of_many_users_gets_less_speed_and_waits_longer_than_one_alone(catalog: Catalog) -> None:
    device = preset("a100-sxm-80gb")
    model = ("Qwen/Qwen3-8B",)
    alone, crowded = (
        recommend(device, Need(models=model, runtimes=("vllm",), users=users), catalog).picks[0] for users in (1, 30)
    )
    one, many = alone.estimate, crowded.estimate
    assert one.decode_tokens_per_s is not None
    assert many.decode_tokens_per_s is not None
    assert one.answer_time_s is not None
    assert many.answer_time_s is not None
    assert many.decode_tokens_per_s.value < one.decode_tokens_per_s.value
    assert many.answer_time_s.value > one.answer_time_s.value
    # Together they get much more: the weights are read once for all.
    assert 30 * many.decode_tokens_per_s.value > 5 * one.decode_tokens_per_s.value


@pytest.mark.parametrize("device_id", ["a100-sxm-80gb", "azure-nc40ads-h100-v5"])
def test_a_gpu_server_for_many_users_gets_a_runtime_made_for_them(catalog: Catalog, device_id: str) -> None:
    assert recommend(preset(device_id), Need(users=50), catalog).picks[0].runtime == "vllm"


def test_the_command_names_the_accelerator_that_was_asked_for(catalog: Catalog) -> None:
    need = Need(task="extract", accelerator="npu", runtimes=("onnx-genai",))
    answer = recommend(preset("copilot-pc-snapdragon-x", 16), need, catalog, top=3)
    assert answer.picks
    for pick in answer.picks:
        assert "--device npu" in pick.command
        assert "--device cpu" not in pick.command


def test_a_phone_without_a_shell_is_not_told_to_run_a_server(catalog: Catalog) -> None:
    pick = recommend(preset("iphone-16"), Need(), catalog, top=1).picks[0]
    assert "llama-server" not in pick.command
    assert pick.file_repo in pick.command


@pytest.mark.parametrize(("device_id", "ram_gib"), [("macbook-air-m4", 16), ("rtx-3060", None), ("iphone-16", None)])
def test_what_is_clearly_weaker_than_the_pick_is_no_near_miss(
    catalog: Catalog, device_id: str, ram_gib: float | None
) -> None:
    answer = recommend(preset(device_id, ram_gib), Need(), catalog)
    assert all(miss.pick.quality >= answer.picks[0].quality - 3 for miss in answer.near_misses)


def test_a_task_is_no_surer_than_the_abilities_it_weighs(catalog: Catalog) -> None:
    """One model's abilities err together: what is guessed from relatives is guessed for all of them."""
    for pick in recommend(preset("rtx-4090"), Need(), catalog, top=5).picks:
        found = catalog.cursor().execute(
            "SELECT capability, standard_error FROM abilities WHERE model_id = ?", [pick.model_id]
        )
        errors = dict(found.fetchall())
        weights = catalog.task("chat").weights
        assert pick.quality_se >= 0.99 * min(errors[name] for name, weight in weights.items() if weight)


def test_managed_picks_without_a_time_are_not_called_faster_or_slower(catalog: Catalog) -> None:
    need = Need(placement="managed")
    answer = recommend(preset("rtx-4090"), need, catalog)
    assert answer.picks
    for trade, _ in answer.alternatives:
        assert "unknown time" not in trade


def test_cuda_on_an_integrated_gpu_may_hold_what_is_free(catalog: Catalog) -> None:
    answer = recommend(preset("dgx-spark-gb10"), Need(), catalog, top=1)
    assert answer.gpu_budget_bytes is not None
    assert answer.memory_budget_bytes is not None
    assert answer.gpu_budget_bytes > 0.95 * answer.memory_budget_bytes
