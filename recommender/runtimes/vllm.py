"""vLLM: many users at once on a server's GPUs. Flags as in vllm/engine/arg_utils.py of 0.33.0."""

from __future__ import annotations

import math

from recommender.runtimes import kubernetes, shell, vllm_gpus
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import file_here, hub_reference
from recommender.runtimes.recipe import Step
from recommender.types import GIB, Pick, Settings

# Quantizations that need weights somebody has quantized already; 8-bit floats vLLM can make while it loads.
_NEED_A_CHECKPOINT = ("awq-int4", "gptq-int4")
_VERSION = "v0.33.0"
_CPU_ARCH = {"x86-64": "x86_64", "arm64": "arm64"}
# Its public images by accelerator, and what lets a container reach that (docs/getting_started/installation). The
# memory that processes share is the host's, since GPUs that work together need much of it.
_IMAGES = {
    "cuda": ("vllm/vllm-openai", "--gpus all --ipc=host"),
    "rocm": (
        "vllm/vllm-openai-rocm",
        "--device /dev/kfd --device /dev/dri --group-add video --cap-add SYS_PTRACE "
        "--security-opt seccomp=unconfined --ipc=host",
    ),
    "cpu": ("vllm/vllm-openai-cpu", "--cap-add SYS_NICE --security-opt seccomp=unconfined --shm-size 4g"),
}

_INSTALL = """pip install uv &&
uv venv --python 3.12 --seed --managed-python &&
source .venv/bin/activate &&
{hint}"""
_INSTALL_NOTE = "In an environment of its own: vLLM brings the PyTorch that its kernels were built with."
_WSL = "vLLM runs on Linux, which Windows has as WSL 2. All that follows is typed there."
_OTHER_BUILD = (
    "The vllm package is built for NVIDIA GPUs; the image has the build for this device. HF_TOKEN is handed on from "
    "your shell; gated models need it."
)


class Vllm(TableRuntime):
    id = "vllm"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        flags = server_flags(settings_of(pick))
        if model.format == "gguf":
            return _gguf(model, quantization, flags)
        # The weights' own type is the default, and 16-bit floats stand in for bfloat16 where a GPU lacks it.
        return shell.join("vllm serve", *_weights(model, quantization), flags)

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        engine = vllm_gpus.accelerator(target)
        if engine == "metal":
            text = "install vllm-metal as github.com/vllm-project/vllm-metal says; it makes ~/.venv-vllm-metal"
            return (Step("Install", text, "text"), Step("Enter it", "source ~/.venv-vllm-metal/bin/activate"))
        found = [Step("Open a Linux shell", "wsl --install", "powershell", note=_WSL)] * (target.device.os == "windows")
        if engine == "cuda":
            found.append(Step("Install", _INSTALL.format(hint=self.install_hint("linux")), note=_INSTALL_NOTE))
        return tuple(found)

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        command = self.command(target.pick, target.model, target.accelerator)
        if vllm_gpus.accelerator(target) in ("rocm", "cpu") and not _made_here(target.model):
            return (Step("Run it in a container", container(target), note=_OTHER_BUILD),)
        return (Step("Run it", shell.join(_variables(target) + command, *_device_words(target))),)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        engine = vllm_gpus.accelerator(target)
        if engine == "metal" or _made_here(target.model):
            return ()
        note = "HF_TOKEN is handed on from your shell; gated models need it."
        found = [Step("In a container", container(target), note=note)] if engine == "cuda" else []
        if target.model.format != "gguf":  # the images lack the plug-in
            found += kubernetes.steps(_deployed(target, engine))
        return tuple(found)

    def served(self, target: Target) -> str:
        if target.model.format == "gguf":
            return super().served(target)
        return _weights(target.model, target.quantization)[0]

    def notes(self, target: Target) -> tuple[str, ...]:
        return (
            "Prefix caching is on: prompts that begin alike, as with one system prompt, are computed once. "
            "--no-enable-prefix-caching turns it off for a fair measurement of your own",
            "Speculative decoding makes answers faster for few users at a time and can slow many down: "
            """--speculative-config '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}' """
            "needs no second model; a draft model must have the same vocabulary",
            *vllm_gpus.notes(target),
        )

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if quantization in _NEED_A_CHECKPOINT and model.repo in ("", model.base_repo):
            return f"No published {quantization} weights of {model.model_id} are in the catalog"
        return ""


def server_flags(settings: Settings) -> str:
    """The settings as ``vllm serve`` takes them. The context counts per sequence; an 8-bit cache is fp8 there."""
    return shell.join(
        f"--max-model-len {settings.context_tokens}",
        f"--max-num-seqs {settings.parallel}" if settings.parallel > 1 else "",
        "--kv-cache-dtype fp8" if settings.kv_type == "q8_0" else "",
    )


def container(target: Target) -> str:
    """The command that serves the pick from vLLM's public image."""
    engine = vllm_gpus.accelerator(target)
    variable = _variables(target).strip()
    words = shell.join(*serve_words(target))
    inside = f"  {image(target, engine)} {words}"
    entry = ""
    if target.model.format == "gguf":
        entry = "--entrypoint bash "
        serve = f"uv pip install --system vllm-gguf-plugin && vllm serve {words}"
        inside = f"  {image(target, engine)} -c {shell.quoted(serve)}"
    return " \\\n".join(
        (
            f"docker run --rm {_IMAGES[engine][1]} -p 127.0.0.1:8000:8000",
            f"  -v ~/.cache/huggingface:/root/.cache/huggingface -e HF_TOKEN {entry}".rstrip()
            + (f" -e {variable}" if variable else ""),
            inside,
        )
    )


def image(target: Target, engine: str) -> str:
    """The image for an accelerator and this device's processor, with its tag."""
    name, _ = _IMAGES[engine]
    return f"{name}:{_VERSION}" + (f"-{_CPU_ARCH.get(target.device.arch, 'x86_64')}" if engine == "cpu" else "")


def serve_words(target: Target) -> tuple[str, ...]:
    """What follows ``vllm serve``, word by word."""
    model, quantization = target.model, target.quantization
    if model.format == "gguf":
        first = (hub_reference(model, quantization), *_tokenizer(model).split())
    else:
        first = tuple(word for part in _weights(model, quantization) for word in part.split())
    return (*first, *server_flags(target.settings).split(), *_device_words(target))


def _device_words(target: Target) -> tuple[str, ...]:
    found = tuple(vllm_gpus.flags(target).split())
    if target.model.format == "gguf":  # else it is called what the file is called
        return (*found, "--served-model-name", shell.tag(target.model.model_id))
    return found


def _variables(target: Target) -> str:
    """On a CPU the cache is a number of GiB; left to itself vLLM takes nearly all memory for it."""
    memory = target.pick.estimate.memory
    if vllm_gpus.accelerator(target) != "cpu" or memory is None:
        return ""
    return f"VLLM_CPU_KVCACHE_SPACE={max(1, math.ceil(memory.kv_cache_bytes / GIB))} "


def _weights(model: RuntimeModel, quantization: str) -> tuple[str, str]:
    """The repository to load, and the flag that quantizes while loading or ""."""
    own = model.repo if model.repo and model.repo != model.base_repo else ""
    made_here = "--quantization fp8" if quantization == "fp8" and not own else ""
    return shell.repository(own or model.base_repo), made_here


def _made_here(model: RuntimeModel) -> bool:
    """The weights are a file of this machine, which no container sees."""
    return model.format == "gguf" and not model.repo


def _tokenizer(model: RuntimeModel) -> str:
    """From the original weights, as the documents of GGUF in vLLM advise."""
    return f"--tokenizer {shell.repository(model.base_repo)}" if model.base_repo else ""


def _gguf(model: RuntimeModel, quantization: str, flags: str) -> str:
    """Through the vllm-gguf-plugin."""
    before: list[str] = []
    if model.repo:
        source = hub_reference(model, quantization)
    else:
        before, source = file_here(model, quantization)
    serve = shell.join("vllm serve", source, _tokenizer(model), flags)
    return shell.steps("uv pip install vllm-gguf-plugin", *before, serve)


def _deployed(target: Target, engine: str) -> kubernetes.Deployed:
    memory = target.pick.estimate.memory
    weights_bytes = target.pick.estimate.file_bytes or (memory.weights_bytes if memory else 0.0)
    if _weights(target.model, target.quantization)[1]:  # it fetches the 16-bit weights and halves them
        weights_bytes *= 2
    total_bytes = memory.total_bytes if engine == "cpu" and memory else 0.0
    return kubernetes.Deployed(
        model=target.model.model_id,
        image=image(target, engine),
        arguments=serve_words(target),
        accelerator=engine,
        gpus=vllm_gpus.number_used(target),
        weights_bytes=weights_bytes,
        memory_bytes=max(total_bytes, weights_bytes),
        threads=target.settings.threads if engine == "cpu" else 0,
        variable=_variables(target).strip(),
    )


RUNTIME = Vllm()
