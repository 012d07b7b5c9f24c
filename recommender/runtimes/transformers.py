"""Hugging Face transformers: the reference. Flags as in transformers/cli/serve.py of 5.23.0."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of
from recommender.types import Pick

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

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if quantization in _NEED_A_CHECKPOINT and model.repo in ("", model.base_repo):
            return f"No published {quantization} weights of {model.model_id} are in the catalog"
        return ""


RUNTIME = Transformers()
