"""The files of ``deploy/`` and the Dockerfile, by the same tools as the recipes' files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import validate

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("ending", ["", "huggingface/Dockerfile.append"])
def test_the_dockerfile_passes_the_linter(ending: str, tool: Callable[[str], Path], tmp_path: Path) -> None:
    whole = (ROOT / "Dockerfile").read_text() + ((DEPLOY / ending).read_text() if ending else "")
    (tmp_path / "Dockerfile").write_text(whole)
    command = [str(tool("containers") / "hadolint"), str(tmp_path / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_keeps_to_the_specifications_schema(tool: Callable[[str], Path]) -> None:
    (schema,) = (tool("containers").parent / "lib").glob("*/site-packages/compose/config/compose_spec.json")
    validate(yaml.safe_load((DEPLOY / "compose.yaml").read_text()), json.loads(schema.read_text()))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_is_valid_by_the_schemas_of_kubernetes(manifest: Path, tool: Callable[[str], Path]) -> None:
    program = tool("kubernetes") / "kubernetes-validate"
    done = subprocess.run([program, "--strict", manifest], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [one["kind"] for one in yaml.safe_load_all(manifest.read_text())]
    assert (done.stdout + done.stderr).count("passed") == len(kinds)
