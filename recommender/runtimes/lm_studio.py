"""LM Studio: a desktop app with a command line, ``lms``. Flags as in its documents (3_cli)."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import file_here
from recommender.runtimes.mlx import published_repository
from recommender.types import Pick


class LmStudio(TableRuntime):
    id = "lm-studio"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        settings = settings_of(pick)
        load = shell.join(
            "lms load",
            f"--context-length {settings.context_tokens}",
            f"--identifier {model.local_name}",
            "--gpu off" if settings.gpu_layers == 0 and model.format == "gguf" else "",
        )
        if model.format == "mlx":
            get = [f"lms get https://huggingface.co/{published_repository(model, quantization)}"]
        elif model.repo:
            get = [f"lms get https://huggingface.co/{shell.repository(model.repo)}@{quantization.lower()}"]
        else:
            before, file = file_here(model, quantization)
            get = [*before, f"lms import --copy --yes {file}"]
        return shell.steps(*get, load, "lms server start")

    def served(self, target: Target) -> str:
        return target.model.local_name

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if model.format == "mlx" and not published_repository(model, quantization):
            return f"No published {quantization} build of {model.model_id} is in the catalog"
        return ""


RUNTIME = LmStudio()
