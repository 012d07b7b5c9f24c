"""LiteRT-LM: phones, tablets and small boards. Flags as in litert_lm_cli/common.py of 0.18.1."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.types import Pick

_BACKENDS = {"cpu": "cpu", "webgpu": "gpu", "npu": "npu"}


class LitertLm(TableRuntime):
    id = "litert-lm"
    published_only = True

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        own = tables.published(self.id, model.model_id, model.format, quantization)
        repo, file = (own.repo, own.file) if own else (model.repo, model.file)
        settings = settings_of(pick)
        backend = _BACKENDS.get(accelerator, "gpu" if settings.gpu_layers > 0 else "cpu")
        return shell.join(
            f"litert-lm run --from-huggingface-repo={shell.repository(repo)}",
            shell.file_name(file),
            f"--backend={backend}",
            f"--cpu-thread-count={settings.threads}" if backend == "cpu" and settings.threads > 0 else "",
        )


RUNTIME = LitertLm()
