"""Hugging Face transformers: the reference. Flags as in transformers/cli/serve.py of 5.23.0."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

_GENERATE = """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{source}")
model = AutoModelForCausalLM.from_pretrained("{source}", dtype="auto", device_map="{device}")
messages = [{"role": "user", "content": "Say hello."}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
).to(model.device)
answer = model.generate(**inputs, max_new_tokens=200)
print(tokenizer.decode(answer[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""
_NEED_A_CHECKPOINT = ("fp8", "awq-int4", "gptq-int4")


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

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        device = "cpu" if target.accelerator == "cpu" else "auto"
        script = _GENERATE.replace("{source}", self.served(target)).replace("{device}", device)
        return (Step("In Python", script, "python", file_name="generate.py", note="python generate.py"),)

    def served(self, target: Target) -> str:
        return shell.repository(target.model.repo or target.model.base_repo)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if quantization in _NEED_A_CHECKPOINT and model.repo in ("", model.base_repo):
            return f"No published {quantization} weights of {model.model_id} are in the catalog"
        return ""


RUNTIME = Transformers()
