from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recommender import paths, settings
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.store import Catalog
from recommender.cli import main
from recommender.community import feed
from recommender.community.stores import open_store
from recommender.types import Device
from tests.community.made import measured


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog, laptop: Device) -> Iterator[str]:
    """Two runs were measured on this computer, one of them noisy; they can be shared in a folder."""
    place = f"folder:{tmp_path / 'shared'}"
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", place)
    monkeypatch.setattr(settings, "_IN_FORCE", [])
    monkeypatch.setattr(paths, "measurements_database", lambda: tmp_path / "measurements.duckdb")
    monkeypatch.setattr(paths, "contributor_file", lambda: tmp_path / "contributor")
    monkeypatch.setattr("recommender.device.this_machine", lambda: laptop)
    store = MeasurementStore()
    store.add(measured(laptop, catalog, 0.7, id="quiet"))
    store.add(measured(laptop, catalog, 0.7, id="noisy", noisy=True, measured_at="2026-11-24T00:00:00Z"))
    feed._kept(catalog).clear()
    yield place
    feed._kept(catalog).clear()


class Terminal(io.StringIO):
    """Somebody who types this."""

    def isatty(self) -> bool:
        return True


def test_what_is_shown_is_what_is_stored(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["community", "show"]) == 0
    shown = capsys.readouterr().out.strip()
    assert open_store(place).rows() == []
    assert main(["community", "share", "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    [row] = open_store(place).rows()
    assert row.record == shown
    assert answer["shared"] == json.loads(shown)
    assert main(["community", "show", "quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(shown)


@pytest.mark.parametrize(("typed", "stored"), [("y\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_sharing_shows_the_record_and_asks(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, stored: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert main(["community", "share"]) == 0
    written = capsys.readouterr()
    assert '"model_id": "Qwen/Qwen3-0.6B"' in written.err
    assert "Share exactly this, in a folder of Parquet files? [y/N]" in written.err
    rows = open_store(place).rows()
    assert len(rows) == stored
    assert all(row.record in written.err for row in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["share"], "nobody can be asked here"),
        (["share", "noisy", "--yes"], "marked noisy"),
        (["show", "unheard-of"], "no measurement called"),
        (["summary", "quiet"], "takes no 'quiet'"),
        (["merge", "--yes"], "has no --yes"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_stores_nothing(
    place: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["community", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert open_store(place).rows() == []


@pytest.mark.parametrize("action", ["share", "summary", "merge"])
def test_without_the_setting_nothing_is_shared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "")
    assert main(["community", action]) == 2
    assert "Sharing is off" in capsys.readouterr().err


def test_a_folder_is_merged_and_summed_up(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["community", "share", "quiet", "--yes"]) == 0
    assert main(["community", "merge"]) == 0
    assert main(["community", "summary"]) == 0
    text = capsys.readouterr().out
    assert "1 rows of 1 files are in one file." in text
    assert "1 run of 1 contributor; corrects estimates: not yet: fewer than 3 contributors" in text


def test_only_a_folder_is_merged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "local")
    assert main(["community", "merge"]) == 2
    assert "a file in the data folder" in capsys.readouterr().err


def test_a_database_that_does_not_answer_ends_in_a_sentence_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "postgresql://me:hunter2@127.0.0.1:1/db")
    for arguments in (["summary", "--json"], ["share", "--yes", "--json"]):
        assert main(["community", *arguments]) == 1
        written = capsys.readouterr()
        assert "cannot be reached" in json.loads(written.out)["error"]
        assert "hunter2" not in written.out + written.err


def test_serving_refuses_a_place_that_makes_no_sense_before_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "nowhere://me:hunter2@h")
    assert main(["serve", "--port", "18799", "--no-browser"]) == 2
    assert "must be local, folder:PATH or postgresql" in (text := capsys.readouterr().err)
    assert "hunter2" not in text
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "")
    assert main(["serve", "--port", "18799", "--community", "postgresql://me:hunter2@h/db"]) == 2
    assert "hunter2" not in capsys.readouterr().err
