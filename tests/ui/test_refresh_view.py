from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from recommender.catalog.changes import Changes, FieldChange
from recommender.catalog.refresh import Prepared, Told
from recommender.catalog.refresh_job import RefreshJob
from recommender.paths import live_dir
from recommender.ui import resources
from tests.ui.conftest import Open


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> RefreshJob:
    made = RefreshJob()
    monkeypatch.setattr("recommender.ui.refresh_view.refresh_job", lambda: made)
    return made


def texts(app: AppTest) -> str:
    kinds = ("markdown", "caption", "warning", "error", "success", "info")
    return " ".join(str(one.value) for kind in kinds for one in app.get(kind))


def buttons(app: AppTest) -> list[str]:
    return [one.label for one in app.button]


def test_nothing_is_asked_until_a_button_is_pressed(open_page: Open, job: RefreshJob) -> None:
    app = open_page("explore")
    assert "Look for news" in buttons(app)
    assert "changes nothing until you apply it" in texts(app)
    assert job.state == "idle"


def test_what_would_change_is_shown_before_it_is_applied(open_page: Open, job: RefreshJob) -> None:
    changes = Changes(
        added=("lab/<b>New</b>",), changed=(FieldChange("lab/old", "context_max", "4096", "8192"),), entries=7,
        unrecognised=1, conflicts=2, files_added=3,
    )  # fmt: skip
    told = (Told("hugging-face", 7), Told("ollama", 0, "No Ollama server answers. Start it."))
    job.prepared, job.state = Prepared(live_dir() / "20261127-000000-00000000", changes, told, ()), "ready"
    app = open_page("explore")
    assert {"Apply", "Discard"} <= set(buttons(app))
    assert "7 entries are known, 1 of them not recognised" in texts(app)
    assert "No Ollama server answers" in texts(app)
    frames = [frame.value.to_dict("list") for frame in app.dataframe]
    assert {"Model": ["lab/<b>New</b>"]} in frames
    assert {"Model": ["lab/old"], "What": ["context_max"], "Before": ["4096"], "After": ["8192"]} in frames
    next(one for one in app.button if one.label == "Discard").click().run()
    assert job.state == "idle"
    assert "Nothing was changed" in texts(app)


def test_a_refresh_that_failed_says_why_and_can_be_started_again(open_page: Open, job: RefreshJob) -> None:
    job.state, job.error = "failed", "The disk is full: free some space."
    app = open_page("explore")
    assert "The disk is full" in texts(app)
    assert "Look for news" in buttons(app)


def test_all_sessions_share_one_refresh() -> None:
    assert resources.refresh_job() is resources.refresh_job()
