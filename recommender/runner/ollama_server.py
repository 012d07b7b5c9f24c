"""An Ollama server: finding it, what it has, making and removing models there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recommender.errors import RecommenderError, RunError, RuntimeMissingError

REHEARSAL_PREFIX = "rightsize-rehearsal-"  # models of this name are ours to remove
_CONNECT_S = 3.0
_LONGEST_SILENCE_S = 600.0  # a large model may take minutes to load before the first byte comes
_QUICK_S = 10.0  # for what takes a server no time
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class OllamaServer:
    """A server that answers. ``host`` is its address."""

    host: str
    version: str


@dataclass(frozen=True)
class InstalledModel:
    name: str  # as ``ollama list`` has it, such as "qwen3:0.6b"
    size_bytes: int
    sha256: str
    quantization: str


def find_server(host: str | None = None) -> OllamaServer:
    """The server at ``host``, else at ``OLLAMA_HOST``, else on this machine's default port.

    Raises ``RuntimeMissingError`` when none answers there.
    """
    with connected(host, _QUICK_S) as client:
        address = _address(client)
        # The client has no call for this; its own HTTP session knows address and proxies.
        answer = client._client.get("/api/version", timeout=_CONNECT_S).json()
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise RunError(f"What answers at {address} is not Ollama. Set OLLAMA_HOST to where it listens.")
        return OllamaServer(address, version)


def installed_models(server: OllamaServer) -> tuple[InstalledModel, ...]:
    """What ``ollama list`` shows."""
    with connected(server.host, _QUICK_S) as client:
        return tuple(
            InstalledModel(
                name=model.model or "",
                size_bytes=int(model.size or 0),
                sha256=(model.digest or "").removeprefix("sha256:"),
                quantization=(model.details.quantization_level if model.details else "") or "",
            )
            for model in client.list().models
        )


def remove_model(name: str) -> None:
    """Take a model off the server's disk."""
    with connected() as client:
        client.delete(name)


def loaded_bytes(client: Any, name: str) -> float | None:
    """What the server says a model takes in memory; None while it is not loaded."""
    for model in client.ps().models:
        if model.model in (name, f"{name}:latest"):
            return float(model.size or 0)
    return None


def is_loaded(name: str) -> bool:
    """Whether a model is in the server's memory; False too when no server can be asked."""
    with suppress(RecommenderError), connected(timeout_s=_QUICK_S) as client:
        return loaded_bytes(client, name) is not None
    return False


def unload(name: str) -> None:
    """Make the server give a model's memory back, where it can still be asked."""
    with suppress(RecommenderError), connected(timeout_s=_QUICK_S) as client:
        client.generate(name, keep_alive=0)


def remove_rehearsals() -> None:
    """Remove the models that rehearsals made."""
    with suppress(RecommenderError), connected(timeout_s=_QUICK_S) as client:
        for model in client.list().models:
            if (model.model or "").startswith(REHEARSAL_PREFIX):
                client.delete(model.model)


def free_bytes() -> float | None:
    """Free space where the server keeps its models; None when it is on another machine or keeps them elsewhere."""
    with connected(timeout_s=_QUICK_S) as client:
        if urlsplit(_address(client)).hostname not in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
            return None
    # The server's own setting is not told; this is its default, or what both were started with.
    folder = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def copy_file(client: Any, path: Path, sha256: str, on_progress: Callable[[int, int], None]) -> str:
    """Give the server a file, unless it has it already, and return its digest.

    Args:
        sha256: of the file, where it is known; else the file is read once more for it.
        on_progress: called with bytes copied and bytes in all.
    """
    size = path.stat().st_size
    if not sha256:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    digest = f"sha256:{sha256}"
    if client._client.head(f"/api/blobs/{digest}").status_code == 200:
        return digest

    def pieces() -> Iterator[bytes]:
        done = 0
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
                done += len(piece)
                on_progress(done, size)

    client._request_raw("POST", f"/api/blobs/{digest}", content=pieces())
    return digest


def name_for(file: str) -> str:
    """A name in Ollama for a GGUF file."""
    stem = re.sub(r"\.gguf$", "", file, flags=re.IGNORECASE)
    return "rightsize-" + (re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:60] or "model")


@contextmanager
def connected(host: str | None = None, timeout_s: float = _LONGEST_SILENCE_S) -> Iterator[Any]:
    """A client of the server; within this block, what can go wrong comes out as one of our errors.

    Raises:
        RuntimeMissingError: no server answers there.
        RunError: it refused, broke off, said nothing for ``timeout_s``, or is no Ollama.
    """
    import httpx
    import ollama

    try:
        client: Any = ollama.Client(host, timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S))
    except (ValueError, httpx.InvalidURL) as error:
        named = host or os.environ.get("OLLAMA_HOST", "")
        raise RuntimeMissingError(f"OLLAMA_HOST is {named!r}, which is no address. Correct it, or unset it.") from error
    address = _address(client)
    try:
        yield client
    except RecommenderError:
        raise
    except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise RuntimeMissingError(
            f"No Ollama server answers at {address}. Install it from ollama.com/download and start it with "
            "`ollama serve`, or set OLLAMA_HOST to where it listens."
        ) from error
    except ollama.ResponseError as error:
        reason = str(error.error)[:200] or "no reason given"
        raise RunError(f"Ollama refused ({error.status_code}): {reason}. See its log for more.") from error
    except httpx.TimeoutException as error:
        raise RunError(f"Ollama at {address} said nothing for {timeout_s:.0f} s. Restart it, then retry.") from error
    except httpx.HTTPError as error:
        raise RunError(
            f"The connection to Ollama at {address} broke off. Is it still running? Then try again."
        ) from error
    except ValueError as error:
        raise RunError(
            f"What answers at {address} does not speak like Ollama. Check OLLAMA_HOST, or update it."
        ) from error
    finally:
        client.close()


def _address(client: Any) -> str:
    return str(client._client.base_url).rstrip("/")
