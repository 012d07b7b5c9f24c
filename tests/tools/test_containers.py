"""Ollama's container files: the Dockerfile by a linter, the compose file by the specification's own schema."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import validate

from recommender.runtimes import Recipe
from recommender.runtimes.ollama import RUNTIME
from recommender.types import Gpu
from tests.tools import cases

MACHINES = {"cpu": (), "cuda": (cases.NVIDIA,), "rocm": (cases.AMD,)}


@pytest.fixture(params=MACHINES)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    gpus: tuple[Gpu, ...] = MACHINES[request.param]
    pick = cases.pick("ollama", "Q4_K_M", parallel=4, kv_type="q8_0")
    return RUNTIME.recipe(pick, cases.model("gguf", repo="acme/Tiny-1B-GGUF"), cases.device(*gpus), request.param)


def test_the_dockerfile_passes_the_linter(recipe: Recipe, tool: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(recipe.files["Dockerfile"] + "\n")
    # The newest image is meant: an older server may not know the model's architecture.
    command = [str(tool("containers") / "hadolint"), "--ignore", "DL3007", str(tmp_path / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_keeps_to_the_specifications_schema(recipe: Recipe, tool: Callable[[str], Path]) -> None:
    (schema,) = (tool("containers").parent / "lib").glob("*/site-packages/compose/config/compose_spec.json")
    found = yaml.safe_load(recipe.files["compose.yaml"])
    validate(found, json.loads(schema.read_text()))
    assert set(found["services"]) == {"ollama", "pull"}
    assert found["services"]["pull"]["command"][0] == "pull"


def test_a_compose_file_that_breaks_the_schema_is_noticed(recipe: Recipe, tool: Callable[[str], Path]) -> None:
    (schema,) = (tool("containers").parent / "lib").glob("*/site-packages/compose/config/compose_spec.json")
    broken = yaml.safe_load(recipe.files["compose.yaml"])
    broken["services"]["ollama"]["ports"] = 11434
    with pytest.raises(Exception, match="11434"):
        validate(broken, json.loads(schema.read_text()))
