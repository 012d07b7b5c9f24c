from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from recommender import paths, server
from recommender.errors import BadInputError

PATIENCE_S = 60


def _serve(folder: Path, port: int) -> subprocess.Popen[str]:
    package = str(Path(paths.__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "recommender.cli", "serve", "--port", str(port), "--no-browser"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return int(response.status)
    except OSError:
        return 0


def test_the_shipped_options_are_what_the_file_says() -> None:
    options = server.shipped_config()
    assert options["browser.gatherUsageStats"] is False
    assert options["theme.light.primaryColor"].startswith("#")
    assert options["theme.dark.primaryColor"].startswith("#")


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("STREAMLIT_SERVER_MAX_UPLOAD_SIZE", "7", "server.maxUploadSize", 7),
        ("STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE", "none", "server.xsrfCookieSameSite", "none"),
        ("STREAMLIT_SERVER_HEADLESS", "false", "server.headless", False),
        ("STREAMLIT_SERVER_ALLOWED_HOSTS", "a.example b.example", "server.allowedHosts", ["a.example", "b.example"]),
    ],
)
def test_an_environment_variable_wins_over_the_shipped_option(
    variable: str, text: str, option: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    options = server.shipped_config()
    assert options[option] == value
    assert options["server.maxMessageSize"] == 10


def test_a_variable_that_makes_no_sense_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_MAX_UPLOAD_SIZE", "much")
    with pytest.raises(BadInputError, match="STREAMLIT_SERVER_MAX_UPLOAD_SIZE cannot be 'much'"):
        server.shipped_config()


def test_a_secret_stays_in_the_environment_where_streamlit_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_COOKIE_SECRET", "0" * 64)
    assert "server.cookieSecret" not in server.shipped_config()


def test_forged_posts_are_refused_and_no_page_shows_a_traceback() -> None:
    from streamlit import config

    options = {
        **{name: one.default_val for name, one in config._config_options_template.items()},
        **server.shipped_config(),
    }
    assert options["server.enableXsrfProtection"] is True
    assert options["server.enableCORS"] is True
    assert options["client.showErrorDetails"] in ("type", "none")
    assert options["server.enableStaticServing"] is False


def test_streamlit_knows_every_shipped_option() -> None:
    from streamlit import config

    with (paths.bundled(".streamlit") / "config.toml").open("rb") as file:
        assert tomllib.load(file)
    for name in server.shipped_config():
        config.get_option(name)


def test_nobody_leaves_files_in_the_servers_memory() -> None:
    app = Starlette(
        routes=[Route("/{rest:path}", lambda _: Response("reached"), methods=["GET", "PUT"])],
        middleware=[Middleware(server.NoUploads)],
    )
    client = TestClient(app)
    assert client.get("/_stcore/host-config").text == "reached"
    for base in ("", "/base"):
        answer = client.put(f"{base}/_stcore/upload_file/session/file", files={"a": b"1"})
        assert (answer.status_code, answer.text) == (404, "")


def test_a_busy_port_is_a_sentence() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(BadInputError, match=f"{port}.*--port"):
            server.check_address("127.0.0.1", port)


def test_an_address_of_another_machine_is_a_sentence() -> None:
    with pytest.raises(BadInputError, match="--host"):
        server.check_address("192.0.2.1", 8501)


def test_it_serves_from_an_empty_folder_and_stops_on_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE", "strict")
    port = _free_port()
    process = _serve(tmp_path, port)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while _status(f"http://127.0.0.1:{port}/api/health") != 200:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert _status(f"http://127.0.0.1:{port}/") == 200
        asked = f"http://127.0.0.1:{port}/api/recommend?device=rtx-4060&top=1"
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            assert len(json.load(answer)["picks"]) == 1
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=PATIENCE_S) as answer:
            assert "SameSite=Strict" in answer.headers["Set-Cookie"]
        busy = _serve(tmp_path, port)
        said = busy.communicate(timeout=PATIENCE_S)[0]
        assert busy.returncode == 2
        assert "Traceback" not in said
        assert "--port" in said
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[0]
    assert "Traceback" not in said
    assert process.returncode in (0, 130)
