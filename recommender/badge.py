"""A badge to embed elsewhere, as SVG: "Qwen3 4B Q4_K_M | 38 tok/s on RTX 4060 (estimated)"."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import escape
from importlib import metadata

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from recommender.api import Bounds
from recommender.catalog.queries import find_model
from recommender.catalog.store import Catalog
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.engine.words import rate
from recommender.errors import BadInputError, RecommenderError, UnknownNameError
from recommender.picture import text_width
from recommender.types import Need

__all__ = ["badge", "badge_svg"]

_NEEDED, _OPTIONAL = ("model", "quantization", "device"), ("runtime", "task")
_KEPT_S = 3600  # how long an image proxy may show it without asking again
_HEIGHT, _SIZE, _PADDING, _LONGEST = 20, 11, 7, 160
_LABEL, _GOOD, _BAD = "#3F4A47", "#0F6B5C", "#B3261E"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",  # it is made to be shown on other sites
}


def badge(catalog: Callable[[], Catalog], per_minute: int) -> Route:
    """The route ``/badge.svg``.

    Args:
        catalog: gives the open catalog; called for every badge.
        per_minute: badges that one address may ask a minute.
    """

    def answer(request: Request) -> Response:
        try:
            asked = _checked(request.query_params.multi_items())
            opened = catalog()
            tag = _tag(opened, asked)
            headers = {"ETag": tag, "Cache-Control": f"public, max-age={_KEPT_S}"}
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=_HEADERS | headers)
            return _svg(badge_svg(*_words(asked, opened)), 200, headers)
        except RecommenderError as error:
            return refuse(str(error), 404 if isinstance(error, UnknownNameError) else 422, {})

    def refuse(sentence: str, status: int, headers: Mapping[str, str]) -> Response:
        return _svg(badge_svg("Rightsize", sentence, _BAD), status, {"Cache-Control": "no-store", **headers})

    bounds = Middleware(Bounds, per_minute=per_minute, refuse=refuse)
    return Route("/badge.svg", answer, methods=["GET"], middleware=[bounds])


def badge_svg(label: str, message: str, colour: str = _GOOD) -> str:
    """Two texts side by side. Any text will do: it is escaped, and cut where it is too long."""
    left, right = (_shown(text) for text in (label, message))
    wide = [round(text_width(text, _SIZE) * 1.04) + 2 * _PADDING for text in (left, right)]
    spoken = escape(f"{left}: {right}")
    texts = "".join(
        f'<text x="{x}" y="14" textLength="{width - 2 * _PADDING}" lengthAdjust="spacingAndGlyphs">{escape(text)}'
        "</text>"
        for text, x, width in ((left, _PADDING, wide[0]), (right, wide[0] + _PADDING, wide[1]))
        if text
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{sum(wide)}" height="{_HEIGHT}" role="img" '
        f'aria-label="{spoken}"><title>{spoken}</title>'
        f'<clipPath id="r"><rect width="{sum(wide)}" height="{_HEIGHT}" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{wide[0]}" height="{_HEIGHT}" fill="{_LABEL}"/>'
        f'<rect x="{wide[0]}" width="{wide[1]}" height="{_HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{_SIZE}">{texts}</g></svg>'
    )


def _shown(text: str) -> str:
    line = " ".join(_NO_XML.sub("\ufffd", text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _svg(body: str, status: int, headers: Mapping[str, str]) -> Response:
    return Response(body, status, {**_HEADERS, **headers}, "image/svg+xml")


def _checked(given: list[tuple[str, str]]) -> dict[str, str]:
    asked = dict(given)
    names = (*_NEEDED, *_OPTIONAL)
    for name in asked:
        if name not in names:
            raise BadInputError(f"A badge has no {name!r}. It takes {', '.join(names)}.")
    for name in _NEEDED:
        if not asked.get(name):
            raise BadInputError(f"Which {name}? A badge takes {', '.join(names)}.")
    if len(asked) < len(given):
        raise BadInputError("Each part of a badge is given once.")
    return asked


def _words(asked: Mapping[str, str], catalog: Catalog) -> tuple[str, str]:
    """What the badge says: the figure that Find shows for this model and machine.

    Raises:
        RecommenderError: something is not in the catalog.
    """
    device, model = preset(asked["device"]), find_model(catalog, asked["model"])
    need = Need(
        task=asked.get("task", "chat"),
        models=(model.model_id,),
        quantizations=(asked["quantization"],),
        runtimes=(asked["runtime"],) if asked.get("runtime") else (),
    )
    label = f"{model.name} {asked['quantization']}"
    # Published files and settled set-ups first, as on Find; then what one would have to convert oneself.
    for question in (need, replace(need, own_conversion=True, experimental=True)):
        answer = recommend(device, question, catalog, top=1)
        if answer.picks and (speed := answer.picks[0].estimate.decode_tokens_per_s):
            return label, f"{rate(speed.value)} on {device.name} ({speed.provenance})"
    why = answer.near_misses[0].reason if answer.near_misses else "does not fit"
    return label, f"not on {device.name}: {why}"


def _tag(catalog: Catalog, asked: Mapping[str, str]) -> str:
    """Another one when the catalog, the program or the question is another."""
    parts = (metadata.version("recommender"), catalog.fingerprint, catalog.date, *map(str, sorted(asked.items())))
    return f'"{hashlib.sha256("|".join(parts).encode("utf-8", "replace")).hexdigest()[:24]}"'
