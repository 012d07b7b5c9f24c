"""Docker Model Runner: models as artifacts beside containers. Flags as in cmd/cli/docs/reference."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.runtimes.gguf import hub_reference, make_steps
from recommender.types import Pick


class DockerModelRunner(TableRuntime):
    id = "docker-model-runner"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        context = f"--context-size {settings_of(pick).context_tokens}"
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is None and not model.repo:
            before, made = make_steps(model, quantization)
            local = shell.tag(f"{model.local_name}:{quantization}".lower())
            package = f'docker model package --gguf "$PWD/{made}" {context} {local}'
            return shell.steps(*before, package, f"docker model run {local}")
        source = shell.tag(own.name) if own else f"hf.co/{hub_reference(model, quantization)}"
        return shell.steps(
            f"docker model pull {source}",
            f"docker model configure {context} {source}",
            f"docker model run {source}",
        )


RUNTIME = DockerModelRunner()
