from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.catalog import Catalog
from recommender.device import preset
from recommender.engine.ladder import ladder
from recommender.engine.scenarios import Situation, situations
from recommender.types import Need
from recommender.ui.ladder_chart import chart_words, ladder_chart
from recommender.ui.limits import question
from tests.ui.conftest import Open

# A value of every field of a need that asks for something.
ASKED: dict[str, Any] = {
    "task": "code",
    "priority": "quality",
    "languages": ("de", "zh"),
    "context_tokens": 8192,
    "min_decode_tokens_per_s": 2.5,
    "max_ttft_s": 30.0,
    "max_answer_time_s": 600.0,
    "memory_reserve_bytes": float(2**30),
    "disk_reserve_bytes": float(2**30),
    "commercial": True,
    "offline": True,
    "platform": "linux",
    "form_factor": "laptop",
    "accelerator": "cpu",
    "users": 2,
    "placement": "any",
    "enterprise": ("audit",),
    "own_conversion": True,
    "experimental": True,
    "all_quantizations": True,
    "models": ("Qwen/Qwen3-4B",),
    "quantizations": ("Q4_K_M", "Q8_0"),
    "runtimes": ("llama.cpp",),
}


@pytest.fixture(scope="module")
def answered(catalog: Catalog) -> tuple[Situation, ...]:
    return situations(catalog)


def _words(app: AppTest) -> str:
    return " ".join(str(element.value) for kind in ("markdown", "caption", "header") for element in app.get(kind))


def _links(app: AppTest) -> list[dict[str, list[str]]]:
    """The questions of the page's links to Find."""
    found = [urlsplit(element.proto.url) for element in app.get("link_button")]
    assert all((link.scheme, link.netloc, link.path) == ("", "", "./") for link in found)
    return [parse_qs(link.query) for link in found]


def test_tiers_ladder_and_situations_are_there_at_once(open_page: Open) -> None:
    app = open_page("guide")
    assert [header.value for header in app.header] == ["Tiers", "The quantization ladder", "The guide's situations"]
    assert [name.split(" ")[0] for name in app.table[0].value["Tier"]] == [
        "**Micro**",
        "**Small**",
        "**Medium**",
        "**Large**",
    ]
    assert "12 of 14 agree with the guide" in _words(app)
    assert _words(app).count(":orange-badge[differs]") == 2


def test_the_ladder_of_a_model_in_the_url_is_shown(open_page: Open) -> None:
    app = open_page("guide", ladder_model="Qwen3-0.6B", ladder_context="8192")
    assert "**Qwen3-0.6B**" in _words(app).replace("\\", "")
    assert "8,192 tokens" in _words(app)
    steps = app.dataframe[0].value
    assert steps["Quantization"].iloc[0] == "F16"
    assert steps["Saved"].iloc[0] == 0.0
    beside = app.table[1].value
    assert list(beside["Type"]) == ["F16", "Q8_0", "Q4_0"]
    assert beside["Lesson's size"].iloc[2].startswith("0.35 GB, 71% saved")


def test_a_step_that_cannot_be_had_stands_in_the_table_and_its_reason_below(open_page: Open) -> None:
    app = open_page("guide", ladder_model="Qwen3-0.6B")
    steps = app.dataframe[0].value.set_index("Quantization")
    assert steps.loc["I2_S", "Fits"] == "no"
    assert "**I2_S**: it is for models that were trained in it" in _words(app).replace("\\", "")


def test_every_model_of_the_catalog_can_be_chosen(open_page: Open, catalog: Catalog) -> None:
    app = open_page("guide")
    assert len(app.selectbox(key="ladder_model").options) == catalog.count("models")


def test_a_context_above_the_models_is_said_and_the_situations_stay(open_page: Open) -> None:
    app = open_page("guide", ladder_model="Qwen3-0.6B", ladder_context="99999999")
    assert any("reads at most" in error.value for error in app.error)
    assert "12 of 14 agree" in _words(app)


def test_without_a_chosen_device_the_situations_are_still_answered(open_page: Open) -> None:
    app = open_page("guide")
    app.segmented_control(key="device").set_value("From the list").run()
    assert [header.value for header in app.header] == ["The guide's situations"]
    assert "12 of 14 agree" in _words(app)


def test_with_the_whole_catalog_each_difference_has_its_numbers(open_page: Open) -> None:
    app = open_page("guide", whole_catalog="true")
    differing = _words(app).count(":orange-badge[differs]")
    assert differing > 2
    assert _words(app).count("score ") == differing
    assert not any("models" in link for link in _links(app))


@pytest.fixture(scope="module")
def links(catalog: Catalog) -> list[dict[str, list[str]]]:
    app = AppTest.from_file(str(paths.bundled("app.py")), default_timeout=120).run()
    app.switch_page(str(Path("recommender") / "ui" / "pages" / "guide.py")).run()
    return _links(app)


def test_every_situation_has_a_link(links: list[dict[str, list[str]]], answered: tuple[Situation, ...]) -> None:
    assert len(links) == len(answered) == 14


@pytest.mark.parametrize("place", range(14))
def test_a_situations_link_opens_the_same_answer(
    place: int, answered: tuple[Situation, ...], links: list[dict[str, list[str]]], open_page: Open
) -> None:
    one = answered[place]
    app = open_page(**links[place])
    assert one.pick is not None
    assert app.header[0].value.replace("\\", "") == one.pick.name
    assert app.code[0].value == one.pick.command


def test_no_field_of_a_need_is_left_out_of_the_url(open_page: Open, catalog: Catalog) -> None:
    assert set(ASKED) == {field.name for field in fields(Need)}
    nothing = question(Need())
    for name, value in ASKED.items():
        assert question(replace(Need(), **{name: value})) != nothing, name


def test_every_limit_of_a_need_survives_the_trip_through_the_url(open_page: Open, catalog: Catalog) -> None:
    app = open_page(**question(Need(**ASKED)))
    state = app.session_state
    assert (state["task"], state["priority"]) == ("code", "quality")
    assert (state["context"], state["min_decode"], state["max_ttft"], state["max_answer"]) == (8192, 2.5, 30.0, 600.0)
    assert (state["reserve_memory"], state["reserve_disk"], state["users"]) == (1.0, 1.0, 2)
    assert (state["languages"], state["placement"], state["accelerator"]) == ("de,zh", "any", "cpu")
    assert (state["platform"], state["form_factor"], list(state["enterprise"])) == ("linux", "laptop", ["audit"])
    for name in ("commercial", "offline", "own_conversion", "experimental", "all_quants"):
        assert state[name] is True, name
    assert list(state["models"]) == ["Qwen/Qwen3-4B"]
    assert list(state["quants"]) == ["Q4_K_M", "Q8_0"]
    assert list(state["runtimes"]) == ["llama.cpp"]


def test_the_chart_marks_what_does_not_fit_and_its_words_say_so(catalog: Catalog) -> None:
    rungs = ladder("Qwen/Qwen3-8B", preset("macbook-air-m1", 8), 4096, catalog)
    grey = next(trace for trace in ladder_chart(rungs).data if trace.name == "File that does not fit here")
    out = [rung.quantization for rung in rungs if rung.file_bytes is not None and not rung.fits]
    assert out
    assert [name for name, height in zip(grey.x, grey.y, strict=True) if height is not None] == out
    assert chart_words(rungs, "Qwen3-8B").count("does not fit") == len(out)
