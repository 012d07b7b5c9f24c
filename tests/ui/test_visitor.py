"""The pages through the hosted door: the server is not the visitor's computer, and nothing says it were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from recommender.device import preset, this_machine
from recommender.device.visitor import Said, read_answers
from recommender.settings import Settings, use
from recommender.types import Device
from recommender.ui import resources
from tests.ui.conftest import Open

WINDOWS = {"user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/147.0.0.0 Safari/537.36"}
LAPTOP = read_answers(
    WINDOWS
    | {
        "cores": 16,
        "memory_gib": 16,
        "webgl": "ANGLE (NVIDIA, NVIDIA GeForce RTX 4060 Laptop GPU (0x28E0) Direct3D11 vs_5_0 ps_5_0, D3D11)",
    }
)
MAC = Said(os="macos", arch="arm64", cores=8, memory_gib=8, gpu="Apple M2")


@pytest.fixture(autouse=True)
def hosted_door(local_door: None) -> None:
    use(Settings(door="hosted"))


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may look at the machine that the app runs on."""

    def looked() -> Device:
        raise AssertionError("the host's device was looked at for a visitor")

    monkeypatch.setattr(resources, "this_machine", looked)
    resources.this_device.clear()


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the browser says: with its request, and once it was asked."""

    def told(request: dict[str, Any], said: Said | None = None) -> None:
        monkeypatch.setattr("recommender.ui.visitor_input.request_says", lambda: request)
        if said is not None:
            monkeypatch.setattr("recommender.ui.visitor_input.read_answers", lambda _: said)

    return told


def _texts(app: AppTest) -> str:
    return " ".join(
        str(one.value) for kind in ("markdown", "caption", "header", "info", "code") for one in app.get(kind)
    )


def _answer(app: AppTest) -> list[str]:
    return [app.header[0].value, app.code[0].value, *(str(metric.value) for metric in app.metric)]


def test_what_the_request_says_is_answered_for_at_once(open_page: Open, says: Any, blind: None) -> None:
    says(WINDOWS)
    app = open_page()
    assert _answer(app)
    assert "The pick for chat on a Windows computer" in _texts(app)
    assert "Hosted: this page runs on another computer" in _texts(app)
    assert app.segmented_control(key="device").options == ["Your device", "From the list", "Paste specs", "This server"]
    assert not [button for button in app.button if button.key == "probe"]


def test_a_browser_that_says_nothing_leads_to_the_list(open_page: Open, says: Any, blind: None) -> None:
    says({})
    app = open_page()
    assert not app.header
    assert "Your browser says too little" in _texts(app)
    app.segmented_control(key="device").set_value("From the list").run()
    app.selectbox(key="preset").set_value("macbook-air-m2").run()
    assert not app.exception
    assert "on MacBook Air M2" in _texts(app)


def test_a_proposal_is_confirmed_by_one_press_and_the_address_asks_the_same(
    open_page: Open, says: Any, blind: None
) -> None:
    says({}, LAPTOP)
    app = open_page()
    before = _answer(app)
    assert "at least 16.0 GiB memory" in _texts(app)
    app.button(key="confirm_device").click().run()
    assert not app.exception
    assert _answer(app) == before
    assert "at least 16.0 GiB memory" not in _texts(app)
    confirmed = {
        name: app.session_state[name] for name in ("my_os", "my_arch", "my_cores", "my_gpu", "my_kind", "total")
    }
    says({}, Said())  # another browser, which says nothing
    again = open_page(**{name: str(value) for name, value in confirmed.items()} | {"my_os": "Windows"})
    assert _answer(again) == before


def test_the_machine_that_it_is_may_be_chosen_from_those_that_match(open_page: Open, says: Any, blind: None) -> None:
    says({}, MAC)
    app = open_page()
    assert "MacBook Air M2 (2022)" in app.selectbox(key="my_machine").options
    app.selectbox(key="my_machine").set_value("macbook-air-m2").run()
    assert "on MacBook Air M2" in _texts(app)
    assert app.session_state["total"] == 8, "what the browser said goes along"
    app.selectbox(key="how_much_macbook-air-m2_8.0").set_value(24.0).run()
    assert not app.exception
    chosen = _answer(app)
    says({}, Said())
    again = open_page(my_machine="MacBook Air M2 (2022)", total="24")
    assert _answer(again) == chosen


def test_a_chosen_machine_keeps_the_system_that_the_browser_said(open_page: Open, says: Any, blind: None) -> None:
    says({}, replace(LAPTOP, os="linux"))
    app = open_page()
    assert "NVIDIA GeForce RTX 4060 Mobile" not in app.selectbox(key="my_machine").options, "a card is no machine"
    app.selectbox(key="my_machine").set_value("legion-5-rtx-4060").run()
    assert not app.exception
    assert app.session_state["my_os"] == "linux"
    app.selectbox(key="my_machine").set_value(None).run()
    assert "at least 16.0 GiB memory" in _texts(app), "back to what the browser says"


def test_a_phone_that_names_itself_is_confirmed_by_its_name(open_page: Open, says: Any, blind: None) -> None:
    says({}, Said(os="android", kind="phone", arch="arm64", model="Pixel 8", cores=9, memory_gib=8, gpu="Mali-G715"))
    app = open_page()
    assert "on Pixel 8" in _texts(app)
    app.button(key="confirm_device").click().run()
    assert app.session_state["my_machine"] == "pixel-8"
    assert "on Pixel 8" in _texts(app)
    assert not [button for button in app.button if button.key in ("confirm_device", "measure_bandwidth")]


def test_a_correction_goes_before_what_the_browser_said(open_page: Open, says: Any, blind: None) -> None:
    says({}, MAC)
    app = open_page(total="24", my_gpu="Apple M2 Max")
    assert "24.0 GiB memory" in _texts(app)
    assert "Apple M2 Max" in _texts(app)


def test_text_in_the_address_is_shown_as_text(open_page: Open, says: Any) -> None:
    says({}, MAC)
    app = open_page(my_os="Windows", my_gpu="NVIDIA **GTX** [x](https://evil.example) :smile:")
    line = next(one.value for one in app.markdown if "A Windows computer" in one.value)
    assert "\\*\\*GTX\\*\\*" in line
    assert "[x](" not in line


@pytest.mark.parametrize(
    "nonsense",
    [{"my_cores": "9" * 40}, {"my_os": "BeOS"}, {"my_machine": "<b>x</b>"}, {"my_os": "Windows", "my_gpu": "A" * 5000}],
)
def test_nonsense_in_the_address_is_as_good_as_none(nonsense: dict[str, str], open_page: Open, says: Any) -> None:
    says({}, MAC)
    assert _answer(open_page(**nonsense))


def test_the_server_is_a_choice_of_its_own_and_is_called_so(open_page: Open, says: Any) -> None:
    says(WINDOWS)
    app = open_page(device="This server")
    assert "The pick for chat on this server" in _texts(app)
    assert "this computer" not in _texts(app).casefold()
    assert not [button for button in app.button if button.key in ("probe", "confirm_device")]


@pytest.mark.parametrize("page", ["compare", "explore", "guide", "plan", "method"])
def test_other_pages_speak_of_the_visitors_device_too(page: str, open_page: Open, says: Any, blind: None) -> None:
    says({}, MAC)
    app = open_page(page)
    assert "this computer" not in _texts(app).casefold()
    if page in ("compare", "guide"):
        assert "A Mac" in _texts(app)


def test_runs_of_the_server_do_not_correct_a_visitors_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "calibration_here", lambda *_: "corrected")
    monkeypatch.setattr(resources, "catalog", lambda: None)
    monkeypatch.setattr(resources, "measurements", lambda: ())
    here = this_machine()
    assert resources.calibration_of(here) == "corrected"
    assert resources.calibration_of(replace(here, id="pasted")) is None
    assert resources.calibration_of(preset("macbook-air-m2")) is None
    use(Settings(door="local"))
    assert resources.calibration_of(replace(here, id="pasted")) == "corrected"


def test_a_run_on_the_server_is_offered_only_where_it_would_not_be_refused(open_page: Open, says: Any) -> None:
    says(WINDOWS, LAPTOP)
    use(Settings(door="hosted", max_file_gib=0.5))
    tries = [one for one in open_page().button if (one.key or "").startswith("try_")]
    assert all("MiB" in one.label for one in tries)
    use(Settings(door="hosted", max_file_gib=0))
    assert not [one for one in open_page().button if (one.key or "").startswith("try_")]


def test_a_forecast_for_the_server_says_whose_it_is(open_page: Open, says: Any) -> None:
    says(WINDOWS)
    app = open_page("try_it", where="This server's llama.cpp", model="SmolLM2-135M-Instruct", quant="Q8_0")
    assert "Predicted on this server: " in _texts(app)
