"""Ollama: one command to fetch and run. Its numbers are set on its server, by environment variables."""

from __future__ import annotations

import os
import shutil

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import hub_reference, make_steps
from recommender.runtimes.recipe import Step
from recommender.types import Pick, Settings


class Ollama(TableRuntime):
    id = "ollama"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        quantization = quantization_of(pick)
        serve = shell.join(*server_environment(settings_of(pick)), "ollama serve &")
        if source := self._pulled(model, quantization):
            return f"{serve}\nollama run {source}"
        before: list[str] = []
        file = model.file
        if not file:
            before, file = make_steps(model, quantization)
        # A Modelfile's FROM takes the rest of its line as it stands; only the shell needs quotes.
        shell.path(file)
        local = local_tag(model, quantization)
        modelfile = shell.path(f"FROM {file if file.startswith('/') else './' + file}")
        make = [f"echo {modelfile} > Modelfile", f"ollama create {local} -f Modelfile", f"ollama run {local}"]
        return f"{serve}\n{shell.steps(*before, *make)}"

    def _pulled(self, model: RuntimeModel, quantization: str) -> str:
        """The name it pulls the model by; "" where nobody publishes it."""
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is not None:
            return shell.tag(own.name)
        return f"hf.co/{hub_reference(model, quantization)}" if model.repo else ""

    def served(self, target: Target) -> str:
        return self._pulled(target.model, target.quantization) or local_tag(target.model, target.quantization)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        source = self._pulled(target.model, target.quantization)
        if not source:
            return ()
        local = local_tag(target.model, target.quantization)
        found = [
            Step(
                "Modelfile",
                modelfile(source, target.settings),
                "dockerfile",
                file_name="Modelfile",
                note=f"Keeps the context with the model: ollama create {local} -f Modelfile. The chat template is the "
                "one in the file.",
            )
        ]
        if target.device.os != "android":
            environment = server_environment(target.settings)
            found += [
                Step(
                    "Dockerfile",
                    dockerfile(source, environment, target.on_gpu),
                    "dockerfile",
                    file_name="Dockerfile",
                    note="An image with the model inside: docker build -t with-model . && "
                    f"docker run {_REACH.get(target.on_gpu, '')}-p 127.0.0.1:11434:11434 with-model",
                ),
                Step(
                    "Compose",
                    compose(source, environment, target.on_gpu),
                    "yaml",
                    file_name="compose.yaml",
                    note="docker compose up -d. The model is pulled once, into a volume.",
                ),
            ]
        return tuple(found)

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


def local_tag(model: RuntimeModel, quantization: str) -> str:
    """What a model made here is called."""
    return shell.tag(f"{model.local_name}:{shell.name(quantization)}".lower())


def modelfile(source: str, settings: Settings) -> str:
    """A Modelfile with the settings that belong to a model; template and stop words are those of the GGUF."""
    lines = [f"FROM {source}", f"PARAMETER num_ctx {settings.context_tokens}"]
    if settings.threads > 0:
        lines.append(f"PARAMETER num_thread {settings.threads}")
    return "\n".join(lines)


# How a container reaches a GPU (docs/docker.mdx).
_REACH = {"cuda": "--gpus=all ", "rocm": "--device /dev/kfd --device /dev/dri "}
_AWAIT = "until ollama list > /dev/null 2>&1; do sleep 1; done"


def _image(accelerator: str) -> str:
    return "ollama/ollama:rocm" if accelerator == "rocm" else "ollama/ollama:latest"


def dockerfile(source: str, environment: list[str], accelerator: str) -> str:
    """An image that has the model already."""
    lines = [f"FROM {_image(accelerator)}", *(f"ENV {variable}" for variable in environment)]
    lines.append(f'RUN ["/bin/sh", "-c", "ollama serve & {_AWAIT}; ollama pull {source}"]')
    lines += ["EXPOSE 11434", 'HEALTHCHECK --start-period=30s CMD ["ollama", "list"]']
    return "\n".join(lines)


def compose(source: str, environment: list[str], accelerator: str) -> str:
    """A server with a volume, and a service that pulls the model into it once the server is up."""
    gpu = {
        "cuda": [
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices:",
            "            - driver: nvidia",
            "              count: all",
            "              capabilities: [gpu]",
        ],
        "rocm": ["    devices:", "      - /dev/kfd", "      - /dev/dri"],
    }
    lines = [
        "services:",
        "  ollama:",
        f"    image: {_image(accelerator)}",
        "    environment:",
        *(f'      {name}: "{value}"' for name, value in (variable.split("=", 1) for variable in environment)),
        "    ports:",
        '      - "127.0.0.1:11434:11434"',
        "    volumes:",
        "      - ollama:/root/.ollama",
        "    healthcheck:",
        '      test: ["CMD", "ollama", "list"]',
        "      interval: 5s",
        "      retries: 12",
        *gpu.get(accelerator, []),
        "    restart: unless-stopped",
        "  pull:",
        f"    image: {_image(accelerator)}",
        "    environment:",
        '      OLLAMA_HOST: "http://ollama:11434"',
        f'    command: ["pull", "{source}"]',
        "    depends_on:",
        "      ollama:",
        "        condition: service_healthy",
        "volumes:",
        "  ollama:",
    ]
    return "\n".join(lines)


RUNTIME = Ollama()
