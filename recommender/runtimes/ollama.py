"""Ollama: one command to fetch and run. Its numbers are set on its server, by environment variables."""

from __future__ import annotations

import os
import shutil

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.runtimes.gguf import hub_reference, make_steps
from recommender.types import Pick, Settings


class Ollama(TableRuntime):
    id = "ollama"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        quantization = quantization_of(pick)
        serve = shell.join(*server_environment(settings_of(pick)), "ollama serve &")
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is not None:
            return f"{serve}\nollama run {shell.tag(own.name)}"
        if model.repo:
            return f"{serve}\nollama run hf.co/{hub_reference(model, quantization)}"
        before: list[str] = []
        file = model.file
        if not file:
            before, file = make_steps(model, quantization)
        # A Modelfile's FROM takes the rest of its line as it stands; only the shell needs quotes.
        shell.path(file)
        local = shell.tag(f"{model.local_name}:{quantization}".lower())
        modelfile = shell.path(f"FROM {file if file.startswith('/') else './' + file}")
        make = [f"echo {modelfile} > Modelfile", f"ollama create {local} -f Modelfile", f"ollama run {local}"]
        return f"{serve}\n{shell.steps(*before, *make)}"

    def can_try_here(self) -> bool:
        """It is installed here, or ``OLLAMA_HOST`` names a server. Whether that answers is found out by the run."""
        return bool(os.environ.get("OLLAMA_HOST")) or shutil.which("ollama") is not None


def server_environment(settings: Settings) -> list[str]:
    """Settings as Ollama's server takes them (its envconfig/config.go). GPU layers and threads it chooses itself.

    Without a context length it takes 4,096 tokens below 24 GiB of GPU memory and cuts longer prompts silently.
    """
    found = [f"OLLAMA_CONTEXT_LENGTH={settings.context_tokens}"]
    if settings.parallel > 1:
        found.append(f"OLLAMA_NUM_PARALLEL={settings.parallel}")
    if settings.kv_type != "f16":
        found.append(f"OLLAMA_KV_CACHE_TYPE={shell.name(settings.kv_type)}")
    if settings.flash_attn:
        found.append("OLLAMA_FLASH_ATTENTION=1")
    return found


RUNTIME = Ollama()
