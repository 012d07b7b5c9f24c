"""Try's part for the visitor's browser, as far as it goes without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recommender import settings
from recommender.settings import Settings
from recommender.ui import browser_run
from recommender.ui.browser_run import IN_BROWSER
from tests.tiny_gguf import write_tiny_gguf
from tests.ui.conftest import Open
from tests.ui.test_browser_outcome import GOOD

MODEL = {"where": IN_BROWSER, "model": "SmolLM2-135M-Instruct", "quant": "Q8_0"}


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings in force, which a test may replace."""
    used = [Settings(door="local")]
    monkeypatch.setattr(settings, "_IN_FORCE", used)
    return used


@pytest.fixture
def component(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """In place of the component: what it was given, and what the browser answers."""
    seen: dict[str, Any] = {"outcome": None}

    def mounted(data: dict[str, Any], **_: Any) -> SimpleNamespace:
        seen["data"] = data
        said = seen["outcome"]
        return SimpleNamespace(outcome=said(data) if callable(said) else said)

    monkeypatch.setattr(browser_run, "_component", lambda: mounted)
    return seen


def _text(app: Any) -> str:
    return "\n".join(str(one.value) for kind in (app.markdown, app.caption, app.warning, app.error) for one in kind)


def test_a_hosted_visitor_is_offered_their_browser_first_and_a_local_one_last(
    open_page: Open, own_settings: list[Settings]
) -> None:
    assert open_page("try_it").segmented_control(key="where").options[-1] == IN_BROWSER
    own_settings[:] = [Settings(door="hosted")]
    where = open_page("try_it").segmented_control(key="where")
    assert where.options[0] == where.value == IN_BROWSER


def test_the_button_says_what_it_downloads_and_under_which_licence(open_page: Open, component: dict[str, Any]) -> None:
    open_page("try_it", **MODEL)
    data = component["data"]
    assert data["model"]["label"] == "Run in this browser · downloads 138 MiB · Apache-2.0"
    assert data["model"]["url"].startswith("https://")
    assert data["model"]["url"].endswith(".gguf")
    assert data["rehearsal"]["label"] == "Rehearse in this browser · downloads nothing"
    assert {one["name"] for one in data["engine"]["files"]} == {"wllama.js", "wllama.wasm", "compat.js", "compat.wasm"}
    assert all(f"@{data['engine']['version']}/" in one["cdn"] for one in data["engine"]["files"])


def test_the_hub_is_the_one_that_is_set(
    open_page: Open, component: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    open_page("try_it", **MODEL)
    assert component["data"]["model"]["url"].startswith("https://mirror.example/")


def test_what_no_browser_takes_is_not_offered(open_page: Open, component: dict[str, Any]) -> None:
    app = open_page("try_it", where=IN_BROWSER, model="Qwen3-1.7B")
    assert "Q4_K_M" in app.selectbox(key="quant").options
    assert "BF16" not in app.selectbox(key="quant").options
    assert "wllama takes 2.0 GiB" in _text(open_page("try_it", where=IN_BROWSER, model="Qwen3-32B"))


def test_the_instance_s_own_files_are_offered_by_name(
    open_page: Open, component: dict[str, Any], own_settings: list[Settings], tmp_path: Path
) -> None:
    write_tiny_gguf(tmp_path / "tiny one.gguf")
    own_settings[:] = [Settings(door="local", browser_models=str(tmp_path))]
    open_page("try_it", where=IN_BROWSER, browser_source="A file of this server")
    assert component["data"]["model"]["url"] == "browser/models/tiny%20one.gguf"
    assert component["data"]["rehearsal"] is None


def test_predicted_stands_beside_what_the_browser_measured(open_page: Open, component: dict[str, Any]) -> None:
    component["outcome"] = lambda data: {**GOOD, "token": data["model"]["token"]}
    app = open_page("try_it", **MODEL)
    [table] = app.table
    assert list(table.value.columns)[1:3] == [
        "Predicted :blue-badge[estimated]",
        ":green-badge[measured in your browser]",
    ]
    assert list(table.value.iloc[:, 2]) == ["10 tok/s", "100 tok/s", "5.0 s"]
    assert all(value != "no prediction" for value in table.value.iloc[:, 1])
    assert "wllama-cpu · 512 prompt and 128 generated tokens" in _text(app)
    assert "it corrects no estimate" in _text(app)


def test_a_visitor_whose_device_is_unknown_gets_no_prediction(
    open_page: Open, component: dict[str, Any], own_settings: list[Settings]
) -> None:
    own_settings[:] = [Settings(door="hosted")]
    component["outcome"] = lambda data: {**GOOD, "token": data["rehearsal"]["token"]}
    app = open_page("try_it", **MODEL, device="From the list")
    assert "No prediction: say above" in _text(app)
    assert "rehearsed in your browser" in list(app.table[0].value.columns)[2]


@pytest.mark.parametrize("said", ["nonsense", {**GOOD, "decode": [1e30] * 3}])
def test_nonsense_from_the_browser_is_a_sentence(open_page: Open, component: dict[str, Any], said: Any) -> None:
    component["outcome"] = said
    app = open_page("try_it", **MODEL)
    assert "makes no sense" in _text(app)
    assert not app.table


def test_a_result_of_something_that_was_never_asked_for_is_left_out(open_page: Open, component: dict[str, Any]) -> None:
    component["outcome"] = {**GOOD, "token": "f" * 16}
    assert not open_page("try_it", **MODEL).table


def test_a_pick_of_a_hosted_page_leads_to_the_browser(open_page: Open, own_settings: list[Settings]) -> None:
    own_settings[:] = [Settings(door="hosted")]
    asked = {"device": "From the list", "preset": "Raspberry Pi 5", "priority": "Smallest"}
    links = [one for one in open_page(**asked).get("page_link") if "browser" in one.proto.label]
    assert len(links) > 1, "the pick and what else fits a browser"
    assert all("where=In" in link.proto.query_string for link in links)
