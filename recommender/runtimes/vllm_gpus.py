"""How vLLM uses a device's GPUs: how many, how they divide the model, and how much memory of each."""

from __future__ import annotations

import math

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, Target
from recommender.types import GIB, Gpu

_MOST_OF_A_GPU = 0.95  # of its memory; the driver and CUDA's own context need the rest
_GPUS_IN_A_MACHINE = 8
_BFLOAT16_FROM = (8, 0)  # compute capability (vllm/platforms/cuda.py: supported_dtypes)
_NATIVE_FP8_FROM = (8, 9)


def accelerator(target: Target) -> str:
    """What vLLM computes on there: cuda, rocm, metal or cpu."""
    return target.on_gpu if target.on_gpu in ("cuda", "rocm", "metal") else "cpu"


def same_gpus(target: Target) -> list[Gpu]:
    """The GPUs like the first one of the accelerator: only those can divide a model evenly."""
    found = [gpu for gpu in target.device.gpus if gpu.backend == accelerator(target)]
    return [gpu for gpu in found if gpu.name == found[0].name]


def tensor_parallel_sizes(model: RuntimeModel) -> tuple[int, ...]:
    """Numbers of GPUs that its heads can be divided among; 1 alone where its heads are unknown.

    Each GPU gets as many attention heads (vllm/config/model.py); heads of the cache are divided too, or copied where
    there are more GPUs than heads.
    """
    heads = model.n_head or 1
    cached = model.n_head_kv or heads
    sizes = range(1, _GPUS_IN_A_MACHINE + 1)
    return tuple(size for size in sizes if heads % size == 0 and (cached % size == 0 or size % cached == 0))


def division(target: Target) -> tuple[int, int]:
    """Tensor-parallel and pipeline-parallel size: the fewest GPUs that hold the pick.

    Its heads are divided where a size that divides them is enough, else its layers among all GPUs.
    """
    gpus = same_gpus(target)
    needed, room = _needed_bytes(target), _room_bytes(target)
    if not gpus or not needed or not room:
        return 1, 1
    for size in tensor_parallel_sizes(target.model):
        if size <= len(gpus) and needed / size <= room:
            return size, 1
    return 1, len(gpus)


def number_used(target: Target) -> int:
    """GPUs that one server takes."""
    tensor, pipeline = division(target)
    return tensor * pipeline


def memory_share(target: Target) -> float:
    """The share of each GPU's memory that the server may take; 0 where it is unknown.

    On a GPU with memory of its own that is all that is free, rounded down: what the weights leave is cache for more
    requests. One that shares the machine's RAM gives what the pick needs, since other programs need the rest.
    """
    gpus = same_gpus(target)
    room, total = _room_bytes(target), _total_bytes(target)
    if not gpus or not room or not total:
        return 0.0
    if gpus[0].unified and (needed := _needed_bytes(target)):
        return min(_MOST_OF_A_GPU, math.ceil(100 * needed / total) / 100)
    # Of a number such as 0.95 × total, 100 parts must be 95, whatever its last bit.
    return math.floor(100 * room / total + 1e-9) / 100


def flags(target: Target) -> str:
    """What of a server's flags depends on this device's GPUs; the plug-in for Apple's divides nothing."""
    if accelerator(target) not in ("cuda", "rocm"):
        return ""
    tensor, pipeline = division(target)
    share = memory_share(target)
    return shell.join(
        f"--tensor-parallel-size {tensor}" if tensor > 1 else "",
        f"--pipeline-parallel-size {pipeline}" if pipeline > 1 else "",
        f"--gpu-memory-utilization {share:.2f}" if share else "",
    )


def notes(target: Target) -> tuple[str, ...]:
    """What to know about this model on these GPUs, as sentences without a full stop."""
    if accelerator(target) not in ("cuda", "rocm"):
        return ()
    found = []
    heads, cached = target.model.n_head, target.model.n_head_kv
    if heads:
        sizes = ", ".join(str(size) for size in tensor_parallel_sizes(target.model))
        of_cache = f" and {cached} of the cache" if cached else ""
        found.append(f"Tensor parallelism: its {heads} attention heads{of_cache} can be divided among {sizes} GPUs")
    needed, total, used = _needed_bytes(target), _total_bytes(target), number_used(target)
    if needed and total:
        least = needed / used / total
        found.append(
            f"The pick needs {needed / used / GIB:.1f} of {total / GIB:.1f} GiB of "
            f"{'each GPU' if used > 1 else 'the GPU'}: --gpu-memory-utilization {math.ceil(100 * least) / 100:.2f} "
            "would do where other programs need the rest"
        )
    return (*found, *_capability_notes(target))


def _capability_notes(target: Target) -> list[str]:
    gpus = same_gpus(target)
    capability = _version(gpus[0].compute_capability) if gpus else None
    if capability is None:
        return []
    name = f"{gpus[0].name} (compute capability {gpus[0].compute_capability})"
    found = []
    if capability < _BFLOAT16_FROM:
        found.append(
            f"{name} has no bfloat16: vLLM computes in float16 by itself, and in float32 where an architecture is "
            "not stable in float16, which takes twice the memory. So --dtype is left out"
        )
    if capability < _NATIVE_FP8_FROM and target.pick.quantization == "fp8":
        found.append(f"{name} has no 8-bit arithmetic: the weights are 8-bit, the arithmetic is 16-bit")
    if capability < _NATIVE_FP8_FROM and target.settings.kv_type == "q8_0":
        found.append(f"{name} may refuse the 8-bit cache: leave --kv-cache-dtype out then")
    return found


def _version(capability: str) -> tuple[int, int] | None:
    major, _, minor = capability.partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() and (minor or "0").isdigit() else None


def _needed_bytes(target: Target) -> float:
    memory = target.pick.estimate.memory
    return (memory.gpu_bytes or memory.total_bytes) if memory else 0.0


def _total_bytes(target: Target) -> float:
    """Memory of one GPU; where it shares the machine's, all of that, as the driver says it."""
    gpus = same_gpus(target)
    if not gpus:
        return 0.0
    return (target.device.ram_bytes if gpus[0].unified else gpus[0].memory_bytes) or gpus[0].memory_bytes or 0.0


def _room_bytes(target: Target) -> float:
    """What of one GPU's memory may be used."""
    gpus = same_gpus(target)
    total = _total_bytes(target)
    free = [gpu.memory_free_bytes for gpu in gpus if gpu.memory_free_bytes is not None]
    return min([_MOST_OF_A_GPU * total, *free]) if total else 0.0
