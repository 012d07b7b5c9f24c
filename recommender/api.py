"""The same answers over HTTP as JSON, beside the pages: what ``recommender recommend --json`` prints.

FastAPI checks the form of a question and writes the OpenAPI file; whether it makes sense is decided where the command
line's questions are checked too. Every refusal is ``{"error": "a sentence"}``.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Annotated, Any, get_type_hints

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recommender import api_worker
from recommender.api_worker import LONGEST_SENTENCE
from recommender.catalog.store import Catalog
from recommender.door import limited_as
from recommender.engine.estimate_rows import EstimateRequest, estimate_one
from recommender.errors import RecommenderError
from recommender.present import answer_json
from recommender.types import Need

MOST_PICKS, MOST_MODELS, MOST_BODY_BYTES = 50, 1000, 65_536
Refuse = Callable[[str, int, Mapping[str, str]], Response]
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_DEVICE = "a preset's id (`recommender devices` lists them), or what `recommender device --json` prints"
Devices = Annotated[str | dict[str, JsonValue], Field(description=_DEVICE)]


def _model_of(kind: type, name: str, leave_out: tuple[str, ...] = (), **more: Any) -> type[BaseModel]:
    """A dataclass's fields as the form of a question: one list of fields serves pages, command line and this."""
    hints = get_type_hints(kind)
    given: dict[str, Any] = {
        field.name: (hints[field.name], ... if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(kind)
        if field.name not in leave_out
    }
    return create_model(name, __config__=_STRICT, **more, **given)


_TOP: tuple[Any, int] = (Annotated[int, Field(ge=1, le=MOST_PICKS, description="how many picks")], 10)
NeedBody = _model_of(Need, "Need")
Question = create_model("Question", __config__=_STRICT, device=(Devices, ...), need=(NeedBody, NeedBody()), top=_TOP)
QuestionQuery = _model_of(Need, "QuestionQuery", device=(str, Field(description="a preset's id")), top=_TOP)
EstimateBody = _model_of(EstimateRequest, "EstimateRequest", leave_out=("device",), device=(Devices, ...))


def api(
    catalog: Callable[[], Catalog],
    per_minute: int,
    answer: Callable[[api_worker.Question], api_worker.Answer] | None = None,
) -> FastAPI:
    """The application to mount under ``/api``.

    Args:
        catalog: gives the open catalog; called for every question.
        per_minute: questions that one address may ask a minute.
        answer: works recommendations out, such as ``api_worker.Workers()``; by default this process does.
    """
    app = FastAPI(
        title="Rightsize",
        version=metadata.version("recommender"),
        description="Names the small language model, quantization and runtime for a machine and a need.",
        docs_url=None,
        redoc_url=None,
        responses={422: {"description": "what is wrong with the question", "model": _Refusal}},
    )
    app.add_middleware(Bounds, per_minute=per_minute, refuse=_refusal)
    app.add_exception_handler(RecommenderError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _other)

    def recommended(question: api_worker.Question) -> Response:
        status, content = answer(question) if answer else api_worker.answered(catalog(), question)
        return Response(content, status, media_type="application/json")

    @app.get("/health", response_class=PlainTextResponse, summary="Whether it answers")
    def health() -> str:
        return "ok"

    @app.get("/catalog", summary="What the catalog has")
    def what_there_is(
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_MODELS)] = 100,
    ) -> JSONResponse:
        return JSONResponse(_catalog(catalog(), offset, limit))

    @app.get("/recommend", summary="Rank what fits a preset device and a need")
    def ask(query: Annotated[QuestionQuery, Query()]) -> Response:  # type: ignore[valid-type]
        given = query.model_dump()  # type: ignore[attr-defined]
        return recommended({"device": given.pop("device"), "top": given.pop("top"), "need": given})

    @app.post("/recommend", summary="Rank what fits a device and a need")
    def ask_whole(question: Question) -> Response:  # type: ignore[valid-type]
        return recommended(question.model_dump())  # type: ignore[attr-defined]

    @app.post("/estimate", summary="Bytes, memory and speed of one model and quantization on a device")
    def estimate(request: EstimateBody) -> JSONResponse:  # type: ignore[valid-type]
        given = request.model_dump()  # type: ignore[attr-defined]
        answer = estimate_one(EstimateRequest(**{**given, "device": api_worker.device_of(given["device"])}), catalog())
        return JSONResponse({"catalog_date": catalog().date, **answer_json(answer)})

    return app


def _refusal(sentence: str, status: int, headers: Mapping[str, str]) -> Response:
    return JSONResponse({"error": sentence}, status, headers)


class _Refusal(BaseModel):
    error: str


def _catalog(catalog: Catalog, offset: int, limit: int) -> dict[str, Any]:
    columns = ("model_id", "name", "family", "tier", "role", "params_total", "license", "context_max", "release_date")
    rows = catalog.models()[offset : offset + limit]
    return {
        "catalog_date": catalog.date,
        "counts": {name: catalog.count(name) for name in ("models", "gguf_files", "benchmarks", "devices", "runtimes")},
        "tasks": [task.id for task in catalog.tasks()],
        "quantizations": list(catalog.quantizations()),
        "models": [{name: getattr(row, name) for name in columns} for row in rows],
    }


class Bounds:
    """What one address may ask: so many questions a minute, and none of more than so many bytes.

    Args:
        refuse: makes the answer to a question too many of a sentence, a status and headers.
    """

    def __init__(self, app: ASGIApp, per_minute: int, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].endswith("/health"):
            await self._app(scope, receive, send)
            return
        address = limited_as(scope["client"][0]) if scope.get("client") else ""
        if not self._limiter.hit(self._limit, address):
            reset = self._limiter.get_window_stats(self._limit, address).reset_time
            wait_s = max(1, math.ceil(reset - time.time()))
            said = f"More than {self._limit.amount} questions a minute came from this address. Wait {wait_s} s."
            await self._refuse(said, 429, {"Retry-After": str(wait_s)})(scope, receive, send)
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BODY_BYTES:
                raise HTTPException(413, f"A question may have at most {MOST_BODY_BYTES:,} bytes")
            return message

        await self._app(scope, bounded, send)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────


def _refused(_: Request, error: Exception) -> Response:
    status, content = api_worker.refusal(error)
    return Response(content, status, media_type="application/json")


def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    said = f"{where}: {first['msg']}." if where else f"{first['msg']}."
    return JSONResponse({"error": said.encode("utf-8", "replace").decode()[:LONGEST_SENTENCE]}, 422)


def _other(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}."}, error.status_code, error.headers)
