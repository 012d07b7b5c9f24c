from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.catalog.store import Catalog
from recommender.settings import Settings, forget, use

Open = Callable[..., AppTest]
_PATIENCE_S = 120


@pytest.fixture(autouse=True)
def local_door() -> Iterator[None]:
    """A page under test has no connection whose other end could be told."""
    use(Settings(door="local"))
    yield
    forget()


@pytest.fixture
def open_page(catalog: Catalog) -> Open:
    """Open a page of the app with these parameters in its URL; it must not have failed."""

    def opened(page: str = "", **params: Any) -> AppTest:
        app = AppTest.from_file(str(paths.bundled("app.py")), default_timeout=_PATIENCE_S)
        for name, value in params.items():
            app.query_params[name] = value
        app.run()
        if page:
            app.switch_page(str(Path("recommender") / "ui" / "pages" / f"{page}.py")).run()
        assert not app.exception, app.exception
        return app

    return opened
