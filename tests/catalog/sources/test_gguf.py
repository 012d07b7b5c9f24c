from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import get_session

from recommender.catalog.sources.gguf import entry_of
from recommender.catalog.sources.safe_urls import RangeReader, check_url
from recommender.errors import BadInputError, DownloadError, RunError
from recommender.estimate.architecture import architecture_from_row
from recommender.estimate.tensors import tensors
from recommender.runner.weightless import write_weightless
from tests.estimate.shapes import DENSE
from tests.hub import server as listing
from tests.runner.hub_server import COMMIT, HubServer, Repo

ARCH = architecture_from_row(DENSE)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "My model, v1-Q8_0.gguf"
    write_weightless(ARCH, "Q8_0", path)
    return path


@pytest.fixture
def hub(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.repos["lab/model-GGUF"] = Repo({"model-Q8_0.gguf": file.read_bytes(), "README.md": b"x"})
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_on_disk_is_read_whole_and_its_id_holds_no_path(file: Path) -> None:
    entry = entry_of(str(file))
    assert entry.entry_id == "local/My-model-v1-Q8_0"
    assert tensors(architecture_from_row({**entry.architecture, "model_id": "x"})) == tensors(ARCH)
    assert entry.files[0].bytes == file.stat().st_size
    assert entry.files[0].path == file.name
    assert entry.details["path"] == str(file)


@pytest.mark.parametrize("what", ["lab/model-GGUF", "lab/model-GGUF:Q8_0", "hf.co/lab/model-GGUF:Q8_0"])
def test_a_repository_is_read_by_ranges_to_the_exact_tensors(hub: HubServer, what: str) -> None:
    entry = entry_of(what)
    assert (entry.entry_id, entry.version, entry.publisher) == ("lab/model-GGUF", COMMIT, "lab")
    assert (entry.files[0].path, entry.files[0].quantization) == ("model-Q8_0.gguf", "Q8_0")
    assert tensors(architecture_from_row({**entry.architecture, "model_id": "x"})) == tensors(ARCH)
    assert "bytes read" in entry.architecture_source
    assert all(wanted.startswith("bytes=") for wanted in hub.ranges)


def test_a_repository_of_original_weights_is_read_from_a_quantizer_s_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = listing.HubServer()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    tags = ("gguf", "base_model:quantized:lab/model")
    made.add(
        listing.Repo("lab/model", files={"model.safetensors": b"x"}),
        listing.Repo("few/model-GGUF", files={"model-Q8_0.gguf": file.read_bytes()}, tags=tags, downloads=5),
        listing.Repo("many/model-GGUF", files={"model-Q8_0.gguf": file.read_bytes()}, tags=tags, downloads=500),
        listing.Repo("other/thing-GGUF", files={"model-Q8_0.gguf": b"x"}, tags=("gguf",), downloads=5000),
        listing.Repo("lab/unquantized", files={"model.safetensors": b"x"}),
    )
    try:
        entry = entry_of("lab/model")
        assert (entry.entry_id, entry.bases, entry.publisher) == ("many/model-GGUF", ("lab/model",), "many")
        assert tensors(architecture_from_row({**entry.architecture, "model_id": "x"})) == tensors(ARCH)
        with pytest.raises(DownloadError, match="no GGUF file of a known quantization"):
            entry_of("lab/unquantized")
    finally:
        made.shutdown()
        made.server_close()


def test_an_address_of_a_file_at_the_endpoint_is_read(hub: HubServer) -> None:
    entry = entry_of(f"{hub.url}/lab/model-GGUF/resolve/main/model-Q8_0.gguf")
    assert entry.entry_id == "lab/model-GGUF"
    assert entry.params_total


def test_what_is_none_of_these_is_refused_in_a_sentence(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is no file on this disk"):
        entry_of(str(tmp_path / "missing.gguf"))
    with pytest.raises(DownloadError, match="no public repository"):
        entry_of("lab/nothing")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(RunError):
        entry_of(str(bad))


@pytest.mark.parametrize(
    "url",
    [
        "http://huggingface.co/a/b/resolve/main/x.gguf",
        "https://example.com/x.gguf",
        "https://huggingface.co.example.com/x.gguf",
        "https://user:secret@huggingface.co/a/b/resolve/main/x.gguf",
        "https://127.0.0.1/x.gguf",
        "https://[::1]/x.gguf",
        "https://169.254.169.254/latest/meta-data",
        "https://huggingface.co:8443/x.gguf",
        "file:///etc/passwd",
        "https://",
        "http://127.0.0.1:1/x.gguf",
    ],
)
def test_addresses_outside_the_hub_are_refused(url: str) -> None:
    with pytest.raises(BadInputError):
        check_url(url)


def test_a_name_of_the_hub_that_leads_into_a_private_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(2, 1, 6, "", ("10.0.0.7", 443))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(BadInputError, match=r"10\.0\.0\.7"):
        check_url("https://cdn-lfs.huggingface.co/x")


def test_a_redirect_to_another_place_is_not_followed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    other = HubServer()
    other.repos = hub.repos
    threading.Thread(target=other.serve_forever, daemon=True).start()
    # The endpoint's redirect now names a host that nobody configured.
    monkeypatch.setattr(HubServer, "url", property(lambda self: f"http://127.0.0.1:{other.server_address[1]}"))
    place = f"http://127.0.0.1:{hub.server_address[1]}/lab/model-GGUF/resolve/main/model-Q8_0.gguf"
    with pytest.raises(BadInputError):
        RangeReader(place, get_session(), 1000).read(0, 24)
    assert other.requests == []
    other.shutdown()
    other.server_close()


def test_a_token_goes_to_the_endpoint_and_appears_in_no_message(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.repos["lab/model-GGUF"].gated = "auto"
    with pytest.raises(DownloadError, match="gated") as refused:
        RangeReader(f"{hub.url}/lab/model-GGUF/resolve/main/model-Q8_0.gguf", get_session(), 1000).read(0, 24)
    assert "hf_secret" not in str(refused.value)


def test_more_than_the_limit_is_never_read(hub: HubServer) -> None:
    reader = RangeReader(f"{hub.url}/lab/model-GGUF/resolve/main/model-Q8_0.gguf", get_session(), 100)
    assert len(reader.read(0, 60)) == 60
    with pytest.raises(DownloadError, match="more than may be read"):
        reader.read(60, 60)
    assert reader.transferred_bytes == 60
