from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recommender import paths
from recommender.probe import PROMPT_TOKENS, MemoryProbe
from recommender.runner.protocol import RunRequest
from recommender.types import Device
from recommender.ui import start
from tests.ui.conftest import Open

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
CHOICE = {"model": MODEL_ID.split("/")[1], "quant": "Q4_0", "threads": "1"}


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunRequest]:
    """Requests that the page would have run."""
    found: list[RunRequest] = []

    def submit(_: object, request: RunRequest) -> SimpleNamespace:
        found.append(request)
        return SimpleNamespace(id="0123456789ab")

    monkeypatch.setattr(start, "submit", submit)
    monkeypatch.setattr(paths, "scratch_dir", lambda: tmp_path)
    return found


def test_a_model_can_be_rehearsed_before_it_is_downloaded(open_page: Open, queued: list[RunRequest]) -> None:
    app = open_page("try_it", **CHOICE)
    button = app.button(key="rehearse")
    assert button.label.startswith("Rehearse: about ")
    assert button.label.endswith(" s, downloads nothing")
    assert any("zeros" in caption.value for caption in app.caption)
    button.click().run()
    assert not app.exception
    [request] = queued
    assert request.rehearsal
    assert request.repo == ""
    assert (request.model_id, request.quantization) == (MODEL_ID, CHOICE["quant"])
    assert request.settings.threads == 1
    assert Path(request.model_path).stat().st_size > 50e6
    assert "0123456789ab" in app.query_params["run"]


def test_without_a_model_there_is_nothing_to_rehearse(open_page: Open) -> None:
    app = open_page("try_it")
    assert not [button for button in app.button if button.key == "rehearse"]


def test_what_cannot_be_rehearsed_is_said_on_the_page(
    open_page: Open, queued: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=1e6)

    monkeypatch.setattr("recommender.runner.rehearse.shutil.disk_usage", full)
    app = open_page("try_it", **CHOICE)
    app.button(key="rehearse").click().run()
    assert not app.exception
    assert "Make room there" in app.error[0].value
    assert queued == []


def test_one_press_probes_memory_and_then_the_real_runtime(
    open_page: Open, queued: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[float] = []

    def read(device: Device) -> MemoryProbe:
        probed.append(time.monotonic())
        return MemoryProbe(replace(device, bandwidth_bytes_per_s=20e9), 20e9, 1.5, 2)

    monkeypatch.setattr(start, "read_memory", read)
    app = open_page()
    button = app.button(key="probe")
    assert button.label in ("Probe this computer: about 10 s", "Probe again")
    button.click().run()
    assert not app.exception
    assert len(probed) == 1
    [request] = queued
    assert request.rehearsal
    assert (request.prompt_tokens, request.repeats) == (PROMPT_TOKENS, 3)
    assert "0123456789ab" in app.query_params["run"]
    assert any("20 GB/s" in caption.value and "1.5 of 2 CPUs" in caption.value for caption in app.caption)


def test_a_probe_waits_for_what_runs_already(
    open_page: Open, queued: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "runs", lambda: SimpleNamespace(jobs=lambda: [SimpleNamespace(ended=False)]))
    app = open_page()
    app.button(key="probe").click().run()
    assert not app.exception
    assert "A run is going on" in app.error[0].value
    assert queued == []
