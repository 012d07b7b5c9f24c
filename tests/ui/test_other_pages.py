from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recommender.catalog.measurements import MeasurementStore
from recommender.types import Measurement, Memory
from recommender.ui.navigation import page
from tests.measured import MEASURED
from tests.tiny_gguf import write_tiny_gguf
from tests.ui.conftest import Open

LOCAL = "A GGUF file on this computer"


def _measurement(identity: str) -> Measurement:
    return replace(
        MEASURED,
        id=identity,
        measured_at="2026-11-20T10:00:00Z",
        device_key="other hardware",
        model_id="org/tiny",
        quantization="Q8_0",
        binding="xllamacpp 1",
        decode_tokens_per_s=42.0,
        decode_low=41.0,
        decode_high=43.0,
        ttft_s=0.6,
        memory=Memory(1e6, 1e5, 1e5, 1e5, 1.3e6),
        predicted_decode_tokens_per_s=40.0,
    )


def test_the_history_lists_what_was_measured_with_its_prediction(open_page: Open) -> None:
    MeasurementStore().add(_measurement("history-1"))
    app = open_page("history")
    table = app.dataframe[0].value
    assert 42.0 in list(table["Measured, tok/s"])
    assert 40.0 in list(table["Predicted, tok/s"])
    assert app.get("plotly_chart")


def test_the_method_page_says_where_numbers_come_from(open_page: Open) -> None:
    app = open_page("method")
    assert "Where the numbers come from" in [title.value for title in app.header]
    assert len(app.table) >= 2


def test_the_try_page_asks_for_a_model_first(open_page: Open) -> None:
    app = open_page("try_it")
    assert not [button for button in app.button if button.key == "start"]
    assert not app.error


def test_the_button_says_what_pressing_it_costs(open_page: Open) -> None:
    app = open_page("try_it", model="Qwen3-0.6B", quant="Q8_0")
    label = app.button(key="start").label
    assert "MiB" in label or "GiB" in label
    assert "apache" in label.casefold()


def test_a_file_here_is_predicted_from_its_own_header(open_page: Open, tmp_path: Path) -> None:
    app = open_page("try_it", source=LOCAL)
    app.text_input(key="gguf_path").set_value(str(write_tiny_gguf(tmp_path / "tiny.gguf"))).run()
    assert not app.exception
    assert any(text.value.startswith("Predicted: ") for text in app.markdown)
    assert app.number_input(key="try_context").value == 2048  # what the file was made for


@pytest.mark.parametrize("kind", ["missing", "truncated", "not a GGUF", "too many layers", "a folder"])
def test_a_file_that_cannot_run_ends_in_a_sentence(open_page: Open, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    if kind == "truncated":
        write_tiny_gguf(path)
        path.write_bytes(path.read_bytes()[:40_000])
    elif kind == "not a GGUF":
        path.write_bytes(b"hello" * 1000)
    elif kind == "too many layers":
        write_tiny_gguf(path, block_count=2**31)
    elif kind == "a folder":
        path.mkdir()
    app = open_page("try_it", source=LOCAL)
    app.text_input(key="gguf_path").set_value(str(path)).run()
    assert not app.exception
    assert app.error
    assert app.error[0].value.endswith(".")
    assert not [button for button in app.button if button.key == "start"]


def test_a_run_that_is_not_known_any_more_is_said(open_page: Open) -> None:
    app = open_page("try_it", run="0123456789ab")
    assert "not in memory any more" in app.info[0].value


@pytest.mark.parametrize("params", [{"model": "no/such"}, {"model": "Qwen3-0.6B", "quant": "Q99"}])
def test_a_model_in_the_url_that_does_not_exist_does_no_harm(open_page: Open, params: dict[str, str]) -> None:
    app = open_page("try_it", **params)
    assert not app.error


@pytest.mark.parametrize("value", ["inf", "-inf", "1e400"])
@pytest.mark.parametrize("name", ["context", "users"])
def test_a_number_without_end_in_the_url_gets_a_sentence(name: str, value: str, open_page: Open) -> None:
    assert any("number without end" in error.value for error in open_page("", **{name: value}).error)


def test_what_is_no_number_in_the_url_is_as_good_as_none(open_page: Open) -> None:
    assert open_page("", context="nan", users="many").header


def test_no_two_sessions_share_a_page() -> None:
    # Streamlit notes in the page itself that it may run once: of two sessions that share it, one gets an error.
    assert page("find") is not page("find")
