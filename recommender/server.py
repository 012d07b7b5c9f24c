"""The app over HTTP: ``app.py`` behind Streamlit's own server, with a health route beside it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Mapping
from typing import Any

from recommender import paths
from recommender.errors import BadInputError
from recommender.settings import Settings, use

_READY_TRIES, _READY_PAUSE_S = 60, 0.5


def serve(settings: Settings) -> None:
    """Serve pages and API until it is stopped. ``.streamlit/config.toml`` holds unless the environment differs."""
    import streamlit as st
    from starlette.routing import Mount

    from recommender.api import OpenCatalog, api
    from recommender.badge import badge

    use(settings)
    host, port = settings.host, settings.port
    if settings.browser and has_screen():
        threading.Thread(target=_open_when_ready, args=(f"http://{host}:{port}",), daemon=True).start()
    catalog, per_minute = OpenCatalog(), settings.api_per_minute
    routes = [Mount("/api", api(catalog, per_minute)), badge(catalog, per_minute)]
    app = st.App(str(paths.bundled("app.py")), routes=routes)
    app.run(config={**shipped_config(), "server.address": host, "server.port": port})


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
    """``.streamlit/config.toml`` as dotted options, less those that an environment variable sets."""
    with (paths.bundled(".streamlit") / "config.toml").open("rb") as file:
        options = _dotted(tomllib.load(file))
    return {name: value for name, value in options.items() if _variable(name) not in os.environ}


def _dotted(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            options.update(_dotted(value, f"{prefix}{name}."))
        else:
            options[prefix + name] = value
    return options


def _variable(option: str) -> str:
    """The environment variable of an option: "server.maxUploadSize" is STREAMLIT_SERVER_MAX_UPLOAD_SIZE."""
    words = "".join(f"_{char}" if char.isupper() else char for char in option.replace(".", "_"))
    return f"STREAMLIT_{words.upper()}"
