"""An Ollama server: finding it, what it has, making and removing models there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recommender.errors import RecommenderError, RunError, RuntimeMissingError
from recommender.types import MIB

REHEARSAL_PREFIX = "rightsize-rehearsal-"  # models of this name are ours to remove
_CONNECT_S = 3.0
_QUICK_S = 10.0  # for what takes a server no time
_LONGEST_BYTES = 16 * MIB  # of an answer, or of one line of those that come in lines
_PIECE_BYTES = 1 << 20
_LONGEST_REHEARSAL = timedelta(hours=1)
# Go's own clients leave these out too, whatever proxy the environment names; httpx does not.
_NO_PROXY = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}


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
    with connected(host) as client:
        address = _address(client)
        # The client has no call for this; its own HTTP session knows address and proxies.
        answer = client._client.get("/api/version").json()
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise RunError(f"What answers at {address} is not Ollama. Set OLLAMA_HOST to where it listens.")
        return OllamaServer(address, version)


def installed_models(server: OllamaServer) -> tuple[InstalledModel, ...]:
    """What ``ollama list`` shows."""
    with connected(server.host) as client:
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
        if same_name(model.model or "", name):
            return float(model.size or 0)
    return None


def longest_context(client: Any, name: str) -> int | None:
    """Tokens that a model was made for; None where the server does not tell."""
    # The client's own call fails where an old server leaves the field out.
    told = client._request_raw("POST", "/api/show", json={"model": name}).json().get("model_info") or {}
    most = told.get(f"{told.get('general.architecture')}.context_length")
    return most if isinstance(most, int) else None


def same_name(listed: str, name: str) -> bool:
    """Whether the server lists under ``listed`` what was asked for as ``name``: it ignores case, and adds a tag."""
    return listed.casefold() in (name.casefold(), f"{name}:latest".casefold())


def is_loaded(name: str) -> bool:
    """Whether a model is in the server's memory; False too when no server can be asked."""
    with suppress(RecommenderError), connected() as client:
        return loaded_bytes(client, name) is not None
    return False


def unload(name: str) -> None:
    """Make the server give a model's memory back, where it can still be asked."""
    with suppress(RecommenderError), connected() as client:
        client.generate(name, keep_alive=0)


def remove_rehearsals(own: str) -> None:
    """Remove the model that a rehearsal made, and those that others left: old enough that none is still running."""
    before = datetime.now(UTC) - _LONGEST_REHEARSAL
    with suppress(RecommenderError), connected() as client:
        for model in client.list().models:
            name, made_at = model.model or "", model.modified_at
            left = name.startswith(REHEARSAL_PREFIX) and made_at is not None and made_at < before
            if left or same_name(name, own):
                client.delete(name)


def free_bytes() -> float | None:
    """Free space where the server keeps its models; None when it is on another machine or keeps them elsewhere."""
    with connected() as client:
        if urlsplit(_address(client)).hostname not in ("127.0.0.1", "localhost", "::1"):
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
def connected(host: str | None = None, silence_s: float | None = None) -> Iterator[Any]:
    """A client of the server; within this block, what can go wrong comes out as one of our errors.

    Args:
        silence_s: how long the server may be silent in answers that come in lines. Without it only quick answers are
            expected: they are small, and there within seconds.

    Raises as ``explained`` does.
    """
    import httpx
    import ollama

    # A server may listen on all addresses; a client needs one of them.
    named = re.sub(r"\b0\.0\.0\.0\b", "127.0.0.1", host or os.environ.get("OLLAMA_HOST", ""))
    try:
        client: Any = ollama.Client(
            named or None,
            timeout=httpx.Timeout(silence_s or _QUICK_S, connect=_CONNECT_S),
            mounts=_NO_PROXY,
            event_hooks={"response": [_end_lines if silence_s else _end_quickly]},
        )
    except (ValueError, httpx.InvalidURL) as error:
        raise RuntimeMissingError(f"OLLAMA_HOST is {named!r}, which is no address. Correct it, or unset it.") from error
    try:
        with explained(_address(client)):
            yield client
    finally:
        client.close()


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Within this block, what can go wrong with a server comes out as one of our errors.

    Raises:
        RuntimeMissingError: no server answers there.
        RunError: it refused, broke off, said nothing for too long, or is no Ollama.
    """
    import httpx
    import ollama

    try:
        yield
    except RecommenderError:
        raise
    except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise RuntimeMissingError(
            f"No Ollama server answers at {address}. Install it from ollama.com/download and start it with "
            "`ollama serve`, or set OLLAMA_HOST to where it listens."
        ) from error
    except ollama.ResponseError as error:
        raise RunError(f"Ollama refused: {reason(error)}. Its log may say more.") from error
    except httpx.TimeoutException as error:
        raise RunError(f"Ollama at {address} said nothing for too long. Restart it, then try again.") from error
    except httpx.HTTPError as error:
        raise RunError(
            f"The connection to Ollama at {address} broke off. Is it still running? Then try again."
        ) from error
    except (ValueError, TypeError, AttributeError) as error:  # JSON, but not of Ollama's shapes
        raise RunError(
            f"What answers at {address} does not speak like Ollama. Check OLLAMA_HOST, or update it."
        ) from error


def reason(error: Any) -> str:
    """What an ``ollama.ResponseError`` says, on one short line."""
    said = " ".join(str(error.error).split())[:200].rstrip(".") or "no reason given"
    return f"{said} ({error.status_code})" if error.status_code > 0 else said


def _end_quickly(response: Any) -> None:
    """Give up on an answer that is too long, or still not over in time: a client's time limit starts anew each byte."""
    pieces, until = response.iter_bytes, time.monotonic() + _QUICK_S

    def limited(*_: object) -> Iterator[bytes]:
        size = 0
        for piece in pieces():
            size += len(piece)
            if size > _LONGEST_BYTES or time.monotonic() > until:
                raise RunError(f"What answers at {response.url.host} does not end its answer. Check OLLAMA_HOST.")
            yield piece

    response.iter_bytes = limited


def _end_lines(response: Any) -> None:
    """Read lines as Ollama ends them: the client's own way also splits at characters that a text may hold (U+0085)."""
    response.iter_lines = lambda: _lines(response.iter_bytes())


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        if len(held) > _LONGEST_BYTES:
            raise RunError("Ollama sent a line without an end. Restart it, or check OLLAMA_HOST.")
        yield from (line.decode() for line in whole if line.strip())
    if held.strip():
        yield held.decode()


def _address(client: Any) -> str:
    return str(client._client.base_url).rstrip("/")
