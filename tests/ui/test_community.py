"""Sharing on the History page: nothing without the setting, exactly what is shown with it, and only when agreed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recommender import paths, settings
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.store import Catalog
from recommender.community import feed
from recommender.community.stores import open_store
from recommender.device import this_machine
from recommender.types import Measurement
from recommender.ui import resources
from tests.community.made import measured, row
from tests.ui.conftest import Open


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder to share in, and a history and an installation of the test's own."""
    place = f"folder:{tmp_path / 'shared'}"
    monkeypatch.setattr(settings, "_IN_FORCE", [settings.Settings(community=place, door="local")])
    monkeypatch.setattr(paths, "measurements_database", lambda: tmp_path / "measurements.duckdb")
    monkeypatch.setattr(paths, "contributor_file", lambda: tmp_path / "contributor")
    _forget()
    yield place
    _forget()


def _forget() -> None:
    resources.store.clear()
    feed._kept(resources.catalog()).clear()


def run(catalog: Catalog, **changes: object) -> Measurement:
    return measured(this_machine(), catalog, 0.8, **changes)


def history(open_page: Open, *runs: Measurement, ticked: int | None = 0) -> AppTest:
    for one in runs:
        MeasurementStore().add(one)
    app = open_page("history")
    if ticked is not None:
        app.session_state[app.dataframe[0].key] = {"selection": {"rows": [ticked], "columns": [], "cells": []}}
        app.run()
    assert not app.exception, app.exception
    return app


def records(app: AppTest) -> list[str]:
    """The JSON texts on the page."""
    return [one.value for one in app.code if one.value.startswith("{")]


def titles(app: AppTest) -> list[str]:
    return [one.value for one in app.subheader]


def test_what_is_shown_is_stored_letter_by_letter_and_only_after_the_button(
    open_page: Open, catalog: Catalog, place: str
) -> None:
    app = history(open_page, run(catalog))
    [shown] = records(app)
    assert open_store(place).rows() == []
    app.button("share").click().run()
    assert not app.exception
    [row] = open_store(place).rows()
    assert row.record == shown
    assert records(app) == [shown]
    assert "This run is shared." in [one.value for one in app.success]
    assert "share" not in [button.key for button in app.button]
    table = app.dataframe[1].value
    assert list(table["Contributors"]) == [1]
    assert list(table["Corrects estimates"]) == ["not yet: fewer than 3 contributors"]


def test_without_the_setting_the_page_says_nothing_of_sharing(
    open_page: Open, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "_IN_FORCE", [settings.Settings(door="local")])
    app = history(open_page, run(catalog))
    text = " ".join(one.value for kind in ("markdown", "caption", "subheader") for one in app.get(kind))
    assert "share it" not in text.casefold()
    assert "Shared measurements" not in text
    assert not records(app)


def test_a_run_that_cannot_be_shared_says_why_and_has_no_button(open_page: Open, catalog: Catalog) -> None:
    for changes, words in (
        ({"noisy": True, "noise_reason": "heat"}, "noisy"),
        ({"model_id": "local/secret"}, "one's own files are not shared"),
    ):
        one = dataclasses.replace(run(catalog), id=words, **changes)  # type: ignore[arg-type]
        MeasurementStore().add(dataclasses.replace(one, measured_at="2026-12-01T00:00:00Z"))
        app = history(open_page)
        assert words in app.info[0].value
        assert not records(app)
        assert "share" not in [button.key for button in app.button]
        paths.measurements_database().unlink()
        resources.store.clear()


def test_what_others_shared_is_listed_with_what_is_set_aside(open_page: Open, catalog: Catalog, place: str) -> None:
    device = this_machine()
    for number in range(3):
        open_store(place).add(row(run(catalog), device, number))
    wild = {"decode_low": 1e6, "decode_tokens_per_s": 1e6, "decode_high": 1e6}
    open_store(place).add(row(run(catalog), device, 9, build="[x](http://evil)", **wild))
    app = history(open_page, ticked=None)
    assert "Shared measurements" in titles(app)
    assert list(app.dataframe[0].value["Corrects estimates"]) == ["yes"]
    assert "1 set aside, not counted" in [one.label for one in app.expander]
    assert "would read" in app.table[0].value["Why"][0]


@pytest.mark.parametrize("door", ["local", "hosted"])
def test_a_place_that_cannot_be_used_is_a_sentence_and_a_visitor_learns_no_path(
    open_page: Open, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    (tmp_path / "file").write_text("")
    broken = settings.Settings(community=f"folder:{tmp_path}/file/x", door=door)  # type: ignore[arg-type]
    monkeypatch.setattr(settings, "_IN_FORCE", [broken])
    app = history(open_page, run(catalog))
    app.button("share").click().run()
    assert not app.exception
    [said] = [one.value for one in app.warning]
    assert (str(tmp_path) in said.replace("\\", "")) == (door == "local")


def test_explore_shows_what_others_measured_of_a_model_on_the_same_hardware(
    open_page: Open, catalog: Catalog, place: str
) -> None:
    device = this_machine()
    for number in range(3):
        open_store(place).add(row(run(catalog), device, number))
    app = open_page("explore", chosen="Qwen/Qwen3-0.6B")
    text = " ".join(one.value for one in app.markdown)
    assert "**Shared by others** :green-badge[measured on the same hardware]" in text
