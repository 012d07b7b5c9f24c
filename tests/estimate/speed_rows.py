"""Rows and devices that the speed tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from recommender.types import Device, Gpu, MemoryColumns, SettingsColumns, VariantColumns

LAYERS = 32


def floats(n: int, value: float) -> Any:
    return np.full(n, float(value))


def texts(n: int, value: str) -> Any:
    return np.array([value] * n, dtype=object)


def variants(n: int = 1, params: float = 8.0e9, bits: float = 4.9, runtime: str = "llama.cpp", **changes: Any) -> Any:
    """A dense model of 32 layers with grouped-query attention, untied."""
    stored = params * bits / 8
    embedding = 0.06 * stored
    rows = VariantColumns(
        model_id=texts(n, "maker/model"),
        quantization=texts(n, "Q4_K_M"),
        runtime=texts(n, runtime),
        format=texts(n, "gguf"),
        architecture=texts(n, "llama"),
        file_bytes=floats(n, stored),
        tensor_bytes=floats(n, stored),
        input_embedding_bytes=floats(n, embedding),
        output_bytes=floats(n, embedding),
        read_bytes_per_token=floats(n, stored - embedding),
        params_total=floats(n, params),
        params_active=floats(n, np.nan),
        n_layer=floats(n, LAYERS),
        n_embd=floats(n, 4096),
        n_vocab=floats(n, 0.06 * params / 4096),
        n_head=floats(n, 32),
        n_ff=floats(n, 14336),
        k_full_elements_per_token=floats(n, LAYERS * 1024),
        v_full_elements_per_token=floats(n, LAYERS * 1024),
        k_window_elements_per_token=floats(n, 0),
        v_window_elements_per_token=floats(n, 0),
        window_tokens=floats(n, 0),
        state_bytes=floats(n, 0),
        exact=np.ones(n, dtype=np.bool_),
    )
    return replace(rows, **changes)


def settings(n: int = 1, **changes: Any) -> SettingsColumns:
    rows = SettingsColumns(
        context_tokens=floats(n, 4096),
        kv_type=texts(n, "f16"),
        batch_tokens=floats(n, 2048),
        ubatch_tokens=floats(n, 512),
        parallel=floats(n, 1),
        threads=floats(n, 0),
        gpu_layers=floats(n, -1),
        flash_attn=np.ones(n, dtype=np.bool_),
    )
    return replace(rows, **changes)


def memory(n: int = 1, gpu_layers: float = 0.0) -> MemoryColumns:
    return MemoryColumns(
        weights_bytes=floats(n, 5e9),
        kv_cache_bytes=floats(n, 5e8),
        compute_bytes=floats(n, 1e8),
        overhead_bytes=floats(n, 1e8),
        total_bytes=floats(n, 5.7e9),
        reclaimable_bytes=floats(n, 0),
        gpu_bytes=floats(n, 0),
        gpu_layers=floats(n, gpu_layers),
        layers_total=floats(n, LAYERS + 1),
    )


ALL_ON_GPU = LAYERS + 1


def cpu_device(**changes: Any) -> Device:
    device = Device(
        id="cpu",
        name="A desktop",
        kind="desktop",
        os="linux",
        arch="x86-64",
        physical_cores=8,
        isa=("avx2",),
        bandwidth_bytes_per_s=51.2e9,
    )
    return replace(device, **changes)


def gpu_device(bandwidth: float | None = 448e9, flops: float | None = 40e12, **changes: Any) -> Device:
    gpu = Gpu("A card", "nvidia", "cuda", 16e9, 15e9, bandwidth, flops, "8.6")
    return replace(cpu_device(), gpus=(gpu,), **changes)
