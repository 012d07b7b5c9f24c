"""One model on every runtime: a yes has figures, a no has a reason, and the reason is the right one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recommender.catalog.store import Catalog
from recommender.cli import main
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.engine.why_runtime import RuntimeVerdict, best, best_on_each, compared, why_runtimes
from recommender.errors import UnknownNameError
from recommender.runtimes import all_runtimes
from recommender.types import Device, Need

QWEN = "Qwen/Qwen3-4B"
BITNET = "microsoft/bitnet-b1.58-2B-4T"


def verdicts(
    catalog: Catalog, device: str | Device, model: str, need: Need | None = None, quantization: str = ""
) -> dict[str, RuntimeVerdict]:
    machine = preset(device) if isinstance(device, str) else device
    found = why_runtimes(machine, need or Need(), model, catalog, quantization)
    return {verdict.runtime: verdict for verdict in found}


@pytest.mark.parametrize(
    "device", ["macbook-air-m4", "rtx-4060", "pixel-8", "raspberry-pi-5", "mi300x", "surface-pro-11"]
)
@pytest.mark.parametrize("model", [QWEN, BITNET, "openai/gpt-oss-20b", "google/gemma-3-1b-it"])
def test_every_runtime_says_yes_with_figures_or_no_with_a_reason(catalog: Catalog, device: str, model: str) -> None:
    found = verdicts(catalog, device, model)
    assert list(found) == [runtime.id for runtime in all_runtimes()]
    for verdict in found.values():
        assert bool(verdict.reason) == bool(verdict.rule)
        assert not verdict.reason.endswith(".")
        if verdict.runs:
            assert verdict.pick is not None
            assert verdict.pick.runtime == verdict.runtime
            assert verdict.pick.accelerator


@pytest.mark.parametrize(
    ("device", "model", "quantization", "runtime", "says"),
    [
        ("pixel-8", QWEN, "", "ollama", "not on Android"),
        ("rtx-4060", QWEN, "", "vllm", "runs on Linux, not on Windows"),
        ("pixel-8", QWEN, "", "wllama", "at most 2.0 GiB"),
        ("tesla-v100-pcie-16gb", QWEN, "fp8", "vllm", "compute capability 7.5 or newer, and Tesla V100"),
        ("rtx-4060", QWEN, "Q4_K_M", "onnx-genai", "it takes onnx"),
        ("rtx-4060", QWEN, "Q4_K_M", "transformers", "dequantized on load"),
        ("macbook-air-m4", QWEN, "", "litert-lm", "no published build"),
        ("pixel-8", "google/gemma-3-1b-it", "", "litert-lm", "no measurement of what that quantization loses"),
        ("cpu-intel-core-i7-13700h", BITNET, "", "ollama", "cannot load the architecture bitnet"),
        ("cpu-intel-core-i7-13700h", BITNET, "I2_S", "llama.cpp", "ggml type 36"),
        ("cpu-intel-core-i7-13700h", BITNET, "", "bitnet.cpp", "experimental"),
        ("cpu-intel-core-i7-13700h", QWEN, "IQ4_XS", "wllama", "not recommended by its authors"),
        ("macbook-air-m4", QWEN, "", "azure-ai-foundry", "managed cloud service"),
        ("rtx-4060", QWEN, "", "mlx", "runs on macOS, not on Windows"),
    ],
)
def test_a_no_names_what_is_in_the_way(
    catalog: Catalog, device: str, model: str, quantization: str, runtime: str, says: str
) -> None:
    assert says in verdicts(catalog, device, model, None, quantization)[runtime].reason


def test_an_npu_without_a_variant_is_said_with_the_makers_name(catalog: Catalog) -> None:
    found = verdicts(catalog, "surface-pro-11", QWEN, Need(accelerator="npu"))
    assert found["foundry-local"].reason == f"Foundry Local has no variant of {QWEN} for a Qualcomm NPU"
    assert found["llama.cpp"].rule == "accelerator"
    phi = verdicts(catalog, "copilot-pc-lunar-lake", "microsoft/Phi-4-mini-instruct", Need(accelerator="npu"))
    assert phi["foundry-local"].runs
    assert phi["foundry-local"].pick is not None
    assert phi["foundry-local"].pick.accelerator == "npu"


def test_an_npu_variant_compiled_for_a_short_context_says_both_lengths(catalog: Catalog) -> None:
    need = Need(accelerator="npu", context_tokens=8192)
    found = verdicts(catalog, "copilot-pc-lunar-lake", "microsoft/Phi-4-mini-instruct", need)
    assert "4,224 tokens, 8,192 asked" in found["foundry-local"].reason


def test_a_managed_service_has_only_the_models_of_its_catalog(catalog: Catalog) -> None:
    need = Need(placement="managed", enterprise=("sla",))
    found = verdicts(catalog, "azure-f4s-v2", QWEN, need)
    assert found["azure-ai-foundry"].reason
    assert found["azure-ai-foundry"].rule == "catalog"
    assert all(not verdict.runs for verdict in found.values())


def test_more_users_than_a_runtime_serves_is_said_with_the_number(catalog: Catalog) -> None:
    found = verdicts(catalog, "rtx-4060", QWEN, Need(users=8))
    assert "one user at a time, 8 were asked for" in found["webllm"].reason
    assert found["llama.cpp"].runs


def test_the_best_verdict_is_what_find_would_pick_for_the_model(catalog: Catalog) -> None:
    for device in ("macbook-air-m4", "rtx-4090", "pixel-8"):
        need = Need(models=(QWEN,))
        pick = recommend(preset(device), need, catalog, top=1).picks[0]
        chosen = best(tuple(verdicts(catalog, device, QWEN).values()))
        assert chosen is not None
        assert chosen.score == pytest.approx(pick.score)
        assert (chosen.quantization, chosen.estimate) == (pick.quantization, pick.estimate)


def test_the_comparison_gives_the_difference_of_the_two_estimates(catalog: Catalog) -> None:
    found = verdicts(catalog, "macbook-air-m4", "Qwen/Qwen3-8B")
    chosen, mlx = best(tuple(found.values())), found["mlx"]
    assert chosen is not None
    assert mlx.pick is not None
    ours, theirs = chosen.estimate.decode_tokens_per_s, mlx.pick.estimate.decode_tokens_per_s
    assert ours is not None
    assert theirs is not None
    ratio = theirs.value / ours.value - 1
    assert f"{abs(ratio):.0%} {'faster' if ratio > 0 else 'slower'} by estimate" in compared(mlx, chosen)
    assert compared(found[chosen.runtime], chosen) == "the pick"
    assert compared(found["vllm"], chosen) == found["vllm"].reason


def test_where_nothing_fits_every_runtime_has_its_reason(catalog: Catalog) -> None:
    device = replace(preset("raspberry-pi-5"), ram_bytes=64e6, ram_free_bytes=16e6)
    found = best_on_each(device, Need(), catalog)
    assert not recommend(device, Need(), catalog).picks
    assert all(verdict.reason for verdict in found)
    memory = next(verdict for verdict in found if verdict.runtime == "llama.cpp")
    assert memory.rule == "memory"
    assert "short by" in memory.reason


def test_limits_on_runtimes_do_not_hide_what_the_others_would_do(catalog: Catalog) -> None:
    found = {each.runtime: each for each in best_on_each(preset("pixel-8"), Need(runtimes=("ollama",)), catalog)}
    assert "not on Android" in found["ollama"].reason
    assert found["llama.cpp"].runs


def test_an_unknown_model_is_refused_with_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match="Qwen3-4B"):
        why_runtimes(preset("pixel-8"), Need(), "Qwen/Qwen3-4Bb", catalog)


def test_the_command_prints_a_row_per_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtimes", "--model", "Qwen3-4B", "--quant", "Q4_K_M", "--device", "pixel-8", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["runtime"] for row in rows] == [runtime.id for runtime in all_runtimes()]
    by_id = {row["runtime"]: row for row in rows}
    assert by_id["llama.cpp"]["runs"]
    assert by_id["llama.cpp"]["pick"]["quantization"] == "Q4_K_M"
    assert not by_id["vllm"]["runs"]
    assert by_id["vllm"]["reason"]
    assert main(["runtimes", "--model", "Qwen3-4B", "--device", "pixel-8"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == len(rows)


def test_the_command_without_a_model_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtimes", "--device", "pixel-8"]) == 2
    assert "--model" in capsys.readouterr().err
