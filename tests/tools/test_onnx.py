"""The recipe of Olive and ONNX Runtime GenAI, really run on a tiny random model."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender.runtimes import Recipe, olive
from recommender.runtimes.onnx_genai import RUNTIME
from tests.tiny_hf import write_tiny_hf
from tests.tools import cases
from tests.tools.programs import environment, run

FOLDER = "Qwen3-0_6B-onnx-int4"


def recipe(accelerator: str = "cpu") -> Recipe:
    return RUNTIME.recipe(cases.pick("onnx-genai", "onnx-int4"), cases.model("onnx"), cases.device(), accelerator)


@pytest.fixture(scope="module")
def made(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder in which the recipe's files lie and its conversion was run; the weights are a tiny model's."""
    home = tmp_path_factory.mktemp("onnx")
    env = {**environment(tool("onnx"), home / "cache"), "OLIVE_DISABLE_TELEMETRY": "1", "RIGHTSIZE_HOME": str(home)}
    write_tiny_hf(home / cases.MODEL_ID)
    found = recipe()
    for name, text in found.files.items():
        (home / name).write_text(text, encoding="utf-8")
    convert = next(step.text for step in found.steps if step.text.startswith("olive run"))
    run(convert, home, env)
    assert (home / FOLDER / "genai_config.json").is_file()
    return home, env


def test_the_converted_model_answers_the_recipes_check(made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    assert run(recipe().check.text, home, env).strip()


def test_before_and_after_are_measured_by_the_recipes_script(made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    said = run("python before_after.py", home, env)
    assert "before: " in said
    assert "after:  " in said
    assert said.count("tokens/s") == 2


def test_the_app_measures_the_folder_with_the_recipes_line(made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    line = f"{recipe().measure.text} --context 512 --prompt-tokens 64 --gen-tokens 16 --json"
    found = json.loads(run(line, home, env))
    assert (found["model_id"], found["quantization"], found["runtime"]) == (cases.MODEL_ID, "onnx-int4", "onnx-genai")
    assert (found["prompt_tokens"], found["gen_tokens"], found["repeats"]) == (64, 16, 3)
    assert found["decode_tokens_per_s"] > 0
    assert found["peak_resident_bytes"] > 0


def test_the_newest_library_measures_what_olive_made_with_an_older_one(
    made: tuple[Path, dict[str, str]], tool: Callable[[str], Path]
) -> None:
    home, env = made
    newest = env | {"PATH": f"{tool('onnx-runtime')}{os.pathsep}{env['PATH']}"}
    line = f"{recipe().measure.text} --context 512 --prompt-tokens 64 --gen-tokens 16 --json"
    found = json.loads(run(line, home, newest))
    assert re.fullmatch(r"onnxruntime-genai 0\.1[89]\..*", found["binding"])
    assert found["decode_tokens_per_s"] > 0


def test_a_damaged_folder_ends_the_run_with_a_sentence(made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    damaged = home / "damaged"
    damaged.mkdir(exist_ok=True)
    for file in (home / FOLDER).iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:500] if file.suffix == ".onnx" else file.read_bytes())
    done = subprocess.run(
        ["recommender", "measure", "--onnx", str(damaged), "--context", "512", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "could not load damaged" in json.loads(done.stdout)["error"]


_STOP = """
import time
from recommender.runner import RunManager, RunRequest
from recommender.runner.protocol import Repeat, WarmUp
from tests.tools import cases

manager, seen = RunManager(), []
settings = cases.pick("onnx-genai", "onnx-int4").settings
wanted = {"runtime": "onnx-genai", "prompt_tokens": 64, "gen_tokens": 900, "repeats": 100_000}
job = manager.submit(RunRequest("tiny", "onnx-int4", settings, model_path="FOLDER", **wanted), seen.append)
while not any(isinstance(event, Repeat) for event in seen):
    assert not job.wait(0.05), job.error
job.cancel()
assert job.wait(20)
print(job.state)
manager.close()
""".replace("FOLDER", FOLDER)


def test_a_run_is_stopped_at_once(made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    (home / "stop.py").write_text(_STOP)
    here = str(Path(__file__).resolve().parents[2])
    assert run("python stop.py", home, env | {"PYTHONPATH": here}).strip() == "cancelled"


@pytest.mark.parametrize(("target", "provider"), [("cuda", "cuda"), ("directml", "dml")])
def test_the_gpus_configurations_are_converted_too(
    target: str, provider: str, made: tuple[Path, dict[str, str]]
) -> None:
    home, env = made
    (home / f"{target}.json").write_text(olive.config(cases.MODEL_ID, f"for-{target}", target), encoding="utf-8")
    run(f"olive run --config {target}.json", home, env)
    config = json.loads((home / f"for-{target}" / "genai_config.json").read_text())
    (options,) = config["model"]["decoder"]["session_options"]["provider_options"]
    assert list(options) == [provider]


def test_int8_for_the_cpu_is_converted_too(made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    run("olive run --config olive-int8.json", home, env)
    assert (home / f"{FOLDER}-as-int8" / "genai_config.json").is_file()


@pytest.mark.parametrize("target", olive.TARGETS)
def test_olives_own_parser_takes_the_configuration_of_every_target(
    target: str, made: tuple[Path, dict[str, str]]
) -> None:
    home, env = made
    (home / f"{target}.json").write_text(olive.config(cases.MODEL_ID, "out", target), encoding="utf-8")
    parse = (
        "from olive.workflows.run.config import RunConfig\n"
        "from olive.package_config import OlivePackageConfig\n"
        f"config = RunConfig.parse_file_or_obj('{target}.json')\n"
        "known = OlivePackageConfig.load_default_config()\n"
        "for passes in config.passes.values():\n"
        "    for one in passes:\n"
        "        known.get_pass_module_config(one.type)\n"
        "print('taken')\n"
    )
    (home / "parse.py").write_text(parse, encoding="utf-8")
    assert run("python parse.py", home, env).strip().endswith("taken")


@pytest.mark.parametrize("target", [name for name, one in olive.TARGETS.items() if one.optimize])
def test_olive_optimize_takes_the_recipes_flags(target: str, made: tuple[Path, dict[str, str]]) -> None:
    home, env = made
    to = olive.TARGETS[target]
    line = next(step.text for step in recipe().optional if step.text.startswith("olive optimize"))
    line = line.replace(
        "--provider CPUExecutionProvider --device cpu", f"--provider {to.provider} --device {to.device}"
    )
    said = run(f"{line} --dry_run", home, env)
    assert "Dry run" in said
