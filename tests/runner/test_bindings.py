from __future__ import annotations

import subprocess
import sys

import pytest

from recommender.errors import RuntimeMissingError, UnknownNameError
from recommender.runner import bindings


def test_the_bindings_are_found_without_importing_them() -> None:
    program = (
        "import sys; from recommender.runner import available_bindings; found = available_bindings();"
        "assert not {'llama_cpp', 'xllamacpp', 'huggingface_hub', 'streamlit', 'duckdb'} & set(sys.modules);"
        "print(*(binding.id for binding in found))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [binding.id for binding in bindings.available_bindings()]


def test_the_one_built_for_this_machine_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "_MODULES", {"llama-cpp-python": "json", "xllamacpp": "json"})
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2")
    assert bindings.choose_binding().name == "llama-cpp-python 1.2"
    assert bindings.choose_binding("xllamacpp").name == "xllamacpp 1.2"


def test_a_module_that_is_not_the_package_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "_MODULES", {"no-such-distribution": "json"})
    assert bindings.available_bindings() == ()


def test_a_missing_runtime_says_how_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "_MODULES", {"llama-cpp-python": "no_such_module", "xllamacpp": "no_such_module"})
    with pytest.raises(RuntimeMissingError, match="pip install"):
        bindings.choose_binding()
    with pytest.raises(RuntimeMissingError, match="pip install llama-cpp-python"):
        bindings.choose_binding("llama-cpp-python")


def test_an_unknown_binding_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="xllamacpp"):
        bindings.choose_binding("xlamacpp")
