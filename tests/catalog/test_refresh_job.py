from __future__ import annotations

import os
from pathlib import Path

import pytest

from recommender.catalog.entries import open_entries
from recommender.catalog.refresh_job import RefreshJob
from recommender.catalog.store import open_catalog
from recommender.errors import RunError
from tests.runner.conftest import until

NEW = "Qwen/Qwen9-1.8B"


def test_a_refresh_runs_in_its_own_process_and_waits_to_be_applied(told_home: Path) -> None:
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


def test_a_stopped_refresh_leaves_nothing_running_and_nothing_changed(told_home: Path) -> None:
    job = RefreshJob()
    job.start(sources=["hugging-face"])
    until(lambda: "catalog" in job.progress)
    assert job._child is not None
    job.stop()
    assert job.state == "stopped"
    assert job.prepared is None
    with pytest.raises(ProcessLookupError):
        os.kill(job._child.pid, 0)
    with open_entries() as store:
        assert len(list(store.all())) == 2


def test_what_goes_wrong_is_said_in_its_own_sentence(told_home: Path) -> None:
    job = RefreshJob()
    job.start(remove="local/nothing")
    until(lambda: job.state != "running")
    assert job.state == "failed"
    assert job.error == "local/nothing was not added, so it cannot be removed."
    job.start(sources=["no-such-place"])
    until(lambda: job.state != "running")
    assert "no source called 'no-such-place'" in job.error


def test_a_discarded_result_makes_room_for_the_next(told_home: Path) -> None:
    job = RefreshJob()
    job.start(sources=["hugging-face"])
    until(lambda: job.state != "running")
    job.discard()
    assert job.state == "idle"
    with open_catalog() as catalog:
        assert catalog.count("models") == 216
    job.start(sources=["hugging-face"])
    job.stop()
