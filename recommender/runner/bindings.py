"""Which bindings of llama.cpp are installed. Nothing heavy is imported to find out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass

from recommender.errors import RuntimeMissingError, unknown


@dataclass(frozen=True)
class Binding:
    """A Python package that runs llama.cpp. ``name`` is how a measurement names it: id and version."""

    id: str
    version: str

    @property
    def name(self) -> str:
        return f"{self.id} {self.version}"


# Best first: built for this very CPU or GPU, then the prebuilt one.
_MODULES = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp"}


def available_bindings() -> tuple[Binding, ...]:
    """The installed bindings, best first. Takes about a millisecond."""
    found = []
    for distribution, module in _MODULES.items():
        if importlib.util.find_spec(module) is None:
            continue
        try:
            found.append(Binding(distribution, importlib.metadata.version(distribution)))
        except importlib.metadata.PackageNotFoundError:
            continue  # a module of that name which is not the package
    return tuple(found)


def choose_binding(wanted: str | None = None) -> Binding:
    """The wanted binding, or the best one installed.

    Raises:
        UnknownNameError: no binding has that name.
        RuntimeMissingError: it is not installed, or none is.
    """
    if wanted is not None and wanted not in _MODULES:
        raise unknown("binding", wanted, list(_MODULES))
    installed = available_bindings()
    for binding in installed:
        if wanted in (None, binding.id):
            return binding
    if wanted is None:
        how = "pip install llama-cpp-python" if sys.platform == "darwin" else "pip install xllamacpp"
        raise RuntimeMissingError(f"No llama.cpp is installed here. Add one with `{how}`, then start the app again.")
    raise RuntimeMissingError(f"{wanted} is not installed here. Add it with `pip install {wanted}`.")
