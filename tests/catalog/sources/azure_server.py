"""Azure on loopback: its two catalogs for visitors, which page and filter as theirs do, and a registry by TLS."""

from __future__ import annotations

import ipaddress
import json
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CROSS_REGION = "/api/eastus/ux/v1.0/entities/crossRegion"
GALLERY = "/asset-gallery/v1.0/models"

Reply = tuple[int, dict[str, str], bytes]


def model(name: str, **said: Any) -> dict[str, Any]:
    """A row of the catalog of all models. Keywords go to its systemCatalogData; ``tags`` and ``row`` to those."""
    tags, row = said.pop("tags", {}), said.pop("row", {})
    properties = said.pop("properties", {})
    version = str(said.pop("version", "3"))
    return {
        "entityResourceName": "azureml",
        "entityId": f"azureml:model:{name}",
        "kind": "Versioned",
        "type": "models",
        "version": version,
        "assetId": f"azureml://registries/azureml/models/{name}/versions/{version}",
        "annotations": {
            "archived": False,
            "tags": {"author": "Acme", **tags},
            "labels": ["latest"],
            "name": name,
            "systemCatalogData": {"publisher": "Acme", "inferenceTasks": ["chat-completion"], **said},
        },
        "properties": {
            "name": name,
            "version": int(version) if version.isdigit() else 0,
            "alphanumericVersion": version,
            "creationContext": {"createdTime": "2026-03-04T05:06:07.1234567+00:00"},
            "modifiedTime": "2026-04-05T06:07:08+00:00",
            "isAnonymous": False,
            **properties,
        },
        **row,
    }


class CatalogServer(ThreadingHTTPServer):
    """Answers with ``rows``, ``page_rows`` at a time. What is in ``replies`` is sent instead, one after the other."""

    daemon_threads = True

    def __init__(self, rows: list[Any] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _CatalogHandler)
        self.rows: list[Any] = rows or []
        self.page_rows = 50
        self.tells_total = True
        self.extra: dict[str, Any] = {}  # beside the list, as shardErrors is
        self.replies: list[Reply | None] = []  # None breaks the connection off
        self.requests: list[tuple[str, Mapping[str, str], dict[str, Any]]] = []
        self.generation = "a"  # tokens of another one are refused
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self, path: str = CROSS_REGION) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def page(self, path: str, body: dict[str, Any]) -> Reply:
        wrapped = path == CROSS_REGION
        search = body.get("indexEntitiesRequest") if wrapped else body
        if not isinstance(search, dict) or (wrapped and not body.get("resourceIds")):
            return 400, {}, b"{}"
        start = 0
        if token := search.get("continuationToken"):
            generation, _, number = token.partition(":")
            if generation != self.generation:
                return 400, {}, b'{"error": "the token is not known"}'
            start = int(number)
        rows = [row for row in self.rows if not isinstance(row, dict) or _passes(row, search["filters"])]
        following = start + min(self.page_rows, search["pageSize"])
        more = following < len(rows)
        listed = {
            "value": rows[start:following],
            "nextSkip": following if more else None,
            "continuationToken": f"{self.generation}:{following}" if more else None,
            **({"totalCount": len(rows)} if self.tells_total else {}),
        }
        return 200, {}, json.dumps({"indexEntitiesResponse": listed, **self.extra} if wrapped else listed).encode()


def _passes(row: dict[str, Any], filters: list[dict[str, Any]]) -> bool:
    for one in filters:
        path = ["annotations", "labels"] if one["field"] == "labels" else one["field"].split("/")
        value: Any = row
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        has = [str(each).lower() for each in (value if isinstance(value, list) else [value])]
        found = any(str(wanted).lower() in has for wanted in one["values"])
        if found != (one["operator"] == "eq"):
            return False
    return True


class _CatalogHandler(BaseHTTPRequestHandler):
    server: CatalogServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        reply: Reply | None
        if self.server.replies:
            reply = self.server.replies.pop(0)
        elif headers.get("user-agent") != "AzureAiStudio" or "authorization" in headers:
            reply = 400, {}, b'{"error": "the request must be anonymous"}'
        elif self.path not in (CROSS_REGION, GALLERY):
            reply = 404, {}, b"{}"
        else:
            reply = self.server.page(self.path, body)
        if reply is None:
            return  # the connection closes without a status
        status, more, content = reply
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


# ── a registry, as azure-ai-ml asks for it ───────────────────────────────────────────────────────────────────


class RegistryServer(ThreadingHTTPServer):
    """``models`` by name: properties of the newest version, as the registry has them. ``status`` other than 200 is
    what listing and reading answer with."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _RegistryHandler)
        self.models: dict[str, dict[str, Any]] = {}
        self.missing: set[str] = set()
        self.status = 200
        self.listing: Any = None  # in place of the list of models
        self.paths: list[str] = []
        self.certificate = folder / "certificate.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, _write_certificate(folder))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}/"

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, path: str) -> tuple[int, Any]:
        if path.endswith("/discovery"):
            return 200, {
                "registryName": "azureml",
                "primaryRegion": "eastus",
                "primaryRegionResourceProviderUri": self.url,
                "resourceGroup": "group",
                "subscriptionId": "11111111-2222-3333-4444-555555555555",
            }
        if self.status != 200:
            return self.status, {"error": {"code": "Refused", "message": "the account of somebody@example.com"}}
        if path.endswith("/models"):
            return 200, self.listing or {"value": [self._container(name) for name in self.models]}
        _, _, rest = path.partition("/models/")
        name, _, version = rest.partition("/versions/")
        if name not in self.models or name in self.missing:
            return 404, {"error": {"code": "NotFound", "message": "no such model"}}
        return 200, {**self._container(name), **_identity(name, version), "properties": self.models[name]}

    def _container(self, name: str) -> dict[str, Any]:
        return {
            **_identity(name, ""),
            "systemData": {"createdAt": "2026-01-02T03:04:05Z", "lastModifiedAt": "2026-02-03T04:05:06Z"},
            "properties": {"latestVersion": "7", "isArchived": False},
        }


def registry_model(**tags: Any) -> dict[str, Any]:
    return {"tags": tags, "properties": {}, "flavors": {}, "modelType": "custom_model", "modelUri": "azureml://x"}


def _identity(name: str, version: str) -> dict[str, Any]:
    asset = f"azureml://registries/azureml/models/{name}"
    return {"id": f"{asset}/versions/{version}" if version else asset, "name": version or name}


class _RegistryHandler(BaseHTTPRequestHandler):
    server: RegistryServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.paths.append(path)
        known = self.headers.get("Authorization") == "Bearer not-a-token"
        status, answer = self.server.answer(path) if known else (401, {"error": {"code": "Unauthorized"}})
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _write_certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1, and give where its key lies."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return folder / "key.pem"
