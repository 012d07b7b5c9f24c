"""Foundry Local: a curated catalog on one's own machine; it picks NPU, GPU or CPU itself."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime
from recommender.types import Pick


class FoundryLocal(TableRuntime):
    id = "foundry-local"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        return f"foundry model run {shell.name(model.foundry_alias)}"

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if not model.foundry_alias:
            return f"{self.name} runs its own catalog only, and {model.model_id} is not known to be in it"
        return ""


RUNTIME = FoundryLocal()
