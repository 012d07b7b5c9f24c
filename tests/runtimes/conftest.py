"""Picks, models and machines that the runtimes are asked about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recommender.runtimes import RuntimeModel
from recommender.types import Device, Estimate, Gpu, Pick, Settings

NOTHING_ESTIMATED = Estimate(None, "", None, None, None, None, None)


def settings(**changed: object) -> Settings:
    values: dict[str, object] = {
        "context_tokens": 6144,
        "kv_type": "q8_0",
        "batch_tokens": 1024,
        "ubatch_tokens": 256,
        "parallel": 1,
        "threads": 7,
        "gpu_layers": 13,
        "flash_attn": True,
    }
    return Settings(**(values | changed))  # type: ignore[arg-type]


@pytest.fixture
def make_pick() -> Callable[..., Pick]:
    def make(runtime: str, quantization: str | None, model_id: str = "acme/Tiny-1B", **changed: object) -> Pick:
        return Pick(
            model_id=model_id,
            name=model_id,
            family="",
            tier="Micro",
            quantization=quantization,
            runtime=runtime,
            settings=None if quantization is None else settings(**changed),
            estimate=NOTHING_ESTIMATED,
            quality=0.0,
            quality_se=0.0,
            quality_evidence=0,
            score=0.0,
            score_parts=(),
            reasons=(),
            command="",
            license="",
        )

    return make


@pytest.fixture
def make_model() -> Callable[..., RuntimeModel]:
    def make(format: str, **changed: str) -> RuntimeModel:
        values = {"model_id": "acme/Tiny-1B", "format": format, "base_repo": "acme/Tiny-1B"}
        return RuntimeModel(**(values | changed))

    return make


@pytest.fixture
def make_device() -> Callable[..., Device]:
    def make(os: str = "linux", arch: str = "x86-64", kind: str = "desktop", **changed: object) -> Device:
        return Device(id="here", name="Here", kind=kind, os=os, arch=arch, **changed)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_gpu() -> Callable[..., Gpu]:
    def make(vendor: str, backend: str, capability: str = "", name: str = "") -> Gpu:
        return Gpu(name or f"a {vendor} card", vendor, backend, None, None, compute_capability=capability)

    return make
