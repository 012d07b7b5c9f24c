"""Runtimes that run the same engine: one that another equals in everything and beats in something is never the pick.

Leaving its rows out before anything is estimated changes no answer and saves most of the work: half a dozen runtimes
take GGUF files, and all of them run llama.cpp.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from recommender.engine.runtime_rules import GPU_ACCELERATORS, RuntimeOnDevice
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

    A better runtime also takes every quantization on this device that the other takes. The pairs are an order: of two
    that are equal in all of this the first by name is the better one.
    """
    accelerators = {"cpu", *(gpu.backend for gpu in device.gpus if gpu.backend)}
    speeds = {name: _speed(name, accelerators) for name in running}
    # A GPU that shares the memory may hold only a part of it, so the limits must be the same too.
    on_gpu = {name: runtimes[name].accelerator in GPU_ACCELERATORS for name in running}
    engines = {name: (memory_formula(name), speeds[name][0], on_gpu[name]) for name in running}
    rank = {name: (points[name], -process_bytes(name), -speeds[name][1]) for name in running}

    def better(one: str, other: str) -> bool:
        if any(mine < theirs for mine, theirs in zip(rank[one], rank[other], strict=True)):
            return False
        takes_all = _refused(runtimes[one]) <= _refused(runtimes[other])
        return takes_all and (rank[one] != rank[other] or one < other)

    return tuple(
        (other, one)
        for other in sorted(running)
        for one in sorted(running)
        if one != other and engines[one] == engines[other] and better(one, other)
    )


def _speed(runtime: str, accelerators: Collection[str]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Whose coefficients a runtime uses on each of these accelerators, and on how many they are a mere stand-in's."""
    found = {name: speed_tables().backend(runtime, name) for name in sorted(accelerators)}
    known = {name: backend for name, backend in found.items() if backend}
    families = tuple((name, backend.family) for name, backend in known.items())
    return families, sum(backend.evidence == "none" for backend in known.values())


def _refused(runtime: RuntimeOnDevice) -> set[tuple[str, str]]:
    return {kind for kind, reason in runtime.quantization_reasons.items() if reason}
