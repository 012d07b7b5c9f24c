from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from ollama import ListResponse
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.runner import hub
from tests.runner.ollama_server import OllamaStandIn
from tests.ui.conftest import Open

REPO = "someone/Tiny-GGUF"


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty models folder; no Hub cache and no Ollama."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(paths, "models_dir", lambda: tmp_path / "models")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # discard: nobody listens
    st.cache_data.clear()
    return tmp_path / "models"


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaStandIn]:
    made = OllamaStandIn()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("OLLAMA_HOST", made.url)
    yield made
    made.shutdown()
    made.server_close()
    st.cache_data.clear()


def put(models: Path, inside: str, size_bytes: int, verified: bool = True) -> Path:
    path = models / REPO / inside
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    if verified:
        hub.checksum_note(path).write_text(f"{'0' * 64}  {path.name}\n", encoding="utf-8")
    return path


def chosen(app: AppTest, begin: str) -> AppTest:
    """The page with the model whose label begins so chosen in the list of what can be removed."""
    box = app.selectbox(key="file_to_remove")
    app = box.select_index(next(number for number, label in enumerate(box.options) if label.startswith(begin))).run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    return " ".join(element.value for element in (*app.markdown, *app.caption, *app.info, *app.success, *app.error))


def test_an_empty_disk_is_said_with_where_downloads_will_lie(open_page: Open, models: Path) -> None:
    app = open_page("files")
    assert "No model file is on this disk yet." in app.info[0].value
    assert not app.dataframe
    assert not app.selectbox
    assert "RIGHTSIZE" in said(app)
    assert models.name in said(app)


def test_what_is_here_is_listed_with_its_size_and_state(open_page: Open, models: Path) -> None:
    put(models, "Tiny-Q8_0.gguf", 3 * 1024**2)
    put(models, "Tiny-Q4_0.gguf.0123456789ab.part", 2 * 1024**2, verified=False)
    app = open_page("files")
    table = app.dataframe[0].value
    assert list(table["Model"]) == ["Tiny-Q8_0.gguf", "Tiny-Q4_0.gguf"]
    assert list(table["State"]) == ["complete, checksum verified", "not complete: 2 MiB came so far"]
    assert set(table["Repository"]) == {REPO}
    assert "2 model files, **5 MiB**" in said(app)


def test_nothing_is_removed_before_it_is_confirmed(open_page: Open, models: Path) -> None:
    path = put(models, "Tiny-Q8_0.gguf", 3 * 1024**2)
    app = open_page("files")
    assert not [button for button in app.button if button.key == "remove_file"]
    app = chosen(app, "Tiny-Q8_0.gguf")
    assert "frees 3 MiB. To run it again, it must be downloaded again." in said(app)
    assert app.button(key="remove_file").label == "Remove 3 MiB"
    assert path.is_file()


def test_a_confirmed_removal_takes_the_file_and_says_what_was_freed(open_page: Open, models: Path) -> None:
    path = put(models, "Tiny-Q8_0.gguf", 3 * 1024**2)
    other = put(models, "Tiny-Q4_0.gguf", 1024**2)
    app = chosen(open_page("files"), "Tiny-Q8_0.gguf")
    app.button(key="remove_file").click().run()
    assert not app.exception
    assert not path.exists()
    assert other.is_file()
    assert "3 MiB freed." in app.success[0].value
    assert list(app.dataframe[0].value["Model"]) == ["Tiny-Q4_0.gguf"]
    assert app.selectbox(key="file_to_remove").value is None
    app.run()
    assert not app.success


def test_a_removal_that_fails_is_a_sentence_and_the_file_stays_listed(
    open_page: Open, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(models, "Tiny-Q8_0.gguf", 1024)
    app = chosen(open_page("files"), "Tiny-Q8_0.gguf")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        app.button(key="remove_file").click().run()
    assert not app.exception
    assert "could not be removed" in app.error[0].value
    assert list(app.dataframe[0].value["Model"]) == ["Tiny-Q8_0.gguf"]


def test_models_of_an_ollama_server_are_listed_too(open_page: Open, ollama: OllamaStandIn) -> None:
    app = open_page("files")
    assert "In Ollama" in [title.value for title in app.subheader]
    table = app.dataframe[0].value
    assert list(table["Model"]) == ["tiny:latest"]
    assert list(table["Quantization"]) == ["Q4_0"]
    assert "frees up to 1 MiB" in said(chosen(app, "tiny:latest"))


def test_a_removal_from_ollama_is_asked_of_the_server(
    open_page: Open, ollama: OllamaStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []

    def delete(_: object, model: str) -> None:
        deleted.append(model)
        monkeypatch.setattr("ollama.Client.list", lambda _: ListResponse(models=[]))

    monkeypatch.setattr("ollama.Client.delete", delete)
    app = chosen(open_page("files"), "tiny:latest")
    app.button(key="remove_file").click().run()
    assert not app.exception
    assert deleted == ["tiny:latest"]
    assert "removed from Ollama" in app.success[0].value
    assert not app.dataframe


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "http://[bad", "a:b:c"])
def test_without_an_ollama_server_the_page_says_nothing_of_it(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    app = open_page("files")
    assert not app.error
    assert not app.subheader
