from __future__ import annotations

import json
from pathlib import Path

import pytest

from recommender.cli import main

NEW = "Qwen/Qwen9-1.8B"
REFRESH = ["catalog", "refresh", "--source", "hugging-face"]


def models(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["catalog", "models"]) == 0
    return capsys.readouterr().out.split()


def test_a_dry_run_shows_what_would_change_and_changes_nothing(
    told_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*REFRESH, "--dry-run"]) == 1  # the one place that was asked could not be
    said = capsys.readouterr().out
    assert "HF_HUB_OFFLINE is set" in said
    assert f"New models (1):\n  {NEW}" in said
    assert "Nothing was changed" in said
    assert NEW not in models(capsys)


def test_a_refresh_is_applied_and_taken_back(told_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    told_home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
