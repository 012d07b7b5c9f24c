"""wllama's files: only those that are pinned are taken, whoever sends them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recommender import browser_assets, paths
from recommender.browser_assets import Asset
from recommender.cli import main
from recommender.errors import DownloadError, NotWritableError

CONTENTS = {"esm/engine.js": b"export class Wllama {}\n" * 50, "esm/engine.wasm": b"\0asm" * 500, "LICENCE": b"MIT\n"}


def _digest(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def _packed(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in {**contents, "../outside.txt": b"no"}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


PACKAGE = _packed(CONTENTS)
PINNED = tuple(
    Asset(
        "@maker/engine", "1.2.3", _digest("sha512", PACKAGE), name, Path(name).name, len(data), _digest("sha384", data)
    )
    for name, data in CONTENTS.items()
)


class _Registry(BaseHTTPRequestHandler):
    served = PACKAGE
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/@maker/engine/-/engine-1.2.3.tgz" else 404)
        self.end_headers()
        self.wfile.write(self.served)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[_Registry]]:
    """A machine without npm, a registry on it, and an empty place for the files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(browser_assets, "assets", lambda: PINNED)
    monkeypatch.setattr("recommender.browser_assets.shutil.which", lambda _: None)
    monkeypatch.setattr(paths, "packaged_browser_assets", lambda: tmp_path / "package")
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
    _Registry.served, _Registry.asked = PACKAGE, []
    yield _Registry
    server.shutdown()
    server.server_close()


def test_the_files_are_fetched_once_and_a_second_call_asks_nobody(registry: type[_Registry], tmp_path: Path) -> None:
    first = browser_assets.fetch()
    assert first.downloaded
    assert first.folder == browser_assets.folder() == tmp_path / "package"
    assert sorted(path.name for path in first.folder.iterdir()) == ["LICENCE", "engine.js.gz", "engine.wasm.gz"]
    assert not browser_assets.fetch().downloaded
    assert len(registry.asked) == 1


def test_a_file_that_was_changed_on_disk_is_fetched_anew(tmp_path: Path) -> None:
    spoiled = browser_assets.fetch().folder / "engine.js.gz"
    spoiled.write_bytes(b"something else")
    assert browser_assets.fetch().downloaded
    assert spoiled.read_bytes() != b"something else"


def test_a_package_that_was_tampered_with_is_refused_and_leaves_nothing(registry: type[_Registry]) -> None:
    registry.served = _packed({**CONTENTS, "esm/engine.js": b"steal()"})
    with pytest.raises(DownloadError, match="not the one that was checked"):
        browser_assets.fetch()
    assert browser_assets.folder() is None


def test_a_member_that_differs_from_its_own_checksum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tuple(Asset(**{**vars(one), "sha384": _digest("sha384", b"another")}) for one in PINNED)
    monkeypatch.setattr(browser_assets, "assets", lambda: wrong)
    with pytest.raises(DownloadError, match="is not the file that was checked"):
        browser_assets.fetch()


def test_without_npm_and_registry_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    assert main(["browser-assets", "--json"]) == 1
    assert "Install npm" in json.loads(capsys.readouterr().out)["error"]


def test_a_registry_without_the_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="could not be fetched"):
        browser_assets.fetch()


def test_where_the_package_cannot_be_written_they_go_into_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(paths, "packaged_browser_assets", lambda: tmp_path / "taken")
    assert browser_assets.fetch().folder == tmp_path / "home" / "browser"
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "taken"))
    with pytest.raises(NotWritableError, match=paths.HOME_VARIABLE):
        browser_assets.fetch()


def test_the_real_table_pins_one_version_and_carries_the_licence() -> None:
    text = Path(browser_assets.__file__).with_name("browser_assets.csv").read_text(encoding="utf-8")
    lines = [line.split(",") for line in text.splitlines()[1:]]
    assert len({line[1] for line in lines}) == 1
    assert "LICENCE" in {line[4] for line in lines}
    assert all(len(base64.b64decode(line[6])) == 48 and len(base64.b64decode(line[2])) == 64 for line in lines)
