"""Configurations for Microsoft Olive, as olive-ai 0.13.0 takes them (olive/workflows/run/config.py).

Each target is an ONNX Runtime execution provider on one kind of processor; the passes are those that
``olive optimize`` chooses for it (olive/cli/optimize.py). For CPU and GPU they go without its GPTQ, which calibrates
with texts that it fetches from the Hub.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recommender.runtimes import shell
from recommender.runtimes.platforms import npu_makers
from recommender.types import Device


@dataclass(frozen=True)
class OliveTarget:
    """Where the converted model will run."""

    provider: str  # ONNX Runtime's name of it
    device: str  # cpu, gpu or npu
    packages: str  # what pip installs beside olive-ai
    optimize: bool = True  # whether ``olive optimize`` offers the provider
    over_onnxruntime: str = ""  # a package with the same module as onnxruntime, to be installed over it
    environment: str = ""  # what has to be there that pip does not install
    register: str = ""  # lines of the run script that let the provider in

    @property
    def install(self) -> str:
        """The commands that install Olive and what its result runs on."""
        first = f"pip install {OLIVE_PACKAGES} {self.packages}"
        over = self.over_onnxruntime
        return shell.steps(first, f"pip install --force-reinstall --no-deps {over}" if over else "")


# The model builder of olive-ai 0.13 imports onnxruntime_genai.models.quantized_model, which 0.15 no longer has, so 0.14
# is the newest it works with; olive-ai imports requests without asking pip for it.
OLIVE_PACKAGES = "'olive-ai>=0.13,<0.14' transformers torch onnxscript requests datasets"
_GENAI = "'onnxruntime-genai{}>=0.14,<0.15'"
_REGISTER_QNN = """import onnxruntime_qnn

og.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())
"""
TARGETS = {
    "cpu": OliveTarget("CPUExecutionProvider", "cpu", _GENAI.format("")),
    "cuda": OliveTarget("CUDAExecutionProvider", "gpu", _GENAI.format("-cuda")),
    # 0.14 asks for an onnxruntime-directml that was never published.
    "directml": OliveTarget("DmlExecutionProvider", "gpu", "'onnxruntime-genai-directml>=0.13,<0.14'", optimize=False),
    "qualcomm": OliveTarget(
        "QNNExecutionProvider", "npu", f"{_GENAI.format('')} onnxruntime-qnn", register=_REGISTER_QNN
    ),
    "intel": OliveTarget(
        "OpenVINOExecutionProvider",
        "npu",
        f"{_GENAI.format('')} optimum-intel nncf",
        over_onnxruntime="onnxruntime-openvino",
    ),
    "amd-xdna2": OliveTarget(
        "VitisAIExecutionProvider", "npu", _GENAI.format(""), environment="AMD's Ryzen AI Software"
    ),
}
_BUILDER = {"type": "ModelBuilder", "precision": "int4", "int4_block_size": 32, "int4_accuracy_level": 4}
_ROTATED = {"quarot": {"type": "QuaRot"}, "gptq": {"type": "Gptq", "bits": 4, "sym": True}, "builder": _BUILDER}
_NPU_PASSES: dict[str, dict[str, Any]] = {
    "QNNExecutionProvider": {**_ROTATED, "static": {"type": "StaticLLM"}},
    "VitisAIExecutionProvider": {
        **_ROTATED,
        "metadata": {
            "type": "VitisAIAddMetaData",
            "config_meta_data_keys": ["architectures", "model_type"],
            "weight_type": "int4",
            "quant_type": "quarot",
        },
        "static": {"type": "StaticLLM", "batch_size": 1, "context_length": 64},
    },
    "OpenVINOExecutionProvider": {
        "conversion": {
            "type": "OpenVINOOptimumConversion",
            "extra_args": {"device": "npu", "task": "text-generation-with-past"},
            "ov_quant_config": {
                "weight_format": "int4",
                "group_size": 128,
                "ratio": 1,
            },
        },
        "io": {"type": "OpenVINOIoUpdate", "static": False, "reuse_cache": True},
        "encapsulation": {
            "type": "OpenVINOEncapsulation",
            "keep_ov_dynamic_shapes": True,
            "op_version": "2025.1",
            "reuse_cache": True,
            "target_device": "npu",
        },
    },
}


def target_of(device: Device, accelerator: str) -> str:
    """The key of ``TARGETS`` for an accelerator of this device; the CPU where there is nothing to install for it."""
    if accelerator == "npu":
        return next((maker for maker in npu_makers(device) if maker in TARGETS), "cpu")
    if accelerator == "webgpu":  # any GPU with DirectX 12; the packages for DirectML exist for x86-64 only
        return "directml" if (device.os, device.arch) == ("windows", "x86-64") else "cpu"
    return accelerator if accelerator in TARGETS else "cpu"


def config(base_repo: str, folder: str, target: str, precision: str = "int4") -> str:
    """The JSON that ``olive run --config`` takes.

    Args:
        base_repo: the original weights on the Hub, or a folder with them; checked by the caller.
        folder: where the result goes.
        target: a key of ``TARGETS``.
        precision: int4, or int8 for the CPU.
    """
    to = TARGETS[target]
    if precision == "int8":
        passes = {
            "builder": {"type": "ModelBuilder", "precision": "fp32"},
            "int8": {"type": "OnnxDynamicQuantization", "precision": "int8"},
        }
    else:
        passes = _NPU_PASSES.get(to.provider, {"builder": _BUILDER})
    accelerators = [{"device": to.device, "execution_providers": [to.provider]}]
    return json.dumps(
        {
            "input_model": {"type": "HfModel", "model_path": base_repo},
            "systems": {"local": {"type": "LocalSystem", "accelerators": accelerators}},
            "passes": passes,
            "target": "local",
            "no_artifacts": True,
            "output_dir": folder,
        },
        indent=2,
    )


def run_script(folder: str, target: str, context_tokens: int, threads: int) -> str:
    """The Python file that asks a converted model one question."""
    values = {"folder": folder, "register": TARGETS[target].register}
    values |= {"context_tokens": str(context_tokens), "threads": str(threads)}
    return _filled(_RUN, values)


def before_after_script(base: str, folder: str, target: str) -> str:
    """The Python file that prints size and speed of the original weights and of the converted ones."""
    device = "cuda" if target == "cuda" else "cpu"
    values = {"base": base, "folder": folder, "device": device, "register": TARGETS[target].register}
    return _filled(_BEFORE_AFTER, values)


def _filled(script: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        script = script.replace(f"{{{name}}}", value)
    return script


_RUN = """import json

import onnxruntime_genai as og
{register}
config = og.Config("{folder}")
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": {threads}}}}}))
model = og.Model(config)
tokenizer = og.Tokenizer(model)
messages = json.dumps([{"role": "user", "content": "Say hello."}])
prompt = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
params = og.GeneratorParams(model)
params.set_search_options(max_length=min({context_tokens}, len(prompt) + 200))
generator = og.Generator(model, params)
generator.append_tokens(prompt)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
print()
"""

_BEFORE_AFTER = '''"""Size and speed of the original weights and of what Olive made of them."""

import statistics
import time
from pathlib import Path

import onnxruntime_genai as og
import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM

BASE, MADE, DEVICE = "{base}", "{folder}", "{device}"
PROMPT_TOKENS, GENERATED_TOKENS, REPEATS = 128, 32, 3
PROMPT = [100 + place % 100 for place in range(PROMPT_TOKENS)]


def size(folder, *endings):
    return sum(file.stat().st_size for file in Path(folder).glob("*") if file.suffix in endings) / 1e9


def decode_speed(generate):
    generate()  # warm-up
    speeds = []
    for _ in range(REPEATS):
        seconds = generate()
        speeds.append(GENERATED_TOKENS / seconds)
    return f"{statistics.median(speeds):.1f} tokens/s ({min(speeds):.1f} to {max(speeds):.1f})"


def after():
    params = og.GeneratorParams(made)
    length = PROMPT_TOKENS + 1 + GENERATED_TOKENS
    params.set_search_options(max_length=length, min_length=length)
    generator = og.Generator(made, params)
    generator.append_tokens(PROMPT)
    generator.generate_next_token()
    started = time.perf_counter()
    for _ in range(GENERATED_TOKENS):
        generator.generate_next_token()
    return time.perf_counter() - started


def before():
    tokens = torch.tensor([PROMPT], device=DEVICE)
    with torch.inference_mode():
        answer = base(tokens, use_cache=True)
        token = answer.logits[:, -1:].argmax(-1)
        token.item()  # a GPU works behind the program's back until it is asked
        started = time.perf_counter()
        for _ in range(GENERATED_TOKENS):
            answer = base(token, past_key_values=answer.past_key_values, use_cache=True)
            token = answer.logits[:, -1:].argmax(-1)
        token.item()
    return time.perf_counter() - started


kinds = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
folder = BASE if Path(BASE).is_dir() else snapshot_download(BASE, allow_patterns=kinds)
base = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(DEVICE)
print(f"before: {size(folder, '.safetensors'):.2f} GB, {decode_speed(before)}")
del base
{register}made = og.Model(MADE)
print(f"after:  {size(MADE, '.onnx', '.data'):.2f} GB, {decode_speed(after)}")
'''
