from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from recommender.catalog.explore import listed
from recommender.catalog.store import Catalog
from recommender.ui.explore_view import licence_sentence
from tests.ui.conftest import Open

KNOWN = "Qwen/Qwen3-4B"
TABS = ["On this device", "Numbers", "Files", "Benchmarks", "Where it is listed", "History"]


def _texts(app: AppTest) -> str:
    return " ".join(str(one.value) for kind in ("markdown", "caption", "header", "error") for one in app.get(kind))


def _names(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["Model"])


def test_the_whole_catalog_is_there_before_anything_is_asked(open_page: Open, catalog: Catalog) -> None:
    app = open_page("explore")
    assert f"**{catalog.count('models')}** models" in _texts(app)
    assert len(_names(app)) == 12
    assert {"Tier", "Licence", "Smallest file", "File is", "Released", "State", "Benchmarks"} <= set(
        app.dataframe[0].value.columns
    )


def test_a_search_is_answered_at_once(open_page: Open) -> None:
    app = open_page("explore")
    app.text_input(key="q").set_value("qwen3 4b").run()
    assert not app.exception
    assert "Qwen3-4B" in _names(app)
    assert all("4" in name for name in _names(app))


def test_a_link_with_filters_an_order_and_a_model_shows_just_that(open_page: Open) -> None:
    app = open_page("explore", tier=["Micro"], use=["Commercial use"], order="Fewest parameters", chosen=KNOWN)
    table = app.dataframe[0].value
    assert set(table["Tier"]) == {"Micro"}
    assert list(table["Parameters"]) == sorted(table["Parameters"])
    assert app.selectbox(key="order").value == "Fewest parameters"
    assert "Qwen3-4B" in [header.value for header in app.header]
    assert "Apache\\" in _texts(app) or "Apache-2.0" in _texts(app)


def test_another_page_shows_other_models_and_another_question_starts_at_the_first(open_page: Open) -> None:
    first = _names(open_page("explore"))
    app = open_page("explore", p="2")
    second = _names(app)
    assert not set(first) & set(second)
    app.selectbox(key="order").set_value("Name").run()
    assert not app.exception
    names = [name.lower() for name in _names(app)]
    assert names == sorted(names)
    assert names[0][0] in "0123456789a"


def test_filters_are_named_and_cleared_together(open_page: Open, catalog: Catalog) -> None:
    app = open_page("explore", q="qwen", reads="8192", calls_tools="true", file_gib="3")
    for words in ("“qwen”", "context of 8,192", "calls tools", "at most 3 GiB"):
        assert words in _texts(app)
    app.button(key="clear_filters").click().run()
    assert not app.exception
    assert f"**{catalog.count('models')}** models" in _texts(app)
    assert app.text_input(key="q").value == ""
    assert app.toggle(key="calls_tools").value is False


def test_when_nothing_passes_each_filter_says_what_it_costs_and_one_press_relaxes_it(open_page: Open) -> None:
    app = open_page("explore", q="qwen3", tier=["Micro"], reads="100000000")
    assert app.header[0].value == "No model passes all of these filters"
    button = app.button(key="without_context_tokens")
    assert button.label.split(" without ")[0].isdigit()
    button.click().run()
    assert not app.exception
    assert len(_names(app)) == int(button.label.split(" without ")[0])


def test_where_no_single_filter_is_to_blame_all_can_be_cleared(open_page: Open, catalog: Catalog) -> None:
    app = open_page("explore", q="zzzz", reads="100000000")
    assert "No single one is to blame" in _texts(app)
    app.button(key="clear_all_filters").click().run()
    assert not app.exception
    assert f"**{catalog.count('models')}** models" in _texts(app)


@pytest.mark.parametrize("tab", TABS)
def test_each_part_of_a_model_opens_from_the_url(open_page: Open, tab: str) -> None:
    app = open_page("explore", chosen=KNOWN, about=tab)
    assert not app.error
    tables = [set(one.value.columns) for one in app.dataframe[1:]]
    expected = {
        "On this device": {"tok/s", "Range", "Speed is", "Memory"},
        "Numbers": {"Number", "Value", "From"},
        "Files": {"Bytes", "Repository", "Bytes are"},
        "Benchmarks": {"Benchmark", "Score", "From"},
        "History": {"Model", "Released", "To this model"},
    }
    if tab in expected:
        assert any(expected[tab] <= columns for columns in tables)
    else:
        assert "No live source has been asked" in _texts(app)


def test_files_are_listed_with_their_exact_bytes(open_page: Open, catalog: Catalog) -> None:
    app = open_page("explore", chosen=KNOWN, about="Files")
    shown = app.dataframe[1].value
    assert [int(one) for one in shown["Bytes"]] == [file.bytes for file in catalog.files(KNOWN)]


def test_the_tiles_say_where_their_numbers_come_from(open_page: Open) -> None:
    app = open_page("explore", chosen=KNOWN)
    assert [metric.label for metric in app.metric] == [
        "Parameters",
        "Context, tokens",
        "Smallest file",
        "Benchmark scores",
    ]
    notes = [text.value for text in app.markdown if text.value.startswith(":small[:gray[")]
    assert len(notes) >= len(app.metric)
    assert not any(note == ":small[:gray[]]" for note in notes)


def test_the_links_ask_the_other_pages_for_this_model_on_this_device(open_page: Open) -> None:
    app = open_page("explore", chosen=KNOWN)
    app.number_input(key="total").set_value(64.0).run()
    assert not app.exception
    links = {one.proto.label: one.proto.url for one in app.get("link_button")}
    assert parse_qs(urlsplit(links["Find with this model"]).query) == {"total": ["64.0"], "models": [KNOWN]}
    assert links["Try"] == "./try-it?model=Qwen3-4B"
    assert links["Its quantization ladder"].startswith("./guide?total=64.0&ladder_model=")


def test_a_model_is_closed_again(open_page: Open) -> None:
    app = open_page("explore", chosen=KNOWN)
    app.button(key="close").click().run()
    assert not app.exception
    assert not app.header
    assert "chosen" not in app.query_params


def test_a_model_without_a_ladder_still_has_its_runtimes_figures(open_page: Open, catalog: Catalog) -> None:
    [(model_id,)] = (
        catalog.cursor()
        .execute(
            "SELECT model_id FROM models WHERE model_id NOT IN (SELECT model_id FROM variants WHERE format = 'gguf')"
            " AND model_id IN (SELECT model_id FROM candidates WHERE format <> 'managed') LIMIT 1"
        )
        .fetchall()
    )
    app = open_page("explore", chosen=model_id)
    assert not app.error
    assert "tok/s" in set(app.dataframe[1].value.columns)


@pytest.mark.parametrize(
    "params",
    [
        {"chosen": "no/such"},
        {"chosen": "<script>alert(1)</script>"},
        {"q": "<img src=x onerror=alert(1)> [a](http://x) $x$"},
        {"tier": ["Gigantic"], "state": ["asleep"]},
        {"order": "Prettiest"},
        {"p": "-1"},
        {"p": "99999"},
        {"p": "two"},
        {"reads": "-5", "file_gib": "nan", "since": "yesterday"},
        {"file_gib": "inf"},
        {"family": ["nobody's"], "taken_by": ["abacus"], "license": ["mine"], "speaks": ["xx"]},
        {"about": "Everything", "chosen": KNOWN},
    ],
)
def test_values_in_the_url_that_make_no_sense_do_no_harm(open_page: Open, params: dict[str, Any]) -> None:
    app = open_page("explore", **params)
    assert app.dataframe or app.header or app.error
    assert not re.search(r"(?<!\\)<(script|img)", _texts(app))  # escaped, it is text


@pytest.mark.parametrize(
    ("licence", "use", "said"),
    [
        ("Apache-2.0", "yes", "allows commercial use."),
        ("Gemma Terms of Use", "conditions", "under conditions"),
        ("CC-BY-NC-4.0", "no", "forbids commercial use."),
        ("Odd", "unknown", "says nothing that is recorded"),
        ("", "unknown", "is not recorded"),
        ("[x](http://evil)", "yes", "\\[x\\]\\(http\\:\u2060//evil\\)"),
    ],
)
def test_the_licence_is_a_sentence(catalog: Catalog, licence: str, use: str, said: str) -> None:
    row = listed(catalog, KNOWN)
    assert row is not None
    sentence = licence_sentence(replace(row, license=licence, commercial_use=use))
    assert said in sentence
    assert sentence.endswith(".")
