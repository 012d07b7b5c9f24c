from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender import paths
from recommender.catalog.entries import open_entries
from recommender.catalog.refresh_job import RefreshJob
from recommender.catalog.sources.base import Batch
from recommender.catalog.store import open_catalog
from recommender.errors import RunError
from tests.catalog.entries_made import new_maker_model

PATIENCE_S = 120
NEW = "Qwen/Qwen9-1.8B"


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: object) -> Path:
    """A data folder with the shipped catalog built in it, and no place on the network to ask."""
    built = paths.catalog_database()
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copyfile(built, paths.catalog_database())
    with open_entries() as store:
        store.add("hugging-face", Batch(new_maker_model(), "1"))
    return tmp_path


def test_a_refresh_runs_in_its_own_process_and_waits_to_be_applied(home: Path) -> None:
    job = RefreshJob()
    job.start(sources=["hugging-face"])
    with pytest.raises(RunError, match="going on"):
        job.start(sources=["hugging-face"])
    until(lambda: job.state != "running")
    assert (job.state, job.error) == ("ready", "")
    assert job.prepared is not None
    assert job.prepared.changes.added == (NEW,)
    assert "HF_HUB_OFFLINE" in job.prepared.told[0].problem
    assert job.progress["catalog"].what == "ready"
    with open_catalog() as catalog:
        assert catalog.count("models") == 216
    job.apply()
    assert job.state == "idle"
    with open_catalog() as catalog:
        assert catalog.model(NEW).params_total


def test_a_stopped_refresh_leaves_nothing_running_and_nothing_changed(home: Path) -> None:
    job = RefreshJob()
    job.start(sources=["hugging-face"])
    until(lambda: "catalog" in job.progress)
    assert job._process is not None
    job.stop()
    job._process.wait(PATIENCE_S)
    assert job.state == "stopped"
    assert job.prepared is None
    with pytest.raises(ProcessLookupError):
        os.kill(job._process.pid, 0)
    with open_entries() as store:
        assert len(list(store.all())) == 2


def test_what_goes_wrong_is_said_in_its_own_sentence(home: Path) -> None:
    job = RefreshJob()
    job.start(remove="local/nothing")
    until(lambda: job.state != "running")
    assert job.state == "failed"
    assert job.error == "local/nothing was not added, so it cannot be removed."
    job.start(sources=["no-such-place"])
    until(lambda: job.state != "running")
    assert "no source called 'no-such-place'" in job.error


def test_a_discarded_result_makes_room_for_the_next(home: Path) -> None:
    job = RefreshJob()
    job.start(sources=["hugging-face"])
    until(lambda: job.state != "running")
    job.discard()
    assert job.state == "idle"
    with open_catalog() as catalog:
        assert catalog.count("models") == 216
    job.start(sources=["hugging-face"])
    job.stop()
