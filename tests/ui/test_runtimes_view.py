"""The page says of every runtime how it compares with the pick, or why it is none."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from recommender.device import preset
from recommender.runtimes import all_runtimes
from recommender.ui.words import plain
from tests.ui.conftest import Open


def _cells(app: AppTest) -> list[str]:
    return [str(cell) for table in app.table for cell in table.value.to_numpy().ravel()]


def test_how_it_was_decided_lists_every_runtime(open_page: Open) -> None:
    cells = _cells(open_page(show="How it was decided"))
    for runtime in all_runtimes():
        assert plain(runtime.name) in cells
    assert "the pick" in cells
    assert any("on-device was asked" in cell for cell in cells)


def test_where_nothing_fits_each_runtime_has_its_reason(open_page: Open) -> None:
    app = open_page(device="From the list", preset=preset("pixel-8").name, runtimes="ollama")
    assert app.header[0].value == "Nothing fits all of this"
    cells = _cells(app)
    assert any("not on Android" in cell for cell in cells)
    assert any("is not among the runtimes asked for" in cell for cell in cells)
