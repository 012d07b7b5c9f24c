"""A Hub on loopback: models, their lists and their files, by the documented API, with every trouble a test may want."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

_ALWAYS = ("_id", "id", "modelId")
_LIST_ROW = (
    "author",
    "createdAt",
    "downloads",
    "gated",
    "lastModified",
    "likes",
    "pipeline_tag",
    "private",
    "sha",
    "tags",
)
_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass
class Repo:
    """A repository. ``says`` replaces or adds properties of its model info, in any form a hostile one may have."""

    id: str
    files: dict[str, bytes] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)
    gguf: dict[str, Any] | None = None
    safetensors_total: int | None = None
    created: str = "2026-10-01T08:00:00.000Z"
    modified: str = "2026-11-01T08:00:00.000Z"
    downloads: int = 100
    gated: str | bool = False
    commit: int = 1
    pipeline: str = "text-generation"
    says: dict[str, Any] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{self.id} {self.commit}".encode()).hexdigest()

    @property
    def params(self) -> int | None:
        return (self.gguf or {}).get("total") or self.safetensors_total

    def change(self, modified: str) -> None:
        self.commit += 1
        self.modified = modified

    def info(self, blobs: bool = False) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for path, data in self.files.items():
            one: dict[str, Any] = {"rfilename": path}
            if blobs:
                sha256 = hashlib.sha256(data).hexdigest()
                one |= {"size": len(data), "blobId": "1" * 40,
                        "lfs": {"sha256": sha256, "size": len(data), "pointerSize": 135}}  # fmt: skip
            siblings.append(one)
        made: dict[str, Any] = {
            "_id": "6" * 24,
            "id": self.id,
            "modelId": self.id,
            "author": self.id.split("/")[0],
            "sha": self.sha,
            "createdAt": self.created,
            "lastModified": self.modified,
            "private": False,
            "disabled": False,
            "gated": self.gated,
            "downloads": self.downloads,
            "likes": 1,
            "tags": list(self.tags),
            "pipeline_tag": self.pipeline,
            "cardData": dict(self.card),
            "siblings": siblings,
        }
        if self.gguf is not None:
            made["gguf"] = self.gguf
        if self.safetensors_total is not None:
            made["safetensors"] = {"parameters": {"BF16": self.safetensors_total}, "total": self.safetensors_total}
        return made | self.says


@dataclass
class Trouble:
    """What goes wrong with an answer: a status, a wrong or missing rest of the body, silence, or another body."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut_at: int | None = None  # bytes of the body that are sent, of the whole length that is told
    silent: bool = False  # nothing is sent until ``HubServer.resume`` is set


class HubServer(ThreadingHTTPServer):
    """``repos`` and ``troubles`` may be changed while it runs.

    ``troubles`` holds, by path, what goes wrong with its next answers, one after another; ``always`` what goes wrong
    with each of them.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}  # old id → new id
        self.troubles: dict[str, list[Trouble]] = {}
        self.always: dict[str, Trouble] = {}
        self.requests: list[str] = []  # method, path and query
        self.tokens: list[str] = []  # Authorization headers
        self.unchanged = 0  # answers of 304
        self.next_host = ""  # a host that lists are said to go on at; "" = here
        self.resume = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, *repos: Repo) -> None:
        self.repos |= {repo.id: repo for repo in repos}

    def asked(self, pattern: str) -> list[str]:
        """The requests whose path and query hold ``pattern``."""
        return [one for one in self.requests if re.search(pattern, unquote(one))]

    def detailed(self) -> list[str]:
        """Ids of repositories whose info was asked for, in order."""
        found = (re.match(r"GET /api/models/([^?]+)", one) for one in self.requests)
        return [match[1] for match in found if match]


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
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.tokens.append(self.headers.get("Authorization", ""))
        waiting = self.server.troubles.get(path)
        trouble = waiting.pop(0) if waiting else self.server.always.get(path)
        if trouble is not None and (trouble.status is not None or trouble.body is not None):
            self._send(trouble.status or 200, trouble.body or b"", trouble.headers, trouble)
        elif path == "/api/models":
            self._list(query, trouble)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._model(match[1], match[2] or "main", query, trouble)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            self._storage(self.server.repos[match[1]], match[2], trouble)
        else:
            self._error(404, "", "Sorry, we can't find the page you are looking for.")

    # ── lists and infos ──────────────────────────────────────────────────────────────────────────────────────

    def _list(self, query: dict[str, list[str]], trouble: Trouble | None) -> None:
        found = [repo for repo in self.server.repos.values() if _fits(repo, query)]
        key = {"lastModified": "modified", "createdAt": "created"}.get(query.get("sort", ["id"])[0], "downloads")
        found.sort(key=lambda repo: (getattr(repo, key), repo.id), reverse=True)
        size, start = int(query.get("limit", ["1000"])[0]), int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + size < len(found):
            flat = [(name, value) for name, values in query.items() if name != "cursor" for value in values]
            link = (
                f"{self.server.next_host or self.server.url}/api/models?{urlencode([*flat, ('cursor', start + size)])}"
            )
            headers["Link"] = f'<{link}>; rel="next"'
        wanted = query.get("expand") or _LIST_ROW
        rows = [_only(repo.info(), wanted) for repo in found[start : start + size]]
        self._json(rows, headers, trouble)

    def _model(self, name: str, revision: str, query: dict[str, list[str]], trouble: Trouble | None) -> None:
        if new := self.server.moved.get(name):
            self._send(307, b"", {"Location": f"/api/models/{new}?{urlsplit(self.path).query}"})
            return
        repo = self.server.repos.get(name)
        if repo is None:  # whoever has no token is not told whether it is private or not there
            self._error(404 if self.headers.get("Authorization") else 401, "RepoNotFound", "Repository not found")
            return
        if revision not in ("main", repo.sha):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        info = repo.info(blobs="blobs" in query)
        if "securityStatus" in query:
            info["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
        if "expand" in query:
            info = _only(info, query["expand"])
        self._json(info, {}, trouble)

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None:
            self._error(401, "RepoNotFound", "Repository not found")
        elif repo.gated and not self.headers.get("Authorization"):
            self._error(401, "GatedRepo", f"Access to model {name} is restricted.")
        elif repo.gated:
            self._error(403, "GatedRepo", f"Access to model {name} is restricted.")
        elif revision not in ("main", repo.sha):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif path not in repo.files:
            self._error(404, "EntryNotFound", "Entry not found")
        else:
            data = repo.files[path]
            headers = {
                "Location": f"{self.server.url}/storage/{name}/{quote(path)}",
                "X-Repo-Commit": repo.sha,
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "Accept-Ranges": "bytes",
            }
            self._send(302, b"", headers)

    def _storage(self, repo: Repo, path: str, trouble: Trouble | None) -> None:
        data = repo.files[path]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        # The client follows redirects within a host, and here the storage is on the Hub's own.
        headers["X-Repo-Commit"] = repo.sha
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            self._send(200, data, headers, trouble)
            return
        start = int(match[1])
        end = min(int(match[2]) if match[2] else len(data) - 1, len(data) - 1)
        if start > end:
            self._send(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self._send(206, data[start : end + 1], headers, trouble)

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────

    def _json(self, content: object, headers: dict[str, str], trouble: Trouble | None) -> None:
        body = json.dumps(content).encode()
        etag = f'W/"{hashlib.sha1(body).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.server.unchanged += 1
            self._send(304, b"", {"ETag": etag})
            return
        self._send(200, body, headers | {"ETag": etag, "Content-Type": "application/json; charset=utf-8"}, trouble)

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], trouble: Trouble | None = None) -> None:
        if trouble is not None and trouble.silent:
            self.server.resume.wait(timeout=60)
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD" or status == 304:
            return
        if trouble is not None and trouble.cut_at is not None:
            body = body[: trouble.cut_at]
            self.close_connection = True
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has what it wanted


def _only(info: dict[str, Any], wanted: Any) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name in _ALWAYS or name in wanted}


def _fits(repo: Repo, query: dict[str, list[str]]) -> bool:
    if any(wanted not in repo.tags for wanted in query.get("filter", ())):
        return False
    if any(author != repo.id.split("/")[0] for author in query.get("author", ())):
        return False
    if any(text.casefold() not in repo.id.casefold() for text in query.get("search", ())):
        return False
    for bounds in query.get("num_parameters", ()):
        for bound in bounds.split(","):
            kind, _, text = bound.partition(":")
            number = float(text.rstrip("KMBT")) * _UNITS.get(text[-1], 1)
            if repo.params is None or (repo.params < number if kind == "min" else repo.params > number):
                return False
    return True
