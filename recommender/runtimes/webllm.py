"""WebLLM: compiled models in a browser with WebGPU. Only what its makers have compiled."""

from __future__ import annotations

import json

from recommender.runtimes import browser, shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

_INSTALL = "npm install @mlc-ai/web-llm"


class Webllm(TableRuntime):
    id = "webllm"
    published_only = True

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        return f"{_INSTALL}\n# in the page: await {self._load(pick, model, 'undefined')}"

    def _load(self, pick: Pick, model: RuntimeModel, config: str) -> str:
        """The call that loads the model; ``config`` is JavaScript."""
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        own = tables.published(self.id, model.model_id, model.format, quantization)
        name = shell.name(own.name) if own else ""
        options = json.dumps({"context_window_size": settings_of(pick).context_tokens})
        return f"CreateMLCEngine({json.dumps(name)}, {config}, {options})"

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        config = "{ initProgressCallback: (got) => progress(got.progress) }"
        load = (
            'const { CreateMLCEngine } = await import("./node_modules/@mlc-ai/web-llm/lib/index.js");\n'
            f"const engine = await {self._load(target.pick, target.model, config)};"
        )
        return browser.page_steps(load, "engine.chat.completions.create({ messages, max_tokens: 200, stream: true })")

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        return (target.commands("Install", _INSTALL),)

    def check_step(self, target: Target) -> Step:
        return browser.CHECK

    def measure_step(self, target: Target) -> Step:
        return browser.MEASURE

    def notes(self, target: Target) -> tuple[str, ...]:
        return ("The browser must have WebGPU",)


RUNTIME = Webllm()
