from __future__ import annotations

import io
import zipfile

from streamlit.testing.v1 import AppTest

from recommender.runtimes import Recipe, Step
from recommender.ui.recipe_view import archive
from tests.ui.conftest import Open

LISTED = {"device": "From the list", "preset": "NVIDIA GeForce RTX 4060"}


def _codes(app: AppTest) -> list[str]:
    return [code.value for code in app.code]


def test_the_recipe_is_one_click_away_and_not_made_before(open_page: Open) -> None:
    assert len(_codes(open_page())) == 1
    app = open_page(setup="true")
    texts = _codes(app)
    assert any(text.startswith("recommender measure ") for text in texts)
    assert len(texts) > 3


def test_every_recipe_ends_with_its_check_and_its_measurement(open_page: Open) -> None:
    app = open_page(setup="true")
    headings = [text.value for text in app.markdown if text.value.startswith("**") and ". " in text.value[:6]]
    assert any("Check that it works" in text for text in headings)
    assert any("Measure it" in text for text in headings)


def test_the_archive_holds_the_recipe_and_each_of_its_files() -> None:
    step = Step("A file", "FROM x", "dockerfile", file_name="Dockerfile")
    recipe = Recipe("A pick", (step,), Step("Check", "true"), Step("Measure", "true"))
    with zipfile.ZipFile(io.BytesIO(archive(recipe))) as packed:
        assert set(packed.namelist()) == {"recipe.md", "Dockerfile"}
        assert packed.read("Dockerfile") == b"FROM x"
        assert "## A file (`Dockerfile`)" in packed.read("recipe.md").decode()
    assert archive(recipe) == archive(recipe)
