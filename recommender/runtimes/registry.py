"""The runtimes there are. Built-in ones are registered like a plug-in's: by a call of ``register``."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from recommender.errors import unknown
from recommender.runtimes.base import Runtime

# Each of these modules has a ``RUNTIME``; the order is that of lists and of equal scores.
_BUILT_IN = (
    "llama_cpp",
    "ollama",
    "vllm",
    "mlx",
    "onnx_genai",
    "foundry_local",
    "azure_ai_foundry",
    "bitnet_cpp",
    "transformers",
    "wllama",
    "webllm",
    "lm_studio",
    "docker_model_runner",
    "litert_lm",
    "lemonade",
)
_registered: dict[str, Runtime] = {}


def register(runtime: Runtime) -> None:
    """Make a runtime known; one with the same id is replaced."""
    _built_in()
    _registered[runtime.id] = runtime


def all_runtimes() -> tuple[Runtime, ...]:
    """Every runtime, built-in ones first."""
    _built_in()
    return tuple(_registered.values())


def runtime(id: str) -> Runtime:
    """The runtime with this id.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    _built_in()
    if id not in _registered:
        raise unknown("runtime", id, list(_registered))
    return _registered[id]


@cache
def _built_in() -> None:
    for name in _BUILT_IN:
        built_in: Runtime = import_module(f"recommender.runtimes.{name}").RUNTIME
        _registered[built_in.id] = built_in
