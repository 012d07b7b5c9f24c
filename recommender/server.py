"""The app over HTTP: ``app.py`` behind Streamlit's own server, with a health route beside it."""

from __future__ import annotations

import errno
import importlib
import os
import socket
import sys
import threading
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recommender import paths
from recommender.errors import BadInputError
from recommender.settings import Settings, use

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_READY_TRIES, _READY_PAUSE_S = 60, 0.5
_UPLOADS = "/_stcore/upload_file/"


class NoUploads:
    """Middleware: no page asks for a file, yet Streamlit's route would keep any number of them in memory for whoever
    has a session."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _UPLOADS in scope["path"]:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)


def serve(settings: Settings) -> None:
    """Serve pages and API until it is stopped. ``.streamlit/config.toml`` holds unless the environment differs."""
    import streamlit as st
    from starlette.middleware import Middleware
    from starlette.routing import Mount

    from recommender.api import api
    from recommender.api_worker import OpenCatalog, Workers
    from recommender.badge import badge
    from recommender.browser_routes import Isolated, browser_routes

    use(settings)
    host, port = settings.host, settings.port
    if settings.browser and has_screen():
        threading.Thread(target=_open_when_ready, args=(f"http://{host}:{port}",), daemon=True).start()
    _load()
    catalog, per_minute = OpenCatalog(), settings.api_per_minute
    questions = Mount("/api", api(catalog, per_minute, Workers()))
    routes = [questions, badge(catalog, per_minute), *browser_routes(catalog, settings)]
    middleware = [Middleware(NoUploads), *([Middleware(Isolated)] if settings.isolate else [])]
    app = st.App(str(paths.bundled("app.py")), routes=routes, middleware=middleware)
    app.run(config={**shipped_config(), "server.address": host, "server.port": port})


def _load() -> None:
    """Load what every page needs, so that the first visitor does not wait for it."""
    for name in ("pandas", "pyarrow", "plotly.graph_objects", "recommender.engine.recommend", "recommender.trial"):
        importlib.import_module(name)


def check_address(host: str, port: int) -> None:
    """Raise a sentence when nothing could listen there, before anything heavy is loaded.

    Raises:
        BadInputError: the port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if sys.platform != "win32":
            # As the server does: a port that an ended server left waiting is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                why = "is taken by another program" if error.errno == errno.EADDRINUSE else "may not be used"
                raise BadInputError(f"Port {port} {why}. Choose another one with --port.") from error
            raise BadInputError(f"{host} is not an address of this machine: {error}. See --host.") from error


def _open_when_ready(address: str) -> None:
    """Wait until the server answers, at most half a minute, then open the page."""
    for _ in range(_READY_TRIES):
        try:
            with urllib.request.urlopen(f"{address}/api/health", timeout=2):
                break
        except OSError:
            time.sleep(_READY_PAUSE_S)
    else:
        return
    webbrowser.open(address)


def has_screen() -> bool:
    """Whether a browser window could open here. Without a screen Python would start a text browser in the terminal."""
    return sys.platform in ("win32", "darwin") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def shipped_config() -> dict[str, Any]:
    """``.streamlit/config.toml`` as dotted options, each from its environment variable where that is set.

    Raises:
        BadInputError: a variable has no value of its option's kind.
    """
    with (paths.bundled(".streamlit") / "config.toml").open("rb") as file:
        return {**_dotted(tomllib.load(file)), **_from_environment()}


def _from_environment() -> dict[str, Any]:
    """Streamlit itself reads these variables in ``streamlit run`` only, and those of secrets everywhere."""
    import click
    from streamlit import config

    found: dict[str, Any] = {}
    # Not ``get_config_options``: it reads the configuration, and ``run`` then says that the server must be restarted.
    for name, option in config._config_options_template.items():
        text = os.environ.get(option.env_var)
        if text is None or option.sensitive:
            continue
        kind = click.types.convert_type(option.type)
        try:
            found[name] = [kind(part) for part in text.split()] if option.multiple else kind(text)
        except click.BadParameter as error:
            raise BadInputError(f"{option.env_var} cannot be {text!r}: {error.message}") from None
    return found


def _dotted(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            options.update(_dotted(value, f"{prefix}{name}."))
        else:
            options[prefix + name] = value
    return options
