from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.catalog.measurements import MeasurementStore
from recommender.settings import Settings, use
from recommender.types import Measurement, Memory
from recommender.ui import resources
from recommender.ui.charts import speed_history
from tests.measured import MEASURED
from tests.ui.conftest import Open

EARLY = dataclasses.replace(
    MEASURED,
    id="early",
    measured_at="2026-11-20T10:00:00+00:00",
    device_key="other hardware",
    model_id="org/tiny",
    quantization="Q8_0",
    binding="xllamacpp 1",
    decode_tokens_per_s=42.0,
    decode_low=41.0,
    decode_high=43.5,
    ttft_s=0.6,
    memory=Memory(1e6, 1e5, 1e5, 1e5, 1.3e6),
)
LATE = dataclasses.replace(
    EARLY,
    id="late",
    measured_at="2026-11-22T10:00:00+00:00",
    binding="xllamacpp 2",
    decode_tokens_per_s=63.0,
    decode_low=62.0,
    decode_high=64.0,
)
NOISY = dataclasses.replace(
    EARLY,
    id="noisy",
    measured_at="2026-11-21T10:00:00+00:00",
    noisy=True,
    noise_reason="heat slowed the CPU down (3 throttle events)",
)
OTHER = dataclasses.replace(EARLY, id="other", measured_at="2026-11-19T10:00:00+00:00", model_id="org/other")


@pytest.fixture(autouse=True)
def _own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a history of its own."""
    monkeypatch.setattr(paths, "measurements_database", lambda: tmp_path / "measurements.duckdb")
    resources.store.clear()
    yield
    resources.store.clear()


def history(open_page: Open, *runs: Measurement, **params: str) -> AppTest:
    for run in runs:
        MeasurementStore().add(run)
    return open_page("history", **params)


def tick(app: AppTest, *rows: int) -> AppTest:
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    app.run()
    assert not app.exception, app.exception
    return app


def shown(app: AppTest, place: int) -> dict[str, list[str]]:
    """A table's columns, without the marks that keep their texts out of Markdown."""
    return {str(head): [cell.replace("\\", "") for cell in cells] for head, cells in app.table[place].value.items()}


def titles(app: AppTest) -> list[str]:
    return [one.value for one in app.subheader]


def figure(app: AppTest, place: int = 0) -> dict[str, Any]:
    return dict(json.loads(app.get("plotly_chart")[place].proto.spec))


# ── two runs side by side ────────────────────────────────────────────────────────────────────────────────────


def test_two_ticked_runs_are_compared_the_earlier_one_first(open_page: Open) -> None:
    app = tick(history(open_page, EARLY, LATE), 0, 1)
    figures = shown(app, 0)
    decode = figures["Figure"].index("Decode")
    assert (figures["A"][decode], figures["B"][decode], figures["A to B"][decode]) == (
        "42.0 tok/s",
        "63.0 tok/s",
        "+50.0%",
    )
    assert figures["Verdict"][decode].startswith("beyond the noise")
    assert shown(app, 1) == {"Condition": ["binding"], "A": ["xllamacpp 1"], "B": ["xllamacpp 2"]}
    assert [button.key for button in app.get("download_button") if button.key == "comparison"]


def test_a_noisy_run_is_compared_without_a_verdict_on_its_speed(open_page: Open) -> None:
    app = tick(history(open_page, EARLY, NOISY), 0, 1)
    verdicts = dict(zip(shown(app, 0)["Figure"], shown(app, 0)["Verdict"], strict=True))
    assert verdicts["Decode"].startswith("cannot be told: B is noisy")
    assert "All conditions were the same." in [one.value for one in app.caption]


@pytest.mark.parametrize("rows", [(), (0,), (0, 1, 2)])
def test_any_other_number_of_runs_is_not_compared(open_page: Open, rows: tuple[int, ...]) -> None:
    app = tick(history(open_page, EARLY, LATE, NOISY), *rows)
    assert "Compared" not in titles(app)
    assert bool([one for one in app.info if "3 runs are ticked" in one.value]) == (len(rows) > 2)


def test_a_new_run_unticks_the_rows_which_are_no_longer_the_same(open_page: Open) -> None:
    app = tick(history(open_page, EARLY, LATE), 0, 1)
    assert "Compared" in titles(app)
    MeasurementStore().add(dataclasses.replace(LATE, id="later", measured_at="2026-11-23T10:00:00+00:00"))
    assert "Compared" not in titles(app.run())


# ── over time ────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_run_of_each_model_makes_no_chart_over_time(open_page: Open) -> None:
    app = history(open_page, EARLY, OTHER)
    assert "Over time" not in titles(app)
    assert not app.selectbox


def test_the_chart_begins_with_what_was_run_most_and_has_a_line_per_binding(open_page: Open) -> None:
    others = [dataclasses.replace(OTHER, id=f"other {number}") for number in range(2)]
    app = history(open_page, *others, EARLY, NOISY, LATE)
    assert app.selectbox[0].value == "org/tiny Q8_0"
    assert app.selectbox[0].options == ["org/tiny Q8_0", "org/other Q8_0"]
    assert [line["name"] for line in figure(app)["data"]] == ["llama.cpp, xllamacpp 1", "llama.cpp, xllamacpp 2"]
    app.selectbox[0].set_value("org/other Q8_0").run()
    assert [len(line["x"]) for line in figure(app)["data"]] == [2]


def test_the_model_of_the_chart_is_in_the_url_and_one_that_was_not_run_does_no_harm(open_page: Open) -> None:
    others = [dataclasses.replace(OTHER, id=f"other {number}") for number in range(2)]
    app = history(open_page, *others, EARLY, NOISY, LATE, history_of="org/other Q8_0")
    assert app.selectbox[0].value == "org/other Q8_0"
    assert history(open_page, history_of="no/such Q8_0").selectbox[0].value == "org/tiny Q8_0"


def test_the_chart_in_words_has_the_range_the_lines_and_how_many_are_noisy(open_page: Open) -> None:
    words = history(open_page, EARLY, NOISY, LATE).get("plotly_chart")[0].proto.alt
    for part in ("org/tiny Q8_0", "3 runs", "42 tok/s to 63 tok/s", "xllamacpp 1", "xllamacpp 2", "1 noisy"):
        assert part in words


def test_runs_stand_in_the_order_of_time_with_their_range_and_noisy_ones_hollow() -> None:
    [line] = speed_history([NOISY, EARLY]).data
    assert list(line.x) == [EARLY.measured_at, NOISY.measured_at]
    assert list(line.marker.symbol) == ["circle", "circle-open"]
    assert (list(line.error_y.array), list(line.error_y.arrayminus)) == ([1.5, 1.5], [1.0, 1.0])
    assert "heat slowed the CPU down" in line.customdata[1]


def test_a_rehearsal_has_a_line_of_its_own() -> None:
    rehearsed = dataclasses.replace(LATE, rehearsal=True)
    assert [line.name for line in speed_history([LATE, rehearsed]).data] == [
        "llama.cpp, xllamacpp 2",
        "llama.cpp, xllamacpp 2, rehearsed",
    ]


def test_a_visitor_is_not_told_where_the_model_server_is(open_page: Open) -> None:
    MeasurementStore().add(dataclasses.replace(EARLY, runtime="openai", build="http://10.0.0.9:8000/v1"))
    use(Settings(door="hosted"))
    open_page("history")
    [seen] = resources.measurements()
    assert (seen.id, seen.build) == ("early", "")
