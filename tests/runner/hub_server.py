"""A loopback stand-in that speaks as much of the Hub's protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    files: dict[str, bytes]
    gated: str | bool = False
    license: str = "apache-2.0"
    wrong_sha256: set[str] = field(default_factory=set)


class HubServer(ThreadingHTTPServer):
    """``repos`` may be changed while it runs; ``pause_after`` holds the storage back until ``resume`` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.ranges: list[str] = []  # Range headers the storage saw, "" for none
        self.pause_after: int | None = None  # the storage sends so many bytes, then waits
        self.resume = threading.Event()
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._model(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            self._storage(self.server.repos[match[1]].files[match[2]])
        else:
            self._answer(404, b"{}")

    def _repo(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        if repo is None:
            self._answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        return repo

    def _model(self, name: str, revision: str) -> None:
        if (repo := self._repo(name)) is None:
            return
        if revision not in ("main", COMMIT):
            self._answer(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = []
        for path, data in repo.files.items():
            sha256 = "f" * 64 if path in repo.wrong_sha256 else hashlib.sha256(data).hexdigest()
            lfs = {"sha256": sha256, "size": len(data), "pointerSize": 135}
            siblings.append({"rfilename": path, "size": len(data), "blobId": "1" * 40, "lfs": lfs})
        body = {"id": name, "sha": COMMIT, "siblings": siblings, "gated": repo.gated, "private": False, "tags": []}
        body["cardData"] = {"license": repo.license}
        self._answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if (repo := self._repo(name)) is None:
            return
        if repo.gated:
            self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path not in repo.files or revision not in ("main", COMMIT):
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        else:
            data = repo.files[path]
            headers = {
                "Location": f"{self.server.url}/storage/{name}/{path}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            }
            self._answer(302, b"", headers)

    def _storage(self, data: bytes) -> None:
        wanted = self.headers.get("Range", "")
        self.server.ranges.append(wanted)
        start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", wanted)) else 0
        part = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.server.pause_after
        try:
            if limit is None:
                self.wfile.write(part)
                return
            self.wfile.write(part[:limit])
            self.wfile.flush()
            self.server.resume.wait(timeout=60)
            self.wfile.write(part[limit:])
        except (BrokenPipeError, ConnectionResetError):
            time.sleep(0)  # the client was killed, as some tests do

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
