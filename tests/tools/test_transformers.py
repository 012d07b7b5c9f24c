"""The transformers recipe on a processor, with a tiny random model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender.runtimes import Recipe
from tests.tiny_hf import write_tiny_hf
from tests.tools import cases
from tests.tools.programs import environment, free_port, measured, run, serving


def recipe_for(*, parallel: int = 1) -> Recipe:
    found = cases.pick("transformers", "bf16", parallel=parallel)
    return cases.recipe(found, cases.model("safetensors"), cases.device(), "cpu")


@pytest.fixture(scope="module")
def env(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tool("transformers"), tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def folder(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("transformers")
    write_tiny_hf(made / cases.MODEL_ID)
    return made


def test_the_script_generates(folder: Path, env: dict[str, str]) -> None:
    (folder / "generate.py").write_text(recipe_for().files["generate.py"])
    said = run("python generate.py", folder, env)
    assert len(said.strip()) > 100
    assert set(said.strip()) <= set("abcdefghijklmnopqrstuvwxyz ,.")


@pytest.mark.parametrize("parallel", [1, 4])
def test_the_server_passes_the_check_and_this_app_measures_it(
    parallel: int, folder: Path, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    found, port = recipe_for(parallel=parallel), free_port()
    line = next(step.text for step in found.steps if step.title == "Run it")
    assert ("--continuous-batching" in line) == (parallel > 1)
    with serving(line.replace("--port 8000", f"--port {port}"), port, folder, env):
        answer = json.loads(run(found.check.text.replace(":8000", f":{port}"), folder, env))
        assert answer["choices"][0]["message"]["content"]
        result = measured(found.measure.text, port, capsys)
    assert (result["model_id"], result["quantization"]) == (cases.MODEL_ID, "bf16")
    assert result["gen_tokens"] == 24
    assert result["prompt_tokens"] > 50
    assert result["decode_tokens_per_s"] > 0


@pytest.mark.parametrize(("capability", "dtype"), [("7.5", "float16"), ("8.9", "auto")])
def test_what_the_recipe_says_of_a_gpu_is_understood(
    capability: str, dtype: str, folder: Path, env: dict[str, str]
) -> None:
    """The command's own options are parsed; it then fails for want of a GPU, not of an option."""
    card = cases.gpu("nvidia", "cuda", 24.0, capability)
    found = cases.recipe(cases.pick("transformers", "bf16"), cases.model("safetensors"), cases.device(card), "cuda")
    line = next(step.text for step in found.steps if step.title == "Run it")
    assert f'dtype="{dtype}"' in found.files["generate.py"]
    assert "Show this message" in run(f"{line} --help", folder, env)
