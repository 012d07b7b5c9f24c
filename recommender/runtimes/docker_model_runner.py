"""Docker Model Runner: models as artifacts beside containers. Flags as in cmd/cli/docs/reference."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import file_here, hub_reference
from recommender.runtimes.recipe import Step
from recommender.types import Pick


class DockerModelRunner(TableRuntime):
    id = "docker-model-runner"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        context = f"--context-size {settings_of(pick).context_tokens}"
        source = self._source(model, quantization)
        if not source:
            before, file = file_here(model, quantization)
            place = file if model.file.startswith("/") else f'"$PWD/{file}"'  # the packager wants it from the root
            local = _local(model, quantization)
            package = f"docker model package --gguf {place} {context} {local}"
            return shell.steps(*before, package, f"docker model run {local}")
        return shell.steps(
            f"docker model pull {source}",
            f"docker model configure {context} {source}",
            f"docker model run {source}",
        )

    def _source(self, model: RuntimeModel, quantization: str) -> str:
        """The name it pulls the model by; "" where nobody publishes it."""
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is not None:
            return shell.tag(own.name)
        return f"hf.co/{hub_reference(model, quantization)}" if model.repo else ""

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        found = super().run_steps(target)
        if target.device.os == "linux":
            return found
        return (target.commands("Open its port", "docker desktop enable model-runner --tcp 12434"), *found)

    def served(self, target: Target) -> str:
        return self._source(target.model, target.quantization) or _local(target.model, target.quantization)


def _local(model: RuntimeModel, quantization: str) -> str:
    return shell.tag(f"{model.local_name}:{quantization}".lower())


RUNTIME = DockerModelRunner()
