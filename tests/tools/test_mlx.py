"""The MLX recipe with mlx-lm's CPU build, on a tiny random model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender.runtimes import Recipe
from tests.tiny_hf import write_tiny_hf
from tests.tools import cases
from tests.tools.programs import environment, free_port, measured, run, serving

ON_A_CPU = cases.device()


def recipe_for(quantization: str, **settings: object) -> Recipe:
    return cases.recipe(cases.pick("mlx", quantization, **settings), cases.model("mlx"), ON_A_CPU, "cpu")


def text(recipe: Recipe, title: str) -> str:
    return next(step.text for step in recipe.every_step if step.title == title)


@pytest.fixture(scope="module")
def env(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tool("mlx-lm"), tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def folder(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the original weights and each of them converted by its recipe."""
    made = tmp_path_factory.mktemp("mlx")
    write_tiny_hf(made / cases.MODEL_ID)
    for quantization in ("mlx-4bit", "mlx-8bit", "mlx-bf16"):
        run(text(recipe_for(quantization), "Convert the original weights"), made, env)
    return made


@pytest.mark.parametrize(("quantization", "bits"), [("mlx-4bit", 4), ("mlx-8bit", 8)])
def test_conversion_makes_the_bits_and_groups_it_says(quantization: str, bits: int, folder: Path) -> None:
    made = folder / f"Qwen3-0.6B-{quantization}"
    config = json.loads((made / "config.json").read_text())
    assert (config["quantization"]["bits"], config["quantization"]["group_size"]) == (bits, 64)
    original = (folder / cases.MODEL_ID / "model.safetensors").stat().st_size
    share = (made / "model.safetensors").stat().st_size / original
    assert share == pytest.approx((bits + 0.5) / 16, rel=0.1)  # a scale and an offset of 16 bits per 64 weights


def test_conversion_to_bf16_keeps_the_size(folder: Path) -> None:
    original = (folder / cases.MODEL_ID / "model.safetensors").stat().st_size
    assert (folder / "Qwen3-0.6B-mlx-bf16" / "model.safetensors").stat().st_size == pytest.approx(original, rel=0.05)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_it_generates_in_a_terminal(kv_type: str, folder: Path, env: dict[str, str]) -> None:
    said = run(text(recipe_for("mlx-4bit", kv_type=kv_type), "In a terminal"), folder, env)
    assert "200 tokens" in said
    assert re.search("Generation: .* tokens-per-sec", said)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_the_benchmark_prints_median_spread_and_memory(kv_type: str, folder: Path, env: dict[str, str]) -> None:
    found = recipe_for("mlx-8bit", kv_type=kv_type)
    (folder / f"{kv_type}.py").write_text(found.files["benchmark.py"])
    said = run(f"python {kv_type}.py", folder, env)
    for name in ("prefill", "decode"):
        line = re.search(rf"{name}: ([\d.]+) tokens/s \(([\d.]+) to ([\d.]+)\)", said)
        assert line
        median, low, high = map(float, line.groups())
        assert 0 < low <= median <= high
    assert re.search(r"peak memory: 0\.\d\d GB", said)


@pytest.mark.parametrize("settings", [{}, {"parallel": 4}, {"kv_type": "q8_0"}], ids=str)
def test_the_server_passes_the_check_and_this_app_measures_it(
    settings: dict[str, object], folder: Path, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    found, port = recipe_for("mlx-4bit", **settings), free_port()
    line = text(found, "Run it")
    assert "--port 8080" in line
    with serving(line.replace("--port 8080", f"--port {port}"), port, folder, env):
        answer = json.loads(run(found.check.text.replace(":8080", f":{port}"), folder, env))
        assert answer["choices"][0]["message"]["content"]
        result = measured(found.measure.text, port, capsys)
    assert (result["model_id"], result["quantization"]) == (cases.MODEL_ID, "mlx-4bit")
    assert result["gen_tokens"] == 24
    assert result["prompt_tokens"] > 50
    assert result["decode_tokens_per_s"] > 0
