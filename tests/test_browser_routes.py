from __future__ import annotations

import gzip
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from recommender import browser_assets
from recommender import browser_routes as browser_routes_module
from recommender.browser_routes import Isolated, browser_routes, served_models
from recommender.catalog.queries import architecture_of
from recommender.catalog.store import Catalog
from recommender.runner.weightless import write_weightless
from recommender.settings import Settings


@pytest.fixture(scope="module")
def client(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("served")
    (folder / "models").mkdir()
    (folder / "models" / "one.gguf").write_bytes(b"GGUF" + bytes(range(256)))
    (folder / "models" / "notes.txt").write_text("not for visitors")
    (folder / "secret.gguf").write_bytes(b"GGUF secret")
    (folder / "models" / "link.gguf").symlink_to(folder / "secret.gguf")
    settings = Settings(browser_models=str(folder / "models"))
    return TestClient(Starlette(routes=browser_routes(lambda: catalog, settings), middleware=[Middleware(Isolated)]))


def test_a_page_is_isolated_so_that_threads_work(client: TestClient) -> None:
    headers = client.get("/anything").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "credentialless"


def test_a_file_of_the_folder_is_served_whole_and_in_ranges(client: TestClient) -> None:
    whole = client.get("/browser/models/one.gguf")
    assert whole.content[:4] == b"GGUF"
    assert int(client.head("/browser/models/one.gguf").headers["content-length"]) == len(whole.content) == 260
    part = client.get("/browser/models/one.gguf", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, bytes(range(4)))


@pytest.mark.parametrize(
    "name", ["secret.gguf", "link.gguf", "notes.txt", "../secret.gguf", "%2e%2e%2fsecret.gguf", ""]
)
def test_nothing_else_is(client: TestClient, name: str) -> None:
    assert client.get(f"/browser/models/{name}").status_code == 404


@given(st.text(max_size=40))
def test_no_name_leads_out_of_the_folder(client: TestClient, name: str) -> None:
    answer = client.get(f"/browser/models/{quote(name, safe='')}")
    assert answer.status_code == 404 or name == "one.gguf"


def test_without_a_folder_nothing_is_served(tmp_path: Path) -> None:
    assert served_models(Settings()) == {}
    assert served_models(Settings(browser_models=str(tmp_path / "none"))) == {}


@pytest.mark.parametrize(
    ("model", "quantization"),
    [("HuggingFaceTB/SmolLM2-135M-Instruct", "Q8_0"), ("ibm-granite/granite-4.0-h-tiny", "Q2_K")],
)
def test_a_weightless_file_put_together_from_its_pieces_is_the_one_that_is_written(
    client: TestClient,
    catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    quantization: str,
) -> None:
    monkeypatch.setattr(browser_routes_module, "REHEARSED_BYTES", 1e12)  # one with experts is larger
    answer = client.get("/browser/weightless", params={"model": model, "quant": quantization})
    head, _, body = answer.content.partition(b"\n")
    said = json.loads(head)
    written = tmp_path / "weightless.gguf"
    assert write_weightless(architecture_of(catalog, model), quantization, written) == said["total_bytes"]
    at = 0
    with written.open("rb") as file:
        for offset, size in said["pieces"]:
            file.seek(offset)
            assert file.read(size) == body[at : at + size]
            at += size
    assert at == len(body) < 0.2 * said["total_bytes"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("model=none&quant=Q4_0", 404, "no model called 'none'"),
        ("model=Qwen/Qwen3-8B&quant=Q8_0", 422, "up to 1.5 GB"),
        ("model=Qwen/Qwen3-0.6B&quant=fine", 422, "not a GGUF file type"),
        ("", 404, "no model called ''"),
    ],
)
def test_what_cannot_be_rehearsed_is_a_sentence(client: TestClient, query: str, status: int, words: str) -> None:
    answer = client.get(f"/browser/weightless?{query}")
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_an_address_may_ask_for_so_many_rehearsals_a_minute(catalog: Catalog) -> None:
    few = TestClient(Starlette(routes=browser_routes(lambda: catalog, Settings(api_per_minute=2))))
    answers = [few.get("/browser/weightless?model=none&quant=none") for _ in range(3)]
    assert [one.status_code for one in answers] == [404, 404, 429]
    assert "Wait" in answers[-1].json()["error"]
    many = TestClient(Starlette(routes=browser_routes(lambda: catalog, Settings(api_per_minute=10_000))))
    assert 429 in [many.get("/browser/weightless?model=none").status_code for _ in range(50)]  # they cost more


def test_the_engine_is_sent_compressed_and_may_be_kept_for_ever(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/browser/engine/{browser_assets.version()}/wllama.wasm"
    monkeypatch.setattr(browser_assets, "folder", lambda: None)
    assert "browser-assets" in client.get(address).json()["error"]
    (tmp_path / "wllama.wasm.gz").write_bytes(gzip.compress(b"\0asm"))
    monkeypatch.setattr(browser_assets, "folder", lambda: tmp_path)
    answer = client.get(address)
    assert answer.content == b"\0asm"
    assert answer.headers["content-type"] == "application/wasm"
    assert "immutable" in answer.headers["cache-control"]
    assert client.get("/browser/engine/0.0.1/wllama.wasm").status_code == 404
    assert client.get(f"/browser/engine/{browser_assets.version()}/LICENCE").status_code == 404
