"""A loopback stand-in that speaks Ollama's documented interface: version, tags, ps, generate, chat."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = {
    "name": "tiny:latest",
    "model": "tiny:latest",
    "size": 1_234_567,
    "digest": "ab" * 32,
    "modified_at": "2026-01-02T03:04:05Z",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "1M", "quantization_level": "Q4_0"},
}


class OllamaStandIn(ThreadingHTTPServer):
    """``lines`` makes the chunks of an answer from the request; ``loaded`` is what ``ps`` shows."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.loaded = False
        self.version: Any = {"version": "0.30.1"}
        self.lines: Callable[[dict[str, Any], bool], Iterator[dict[str, Any] | bytes]] = answer
        self.hold = threading.Event()
        self.gone = threading.Event()  # a client left in mid-answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def answer(body: dict[str, Any], chat: bool) -> Iterator[dict[str, Any] | bytes]:
    """Two words, then the counters: 100 tok/s prefill, 20 tok/s decode, a load of half a second."""
    for word in ("Hello", " world"):
        yield {"message": {"role": "assistant", "content": word}} if chat else {"response": word}
    count = body["options"]["num_predict"]
    prompt = 30 if chat else 2 * len(body["prompt"].split())  # two tokens a word
    last: dict[str, Any] = {
        "done": True,
        "done_reason": "length",
        "total_duration": 9_000_000_000,
        "load_duration": 500_000_000,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": prompt * 10_000_000,
        "eval_count": count,
        "eval_duration": count * 50_000_000,
    }
    yield {**last, "message": {"role": "assistant", "content": ""}} if chat else {**last, "response": ""}


class _Handler(BaseHTTPRequestHandler):
    server: OllamaStandIn

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/api/version":
            self._send(self.server.version)
        elif self.path == "/api/tags":
            self._send({"models": [MODEL]})
        elif self.path == "/api/ps":
            running = [{**MODEL, "size": 2_000_000, "size_vram": 0, "context_length": 1024}]
            self._send({"models": running if self.server.loaded else []})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))
        if body.get("keep_alive") == 0:
            self.server.loaded = False
            self._send({"model": body["model"], "response": "", "done": True, "done_reason": "unload"})
            return
        self.server.loaded = True
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        try:
            for line in self.server.lines(body, self.path == "/api/chat"):
                head = {"model": body["model"], "created_at": "2026-01-02T03:04:05Z", "done": False}
                data = line if isinstance(line, bytes) else json.dumps({**head, **line}).encode() + b"\n"
                self.wfile.write(data)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.server.gone.set()

    def _send(self, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
