"""vLLM's own argument parser on the recipes' lines. It needs no GPU: its processor platform is set."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recommender.runtimes import Recipe
from recommender.types import Device
from tests.tools import cases

# Reads lines of words from standard input, and says of each what vLLM understood.
_PARSE = """
import json, sys
import vllm.platforms
from vllm.platforms.cpu import CpuPlatform
vllm.platforms._current_platform = CpuPlatform()
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
ServeSubcommand().subparser_init(parser.add_subparsers())
for line in sys.stdin:
    understood = parser.parse_args(json.loads(line))
    print("UNDERSTOOD", json.dumps(vars(understood), default=str))
"""
PLACES: dict[str, tuple[Device, str]] = {
    "cuda": (cases.device(cases.NVIDIA), "cuda"),
    "two T4": (cases.device(cases.T4, cases.T4), "cuda"),
    "three T4": (cases.device(cases.T4, cases.T4, cases.T4), "cuda"),
    "rocm": (cases.device(cases.AMD), "rocm"),
    "cpu": (cases.device(), "cpu"),
    "mac": (cases.device(cases.MAC, os="macos", arch="arm64"), "metal"),
    "windows": (cases.device(cases.NVIDIA, os="windows"), "cuda"),
}
GGUF = cases.model("gguf", repo="acme/Tiny-1B-GGUF", file="Tiny-1B-Q4_K_M.gguf")


def recipe(place: str, quantization: str = "bf16", **settings: object) -> Recipe:
    on, accelerator = PLACES[place]
    of = GGUF if quantization == "Q4_K_M" else cases.model("safetensors")
    total_gib = {"two T4": 20.0, "three T4": 40.0}.get(place, 10.0)
    return cases.recipe(cases.pick("vllm", quantization, total_gib=total_gib, **settings), of, on, accelerator)


def served(found: Recipe) -> list[list[str]]:
    """The words after ``vllm`` of each line of a recipe that starts it, in a shell, a container or a manifest."""
    lines = []
    for step in found.every_step:
        if step.file_name.endswith("deployment.yaml"):
            container = yaml.safe_load(step.text)["spec"]["template"]["spec"]["containers"][0]
            lines.append(["serve", *container["args"]])
        elif step.language == "bash" and "docker run" in step.text:
            lines.append(_in_container(shlex.split(step.text)))
        elif step.language == "bash" and "vllm serve" in step.text:
            words = shlex.split(step.text.splitlines()[-1])
            lines.append(words[words.index("vllm") + 1 :])
    return lines


def _in_container(words: list[str]) -> list[str]:
    place = next(number for number, word in enumerate(words) if word.startswith("vllm/vllm-openai"))
    if "--entrypoint" in words:
        inside = shlex.split(words[-1])
        return inside[inside.index("serve") :]
    return ["serve", *words[place + 1 :]]


@pytest.fixture(scope="module")
def understood(tool: Callable[[str], Path]) -> Callable[[Iterable[list[str]]], list[dict[str, Any]]]:
    python = tool("vllm") / "python"

    def parse(lines: Iterable[list[str]]) -> list[dict[str, Any]]:
        said = subprocess.run(
            [python, "-c", _PARSE],
            input="\n".join(json.dumps(line) for line in lines),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert said.returncode == 0, said.stderr[-3000:]
        marked = [line.removeprefix("UNDERSTOOD ") for line in said.stdout.splitlines() if line.startswith("UNDER")]
        return [json.loads(line) for line in marked]

    return parse


def test_every_line_of_every_recipe_is_understood_with_its_numbers(
    understood: Callable[[Iterable[list[str]]], list[dict[str, Any]]],
) -> None:
    lines: list[list[str]] = []
    expected: list[dict[str, Any]] = []
    for place in PLACES:
        for quantization in ("bf16", "fp8", "Q4_K_M"):
            for parallel, kv_type in ((1, "f16"), (16, "q8_0")):
                found = served(recipe(place, quantization, parallel=parallel, kv_type=kv_type))
                assert found, (place, quantization)
                lines += found
                numbers: dict[str, Any] = {
                    "max_model_len": 1024,
                    "kv_cache_dtype": "fp8" if kv_type == "q8_0" else "auto",
                    "tensor_parallel_size": 2 if place == "two T4" else 1,
                    "pipeline_parallel_size": 3 if place == "three T4" else 1,
                    "dtype": "auto",
                }
                if parallel > 1:
                    numbers["max_num_seqs"] = parallel
                numbers["model_tag"] = "acme/Tiny-1B-GGUF:Q4_K_M" if quantization == "Q4_K_M" else cases.MODEL_ID
                if quantization == "Q4_K_M":
                    numbers |= {"served_model_name": [cases.MODEL_ID], "tokenizer": cases.MODEL_ID}
                if quantization == "fp8":
                    numbers["quantization"] = "fp8"
                if place in ("cuda", "windows"):
                    numbers["gpu_memory_utilization"] = 0.95
                expected += [numbers] * len(found)
    answers = understood(lines)
    assert len(answers) == len(expected)
    for line, answer, numbers in zip(lines, answers, expected, strict=True):
        assert {name: answer[name] for name in numbers} == numbers, line


def test_the_notes_flags_exist(understood: Callable[[Iterable[list[str]]], list[dict[str, Any]]]) -> None:
    (speculative,) = [note for note in recipe("cuda").notes if "--speculative-config" in note]
    words = shlex.split(speculative.partition(": ")[2])
    flags = words[: words.index("needs")]
    (answer,) = understood([["serve", cases.MODEL_ID, *flags, "--no-enable-prefix-caching"]])
    config = answer["speculative_config"]
    assert (config if isinstance(config, dict) else json.loads(config.replace("'", '"')))["method"] == "ngram"
    assert answer["enable_prefix_caching"] is False
