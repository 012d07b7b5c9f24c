"""Lemonade: AMD machines, the Ryzen AI NPU included. Commands as in its docs/guide/cli.md."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import file_here, hub_reference
from recommender.types import Pick


class Lemonade(TableRuntime):
    id = "lemonade"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        context = f"--ctx-size {settings_of(pick).context_tokens}"
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is not None:
            return f"lemonade run {shell.name(own.name)} {context}"
        local = f"user.{model.local_name}-{quantization}"
        if model.repo:
            checkpoint = hub_reference(model, quantization)
            pull = f"lemonade pull {local} --checkpoint main {checkpoint} --recipe llamacpp"
            return shell.steps(pull, f"lemonade run {local} {context}")
        before, file = file_here(model, quantization)
        # A model found in the extra folder is called by its file's name.
        folder = ["mkdir -p extra-models", f"{'cp' if model.file else 'mv'} {file} extra-models/"]
        register = 'lemonade config set extra_models_dir="$PWD/extra-models"'
        return shell.steps(*before, *folder, register, f"lemonade run {self._extra(model, file)} {context}")

    def served(self, target: Target) -> str:
        model, quantization = target.model, target.quantization
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is not None:
            return shell.name(own.name)
        if model.repo:
            return f"user.{model.local_name}-{quantization}"
        return self._extra(model, file_here(model, quantization)[1])

    @staticmethod
    def _extra(model: RuntimeModel, file: str) -> str:
        """The name of a model in the extra folder, as a shell takes it."""
        return shell.path(f"extra.{model.file.rpartition('/')[2] or file}")

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if model.format != "gguf" and own is None:
            return f"{self.name} has no build of {model.model_id} for the NPU"
        return ""


RUNTIME = Lemonade()
