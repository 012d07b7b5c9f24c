"""vLLM: many users at once on a server's GPUs. Flags as in vllm/engine/arg_utils.py of 0.33.0."""

from __future__ import annotations

import math

from recommender.runtimes import kubernetes, shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import hub_reference, make_steps
from recommender.runtimes.recipe import Step
from recommender.types import GIB, Device, Gpu, Pick, Settings

# Quantizations that need weights somebody has quantized already; 8-bit floats vLLM can make while it loads.
_NEED_A_CHECKPOINT = ("awq-int4", "gptq-int4")
_VERSION = "v0.33.0"
# Its public images by accelerator, and what lets a container reach that.
_IMAGES = {
    "cuda": ("vllm/vllm-openai", "--gpus all --ipc=host"),
    "rocm": (
        "vllm/vllm-openai-rocm",
        "--device /dev/kfd --device /dev/dri --group-add video --security-opt seccomp=unconfined --ipc=host",
    ),
    "": ("vllm/vllm-openai-cpu", "--ipc=host"),
}
_MOST_OF_A_GPU = 0.95  # of its memory; the driver and CUDA's own context need the rest
_SIZES = range(1, 9)  # GPUs in one machine


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
        found = super().install_steps(target)
        if target.device.os == "windows":
            return (Step("Open a Linux shell", "wsl", "powershell", note="vLLM runs in WSL 2."), *found)
        return found

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        command = shell.join(self.command(target.pick, target.model, target.accelerator), device_flags(target))
        return (Step("Run it", command),)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        if target.model.format == "gguf":  # needs a plug-in that the images lack
            return ()
        arguments = container_arguments(target)
        image, reach = _IMAGES.get(target.on_gpu, _IMAGES[""])
        lines = (
            f"docker run --rm {reach} -p 127.0.0.1:8000:8000",
            "  -v ~/.cache/huggingface:/root/.cache/huggingface -e HF_TOKEN",
            f"  {image}:{_VERSION} {shell.join(*arguments)}",
        )
        return (
            Step("In a container", " \\\n".join(lines), note="HF_TOKEN is handed on for gated models."),
            *kubernetes.steps(_deployed(target, f"{image}:{_VERSION}", arguments)),
        )

    def served(self, target: Target) -> str:
        if target.model.format == "gguf":
            return super().served(target)
        return _weights(target.model, target.quantization)[0]

    def notes(self, target: Target) -> tuple[str, ...]:
        found = [
            "Prefix caching is on by default: prompts that begin alike are computed once",
            "Speculative decoding helps few users at a time: --speculative-config with a draft model of the same "
            "vocabulary, or the n-gram method, which needs none",
        ]
        heads = target.model.n_head
        if heads:
            sizes = ", ".join(str(size) for size in tensor_parallel_sizes(target.model))
            found.append(f"Tensor parallelism: {heads} heads can be divided among {sizes} GPUs")
        return tuple(found)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if quantization in _NEED_A_CHECKPOINT and model.repo in ("", model.base_repo):
            return f"No published {quantization} weights of {model.model_id} are in the catalog"
        return ""


def _gguf(model: RuntimeModel, quantization: str, flags: str) -> str:
    """Through the vllm-gguf-plugin; the tokenizer comes from the original weights, as its documents advise."""
    before: list[str] = []
    if model.repo:
        source = hub_reference(model, quantization)
    elif model.file:
        source = shell.path(model.file)
    else:
        before, source = make_steps(model, quantization)
    tokenizer = f"--tokenizer {shell.repository(model.base_repo)}" if model.base_repo else ""
    return shell.steps("uv pip install vllm-gguf-plugin", *before, shell.join("vllm serve", source, tokenizer, flags))


def server_flags(settings: Settings) -> str:
    """The settings as ``vllm serve`` takes them. The context counts per sequence; an 8-bit cache is fp8 there."""
    return shell.join(
        f"--max-model-len {settings.context_tokens}",
        f"--max-num-seqs {settings.parallel}" if settings.parallel > 1 else "",
        "--kv-cache-dtype fp8" if settings.kv_type == "q8_0" else "",
    )


def _weights(model: RuntimeModel, quantization: str) -> tuple[str, str]:
    """The repository to load, and the flag that quantizes while loading or ""."""
    own = model.repo if model.repo and model.repo != model.base_repo else ""
    made_here = "--quantization fp8" if quantization == "fp8" and not own else ""
    return shell.repository(own or model.base_repo), made_here


def tensor_parallel_sizes(model: RuntimeModel) -> tuple[int, ...]:
    """Numbers of GPUs that its heads can be divided among. Heads of the cache are divided too, or copied."""
    heads, cached = model.n_head or 1, model.n_head_kv or model.n_head or 1
    return tuple(size for size in _SIZES if heads % size == 0 and (cached % size == 0 or size % cached == 0))


def tensor_parallel_size(target: Target) -> int:
    """The fewest of the device's GPUs that hold the pick, among the sizes that divide its heads."""
    gpus = same_gpus(target.device)
    memory = target.pick.estimate.memory
    room = gpus[0].memory_bytes if gpus else None
    if memory is None or not room:
        return 1
    sizes = [size for size in tensor_parallel_sizes(target.model) if size <= len(gpus)] or [1]
    return next((size for size in sizes if memory.total_bytes / size <= _MOST_OF_A_GPU * room), sizes[-1])


def same_gpus(device: Device) -> list[Gpu]:
    """The GPUs like the first one."""
    return [gpu for gpu in device.gpus if gpu.name == device.gpus[0].name]


def device_flags(target: Target) -> str:
    """What depends on this device's GPUs: how many, and how much of each may be used."""
    gpus = same_gpus(target.device) if target.on_gpu else []
    if not gpus:
        return ""
    size = tensor_parallel_size(target)
    total, free = gpus[0].memory_bytes, gpus[0].memory_free_bytes
    # All that is free, rounded down: what the weights leave is cache for more users.
    share = min(_MOST_OF_A_GPU, math.floor(100 * free / total) / 100) if total and free else 0.0
    return shell.join(
        f"--tensor-parallel-size {size}" if size > 1 else "",
        f"--gpu-memory-utilization {share:.2f}" if share else "",
    )


def container_arguments(target: Target) -> tuple[str, ...]:
    """What follows the image's name: the words of ``vllm serve``."""
    source, made_here = _weights(target.model, target.quantization)
    words = shell.join(made_here, server_flags(target.settings), device_flags(target))
    return (source, *words.split())


def _deployed(target: Target, image: str, arguments: tuple[str, ...]) -> kubernetes.Deployed:
    file_bytes = target.pick.estimate.file_bytes or 0.0
    memory = target.pick.estimate.memory
    # On a GPU main memory holds the weights while they are loaded; on a CPU it holds all.
    needed = file_bytes if target.on_gpu or memory is None else memory.total_bytes
    gib = max(1, math.ceil(needed / GIB))
    return kubernetes.Deployed(
        model=target.model.model_id,
        image=image,
        arguments=arguments,
        accelerator=target.on_gpu,
        gpus=tensor_parallel_size(target),
        memory_gib=gib,
        disk_gib=max(1, math.ceil(file_bytes / GIB)) + 1,
    )


RUNTIME = Vllm()
