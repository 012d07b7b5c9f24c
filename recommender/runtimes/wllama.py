"""wllama: llama.cpp in a browser page. Calls as in ngxson/wllama's README and src/types."""

from __future__ import annotations

import json

from recommender.runtimes import browser, shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import file_here
from recommender.runtimes.recipe import Step
from recommender.types import Pick

_INSTALL = "npm install @wllama/wllama"


class Wllama(TableRuntime):
    id = "wllama"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        before, call = self._load(pick, model, accelerator)
        return f"{shell.steps(_INSTALL, *before)}\n# in the page: await {call})"

    def _load(self, pick: Pick, model: RuntimeModel, accelerator: str) -> tuple[list[str], str]:
        """Commands that make the file first, and the call that loads it, its last bracket left open."""
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        settings = settings_of(pick)
        options = {"n_ctx": settings.context_tokens, "n_threads": max(1, settings.threads)}
        if accelerator == "cpu":
            options["n_gpu_layers"] = 0
        if model.repo:
            source = {"repo": shell.repository(model.repo)}
            if model.file:
                source["file"] = shell.file_name(model.file)
            else:
                source["quant"] = quantization
            return [], f"wllama.loadModelFromHF({json.dumps(source)}, {json.dumps(options)}"
        before, file = file_here(model, quantization)
        # A page fetches over HTTP, and no piece may exceed the 2 GB of an ArrayBuffer.
        before.append(f"llama-gguf-split --split --split-max-size 512M {file} {model.local_name}-{quantization}")
        return before, f"wllama.loadModelFromUrl(FIRST_PIECE_URL, {json.dumps(options)}"

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        before, call = self._load(target.pick, target.model, target.accelerator)
        first_piece = 'const FIRST_PIECE_URL = new URLSearchParams(location.search).get("file");\n' if before else ""
        load = (
            'const { Wllama } = await import("./node_modules/@wllama/wllama/esm/index.js");\n'
            'const wllama = new Wllama({ default: "./node_modules/@wllama/wllama/esm/wasm/wllama.wasm" });\n'
            f"{first_piece}const options = {{ progressCallback: (got) => progress(got.loaded / got.total) }};\n"
            f"await {call.removesuffix('}')}, ...options }});"
        )
        make = (
            target.commands("Make the file", shell.steps(*before), "Open the page with ?file= and the first piece."),
        )
        steps = browser.page_steps(load, "wllama.createChatCompletion({ messages, max_tokens: 200, stream: true })")
        return (*(make if before else ()), *steps)

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        return (target.commands("Install", _INSTALL),)

    def check_step(self, target: Target) -> Step:
        return browser.CHECK

    def measure_step(self, target: Target) -> Step:
        return browser.MEASURE

    def notes(self, target: Target) -> tuple[str, ...]:
        return (
            "No file may exceed 2 GB; larger ones are split",
            "Threads need the two headers that serve.py sends; without them it runs on one thread",
        )


RUNTIME = Wllama()
