"""A measured bandwidth outlives the program, and nothing that lies in its file can do harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from recommender import paths
from recommender.device import device_key, remember_bandwidth, this_machine


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))


def test_a_measured_bandwidth_is_there_at_the_next_start_and_says_so() -> None:
    remember_bandwidth(this_machine(), 42e9)
    again = this_machine()
    assert again.bandwidth_bytes_per_s == 42e9
    assert again.sources["bandwidth_bytes_per_s"] == "measured"


def test_the_newest_measurement_counts_and_other_hardware_keeps_its_own() -> None:
    machine = this_machine()
    remember_bandwidth(machine, 10e9)
    remember_bandwidth(machine, 20e9)
    paths.probe_file().write_text(paths.probe_file().read_text().replace(device_key(machine), "other|hardware"))
    assert this_machine().bandwidth_bytes_per_s != 20e9


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "b"}', "null", '{"a": -1}'])
def test_a_broken_file_counts_as_none(text: str) -> None:
    before = this_machine()
    paths.probe_file().parent.mkdir(parents=True)
    paths.probe_file().write_text(text)
    assert this_machine().bandwidth_bytes_per_s == before.bandwidth_bytes_per_s


def test_where_nothing_can_be_written_the_measurement_holds_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "file" / "home"))
    assert remember_bandwidth(this_machine(), 30e9).bandwidth_bytes_per_s == 30e9
