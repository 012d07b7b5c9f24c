"""wllama: llama.cpp in a browser page. Calls as in ngxson/wllama's README and src/types."""

from __future__ import annotations

import json

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.runtimes.gguf import make_steps
from recommender.types import Pick


class Wllama(TableRuntime):
    id = "wllama"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        settings = settings_of(pick)
        options = {"n_ctx": settings.context_tokens, "n_threads": max(1, settings.threads)}
        if accelerator == "cpu":
            options["n_gpu_layers"] = 0
        before: list[str] = []
        if model.repo:
            source = {"repo": shell.repository(model.repo)}
            if model.file:
                source["file"] = shell.file_name(model.file)
            else:
                source["quant"] = quantization
            call = f"await wllama.loadModelFromHF({json.dumps(source)}, {json.dumps(options)})"
        else:
            before, made = make_steps(model, quantization)
            # A page fetches over HTTP, and no piece may exceed the 2 GB of an ArrayBuffer.
            stem = made.removesuffix(".gguf")
            before.append(f"llama-gguf-split --split --split-max-size 512M {made} {stem}")
            call = f"await wllama.loadModelFromUrl(FIRST_PIECE_URL, {json.dumps(options)})"
        return f"{shell.steps('npm install @wllama/wllama', *before)}\n# in the page: {call}"


RUNTIME = Wllama()
