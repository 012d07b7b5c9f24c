from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from recommender import paths
from recommender.errors import BadInputError, DownloadError
from recommender.runner import RunManager, hub, protocol
from tests.runner.conftest import PATIENCE_S
from tests.runner.hub_server import COMMIT, HubServer, Repo

REPO = "someone/Tiny-GGUF"


@contextmanager
def serving(made: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Run a stand-in of the Hub and make it the one that downloads come from, into a home of its own."""
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))
    try:
        yield made
    finally:
        made.resume.set()
        made.shutdown()
        made.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving(HubServer(), monkeypatch, tmp_path) as made:
        yield made


def test_the_single_file_of_a_quantization_is_chosen_with_its_size_checksum_and_commit(server: HubServer) -> None:
    data = b"x" * 1000
    server.repos[REPO] = Repo(
        {
            "Tiny-Q4_K_M.gguf": data,
            "Tiny-Q4_K_S.gguf": b"y",
            "Tiny-UD-Q4_K_M.gguf": b"z",
            "mmproj-Tiny-Q4_K_M.gguf": b"m",
            "split/Tiny-Q4_K_M-00001-of-00002.gguf": b"1",
            "split/Tiny-Q4_K_M-00002-of-00002.gguf": b"2",
        }
    )
    choice = hub.resolve_file(REPO, "Q4_K_M")
    assert [file.path for file in choice.files] == ["Tiny-Q4_K_M.gguf"]
    assert (choice.revision, choice.size_bytes, choice.missing_bytes) == (COMMIT, 1000, 1000)
    assert choice.sha256 == hashlib.sha256(data).hexdigest()
    assert (choice.license, choice.gated) == ("apache-2.0", False)


def test_all_parts_of_a_split_model_are_chosen_in_order(server: HubServer) -> None:
    server.repos[REPO] = Repo({f"T-Q8_0-{n:05d}-of-00003.gguf": bytes([n]) * n for n in (3, 1, 2)})
    choice = hub.resolve_file(REPO, "Q8_0")
    assert [file.path for file in choice.files] == [f"T-Q8_0-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
    assert choice.size_bytes == 6


def test_a_split_model_that_lacks_a_part_is_refused(server: HubServer) -> None:
    server.repos[REPO] = Repo({"T-Q8_0-00001-of-00002.gguf": b"1"})
    with pytest.raises(DownloadError, match="lacks T-Q8_0-00002-of-00002"):
        hub.resolve_file(REPO, "Q8_0")


def test_a_missing_quantization_names_those_that_are_there(server: HubServer) -> None:
    server.repos[REPO] = Repo({"T-Q8_0.gguf": b"1", "T-Q4_0.gguf": b"1", "README.md": b""})
    with pytest.raises(DownloadError, match="no Q6_K file; it has Q4_0, Q8_0"):
        hub.resolve_file(REPO, "Q6_K")


def test_a_missing_repository_or_revision_is_explained(server: HubServer) -> None:
    with pytest.raises(DownloadError, match="no public repository nobody/Nothing"):
        hub.resolve_file("nobody/Nothing", "Q8_0")
    server.repos[REPO] = Repo({"T-Q8_0.gguf": b"1"})
    with pytest.raises(DownloadError, match="version"):
        hub.resolve_file(REPO, "Q8_0", revision="f" * 40)


@pytest.mark.parametrize("repo", ["", "name", "../x/y", "a/b/c", "a/../b", "https://x/y"])
def test_what_is_no_repository_name_is_refused(repo: str) -> None:
    with pytest.raises(BadInputError):
        hub.resolve_file(repo, "Q8_0")


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "a\\b.gguf", "C:x.gguf"])
def test_a_file_name_cannot_leave_the_models_folder(file: str) -> None:
    with pytest.raises(BadInputError):
        hub.local_path(REPO, file)


def test_a_download_reports_progress_and_leaves_a_verified_file(server: HubServer) -> None:
    data = os.urandom(300_000)
    server.repos[REPO] = Repo({"sub/T-Q8_0.gguf": data})
    assert hub.cached(REPO, "sub/T-Q8_0.gguf") is None
    seen: list[tuple[int, int]] = []
    path = hub.download(REPO, "sub/T-Q8_0.gguf", on_progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == data
    assert seen[0] == (0, len(data))
    assert seen[-1] == (len(data), len(data))
    assert path == hub.cached(REPO, "sub/T-Q8_0.gguf")
    assert hub.known_sha256(path) == hashlib.sha256(data).hexdigest()
    assert not list(path.parent.glob("*.part"))


def test_a_file_that_is_there_is_not_fetched_again_and_needs_no_network(server: HubServer) -> None:
    server.repos[REPO] = Repo({"T-Q8_0.gguf": b"abc"})
    first = hub.download(REPO, "T-Q8_0.gguf")
    before = len(server.requests)
    assert hub.download(REPO, "T-Q8_0.gguf") == first
    assert len(server.requests) == before


def test_all_parts_of_a_split_model_are_fetched(server: HubServer) -> None:
    server.repos[REPO] = Repo({f"T-Q8_0-0000{n}-of-00002.gguf": bytes([n]) * 5000 for n in (1, 2)})
    seen: list[tuple[int, int]] = []
    path = hub.download(REPO, "T-Q8_0-00001-of-00002.gguf", on_progress=lambda *step: seen.append(step))
    assert path.name == "T-Q8_0-00001-of-00002.gguf"
    assert path.with_name("T-Q8_0-00002-of-00002.gguf").read_bytes() == b"\x02" * 5000
    assert seen[-1] == (10_000, 10_000)


def wait_until_some_is_written(choice: hub.FileChoice) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while choice.missing_bytes == choice.size_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_download_goes_on_where_it_stopped(server: HubServer) -> None:
    data = os.urandom(40_000_000)
    server.repos[REPO] = Repo({"T-Q8_0.gguf": data})
    server.pause_after = 25_000_000
    choice = hub.resolve_file(REPO, "Q8_0")

    def kill_when_some_is_written() -> None:
        wait_until_some_is_written(choice)
        for process in psutil.Process().children(recursive=True):
            if "recommender.runner.download_worker" in process.cmdline():
                process.kill()

    killer = threading.Thread(target=kill_when_some_is_written)
    killer.start()
    with pytest.raises(DownloadError, match="killed"):
        hub.download(REPO, "T-Q8_0.gguf")
    killer.join()
    there = len(data) - choice.missing_bytes
    assert 0 < there < len(data)
    assert hub.cached(REPO, "T-Q8_0.gguf") is None
    server.pause_after = None
    server.resume.set()
    assert hub.download(REPO, "T-Q8_0.gguf").read_bytes() == data
    assert server.ranges[-1] == f"bytes={there}-"


def test_a_file_with_the_wrong_checksum_is_removed_and_explained(server: HubServer) -> None:
    server.repos[REPO] = Repo({"T-Q8_0.gguf": b"abc"}, wrong_sha256={"T-Q8_0.gguf"})
    with pytest.raises(DownloadError, match="arrived damaged"):
        hub.download(REPO, "T-Q8_0.gguf")
    assert hub.cached(REPO, "T-Q8_0.gguf") is None
    assert not [path for path in paths.models_dir().rglob("*") if path.suffix in (".gguf", ".part")]


def test_a_gated_repository_says_how_to_get_in(server: HubServer) -> None:
    server.repos[REPO] = Repo({"T-Q8_0.gguf": b"abc"}, gated="manual")
    assert hub.resolve_file(REPO, "Q8_0").gated
    with pytest.raises(DownloadError, match="accept its licence"):
        hub.download(REPO, "T-Q8_0.gguf")


def test_offline_mode_is_named(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        hub.resolve_file(REPO, "Q8_0")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        hub.download(REPO, "T-Q8_0.gguf")
    assert server.requests == []


def test_no_network_is_explained(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    with pytest.raises(DownloadError, match="No connection to the Hub"):
        hub.resolve_file(REPO, "Q8_0")


def test_a_full_disk_is_known_before_the_first_byte(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "free_disk_bytes", lambda: 3 * 1024**3)
    with pytest.raises(DownloadError, match=r"needs 5\.00 GiB .* has 3\.00 GiB free: short by 2\.25 GiB"):
        hub.check_room(5 * 1024**3)
    hub.check_room(2 * 1024**3)


def test_whether_a_file_fits_is_said_in_a_sentence(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = hub.FileChoice(REPO, "Q8_0", COMMIT, (hub.RemoteFile("T-Q8_0.gguf", 5 * 1024**3, ""),), gated=False)
    monkeypatch.setattr(hub, "free_disk_bytes", lambda: 6 * 1024**3)
    assert "needs 5.00 GiB and fits" in hub.room_for(choice)
    assert "6.00 GiB free" in hub.room_for(choice)
    monkeypatch.setattr(hub, "free_disk_bytes", lambda: 3 * 1024**3)
    assert "short by 2.25 GiB" in hub.room_for(choice)


def test_a_download_goes_through_the_proxy_that_the_environment_names(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repos[REPO] = Repo({"t.gguf": b"x" * 5000})
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")  # a name that only a proxy can resolve
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert hub.download(REPO, "t.gguf").read_bytes() == b"x" * 5000
    assert any(request.startswith("GET /api/models/") for request in server.requests)


def test_a_run_downloads_its_file_first(server: HubServer, tiny: Path, ask, manager: RunManager, binding: str) -> None:
    data = tiny.read_bytes()
    server.repos[REPO] = Repo({"tiny-Q8_0.gguf": data})
    job = manager.submit(ask(model_path="", repo=REPO, file="tiny-Q8_0.gguf", revision=COMMIT, binding=binding))
    assert job.wait(PATIENCE_S)
    assert job.error == ""
    kinds = [type(event) for event in job.events]
    assert kinds.index(protocol.FileReady) < kinds.index(protocol.Loading)
    assert job.measurement is not None
    assert job.measurement.file_sha256 == hashlib.sha256(data).hexdigest()


def test_stopping_a_download_leaves_no_process_and_keeps_what_came(server: HubServer, ask, manager: RunManager) -> None:
    data = os.urandom(40_000_000)
    server.repos[REPO] = Repo({"T-Q8_0.gguf": data})
    server.pause_after = 25_000_000
    job = manager.submit(ask(model_path="", repo=REPO, file="T-Q8_0.gguf"))
    choice = hub.resolve_file(REPO, "Q8_0")
    wait_until_some_is_written(choice)
    pid = job.pid
    assert pid is not None
    job.cancel()
    assert not psutil.pid_exists(pid)
    assert job.wait(PATIENCE_S)
    assert (job.state, job.error) == ("cancelled", "Stopped.")
    assert 0 < choice.missing_bytes < len(data)
