"""The same against a real Ollama server: the one at OLLAMA_HOST, or one of our own where `ollama` is on PATH."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from recommender.catalog.sources.base import Entry, Progress
from recommender.catalog.sources.ollama import OllamaSource
from recommender.errors import RecommenderError
from recommender.runner.ollama_server import connected, copy_file, remove_model
from tests.runner.test_ollama_real import serving
from tests.tiny_gguf import write_tiny_gguf

NAMED, PROGRAM = os.environ.get("OLLAMA_HOST", ""), shutil.which("ollama")
pytestmark = pytest.mark.skipif(
    not (NAMED or PROGRAM), reason="no Ollama: OLLAMA_HOST is not set and `ollama` is not on PATH"
)


def silent(_: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if NAMED:
        yield NAMED
        return
    with serving(tmp_path_factory.mktemp("ollama")) as (address, _):
        yield address


@pytest.fixture
def given_model(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A tiny model that the server was given, and the file it was made of."""
    monkeypatch.setenv("OLLAMA_HOST", host)
    name, path = f"rightsize-test-{uuid.uuid4().hex[:8]}", write_tiny_gguf(tmp_path / "tiny.gguf")
    with connected(silence_s=60) as client:
        digest = copy_file(client, path, "", lambda *_: None)
        client.create(model=name, files={"tiny.gguf": digest}, template="{{ range .Messages }}{{ .Content }}{{ end }}")
    yield name, path
    with suppress(RecommenderError):
        remove_model(name)


def entries() -> dict[str, Entry]:
    (batch,) = OllamaSource().fetch("", silent)
    assert batch.complete
    return {entry.entry_id.removesuffix(":latest"): entry for entry in batch.entries}


def test_a_model_is_listed_with_its_files_digest_and_numbers(given_model: tuple[str, Path]) -> None:
    name, path = given_model
    entry = entries()[name]
    assert entry.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (entry.files[0].bytes or 0) >= path.stat().st_size
    assert len(entry.version) == 64
    assert entry.architecture["architecture"] == "llama"
    assert int(entry.architecture["n_layer"]) > 0
    assert entry.params_total is not None
    assert entry.context_tokens is not None
    assert entry.tool_calling == "no"


def test_a_model_that_was_removed_is_no_longer_listed(given_model: tuple[str, Path]) -> None:
    name, _ = given_model
    remove_model(name)
    assert name not in entries()
