"""What an Ollama server has, from a loopback stand-in that speaks its interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.sources.base import Batch, Entry, EntryFile, Progress
from recommender.catalog.sources.ollama import OllamaSource, entry_of
from recommender.errors import Cancelled, RecommenderError, RunError, RuntimeMissingError
from recommender.runner.ollama_server import InstalledModel
from tests.runner.ollama_server import MODEL, OllamaStandIn, _Handler

BLOB = "cd" * 32
SHOWN: dict[str, Any] = {
    "license": "\n                    Apache License\n              Version 2.0, January 2004",
    "modelfile": f"# made by ollama show\nFROM /usr/share/ollama/.ollama/models/blobs/sha256-{BLOB}\nTEMPLATE x\n",
    "template": "{{ range .Messages }}{{ if .IsThinkSet }}{{ end }}{{ end }}",
    "details": {"parent_model": "", "format": "gguf", "family": "qwen3", "parameter_size": "751.63M"},
    "model_info": {
        "general.architecture": "qwen3",
        "general.parameter_count": 751632384,
        "qwen3.block_count": 28,
        "qwen3.embedding_length": 1024,
        "qwen3.feed_forward_length": 3072,
        "qwen3.attention.head_count": 16,
        "qwen3.attention.head_count_kv": 8,
        "qwen3.attention.key_length": 128,
        "qwen3.context_length": 40960,
        "tokenizer.ggml.tokens": None,
    },
    "capabilities": ["completion", "tools", "thinking"],
    "modified_at": "2026-05-06T07:08:09.123456789+02:00",
}


def silent(_: Progress) -> None:
    pass


class Showing(OllamaStandIn):
    """``shown`` is what /api/show answers by name: a status where it is a number, bytes as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _ShowHandler
        self.shown: dict[str, Any] = {}


class _ShowHandler(_Handler):
    server: Showing

    def do_POST(self) -> None:
        if self.path != "/api/show":
            return super().do_POST()
        name = json.loads(self._read())["model"]
        self.server.requests.append((self.path, {"model": name}))
        said = self.server.shown.get(name, 404)
        if isinstance(said, int):
            return self._send({"error": "it cannot be shown"}, said)
        return self._send(said)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Showing]:
    with Showing() as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        monkeypatch.setenv("OLLAMA_HOST", serving.url)
        yield serving
        serving.shutdown()


def installed(name: str, **changes: Any) -> dict[str, Any]:
    return {**MODEL, "name": name, "model": name, **changes}


def fetched(source: OllamaSource | None = None) -> Batch:
    (batch,) = (source or OllamaSource()).fetch("", silent)
    return batch


def made(name: str = "acme:1b", **changes: Any) -> Entry:
    """The entry of a model of which the server tells SHOWN, with changes."""
    found = entry_of(InstalledModel(name, 1_000, "ab" * 32, "Q4_K_M"), {**SHOWN, **changes})
    assert found is not None
    return found


def test_an_installed_model_comes_with_its_digest_bytes_and_header(server: Showing) -> None:
    server.models, server.shown = [installed("qwen3:0.6b", size=522_653_767)], {"qwen3:0.6b": SHOWN}
    batch = fetched()
    assert (batch.complete, batch.cursor) == (True, "")
    (entry,) = batch.entries
    assert (entry.source, entry.entry_id, entry.version) == ("ollama", "qwen3:0.6b", "ab" * 32)
    assert (entry.format, entry.relation, entry.runtime) == ("gguf", "installed", "ollama")
    assert entry.files == (EntryFile("qwen3:0.6b", 522_653_767, BLOB, "Q4_0"),)
    assert (entry.params_total, entry.context_tokens, entry.license_id) == (751632384, 40960, "apache-2.0")
    assert (entry.tool_calling, entry.thinking, entry.pipeline) == ("yes", "hybrid", "text-generation")
    assert entry.architecture == {
        "architecture": "qwen3",
        "n_layer": "28",
        "n_embd": "1024",
        "n_head": "16",
        "n_head_kv": "8",
        "head_dim": "128",
        "n_ff": "3072",
    }
    assert entry.architecture_source == "ollama: qwen3:0.6b@abababababab"
    assert entry.url == "https://ollama.com/library/qwen3:0.6b"
    assert entry.modified == "2026-05-06"


@pytest.mark.parametrize(
    ("name", "bases", "publisher", "url"),
    [
        ("hf.co/acme/Acme-1B-GGUF:Q4_K_M", ("acme/Acme-1B-GGUF",), "acme", "https://huggingface.co/acme/Acme-1B-GGUF"),
        ("huggingface.co/acme/X:latest", ("acme/X",), "acme", "https://huggingface.co/acme/X"),
        ("acme:1b", (), "ollama", "https://ollama.com/library/acme:1b"),
        ("someone/acme:1b", (), "someone", "https://ollama.com/someone/acme:1b"),
        ("registry.example/someone/acme:1b", (), "someone", ""),
        ("rightsize-acme-q4_k_m:latest", (), "", ""),
    ],
)
def test_a_name_tells_where_a_model_is_from(name: str, bases: tuple[str, ...], publisher: str, url: str) -> None:
    entry = made(name)
    assert (entry.bases, entry.publisher, entry.url) == (bases, publisher, url)


def test_a_model_made_from_another_on_the_server_names_it() -> None:
    assert made(details={"parent_model": "qwen3:0.6b"}).bases == ("qwen3:0.6b",)
    assert made("acme:1b", details={"parent_model": "acme:1b"}).bases == ()
    assert made(details={"parent_model": "/home/somebody/file.gguf"}).bases == ()


@pytest.mark.parametrize(
    ("licence", "info", "expected"),
    [
        ("Apache License\nVersion 2.0, January 2004", {}, "apache-2.0"),
        ("MIT License\n\nCopyright (c) 2026", {}, "mit"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT", {}, "llama3.2"),
        ("Gemma Terms of Use\nLast modified", {}, "gemma"),
        ("All rights reserved", {}, ""),
        ("MIT License", {"general.license": "Apache-2.0"}, "apache-2.0"),
        ("MIT License", {"general.license": "<b>"}, "mit"),
        (None, {}, ""),
        (["MIT License"], {}, ""),
    ],
)
def test_a_licences_text_is_reduced_to_its_id(licence: Any, info: dict[str, Any], expected: str) -> None:
    assert made(license=licence, model_info=info).license_id == expected


@pytest.mark.parametrize(
    ("able", "template", "tools", "thinking"),
    [
        (["completion", "tools"], "{{ .Messages }}", "yes", "no"),
        (["completion"], "{{ .Messages }}", "no", "no"),
        (["completion"], "{{ .Prompt }}", "", ""),
        (["completion", "thinking"], "{{ .Messages }}", "no", "yes"),
        ([], "{{ .Messages }}", "", ""),
        (None, "{{ .Messages }}", "", ""),
        (["completion"], None, "", ""),
    ],
)
def test_what_a_model_can_do_is_said_only_where_the_server_can_tell(
    able: Any, template: Any, tools: str, thinking: str
) -> None:
    entry = made(capabilities=able, template=template)
    assert (entry.tool_calling, entry.thinking) == (tools, thinking)


def test_an_embedding_model_and_one_that_sees_are_told_apart() -> None:
    assert made(capabilities=["embedding"]).pipeline == "feature-extraction"
    assert made(capabilities=["completion", "vision"]).pipeline == "image-text-to-text"


def test_a_number_that_differs_by_layer_stays_open() -> None:
    info = {"general.architecture": "x", "x.block_count": 4, "x.attention.head_count_kv": [4, 0, 4, 0]}
    assert made(model_info=info).architecture == {"architecture": "x", "n_layer": "4"}


def test_a_model_that_is_asked_elsewhere_is_not_on_this_computer(server: Showing) -> None:
    server.models = [installed("big:cloud"), installed("acme:1b")]
    server.shown = {"big:cloud": {**SHOWN, "remote_host": "https://ollama.com:443"}, "acme:1b": SHOWN}
    assert [entry.entry_id for entry in fetched().entries] == ["acme:1b"]


def test_a_model_that_cannot_be_shown_is_listed_all_the_same(server: Showing) -> None:
    server.models = [installed(name) for name in ("gone:1", "broken:1", "nonsense:1", "deep:1", "acme:1b")]
    server.shown = {"broken:1": 500, "nonsense:1": b"<html>", "deep:1": b"[" * 200_000, "acme:1b": SHOWN}
    batch = fetched()
    assert [entry.entry_id for entry in batch.entries] == [model["model"] for model in server.models]
    assert [entry.params_total for entry in batch.entries] == [None, None, None, None, 751632384]
    assert batch.complete


def test_a_rehearsal_and_a_name_that_cannot_be_one_are_left_out(server: Showing) -> None:
    server.models = [installed("rightsize-rehearsal-ab12:latest"), installed("<b>x</b>:1"), installed("acme:1b")]
    assert [entry.entry_id for entry in fetched().entries] == ["acme:1b"]


def test_a_server_without_models_says_that_there_are_none(server: Showing) -> None:
    server.models = []
    assert fetched() == Batch((), "", complete=True)


def test_without_a_server_a_sentence_says_what_to_do(server: Showing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert OllamaSource().unavailable() == ""
    with pytest.raises(RuntimeMissingError, match=r"No Ollama server answers at http://127\.0\.0\.1:9"):
        fetched()
    assert [entry.entry_id for entry in fetched(OllamaSource(server.url)).entries] == ["tiny:latest"]


def test_what_is_no_ollama_ends_in_a_sentence(server: Showing) -> None:
    server.version = {"something": "else"}
    with pytest.raises(RunError, match="is not Ollama"):
        fetched()


def test_a_list_of_another_form_ends_in_a_sentence(server: Showing) -> None:
    server.models = [{"model": 5, "size": "many"}]
    with pytest.raises(RecommenderError):
        fetched()


def test_a_person_can_stop_it(server: Showing) -> None:
    def stop(told: Progress) -> None:
        if told.what == "tiny:latest":
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        list(OllamaSource().fetch("", stop))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(sorted(SHOWN)), json_values, max_size=4),
    st.dictionaries(st.sampled_from(sorted(SHOWN["model_info"])), json_values, max_size=4),
)
def test_whatever_the_server_shows_the_entry_is_well_formed(shown: dict[str, Any], info: dict[str, Any]) -> None:
    entry = made(**{"model_info": {**SHOWN["model_info"], **info}, **shown})
    assert entry.params_total is None or entry.params_total > 0
    assert all(value.isdigit() for name, value in entry.architecture.items() if name != "architecture")
    assert all(text.isprintable() and "<" not in text for text in (*entry.details.values(), entry.license_id))
    assert entry.thinking in ("", "yes", "no", "hybrid")
