from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.catalog.store import Catalog

Open = Callable[..., AppTest]
_PATIENCE_S = 120


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
