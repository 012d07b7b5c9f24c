from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from recommender import paths
from recommender.errors import DownloadError, NotWritableError, RunError
from recommender.runner import hub
from recommender.runner.disk import StoredFile, make_room, mark_used, remove, stored_files
from recommender.runner.protocol import RunRequest
from recommender.runner.runners import make_runner
from tests.runner.conftest import SETTINGS
from tests.runner.hub_server import HubServer, Repo
from tests.runner.test_hub import serving, wait_until_some_is_written

REPO = "someone/Tiny-GGUF"
FILE = "Tiny-Q8_0.gguf"
links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hub cache, beside an empty models folder."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving(HubServer(), monkeypatch, tmp_path) as made:
        yield made


def put(inside: str, size_bytes: int = 1000, verified: bool = True) -> Path:
    path = paths.models_dir() / inside
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    if verified:
        hub.checksum_note(path).write_text(f"{'0' * 64}  {path.name}\n", encoding="utf-8")
    return path


def put_in_cache(cache: Path, repo: str, file: str, data: bytes, commit: str = "a" * 40) -> Path:
    """A file as ``huggingface_hub`` leaves it."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    entry = folder / "snapshots" / commit / file
    for made in (blob.parent, entry.parent, folder / "refs"):
        made.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    entry.symlink_to(os.path.relpath(blob, entry.parent))
    (folder / "refs" / "main").write_text(commit)
    return entry


def claimed(name: str, repo: str) -> StoredFile:
    """What the app could have listed earlier."""
    return StoredFile(name, "Rightsize", repo, 1, 8.0, True, datetime.now().astimezone(), True)


def only() -> StoredFile:
    (found,) = stored_files()
    return found


def test_without_folders_nothing_is_stored() -> None:
    assert stored_files() == ()


def test_a_download_is_listed_and_removing_it_leaves_no_trace(server: HubServer) -> None:
    server.repos[REPO] = Repo({f"sub/{FILE}": b"x" * 5000})
    path = hub.download(REPO, f"sub/{FILE}")
    found = only()
    assert (found.name, found.repo, found.place, found.files) == (f"sub/{FILE}", REPO, "Rightsize", 1)
    assert (found.size_bytes, found.complete, found.verified) == (5000, True, True)
    assert found.modified_at.timestamp() == pytest.approx(path.stat().st_mtime)
    assert remove(found) == 5000
    assert stored_files() == ()
    assert list(paths.models_dir().iterdir()) == []
    assert hub.cached(REPO, f"sub/{FILE}") is None


def test_removing_one_file_leaves_its_neighbours() -> None:
    put(f"{REPO}/Tiny-Q4_0.gguf", 10)
    other = put(f"{REPO}/Tiny-Q8_0.gguf", 20)
    large, small = stored_files()
    assert (large.size_bytes, small.size_bytes) == (20, 10)
    remove(small)
    assert only() == large
    assert hub.checksum_note(other).is_file()


def test_an_interrupted_download_is_listed_as_incomplete_and_can_be_removed() -> None:
    put(f"{REPO}/{FILE}.0123456789ab.part", 300, verified=False)
    found = only()
    assert (found.name, found.size_bytes, found.complete, found.verified) == (FILE, 300, False, False)
    assert remove(found) == 300
    assert list(paths.models_dir().iterdir()) == []


def test_the_parts_of_a_split_model_are_one_entry_complete_when_all_are_there() -> None:
    names = [f"{REPO}/T-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    put(names[0])
    put(names[2])
    put(f"{names[1]}.0123456789ab.part", 10, verified=False)
    assert (only().files, only().size_bytes, only().complete) == (3, 2010, False)
    put(names[1])
    assert (only().name, only().complete, only().verified) == ("T-Q8_0-00001-of-00003.gguf", True, True)
    assert remove(only()) == 3010
    assert stored_files() == ()


def test_a_file_that_was_put_there_by_hand_is_listed_without_a_repository() -> None:
    put("mine.gguf", verified=False)
    assert (only().name, only().repo, only().complete, only().verified) == ("mine.gguf", "", True, False)
    remove(only())
    assert paths.models_dir().is_dir()


@pytest.mark.parametrize("name", ["T-00000-of-00000.gguf", "T-00002-of-00000.gguf", ".gguf", "T.gguf.gguf"])
def test_a_strange_name_does_no_harm(name: str) -> None:
    put(f"{REPO}/{name}", verified=False)
    for found in stored_files():
        assert remove(found) == 1000
    assert stored_files() == ()


def test_what_is_gone_already_frees_nothing() -> None:
    put(f"{REPO}/{FILE}")
    found = only()
    remove(found)
    assert remove(found) == 0


def test_nothing_outside_the_folder_can_be_named(tmp_path: Path) -> None:
    put(f"{REPO}/{FILE}")
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(b"precious")
    for name in ("../../../outside.gguf", str(outside)):
        for place in ("Rightsize", "Hugging Face cache"):
            assert remove(replace(only(), name=name, place=place)) == 0
    assert outside.read_bytes() == b"precious"


@links
def test_a_link_is_neither_followed_nor_removed(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "Linked"
    outside.mkdir(parents=True)
    (outside / "Big-Q8_0.gguf").write_bytes(b"precious")
    kept = put(f"{REPO}/{FILE}")
    kept.with_name("Linked-Q8_0.gguf").symlink_to(outside / "Big-Q8_0.gguf")
    (paths.models_dir() / "linked").symlink_to(outside.parent)
    assert [one.name for one in stored_files()] == [FILE]
    remove(only())
    assert remove(claimed("Big-Q8_0.gguf", "linked/Linked")) == 0
    assert (outside / "Big-Q8_0.gguf").read_bytes() == b"precious"
    assert kept.with_name("Linked-Q8_0.gguf").is_symlink()


def test_a_download_that_is_going_on_is_not_removed(server: HubServer) -> None:
    data = os.urandom(40_000_000)
    server.repos[REPO] = Repo({FILE: data})
    server.pause_after = 25_000_000
    choice = hub.resolve_file(REPO, "Q8_0")
    download = threading.Thread(target=hub.download, args=(REPO, FILE))
    download.start()
    wait_until_some_is_written(choice)
    with pytest.raises(NotWritableError, match=rf"^{FILE} is being downloaded just now\. Stop the download"):
        remove(only())
    server.resume.set()
    download.join()
    assert only().complete
    assert remove(only()) == len(data)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_explained() -> None:
    path = put(f"{REPO}/{FILE}")
    path.parent.chmod(0o500)
    try:
        with pytest.raises(NotWritableError, match="could not be removed"):
            remove(only())
    finally:
        path.parent.chmod(0o700)
    assert path.is_file()


def test_what_the_system_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{REPO}/{FILE}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(NotWritableError, match=rf"^{FILE} could not be removed: Permission denied\. .*again\.$"):
        remove(only())


def test_only_models_of_the_hubs_cache_are_listed(cache: Path) -> None:
    put_in_cache(cache, REPO, FILE, b"model")
    put_in_cache(cache, REPO, "README.md", b"text")
    put_in_cache(cache, "someone/Tiny", "model.safetensors", b"weights")
    found = only()
    assert (found.name, found.repo, found.place) == (FILE, REPO, "Hugging Face cache")
    assert (found.files, found.size_bytes, found.complete) == (1, 5, True)


def test_removing_from_the_hubs_cache_takes_one_file_of_all_revisions(cache: Path) -> None:
    gone = [put_in_cache(cache, REPO, FILE, data, commit * 40) for data, commit in ((b"old", "a"), (b"newer", "b"))]
    kept = put_in_cache(cache, REPO, "Tiny-Q4_0.gguf", b"other", "b" * 40)
    # A copy of the repository has the same commits.
    copied = put_in_cache(cache, "someone/Copy-GGUF", FILE, b"newer", "b" * 40)
    found = next(one for one in stored_files() if (one.repo, one.name) == (REPO, FILE))
    assert found.size_bytes == 8
    assert remove(found) == 8
    assert not any(path.is_symlink() for path in gone)
    assert len(list((cache / "models--someone--Tiny-GGUF" / "blobs").iterdir())) == 1
    assert kept.read_bytes() == b"other"
    assert copied.read_bytes() == b"newer"
    assert {one.repo for one in stored_files()} == {REPO, "someone/Copy-GGUF"}


@links
def test_what_a_person_linked_into_the_hubs_cache_stays(cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "own.gguf"
    outside.write_bytes(b"precious")
    entry = put_in_cache(cache, REPO, FILE, b"model")
    entry.with_name("own.gguf").symlink_to(outside)
    assert only().name == FILE
    remove(only())
    assert outside.read_bytes() == b"precious"
    assert entry.with_name("own.gguf").is_symlink()


def test_a_download_into_the_hubs_cache_that_is_going_on_is_not_removed(cache: Path) -> None:
    from huggingface_hub.utils import WeakFileLock

    put_in_cache(cache, REPO, FILE, b"model")
    locks = cache / ".locks" / "models--someone--Tiny-GGUF"
    locks.mkdir(parents=True)
    with WeakFileLock(locks / "etag.lock"), pytest.raises(NotWritableError, match="being downloaded"):
        remove(only())
    assert remove(only()) == 5


@pytest.mark.parametrize("kind", ["a file", "broken"])
def test_a_cache_that_cannot_be_read_hides_nothing_of_ours(cache: Path, kind: str) -> None:
    put(f"{REPO}/{FILE}")
    if kind == "a file":
        cache.write_text("no folder")
    else:
        (cache / "models--someone--Tiny-GGUF").mkdir(parents=True)
    assert only().place == "Rightsize"


def test_a_damaged_download_leaves_nothing_to_remove(server: HubServer) -> None:
    server.repos[REPO] = Repo({FILE: b"abc"}, wrong_sha256={FILE})
    with pytest.raises(DownloadError):
        hub.download(REPO, FILE)
    assert stored_files() == ()
    assert remove(claimed(FILE, REPO)) == 0
    assert list(paths.models_dir().iterdir()) == []


def test_what_was_not_used_for_longest_makes_room_first() -> None:
    oldest, used, newest = (put(f"a/b/{name}.gguf") for name in ("oldest", "used", "newest"))
    for age_s, path in ((300, oldest), (200, used), (100, newest)):
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
        os.utime(hub.checksum_note(path), (path.stat().st_mtime,) * 2)
    mark_used(oldest)
    removed = make_room(needed_bytes=1500, quota_bytes=3500)
    assert [one.name for one in removed] == ["used.gguf"]
    assert (oldest.exists(), used.exists(), newest.exists()) == (True, False, True)
    assert make_room(needed_bytes=1500, quota_bytes=3500) == ()


def test_a_file_larger_than_the_quota_removes_nothing() -> None:
    path = put("a/b/c.gguf")
    with pytest.raises(RunError, match="all model files may take"):
        make_room(needed_bytes=5000, quota_bytes=4000)
    assert path.exists()


def test_a_file_that_is_larger_on_the_hub_than_may_be_fetched_is_not_fetched(server: HubServer) -> None:
    server.repos[REPO] = Repo({FILE: b"x" * 5000})
    request = RunRequest("m", "Q8_0", SETTINGS, repo=REPO, file=FILE, most_download_bytes=4999)
    with pytest.raises(DownloadError, match="may be fetched here"):
        make_runner("llama.cpp").run(request, lambda event: None)
    assert stored_files() == ()
