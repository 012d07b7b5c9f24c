from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import get_session
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.sources.safe_urls import RangeReader, check_url
from recommender.errors import BadInputError, DownloadError, RecommenderError

DATA = bytes(range(256)) * 1000
PATH = "/lab/model-GGUF/resolve/main/model-Q8_0.gguf"


class Server(ThreadingHTTPServer):
    """Answers each request as ``answer`` says; by itself it serves ranges of ``DATA``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[Handler], None] = part
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.server.answer(self)

    def asked(self) -> tuple[int, int]:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        return int(first), int(last)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def part(handler: Handler, etag: str = '"one"', shift: int = 0, total: int = len(DATA)) -> None:
    first, last = handler.asked()
    body = DATA[first + shift : last + 1 + shift]
    told = f"bytes {first + shift}-{first + shift + len(body) - 1}/{total}"
    handler.say(206, body, Content_Range=told, ETag=etag)


@pytest.fixture(autouse=True)
def no_names_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is one public address, so that nothing leaves this machine; numbers are looked up as they are."""
    real = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **named: Any) -> Any:
        if str(host)[:1].isdigit():
            return real(host, *arguments, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", running.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield running
    running.shutdown()
    running.server_close()


def reader(server: Server, limit_bytes: int = 100_000) -> RangeReader:
    return RangeReader(server.url + PATH, get_session(), limit_bytes)


def refused(server: Server, *parts: tuple[int, int]) -> str:
    asked = reader(server)
    *before, (start, count) = parts or ((0, 100),)
    for one in before:
        asked.read(*one)
    with pytest.raises(RecommenderError) as caught:
        asked.read(start, count)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_a_part_is_exactly_the_bytes_that_were_asked_for(server: Server) -> None:
    asked = reader(server)
    assert asked.read(300, 1000) == DATA[300:1300]
    assert asked.file_bytes == len(DATA)
    assert asked.transferred_bytes == 1000
    assert server.seen[0]["range"] == "bytes=300-1299"
    assert server.seen[0]["accept-encoding"] == "identity"


def test_a_file_that_changes_between_two_parts_is_refused(server: Server) -> None:
    tags = iter(['"one"', '"two"'])
    server.answer = lambda handler: part(handler, next(tags))
    assert "was changed while it was read" in refused(server, (0, 10), (10, 10))


def test_a_file_whose_size_changes_is_refused_even_without_a_tag(server: Server) -> None:
    totals = iter([len(DATA), len(DATA) + 1])
    server.answer = lambda handler: part(handler, "", total=next(totals))
    assert "was changed while it was read" in refused(server, (0, 10), (10, 10))


def test_another_part_than_the_one_asked_for_is_refused(server: Server) -> None:
    server.answer = lambda handler: part(handler, shift=7)
    assert "another part" in refused(server, (100, 10))


def test_a_server_without_ranges_gives_the_beginning_and_nothing_else(server: Server) -> None:
    server.answer = lambda handler: handler.say(200, DATA)
    asked = reader(server)
    assert asked.read(0, 500) == DATA[:500]
    assert asked.transferred_bytes == 500
    assert "answered 200 instead of the part" in refused(server, (100, 10))


def test_a_body_that_ends_early_is_refused(server: Server) -> None:
    server.answer = lambda handler: handler.say(206, DATA[:40], Content_Range=f"bytes 0-99/{len(DATA)}")
    assert "cut off after 40 of 100 bytes" in refused(server)


def test_a_connection_that_breaks_is_told(server: Server) -> None:
    def broken(handler: Handler) -> None:
        handler.say(206, DATA[:40], Content_Length="100", Content_Range=f"bytes 0-99/{len(DATA)}")
        handler.close_connection = True

    server.answer = broken
    assert "Try again" in refused(server)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "needs a login"),
        (403, "is gated"),
        (404, "does not exist"),
        (416, "shorter than it was said to be"),
        (429, "asked for too often"),
        (500, "answered 500"),
        (503, "answered 503"),
    ],
)
def test_what_a_server_refuses_is_told_in_a_sentence(server: Server, status: int, words: str) -> None:
    server.answer = lambda handler: handler.say(status, b"<script>", Retry_After="9999999")
    said = refused(server)
    assert words in said
    assert "script" not in said


def test_redirects_within_the_endpoint_are_followed_five_times_at_most(server: Server) -> None:
    def once(handler: Handler) -> None:
        if handler.path == PATH:
            handler.say(302, Location="/elsewhere.gguf")
        else:
            part(handler)

    server.answer = once
    assert reader(server).read(0, 10) == DATA[:10]
    server.seen.clear()
    server.answer = lambda handler: handler.say(302, Location=PATH)
    assert "redirected more than 5 times" in refused(server)
    assert len(server.seen) <= 6


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:9/x.gguf",
        "http://localhost/x.gguf",
        "https://10.0.0.1/x.gguf",
        "https://[::1]/x.gguf",
        "https://[fe80::1]/x.gguf",
        "https://[::ffff:127.0.0.1]/x.gguf",
        "https://224.0.0.1/x.gguf",
        "https://2130706433/x.gguf",
        "http://169.254.169.254/latest",
        "ftp://huggingface.co/x.gguf",
        "file:///etc/passwd",
        "https://huggingface.co@example.com/x.gguf",
        "https://[",
        "https://huggingface.co:99999/x",
        "https://huggingface.co/\x01",
        "",
    ],
)
def test_a_redirect_out_of_the_allowed_places_is_never_followed(server: Server, place: str) -> None:
    server.answer = lambda handler: handler.say(302, Location=place)
    refused(server)
    assert all(one["host"] in server.url for one in server.seen)


def test_a_token_goes_to_the_endpoint_only_and_into_no_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    reader(server).read(0, 10)
    assert server.seen[0]["authorization"] == "Bearer hf_secret"
    server.answer = lambda handler: handler.say(403)
    assert "hf_secret" not in refused(server)


def test_a_name_longer_than_names_may_be_is_refused() -> None:
    with pytest.raises(BadInputError):
        check_url(f"https://{'a' * 64}.hf.co/x.gguf")


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = threading.Event()

    def slow(handler: Handler) -> None:
        handler.say(206, DATA[:1], Content_Length="1000", Content_Range=f"bytes 0-999/{len(DATA)}")
        with suppress(OSError):
            while not going_on.wait(0.05):
                handler.wfile.write(b"x")

    monkeypatch.setattr("recommender.catalog.sources.safe_urls._DEADLINE_S", 0.3)
    server.answer = slow
    asked = reader(server)
    with pytest.raises(DownloadError, match="too slowly"):
        asked.read(0, 1000)
    going_on.set()


@given(st.text(max_size=60))
def test_any_text_is_an_allowed_address_or_a_sentence(text: str) -> None:
    for url in (text, f"https://{text}/x.gguf", f"https://huggingface.co/{text}"):
        try:
            assert check_url(url) == url
        except BadInputError as error:
            assert len(str(error)) < 500  # noqa: PT017 - either way out is right
