from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from recommender.catalog import Catalog
from recommender.engine.scenarios import Situation, situations
from recommender.types import Need
from recommender.ui.inputs import listed
from recommender.ui.limits import question
from tests.ui.conftest import Open


@pytest.fixture(scope="module")
def answered(catalog: Catalog) -> tuple[Situation, ...]:
    return situations(catalog)


def _words(app: AppTest) -> str:
    return " ".join(str(element.value) for kind in ("markdown", "caption", "header") for element in app.get(kind))


def test_tiers_ladder_and_situations_are_there_at_once(open_page: Open) -> None:
    app = open_page("guide")
    assert [header.value for header in app.header] == ["Tiers", "The quantization ladder", "The guide's situations"]
    assert list(app.table[0].value["Tier"]) == ["**Micro**", "**Small**", "**Medium**", "**Large**"]
    assert "12 of 14 agree with the guide" in _words(app)
    assert _words(app).count(":orange-badge[differs]") == 2


def test_the_ladder_of_a_model_in_the_url_is_shown(open_page: Open) -> None:
    app = open_page("guide", ladder_model="Qwen3-0.6B", ladder_context="8192")
    assert "**Qwen3\\-0.6B**" in _words(app) or "**Qwen3-0.6B**" in _words(app)
    assert "8,192 tokens" in _words(app)
    ladder = app.dataframe[0].value
    assert ladder["Quantization"].iloc[0] == "F16"
    assert ladder["Saved"].iloc[0] == 0.0
    assert "Its rule for memory" in app.table[1].value.columns


def test_a_context_above_the_models_is_said(open_page: Open) -> None:
    app = open_page("guide", ladder_model="Qwen3-0.6B", ladder_context="99999999")
    assert any("reads at most" in error.value for error in app.error)


@pytest.mark.parametrize("place", range(14))
def test_a_situations_link_opens_the_same_answer(
    place: int, answered: tuple[Situation, ...], open_page: Open, catalog: Catalog
) -> None:
    one = answered[place]
    scenario = one.scenario
    app = open_page(**{**listed(scenario.device_id, scenario.ram_gib), **question(scenario.need)})
    assert one.pick is not None
    assert app.header[0].value.replace("\\", "") == one.pick.name
    assert app.code[0].value == one.pick.command


def test_every_limit_of_a_need_survives_the_trip_through_the_url(open_page: Open, catalog: Catalog) -> None:
    need = Need(
        task="code",
        priority="quality",
        languages=("de", "zh"),
        context_tokens=8192,
        min_decode_tokens_per_s=2.5,
        max_ttft_s=30.0,
        max_answer_time_s=600.0,
        memory_reserve_bytes=2**30,
        disk_reserve_bytes=2**30,
        commercial=True,
        offline=True,
        platform="linux",
        form_factor="laptop",
        accelerator="cpu",
        users=2,
        placement="any",
        enterprise=("audit",),
        own_conversion=True,
        experimental=True,
        all_quantizations=True,
        models=("Qwen/Qwen3-4B",),
        quantizations=("Q4_K_M", "Q8_0"),
        runtimes=("llama.cpp",),
    )
    app = open_page(**question(need))
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
