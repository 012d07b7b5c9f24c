from __future__ import annotations

import json
import socket
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import paths
from recommender.catalog.store import Catalog
from recommender.community.record import SharedRun, read_record, record_text, row_of, shared_key, shared_run
from recommender.community.stores import LONGEST_CHARACTERS
from recommender.errors import BadInputError
from recommender.types import GIB, Device
from tests.community.made import keyed, measured, shared


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "contributor_file", lambda: tmp_path / "contributor")
    return tmp_path


def test_a_record_comes_back_as_it_was(laptop: Device, workstation: Device, catalog: Catalog) -> None:
    for device in (laptop, workstation):
        run = shared_run(measured(device, catalog, 1.0), device)
        assert read_record(record_text(run)) == run
        assert row_of(run).device_key == shared_key(device) == run.hardware


def test_nothing_of_the_person_the_computer_or_the_file_is_in_it(laptop: Device, catalog: Catalog) -> None:
    device = replace(laptop, id="private-id", name="Anna's laptop", source="private-source", cpu_model="Core i7")
    run = measured(
        device, catalog, 1.0, device_name="private-name", file_name="private-file.gguf", file_sha256="private-sum"
    )
    text = record_text(shared_run(run, device))
    for word in ("private", "Anna", f'"{socket.gethostname()}', str(Path.home()), f'"{run.id}"', "17:00"):
        assert word not in text
    assert set(json.loads(text)["device"]) == {
        *("kind", "os", "arch", "cpu_model", "physical_cores", "performance_cores", "isa", "ram_gib"),
        *("bandwidth_gb_s", "unified_memory", "gpus"),
    }
    assert json.loads(text)["day"] == run.measured_at[:10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noisy": True, "noise_reason": "heat"}, r"noisy \(heat\)"),
        ({"model_id": "local/secret-project"}, "not in the catalog that ships"),
        ({"model_id": "my-company/secret-project"}, "not in the catalog that ships"),
        ({"runtime": "openai"}, "server at an address"),
        ({"device_key": "other hardware"}, "not measured on this computer"),
        ({"ttft_s": float("nan")}, "ttft_s"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_reason(
    laptop: Device, catalog: Catalog, changes: dict[str, object], words: str
) -> None:
    run = replace(measured(laptop, catalog, 1.0), **changes)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=words):
        shared_run(run, laptop)


def test_a_run_has_one_key_however_often_it_is_shared(
    laptop: Device, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured(laptop, catalog, 1.0)
    first = shared_run(run, laptop)
    monkeypatch.setattr("recommender.community.record.__version__", "9.9")
    assert shared_run(run, laptop).id == first.id
    assert shared_run(replace(run, gen_tokens=64), laptop).id != first.id


def test_machines_of_one_person_have_nothing_in_common(laptop: Device, catalog: Catalog, home: Path) -> None:
    bigger = replace(laptop, ram_bytes=64.0 * GIB)
    names = [shared_run(measured(device, catalog, 1.0), device).contributor for device in (laptop, laptop, bigger)]
    assert names[0] == names[1] != names[2]
    (home / "contributor").write_text("half a numb")  # a crash of something else: a new number, never a common one
    assert shared_run(measured(laptop, catalog, 1.0), laptop).contributor != names[0]


def test_a_record_that_was_tampered_with_is_told(laptop: Device, catalog: Catalog) -> None:
    good = asdict(shared(measured(laptop, catalog, 1.0), laptop))
    for change, words in (
        ({"decode_tokens_per_s": good["decode_high"] * 0.99}, "key is not that of its content"),
        ({"decode_tokens_per_s": -1}, "decode_tokens_per_s"),
        ({"decode_tokens_per_s": float("inf")}, "decode_tokens_per_s"),
        ({"ttft_s": float("nan")}, "ttft_s"),
        ({"secret": 1}, "field that no record has"),
        ({"format": 2}, "format"),
        ({"model_id": "a\nb"}, "model_id"),
        ({"model_id": "nobody/knows-it"}, "not in the catalog"),
        ({"build": "x" * LONGEST_CHARACTERS}, "longer than"),
        ({"device": good["device"] | {"bandwidth_gb_s": 1e9}}, "bandwidth_gb_s"),
    ):
        found = read_record(json.dumps(good | change))
        assert isinstance(found, str), change
        assert words in found
        assert "\n" not in found
    apart = keyed(replace(shared(measured(laptop, catalog, 1.0), laptop), decode_low=1e9))
    assert "between its slowest" in str(read_record(record_text(apart)))


@settings(max_examples=200, deadline=None)
@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x), max_leaves=9).map(
        json.dumps
    )
    | st.just("[" * 16_000)
    | st.just('{"format":' * 1600)
)
def test_any_text_is_a_record_or_a_sentence(text: str) -> None:
    assert isinstance(read_record(text), str | SharedRun)
