"""Runtimes that run the same engine: one that another equals in everything and beats in something is never the pick.

Leaving its rows out before anything is estimated changes no answer and saves most of the work: half a dozen runtimes
take GGUF files, and all of them run llama.cpp.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from recommender.engine.runtime_rules import RuntimeOnDevice
from recommender.estimate.memory import memory_formula, process_bytes
from recommender.estimate.speed_tables import speed_tables
from recommender.types import Device


def outdone(
    runtimes: Mapping[str, RuntimeOnDevice],
    running: Collection[str],
    points: Mapping[str, float],
    device: Device,
) -> tuple[tuple[str, str], ...]:
    """Pairs (runtime, better one): as fast, in as little memory, with as many points of score, and as surely.

    A better runtime also computes on everything that the other can use, and takes every quantization on this device
    that the other takes. The pairs are an order: of two that are equal in all of this the first by name is the better
    one.
    """
    usable = {name: _usable(runtimes[name], device) for name in running}
    engine = {name: memory_formula(name) for name in running}
    refused = {name: _refused(runtimes[name]) for name in running}

    def better(one: str, other: str) -> bool:
        used = usable[other]
        if engine[one] != engine[other] or not used <= usable[one] or not refused[one] <= refused[other]:
            return False
        families, stand_ins = _speed(other, used)
        same_families, surer = _speed(one, used)
        mine = (points[one], -process_bytes(one), -surer)
        theirs = (points[other], -process_bytes(other), -stand_ins)
        if families != same_families or any(left < right for left, right in zip(mine, theirs, strict=True)):
            return False
        return mine != theirs or used != usable[one] or one < other

    return tuple(
        (other, one) for other in sorted(running) for one in sorted(running) if one != other and better(one, other)
    )


def _usable(runtime: RuntimeOnDevice, device: Device) -> frozenset[str]:
    """What it computes on, as the speed tables name it: WebGPU reaches a GPU through that GPU's own back end."""
    native = next((gpu.backend for gpu in device.gpus if gpu.backend), "webgpu")
    return frozenset(native if name == "webgpu" else name for name in runtime.accelerators if name != "npu")


def _speed(runtime: str, accelerators: Collection[str]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Whose coefficients a runtime uses on each of these accelerators, and on how many they are a mere stand-in's."""
    found = {name: speed_tables().backend(runtime, name) for name in sorted(accelerators)}
    known = {name: backend for name, backend in found.items() if backend}
    families = tuple((name, backend.family) for name, backend in known.items())
    return families, sum(backend.evidence == "none" for backend in known.values())


def _refused(runtime: RuntimeOnDevice) -> set[tuple[str, str]]:
    return {kind for kind, reason in runtime.quantization_reasons.items() if reason}
