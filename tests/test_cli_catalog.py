from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recommender import paths
from recommender.catalog.entries import open_entries
from recommender.catalog.sources.base import Batch
from recommender.cli import main
from tests.catalog.entries_made import new_maker_model

NEW = "Qwen/Qwen9-1.8B"
REFRESH = ["catalog", "refresh", "--source", "hugging-face"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: object) -> Path:
    """A data folder with the shipped catalog built in it, what a refresh was told before, and no network."""
    built = paths.catalog_database()
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copyfile(built, paths.catalog_database())
    with open_entries() as store:
        store.add("hugging-face", Batch(new_maker_model(), "1"))
    return tmp_path


def models(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["catalog", "models"]) == 0
    return capsys.readouterr().out.split()


def test_a_dry_run_shows_what_would_change_and_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*REFRESH, "--dry-run"]) == 1  # the one place that was asked could not be
    said = capsys.readouterr().out
    assert "HF_HUB_OFFLINE is set" in said
    assert f"New models (1):\n  {NEW}" in said
    assert "Nothing was changed" in said
    assert NEW not in models(capsys)


def test_a_refresh_is_applied_and_taken_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*REFRESH, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["applied"]
    assert told["changes"]["added"] == [NEW]
    assert NEW in models(capsys)
    assert main(["catalog", "undo"]) == 0
    assert f"Taken back:\nNew models (1):\n  {NEW}" in capsys.readouterr().out
    assert NEW not in models(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["catalog", "undo"], "nothing to undo"),
        (["catalog", "add"], "Say what to add"),
        (["catalog", "remove"], "Say what to remove"),
        ([*REFRESH, "--limit", "0"], "--limit must be 1 or more"),
        (["catalog", "refresh", "--source", "hugingface"], "Did you mean hugging-face"),
    ],
)
def test_what_makes_no_sense_is_said_with_exit_code_2(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
