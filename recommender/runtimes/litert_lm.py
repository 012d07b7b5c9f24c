"""LiteRT-LM: phones, tablets and small boards. Flags as in litert_lm_cli/common.py of 0.18.1."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

_BACKENDS = {"cpu": "cpu", "webgpu": "gpu", "npu": "npu"}


class LitertLm(TableRuntime):
    id = "litert-lm"
    published_only = True

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        repo, file = self._file(model, quantization)
        settings = settings_of(pick)
        backend = _BACKENDS.get(accelerator, "gpu" if settings.gpu_layers > 0 else "cpu")
        return shell.join(
            f"litert-lm run --from-huggingface-repo={repo}",
            file,
            f"--backend={backend}",
            f"--cpu-thread-count={settings.threads}" if backend == "cpu" and settings.threads > 0 else "",
        )

    def _file(self, model: RuntimeModel, quantization: str) -> tuple[str, str]:
        own = tables.published(self.id, model.model_id, model.format, quantization)
        repo, file = (own.repo, own.file) if own else (model.repo, model.file)
        return shell.repository(repo), shell.file_name(file)

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        if target.device.os == "android":
            _, file = self._file(target.model, target.quantization)
            return (Step("Run it", f"In the app choose {file}; or build it into an app of your own.", "text"),)
        repo, file = self._file(target.model, target.quantization)
        fetch = f"litert-lm import --from-huggingface-repo={repo} {file} {self.served(target)}"
        return target.commands("Fetch it", fetch), target.commands("Run it as a server", "litert-lm serve")

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        if target.device.os == "android":
            return ()
        return (target.commands("In a terminal", self.command(target.pick, target.model, target.accelerator)),)

    def served(self, target: Target) -> str:
        return target.model.local_name


RUNTIME = LitertLm()
