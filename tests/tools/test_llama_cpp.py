"""llama.cpp's recipe with its real programs, built from source, on a tiny random model."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recommender.runtimes import Recipe
from recommender.runtimes.llama_cpp import RUNTIME
from recommender.types import KV_TYPES
from tests.tiny_gguf import write_tiny_gguf
from tests.tools import cases
from tests.tools.programs import environment, free_port, measured, run, serving

PROGRAMS = ("llama-server", "llama-cli", "llama-bench")


def recipe(file: str = "", repo: str = "", quantization: str = "Q8_0", **settings: object) -> Recipe:
    model = cases.model("gguf", file=file, repo=repo)
    return RUNTIME.recipe(cases.pick("llama.cpp", quantization, **settings), model, cases.device(), "cpu")


def texts(of: Recipe) -> str:
    return "\n".join(step.text for step in of.every_step)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("my models") / "tiny one.gguf", n_embd=256)


@pytest.fixture(scope="module")
def env(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tool("llama.cpp"), tmp_path_factory.mktemp("llama"))


def _known_flags(program: str, env: dict[str, str]) -> set[str]:
    done = subprocess.run(
        ["bash", "-c", f"{program} --help 2>&1"], env=env, capture_output=True, text=True, check=False
    )
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", done.stdout))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_every_flag_is_one_that_the_program_has(program: str, kv_type: str, env: dict[str, str]) -> None:
    changed = {"kv_type": kv_type, "batch_tokens": 1024, "ubatch_tokens": 256, "gpu_layers": 7, "parallel": 3}
    known = _known_flags(program, env)
    lines = [
        line
        for repo in ("acme/Tiny-GGUF", "")
        for line in texts(recipe("Tiny-F16.gguf", repo, "F16", **changed)).replace("\\\n", " ").splitlines()
        if line.split()[:1] == [program]
    ]
    assert lines
    used = {word for line in lines for word in line.split() if re.fullmatch(r"--?[a-z][\w-]*", word)}
    assert used - known == set()


def test_the_server_answers_the_recipes_check_and_is_measured_by_its_line(
    tiny: Path, env: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recipe(str(tiny), gpu_layers=0)
    port = free_port()
    start = next(step.text for step in found.steps if step.text.startswith("llama-server"))
    with serving(start.replace("--port 8080", f"--port {port}"), port, tmp_path, env):
        answer: Any = json.loads(run(found.check.text.replace(":8080", f":{port}"), tmp_path, env))
        assert answer["choices"][0]["message"]
        result = measured(found.measure.text, port, capsys)
    assert result["decode_tokens_per_s"] > 0
    assert (result["model_id"], result["quantization"]) == (cases.MODEL_ID, "Q8_0")


def test_llama_bench_runs_with_the_recipes_settings(tiny: Path, env: dict[str, str], tmp_path: Path) -> None:
    found = recipe(str(tiny), gpu_layers=-1, kv_type="q8_0")
    line = next(step.text for step in found.optional if step.text.startswith("llama-bench"))
    rows = json.loads(run(f"{line.replace('-p 512 -n 128 -r 3', '-p 32 -n 8 -r 1')} -o json", tmp_path, env))
    assert [(row["n_prompt"], row["n_gen"]) for row in rows] == [(32, 0), (0, 8)]
    assert {(row["type_k"], row["type_v"], row["n_threads"]) for row in rows} == {("q8_0", "q8_0", 2)}


def test_llama_cli_answers_in_a_terminal(tiny: Path, env: dict[str, str], tmp_path: Path) -> None:
    line = next(step.text for step in recipe(str(tiny), gpu_layers=0).optional if step.text.startswith("llama-cli"))
    said = run(f"{line} -p hello -n 4 --single-turn < /dev/null", tmp_path, env)
    assert said.strip()


@pytest.mark.parametrize("quantization", ["Q4_K_M", "Q5_1", "IQ2_XXS"])
def test_a_file_is_quantized_with_the_recipes_own_line(quantization: str, env: dict[str, str], tmp_path: Path) -> None:
    made = next(step for step in recipe(quantization=quantization).optional if step.title.startswith("Make "))
    lines = [line.removesuffix(" &&") for line in made.text.splitlines()]
    quantize = lines[-1]
    full = re.search(r"\S+-BF16\.gguf", quantize)
    assert full
    write_tiny_gguf(tmp_path / full[0], n_embd=256, quantize=False)
    if "--imatrix" in quantize:
        (tmp_path / "calibration.txt").write_text("say hello " * 400)
        imatrix = next(line for line in lines if line.startswith("llama-imatrix"))
        run(f"{imatrix} -c 64 -ngl 0", tmp_path, env)
    run(quantize, tmp_path, env)
    wanted = quantize.split()[-2]
    assert (tmp_path / wanted).stat().st_size < (tmp_path / full[0]).stat().st_size


@pytest.mark.parametrize("quantization", ["F16", "BF16", "Q8_0", "TQ1_0", "TQ2_0"])
def test_the_converter_has_the_recipes_flags(
    quantization: str, tool: Callable[[str], Path], env: dict[str, str], tmp_path: Path
) -> None:
    (script,) = (tool("llama.cpp").parent / "source").glob("*/vendor/llama.cpp/convert_hf_to_gguf.py")
    python = tool("transformers") / "python"
    said = run(f"{python} {script} --help", tmp_path, env)
    made = next(step for step in recipe(quantization=quantization).optional if step.title.startswith("Make "))
    line = next(part for part in made.text.splitlines() if "convert_hf_to_gguf.py" in part)
    for flag in ("--outtype", "--outfile"):
        assert flag in line
        assert flag in said
    wanted = line.split("--outtype ")[1].split()[0]
    assert re.search(rf"[{{,]{wanted}[,}}]", said)


def test_every_cache_type_we_offer_is_one_that_the_server_takes(env: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-c", "llama-server --help 2>&1"], env=env, capture_output=True, text=True, check=False
    )
    listed = re.search(r"--cache-type-k.*?allowed values: ([\w, \n]+)", done.stdout, re.DOTALL)
    assert listed
    assert set(KV_TYPES) <= {word.strip() for word in listed[1].split(",")} | set(listed[1].replace(",", " ").split())
