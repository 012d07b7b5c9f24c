from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from recommender.device import presets
from tests.ui.conftest import Open


def _pick(app: AppTest) -> str:
    """What the answer card says: name, quantization, runtime and the command."""
    assert app.header, "there is no answer"
    return f"{app.header[0].value} {app.code[0].value}"


def _texts(app: AppTest) -> str:
    return " ".join(str(element.value) for kind in ("markdown", "caption", "header") for element in app.get(kind))


def _preset_with_gib(least: float, most: float) -> str:
    return next(one.name for one in presets() if one.ram_gib_default and least <= one.ram_gib_default <= most)


def test_the_answer_is_there_before_anything_is_pressed(open_page: Open) -> None:
    app = open_page()
    assert "The pick for chat on this computer" in [caption.value for caption in app.caption]
    assert {metric.label for metric in app.metric} == {"Speed", "Answer time", "Memory", "Quality"}
    assert all(metric.value not in ("", "–") for metric in app.metric)
    assert "Why this one?" in _texts(app)
    assert app.button(key="try_pick").label.startswith("Try it · ")
    assert len(app.dataframe[0].value) > 1


def test_every_number_on_the_card_says_where_it_comes_from(open_page: Open) -> None:
    app = open_page()
    origins = [text.value for text in app.markdown if "-badge[" in text.value and ":small[" in text.value]
    assert len([text for text in origins if "estimate" in text or "measured" in text]) >= len(app.metric)


def test_another_device_gives_another_answer(open_page: Open) -> None:
    small = open_page(device="From the list", preset=_preset_with_gib(4, 8))
    large = open_page(device="From the list", preset=_preset_with_gib(64, 256))
    assert _pick(small) != _pick(large)


def test_another_task_changes_the_answer(open_page: Open) -> None:
    app = open_page()
    before = _pick(app), [metric.value for metric in app.metric]
    app.selectbox(key="task").set_value("summarize").run()
    assert not app.exception
    assert (_pick(app), [metric.value for metric in app.metric]) != before
    assert any("The pick for summarising" in caption.value for caption in app.caption)


def test_a_device_typed_in_as_json_is_answered_for(open_page: Open) -> None:
    app = open_page(device="Paste specs")
    assert not app.header
    app.text_area(key="device_json").set_value(
        '{"name": "Box 7", "kind": "desktop", "os": "linux", "arch": "x86-64", "ram_bytes": 17179869184,'
        ' "ram_free_bytes": 12884901888, "physical_cores": 8}'
    ).run()
    assert not app.exception
    assert app.header or app.error
    assert "Box 7" in _texts(app) or app.error


def test_specs_that_are_no_json_end_in_a_sentence(open_page: Open) -> None:
    app = open_page(device="Paste specs")
    app.text_area(key="device_json").set_value("{what").run()
    assert not app.exception
    assert app.error
    assert "Traceback" not in app.error[0].value


@pytest.mark.parametrize("params", [{"min_decode": "10000"}, {"max_answer": "0.1"}, {"free": "0.01"}])
def test_when_nothing_fits_the_page_says_which_limit_to_relax(open_page: Open, params: dict[str, str]) -> None:
    app = open_page(**params)
    assert app.header[0].value == "Nothing fits all of this"
    assert "way out" in _texts(app) or "relax it first" in _texts(app)
    assert app.table


def test_one_press_relaxes_the_limit_that_is_in_the_way(open_page: Open) -> None:
    app = open_page(min_decode="10000")
    app.button(key="relax_decode speed").click().run()
    assert not app.exception
    assert app.header[0].value != "Nothing fits all of this"
    assert app.number_input(key="min_decode").value < 10000


def test_limits_are_shown_and_cleared_together(open_page: Open) -> None:
    app = open_page(context="16384", commercial="true", languages="de")
    shown = _texts(app)
    assert "context 16,384" in shown
    assert "commercial use" in shown
    app.button(key="clear_limits").click().run()
    assert not app.exception
    assert app.number_input(key="context").value is None
    assert app.toggle(key="commercial").value is False
    assert app.text_input(key="languages").value == ""


@pytest.mark.parametrize(
    "params",
    [
        {"task": "juggling"},
        {"device": "A toaster"},
        {"device": "From the list", "preset": "no-such-machine"},
        {"priority": "everything"},
        {"context": "-5"},
        {"context": "many"},
        {"users": "0"},
        {"total": "-1"},
        {"vram": "nan"},
        {"models": ["no/such-model"]},
        {"runtimes": ["abacus"]},
        {"show": "Nothing"},
        {"languages": "<script>,%00,zz"},
        {"accelerator": "turbo", "platform": "beos", "form_factor": "watch", "placement": "moon"},
    ],
)
def test_values_in_the_url_that_make_no_sense_do_no_harm(open_page: Open, params: dict[str, Any]) -> None:
    app = open_page(**params)
    assert app.header or app.error or app.info


@pytest.mark.parametrize("tab", ["Quality against speed", "Just missed", "How it was decided"])
def test_each_view_opens_from_the_url(open_page: Open, tab: str) -> None:
    app = open_page(show=tab)
    assert app.header
    if tab == "Quality against speed":
        assert app.get("plotly_chart")
    else:
        assert app.table


def test_a_text_without_end_is_cut_before_anything_reads_it(open_page: Open) -> None:
    app = open_page(languages="de," * 10_000)
    assert len(app.text_input(key="languages").value) <= 400
    pasted = open_page(device="Paste specs").text_area(key="device_json")
    assert pasted.proto.max_chars == 65_536


def test_every_number_is_there_once_it_is_asked_for(open_page: Open) -> None:
    assert "Part of memory" not in str([table.value for table in open_page().table])
    opened = open_page(numbers="true")
    heads = [head for table in opened.table for head in table.value.columns]
    assert {"Part of memory", "Part of the score", "Range"} <= set(heads)
