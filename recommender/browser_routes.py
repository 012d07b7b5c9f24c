"""What the app serves to models in the visitor's browser: wllama's files, model files, and weightless ones.

A page that is isolated by two headers may use threads there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recommender import browser_assets
from recommender.api import Bounds
from recommender.catalog.queries import architecture_of
from recommender.catalog.store import Catalog
from recommender.errors import BadInputError, RecommenderError, UnknownNameError
from recommender.estimate.tensors import layout
from recommender.runner.weightless import weightless
from recommender.settings import Settings

__all__ = ["REHEARSED_BYTES", "Isolated", "browser_routes", "served_models"]

REHEARSED_BYTES = 1.5e9  # the largest model that is rehearsed in a browser
_FOREVER = "public, max-age=31536000, immutable"
_KINDS = {".js": "text/javascript", ".wasm": "application/wasm"}
_KEPT = 4  # weightless files, of some MB each
_MADE_PER_MINUTE = 20  # for one address: each takes the process that draws the pages half a second


class Isolated:
    """Middleware: the page shares no memory with others, so the browser lets it use threads.

    ``credentialless`` and not ``require-corp``: files of the Hub may still be fetched.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def isolated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Cross-Origin-Embedder-Policy"] = "credentialless"
            await send(message)

        await self._app(scope, receive, isolated if scope["type"] == "http" else send)


def served_models(settings: Settings) -> dict[str, Path]:
    """The GGUF files that visitors may run, by name. A link that leads out of the folder is none of them."""
    if not settings.browser_models:
        return {}
    folder = Path(settings.browser_models).expanduser().resolve()
    found = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    return {path.name: path for path in found if path.is_file() and path.resolve().parent == folder}


def browser_routes(catalog: Callable[[], Catalog], settings: Settings) -> list[Route]:
    """The routes below ``/browser``. ``catalog`` is called with each question, so that a refresh is seen."""

    def engine(request: Request) -> Response:
        folder = browser_assets.folder()
        name, wanted = request.path_params["file"], request.path_params["version"]
        if folder is None or wanted != browser_assets.version():
            return _refused("wllama was not fetched here. `recommender browser-assets` does it.", 404)
        for one in browser_assets.assets():
            if one.file == name and (kind := _KINDS.get(Path(name).suffix)):
                headers = {"Cache-Control": _FOREVER, "Content-Encoding": "gzip"}
                return FileResponse(folder / browser_assets.stored_as(one), headers=headers, media_type=kind)
        return _refused("wllama has no such file.", 404)

    def model(request: Request) -> Response:
        path = served_models(settings).get(request.path_params["file"])
        if path is None:
            return _refused("There is no such file.", 404)
        # Weights do not get smaller by gzip, and without their length there is no progress.
        return FileResponse(path, headers={"Content-Encoding": "identity"}, media_type="application/octet-stream")

    @lru_cache(maxsize=_KEPT)
    def made(_: str, model_id: str, quantization: str) -> bytes:
        arch = architecture_of(catalog(), model_id)
        if layout(arch, quantization).file_bytes > REHEARSED_BYTES:
            raise BadInputError(f"Models up to {REHEARSED_BYTES / 1e9} GB are rehearsed in a browser.")
        file = weightless(arch, quantization)
        pieces = [[offset, len(data)] for offset, data in file.pieces]
        head = json.dumps({"total_bytes": file.total_bytes, "pieces": pieces}).encode()
        return b"".join((head, b"\n", *(data for _, data in file.pieces)))

    def rehearsal(request: Request) -> Response:
        asked = request.query_params
        try:
            body = made(catalog().date, asked.get("model", ""), asked.get("quant", ""))
        except RecommenderError as error:
            return _refused(str(error), 404 if isinstance(error, UnknownNameError) else 422)
        return Response(body, media_type="application/octet-stream")

    most = min(settings.api_per_minute, _MADE_PER_MINUTE)
    bounds = Middleware(Bounds, per_minute=most, refuse=_refused)
    return [
        Route("/browser/engine/{version}/{file}", engine),
        Route("/browser/models/{file}", model),
        Route("/browser/weightless", rehearsal, middleware=[bounds]),
    ]


def _refused(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence[:500]}, status, headers)
