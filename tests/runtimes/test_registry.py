from __future__ import annotations

from collections.abc import Iterator

import pytest

from recommender import runtimes
from recommender.errors import UnknownNameError
from recommender.runtimes import Runtime, RuntimeModel, TableRuntime, all_runtimes, register, registry, runtime
from recommender.types import Pick


@pytest.fixture
def unchanged_registry() -> Iterator[None]:
    all_runtimes()
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


def test_every_runtime_keeps_the_protocol() -> None:
    for each in all_runtimes():
        assert isinstance(each, Runtime)
        assert runtime(each.id) is each
        assert each.name


def test_an_unknown_runtime_gets_the_nearest_names_and_exit_code_2() -> None:
    with pytest.raises(UnknownNameError, match="ollama") as caught:
        runtime("olama")
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("unchanged_registry")
def test_a_plug_in_is_registered_the_way_the_built_in_ones_are() -> None:
    class Mine(TableRuntime):
        id = "ollama"

        def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
            return "mine"

    mine = Mine()
    register(mine)
    assert runtime("ollama") is mine
    assert [each.id for each in all_runtimes()].count("ollama") == 1


def test_everything_public_is_named() -> None:
    for name in runtimes.__all__:
        assert hasattr(runtimes, name)


def test_an_install_hint_is_there_for_every_desktop_the_runtime_runs_on() -> None:
    for each in all_runtimes():
        rows = registry.import_module("recommender.runtimes.tables").platforms(each.id)
        for row in rows:
            if row.os in ("linux", "windows", "macos") and row.support == "yes":
                assert each.install_hint(row.os), (each.id, row.os)


def test_there_is_no_hint_where_a_runtime_cannot_be_installed() -> None:
    assert runtime("ollama").install_hint("ios") == ""
    assert runtime("ollama").install_hint("plan9") == ""


def test_only_runtimes_that_this_product_can_drive_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:11434")
    monkeypatch.setattr("recommender.runtimes.llama_cpp.find_spec", lambda name: object())
    monkeypatch.setattr("recommender.runtimes.onnx_genai.find_spec", lambda name: object())
    assert {each.id for each in all_runtimes() if each.can_try_here()} == {"llama.cpp", "ollama", "onnx-genai"}


def test_llama_cpp_cannot_be_tried_without_a_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.runtimes.llama_cpp.find_spec", lambda name: None)
    assert not runtime("llama.cpp").can_try_here()


def test_onnx_runtime_genai_cannot_be_tried_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.runtimes.onnx_genai.find_spec", lambda name: None)
    assert not runtime("onnx-genai").can_try_here()


def test_ollama_cannot_be_tried_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setenv("PATH", "")
    assert not runtime("ollama").can_try_here()
