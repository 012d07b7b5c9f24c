"""Picks and machines whose recipes are run for real."""

from __future__ import annotations

from recommender.runtimes import Recipe, RuntimeModel, runtime
from recommender.types import GIB, Device, Estimate, Gpu, Memory, Pick, Settings

MODEL_ID = "Qwen/Qwen3-0.6B"  # in the catalog; what is run is a tiny model in a folder of that name


def memory(total_gib: float, kv_gib: float = 1.0) -> Memory:
    return Memory(
        weights_bytes=(total_gib - kv_gib) * GIB,
        kv_cache_bytes=kv_gib * GIB,
        compute_bytes=0.0,
        overhead_bytes=0.0,
        total_bytes=total_gib * GIB,
    )


def pick(runtime_id: str, quantization: str, *, total_gib: float = 4.0, **changed: object) -> Pick:
    values: dict[str, object] = {
        "context_tokens": 1024,
        "kv_type": "f16",
        "batch_tokens": 2048,
        "ubatch_tokens": 512,
        "parallel": 1,
        "threads": 2,
        "gpu_layers": -1,
        "flash_attn": True,
    }
    settings = Settings(**(values | changed))  # type: ignore[arg-type]
    estimate = Estimate((total_gib - 1.0) * GIB, "exact layout", memory(total_gib), None, None, None, None)
    return Pick(
        model_id=MODEL_ID,
        name="Qwen3-0.6B",
        family="",
        tier="Small",
        quantization=quantization,
        runtime=runtime_id,
        settings=settings,
        estimate=estimate,
        quality=0.0,
        quality_se=0.0,
        quality_evidence=0,
        score=0.0,
        score_parts=(),
        reasons=(),
        command="",
        license="",
    )


def model(format: str, **changed: object) -> RuntimeModel:
    values: dict[str, object] = {"model_id": MODEL_ID, "format": format, "base_repo": MODEL_ID}
    return RuntimeModel(**(values | {"n_head": 4, "n_head_kv": 2} | changed))  # type: ignore[arg-type]


def device(*gpus: Gpu, os: str = "linux", arch: str = "x86-64", ram_gib: float = 64.0) -> Device:
    return Device(id="here", name="Here", kind="server", os=os, arch=arch, gpus=gpus, ram_bytes=ram_gib * GIB)


def gpu(vendor: str, backend: str, gib: float, capability: str = "", unified: bool = False) -> Gpu:
    free = None if unified else (gib - 1.0) * GIB
    return Gpu(f"a {vendor} GPU", vendor, backend, gib * GIB, free, compute_capability=capability, unified=unified)


NVIDIA = gpu("nvidia", "cuda", 24.0, "8.9")
T4 = gpu("nvidia", "cuda", 16.0, "7.5")
AMD = gpu("amd", "rocm", 24.0)
MAC = gpu("apple", "metal", 16.0, unified=True)


def recipe(found: Pick, of: RuntimeModel, on: Device, accelerator: str) -> Recipe:
    return runtime(found.runtime).recipe(found, of, on, accelerator)
