"""Downloads that something comes in between of: a full disk, a killed app, a server that breaks off or cheats."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from recommender import paths
from recommender.errors import DownloadError
from recommender.runner import hub
from tests.runner.conftest import until
from tests.runner.hub_server import HubServer, Repo, _Handler
from tests.runner.test_hub import REPO, serving, wait_until_some_is_written

DATA = os.urandom(40_000_000)
FILE = "T-Q8_0.gguf"
CUT = 15_000_000


class UnreliableHub(HubServer):
    """``fault`` names what its storage does to each transfer; "" for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _UnreliableHandler
        self.repos[REPO] = Repo({FILE: DATA})
        self.fault = ""
        self.cut_after = CUT


class _UnreliableHandler(_Handler):
    server: UnreliableHub

    def _storage(self, data: bytes) -> None:
        fault = self.server.fault
        if not fault:
            super()._storage(data)
            return
        wanted = self.headers.get("Range", "")
        self.server.ranges.append(wanted)
        start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", wanted)) else 0
        if fault == "ignores ranges":
            start = 0
        rest = data[start:]
        sent = rest if fault == "ignores ranges" else rest[: self.server.cut_after]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(sent) if fault == "promises less" else len(rest)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True
        if fault == "resets" and len(sent) < len(rest):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UnreliableHub]:
    made = UnreliableHub()
    with serving(made, monkeypatch, tmp_path):
        yield made


def _fetched_bytes() -> int:
    choice = hub.resolve_file(REPO, file=FILE)
    return choice.size_bytes - choice.missing_bytes


# ── the disk ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own where downloads go; its size can be changed with ``_resize``."""
    home = tmp_path / "home"
    home.mkdir()
    mounted = sys.platform == "linux" and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(home)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


def _resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def test_a_disk_that_fills_up_meanwhile_keeps_what_came_and_goes_on_later(
    small_disk: Path, server: UnreliableHub
) -> None:
    server.pause_after = 25_000_000
    choice = hub.resolve_file(REPO, file=FILE)

    def fill_up() -> None:
        until(lambda: choice.size_bytes - choice.missing_bytes > 20_000_000)
        _resize(small_disk, "28m")
        server.resume.set()

    thread = threading.Thread(target=fill_up)
    thread.start()
    with pytest.raises(DownloadError, match=r"^The disk is full: .*Free some space.*RIGHTSIZE_HOME.*goes on"):
        hub.download(REPO, FILE)
    thread.join()
    there = _fetched_bytes()
    assert 20_000_000 < there < len(DATA)
    _resize(small_disk, "2g")
    server.pause_after = None
    assert hub.download(REPO, FILE).read_bytes() == DATA
    assert server.ranges == ["", f"bytes={there}-"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_write_that_finds_no_room_says_what_to_do(server: UnreliableHub) -> None:
    part = hub.part_path(REPO, hub.resolve_file(REPO, file=FILE).files[0])
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"^The disk is full: .*Free some space.*RIGHTSIZE_HOME"):
        hub.download(REPO, FILE)


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is a thing of Unix")
def test_a_disk_that_takes_no_file_so_large_is_told_apart(server: UnreliableHub) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, before[1]))  # the download's process has it too
    try:
        with pytest.raises(DownloadError, match=r"larger than a file may be in .*FAT32.*RIGHTSIZE_HOME"):
            hub.download(REPO, FILE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    there = _fetched_bytes()
    assert 0 < there <= CUT
    assert hub.download(REPO, FILE).read_bytes() == DATA
    assert server.ranges[-1] == f"bytes={there}-"


def test_a_checksum_note_that_cannot_be_written_costs_no_second_transfer(server: UnreliableHub) -> None:
    note = hub.checksum_note(hub.local_path(REPO, FILE))
    note.mkdir(parents=True)
    with pytest.raises(DownloadError):
        hub.download(REPO, FILE)
    note.rmdir()
    assert hub.download(REPO, FILE).read_bytes() == DATA
    assert len(server.ranges) == 1


# ── the app ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_killed_app_leaves_no_download_process_and_the_next_goes_on(server: UnreliableHub) -> None:
    server.pause_after = 25_000_000
    script = f"from recommender.runner import hub; hub.download({REPO!r}, {FILE!r})"
    app = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_until_some_is_written(hub.resolve_file(REPO, file=FILE))
        downloads = psutil.Process(app.pid).children(recursive=True)
        assert ["recommender.runner.download_worker" in one.cmdline() for one in downloads] == [True]
        app.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    finally:
        app.kill()
        app.wait()
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in downloads))
    there = _fetched_bytes()
    assert 0 < there < len(DATA)
    server.pause_after = None
    server.resume.set()
    assert hub.download(REPO, FILE).read_bytes() == DATA
    assert server.ranges[-1] == f"bytes={there}-"


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["hangs up", "resets", "promises less"])
def test_a_transfer_that_breaks_off_goes_on_by_itself(server: UnreliableHub, fault: str) -> None:
    server.fault = fault
    seen: list[tuple[int, int]] = []
    path = hub.download(REPO, FILE, on_progress=lambda *step: seen.append(step))
    assert path.read_bytes() == DATA
    assert len(server.ranges) > 1
    assert all(wanted for wanted in server.ranges[1:])
    assert max(done for done, _ in seen) == seen[-1][0] == len(DATA)


def test_a_connection_that_breaks_every_few_megabytes_gets_there(server: UnreliableHub) -> None:
    server.repos[REPO] = Repo({FILE: DATA[:8_000_000]})
    server.fault, server.cut_after = "hangs up", 3_000_000
    assert hub.download(REPO, FILE).read_bytes() == DATA[:8_000_000]


def test_a_server_that_sends_nothing_more_ends_in_a_sentence_and_keeps_what_came(server: UnreliableHub) -> None:
    server.fault = "promises less"
    part = hub.part_path(REPO, hub.resolve_file(REPO, file=FILE).files[0])
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:CUT])
    server.cut_after = 0
    with pytest.raises(DownloadError, match=r"not the length it told\. Try again in a few minutes\.$"):
        hub.download(REPO, FILE)
    assert _fetched_bytes() == CUT
    server.fault = ""
    assert hub.download(REPO, FILE).read_bytes() == DATA


def test_a_server_that_ignores_where_to_go_on_starts_the_file_and_its_progress_anew(server: UnreliableHub) -> None:
    server.fault = "ignores ranges"
    part = hub.part_path(REPO, hub.resolve_file(REPO, file=FILE).files[0])
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * CUT)
    seen: list[tuple[int, int]] = []
    assert hub.download(REPO, FILE, on_progress=lambda *step: seen.append(step)).read_bytes() == DATA
    assert server.ranges == [f"bytes={CUT}-"]
    assert seen[0] == (CUT, len(DATA))
    assert (0, len(DATA)) in seen
    assert max(done for done, _ in seen) == len(DATA)
    assert not list(paths.models_dir().rglob("*.part"))
