from __future__ import annotations

import re

from tests.ui.conftest import Open

FOUR_B, SMALL = "Qwen/Qwen3-4B Q4_K_M llama.cpp", "Qwen/Qwen3-0.6B Q8_0 llama.cpp"
LISTED = {"device": "From the list", "preset": "NVIDIA GeForce RTX 4060"}


def _texts(app: object) -> str:
    return " ".join(str(one.value) for kind in ("markdown", "caption", "info", "error") for one in app.get(kind))  # type: ignore[attr-defined]


def test_without_picks_the_page_says_how_to_choose_and_offers_the_first(open_page: Open) -> None:
    app = open_page("compare", **LISTED)
    assert "Choose 2 to 4 picks" in app.info[0].value
    app.button(key="compare_first").click().run()
    assert not app.exception
    assert len(app.multiselect(key="pick").value) == 3
    assert app.table


def test_a_link_shows_the_same_comparison(open_page: Open) -> None:
    app = open_page("compare", pick=[FOUR_B, SMALL], **LISTED)
    assert app.multiselect(key="pick").value == [FOUR_B, SMALL]
    table = app.table[0].value
    assert len(table.columns) == 3
    assert "Decode" in " ".join(table.iloc[:, 0])
    assert re.search(r"tok/s", " ".join(table.iloc[:, 1]))
    assert "est in quality" in _texts(app)


def test_a_pick_that_does_not_fit_is_shown_with_its_reason(open_page: Open) -> None:
    app = open_page("compare", pick=[FOUR_B, "Qwen/Qwen3-4B Q4_K_M bitnet.cpp"], **LISTED)
    assert "cannot load" in _texts(app)
    assert len(app.table[0].value.columns) == 3


def test_only_differences_are_shown_on_request(open_page: Open) -> None:
    app = open_page("compare", pick=[FOUR_B, SMALL], **LISTED)
    every = len(app.table[0].value)
    app.toggle(key="differences").set_value(True).run()
    assert not app.exception
    assert len(app.table[0].value) < every
    assert all("≠" in label or label.startswith("**") for label in app.table[0].value.iloc[:, 0])


def test_hostile_and_broken_picks_in_the_link_do_no_harm(open_page: Open) -> None:
    app = open_page("compare", pick=["<script>alert(1)</script>", "a b c", "x; rm Q4 llama.cpp"], **LISTED)
    assert "is not a pick" in _texts(app)
    assert "<script>" not in _texts(app)


def test_it_is_saved_as_markdown_json_and_image(open_page: Open) -> None:
    app = open_page("compare", pick=[FOUR_B, SMALL], **LISTED)
    labels = [one.proto.label for one in app.get("download_button")]
    assert labels == ["Markdown", "JSON", "Image (SVG)"]
