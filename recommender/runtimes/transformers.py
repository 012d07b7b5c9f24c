"""Hugging Face transformers: the reference. Flags as in transformers/cli/serve.py of 5.23.0."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

_GENERATE = """from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "{source}"

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="{dtype}", device_map="{device}")
messages = [{"role": "user", "content": "Say hello."}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
).to(model.device)
answer = model.generate(**inputs, max_new_tokens=200)
print(tokenizer.decode(answer[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""
_NEED_A_CHECKPOINT = ("fp8", "awq-int4", "gptq-int4")
# What a quantized checkpoint needs beside (quantizers/quantizer_awq.py, quantizer_gptq.py).
_PACKAGES = {"awq-int4": "pip install gptqmodel", "gptq-int4": "pip install gptqmodel optimum"}
_DEVICES = {"cpu": "cpu", "metal": "mps"}  # "auto" spreads a model over all GPUs
_BFLOAT16_FROM = 8  # major compute capability with bfloat16 in the matrix units


class Transformers(TableRuntime):
    id = "transformers"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        source = shell.repository(model.repo or model.base_repo)
        return shell.join(
            "transformers serve",
            source,
            "--device cpu" if accelerator == "cpu" else "",
            "--port 8000",
        )

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        extra = _PACKAGES.get(target.pick.quantization or "", "")
        found = super().install_steps(target)
        return (*found, target.commands("Install what reads the quantized weights", extra)) if extra else found

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        command = self.command(target.pick, target.model, accelerator(target))
        batching = "--continuous-batching" if target.settings.parallel > 1 else ""
        device = "--device mps" if accelerator(target) == "metal" else ""
        dtype = f"--dtype {dtype_of(target)}" if dtype_of(target) != "auto" else ""
        return (target.commands("Run it", shell.join(command, device, dtype, batching)),)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        script = _GENERATE.replace("{source}", self.served(target)).replace("{dtype}", dtype_of(target))
        script = script.replace("{device}", _DEVICES.get(accelerator(target), "auto"))
        return (Step("In Python", script, "python", file_name="generate.py", note="python generate.py"),)

    def served(self, target: Target) -> str:
        return shell.repository(target.model.repo or target.model.base_repo)

    def notes(self, target: Target) -> tuple[str, ...]:
        found = []
        on = accelerator(target)
        if on == "rocm" or (on == "cuda" and target.device.os == "windows"):
            found.append(
                "The torch package computes on this GPU only as built for it: pytorch.org/get-started names it"
            )
        if dtype_of(target) == "float16":
            found.append(
                "This GPU has no fast bfloat16, so it computes in float16. A model that answers nonsense there was "
                "made for bfloat16's wider range: --dtype float32 then, in twice the memory"
            )
        found.append(
            f"It sets no limit to the context: the estimate counts {target.settings.context_tokens} tokens per request"
        )
        return tuple(found)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if quantization in _NEED_A_CHECKPOINT and model.repo in ("", model.base_repo):
            return f"No published {quantization} weights of {model.model_id} are in the catalog"
        return ""


def accelerator(target: Target) -> str:
    """What PyTorch computes on there: cuda, rocm, metal or cpu."""
    return target.on_gpu if target.on_gpu in ("cuda", "rocm", "metal") else "cpu"


def dtype_of(target: Target) -> str:
    """ "auto", the weights' own type, unless an NVIDIA GPU is known to be too old for bfloat16."""
    known = [gpu.compute_capability.partition(".")[0] for gpu in target.device.gpus if gpu.backend == "cuda"]
    old = any(major.isdigit() and int(major) < _BFLOAT16_FROM for major in known)
    return "float16" if accelerator(target) == "cuda" and old and target.pick.quantization == "bf16" else "auto"


RUNTIME = Transformers()
