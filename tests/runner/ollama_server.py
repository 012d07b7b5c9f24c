"""A loopback stand-in that speaks Ollama's documented interface."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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


Lines = Iterator[dict[str, Any] | bytes | None]


class OllamaStandIn(ThreadingHTTPServer):
    """``lines`` makes the chunks of an answer from the request, ``pull_lines`` those of a pull; at ``None`` it dies.

    ``loaded`` is whether ``ps`` shows the model that was asked last, ``models`` what it has, ``blobs`` the files that
    were copied into it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.loaded = False
        self.asked = MODEL
        self.version: Any = {"version": "0.30.1"}  # an iterator of bytes is streamed
        self.models: list[dict[str, Any]] = [MODEL]
        self.blobs: dict[str, bytes] = {}
        self.takes_blobs = self.takes_files = True  # old versions do not
        self.keeps_models = True  # that are made of files
        self.context_tokens: int | None = 2048  # what the models were made for; old versions do not tell
        self.delay_s = 0.0  # before the first byte of an answer
        self.lines: Callable[[dict[str, Any], bool], Lines] = answer
        self.pull_lines: Callable[[], Lines] = layers
        self.hold = threading.Event()
        self.gone = threading.Event()  # a client left in mid-answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def answer(body: dict[str, Any], chat: bool) -> Lines:
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


def layers() -> Lines:
    """The steps of a pull of two layers."""
    yield {"status": "pulling manifest"}
    for digest, total in (("sha256:" + "1a" * 32, 400), ("sha256:" + "2b" * 32, 50)):
        for done in (0, total // 2, total):
            yield {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total, "completed": done}
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield {"status": status}


class _Handler(BaseHTTPRequestHandler):
    server: OllamaStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/api/version":
            told = self.server.version
            self._stream(told) if isinstance(told, Iterator) else self._send(told)
        elif self.path == "/api/tags":
            self._send({"models": self.server.models})
        elif self.path == "/api/ps":
            running = [{**self.server.asked, "size": 2_000_000, "size_vram": 0, "context_length": 1024}]
            self._send({"models": running if self.server.loaded else []})
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path.rsplit("/", 1)[-1] in self.server.blobs else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        body = json.loads(self._read())
        self.server.requests.append((self.path, body))
        if (found := self._found(body["model"])) is not None:
            self.server.models = [model for model in self.server.models if model is not found]
            self._send(b"")

    def do_POST(self) -> None:
        if self.path.startswith("/api/blobs/"):
            self._take_blob()
            return
        body = json.loads(self._read())
        self.server.requests.append((self.path, body))
        if self.path == "/api/create":
            self._create(body)
            return
        if self.path == "/api/pull":
            self._stream(self.server.pull_lines())
            return
        if (model := self._found(body["model"])) is None:
            return
        if self.path == "/api/show":
            known = {"general.architecture": "llama", "llama.context_length": self.server.context_tokens}
            self._send({"details": model["details"], **({"model_info": known} if self.server.context_tokens else {})})
            return
        if body.get("keep_alive") == 0:
            self.server.loaded = False
            self._send({"model": body["model"], "response": "", "done": True, "done_reason": "unload"})
            return
        self.server.loaded, self.server.asked = True, model
        time.sleep(self.server.delay_s)
        head = {"model": body["model"], "created_at": "2026-01-02T03:04:05Z", "done": False}
        lines = self.server.lines(body, self.path == "/api/chat")
        self._stream({**head, **line} if isinstance(line, dict) else line for line in lines)

    def _found(self, name: str) -> dict[str, Any] | None:
        for model in self.server.models:
            if model["model"].casefold() in (name.casefold(), f"{name}:latest".casefold()):
                return model
        self._send({"error": f"model '{name}' not found"}, 404)
        return None

    def _create(self, body: dict[str, Any]) -> None:
        if not self.server.takes_files or not set(body.get("files", {}).values()) <= set(self.server.blobs):
            self._send({"error": "neither 'from' or 'files' was specified"}, 400)
            return
        name = body["model"] if ":" in body["model"] else body["model"] + ":latest"
        if self.server.keeps_models:
            self.server.models = [*self.server.models, {**MODEL, "name": name, "model": name}]
        self._stream([{"status": "parsing GGUF"}, {"status": "success"}])

    def _take_blob(self) -> None:
        digest, data = self.path.rsplit("/", 1)[-1], self._read()
        if not self.server.takes_blobs:
            self._send(b"404 page not found", 404)
            return
        if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
            self._send({"error": "digest mismatch"}, 400)
            return
        self.server.blobs[digest] = data
        self.server.requests.append((self.path, {}))
        self._send(b"", 201)

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _stream(self, lines: Iterable[dict[str, Any] | bytes | None]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                if line is None:
                    self.close_connection = True
                    return
                data = line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() + b"\n"
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            self.server.gone.set()

    def _send(self, body: Any, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data)
