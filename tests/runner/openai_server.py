"""A loopback stand-in that speaks OpenAI's chat completions, and the ways in which servers get them wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very-secret"
FIRST_S, STEP_S = 0.05, 0.005  # until the first token, and between two

Body = dict[str, Any]


class OpenAiStandIn(ThreadingHTTPServer):
    """``chunks`` makes the events of an answer from the request: an object, or bytes that are sent as they are."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Body] = []
        self.models: Any = {"object": "list", "data": [{"id": "tiny", "object": "model"}, {"id": "other"}]}
        self.refused: frozenset[str] = frozenset()  # fields that it takes for a mistake
        self.refusal = 400
        self.problem: tuple[int, Any] | None = None  # a status and what it says with it
        self.elsewhere = ""  # where it redirects to
        self.page: tuple[str, bytes] | None = None  # a type and a body instead of a stream
        self.chunks: Callable[[Body], Iterator[Any]] = answer
        self.usage: Callable[[Body], Any] = counts
        self.hold = threading.Event()
        self.gone = threading.Event()  # a client left in mid-answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *arguments: object) -> None:
        pass

    # ── what it may do wrong ─────────────────────────────────────────────────────────────────────────────────

    def says_nothing(self, body: Body) -> Iterator[Any]:
        self.hold.wait()
        yield b""

    def only_keeps_alive(self, body: Body) -> Iterator[Any]:
        while not self.hold.wait(0.01):
            yield b": still here\n\n"

    def never_ends_a_line(self, body: Body) -> Iterator[Any]:
        yield b"data: "
        while not self.hold.wait(0.005):
            yield b"x" * 65536

    def has_nothing_in_its_chunks(self, body: Body) -> Iterator[Any]:
        while not self.hold.wait(0.01):
            yield chunk({"content": ""})

    def never_stops(self, body: Body) -> Iterator[Any]:
        while not self.hold.wait(STEP_S):
            yield chunk({"content": "more "})


def limit(body: Body) -> int:
    return int(body.get("max_tokens") or body["max_completion_tokens"])


def chunk(delta: Any, finish: str | None = None) -> Body:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def counts(body: Body) -> Any:
    """Two tokens a word."""
    words = sum(len(message["content"].split()) for message in body["messages"])
    return {"prompt_tokens": 2 * words, "completion_tokens": limit(body), "total_tokens": 2 * words + limit(body)}


def answer(body: Body) -> Iterator[Any]:
    yield chunk({"role": "assistant", "content": None})
    time.sleep(FIRST_S)
    for _ in range(limit(body)):
        yield chunk({"content": "one "})
        time.sleep(STEP_S)
    yield chunk({}, "length")


def says_two_words(body: Body) -> Iterator[Any]:
    yield chunk({"content": "one "})
    time.sleep(STEP_S)
    yield chunk({"content": "two"}, "stop")


def says_all_at_once(body: Body) -> Iterator[Any]:
    yield chunk({"content": "one " * limit(body)}, "stop")


def says_no_word(body: Body) -> Iterator[Any]:
    yield chunk({"role": "assistant", "content": ""}, "stop")


def thinks_unseen(body: Body) -> Iterator[Any]:
    yield chunk({"role": "assistant", "content": ""}, "length")


def stops_short(body: Body) -> Iterator[Any]:
    yield chunk({"content": "one "})


def hangs_up(body: Body) -> Iterator[Any]:
    yield chunk({"content": "one "})
    raise ConnectionAbortedError


def ends_in_an_error(body: Body) -> Iterator[Any]:
    yield chunk({"content": "one "})
    yield {"error": {"message": f"the GPU is lost\n(key {KEY})", "code": 500}}


def sends_rubbish(body: Body) -> Iterator[Any]:
    yield b"data: \xff\xfe\x00\x9c\n\n"


def sends_no_json(body: Body) -> Iterator[Any]:
    yield b"data: {'content': one}\n\n"


def sends_other_json(body: Body) -> Iterator[Any]:
    yield {"choices": 7}


def leaves_holes(body: Body) -> Iterator[Any]:
    """A whole answer, among chunks that lack nearly everything."""
    yield from ({}, [], "x", 3, {"choices": None}, {"choices": [None]}, {"choices": [{}]}, {"usage": 5})
    for delta in (None, {}, {"content": 3}, {"content": ["one"]}, {"reasoning_content": {}}):
        yield chunk(delta)
    yield from answer(body)


class _Handler(BaseHTTPRequestHandler):
    server: OpenAiStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self._is_welcome("/v1/models"):
            if callable(self.server.models):
                self._stream(self.server.models({}))
            elif isinstance(self.server.models, bytes):
                self._send(200, self.server.models, "text/html")
            else:
                self._send(200, self.server.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_welcome("/v1/chat/completions"):
            return
        self.server.requests.append(body)
        if found := sorted(self.server.refused & body.keys()):
            self._send(self.server.refusal, {"error": {"message": f"Unsupported parameter: {found[0]}"}})
        elif self.server.problem:
            self._send(*self.server.problem)
        elif body["model"] != "tiny":
            self._send(404, {"error": {"message": f"The model {body['model']} does not exist"}})
        elif self.server.page:
            self._send(200, self.server.page[1], self.server.page[0])
        else:
            self._stream(self._events(body))

    def _events(self, body: Body) -> Iterator[Any]:
        yield from self.server.chunks(body)
        usage = self.server.usage(body)
        if body.get("stream_options") and usage is not None:
            yield {**chunk({}), "choices": [], "usage": usage}
        yield b"data: [DONE]\n\n"

    def _is_welcome(self, path: str) -> bool:
        if self.server.elsewhere:
            self.send_response(307)
            self.send_header("Location", self.server.elsewhere + self.path.removeprefix("/v1"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path != path:
            self._send(404, b"<html>no such page</html>", "text/html")
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self._send(401, {"error": {"message": f"Wrong key: {self.headers['Authorization']}"}})
        else:
            return True
        return False

    def _stream(self, events: Iterator[Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in events:
                data = event if isinstance(event, bytes) else f"data: {json.dumps(event)}\n\n".encode()
                if data:
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.server.gone.set()
            self.close_connection = True

    def _send(self, status: int, body: Any, content_type: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
