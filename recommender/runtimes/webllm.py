"""WebLLM: compiled models in a browser with WebGPU. Only what its makers have compiled."""

from __future__ import annotations

import json

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.types import Pick


class Webllm(TableRuntime):
    id = "webllm"
    published_only = True

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        own = tables.published(self.id, model.model_id, model.format, quantization)
        name = shell.name(own.name) if own else ""
        options = json.dumps({"context_window_size": settings_of(pick).context_tokens})
        call = f"await CreateMLCEngine({json.dumps(name)}, undefined, {options})"
        return f"npm install @mlc-ai/web-llm\n# in the page: {call}"


RUNTIME = Webllm()
