"""The ten-second probe picks a run that the machine can do, and says what load it was taken under."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recommender import paths
from recommender.catalog.store import Catalog
from recommender.device import preset, this_machine
from recommender.errors import RunError
from recommender.probe import RUN_S, MemoryProbe, plan_probe, read_memory
from recommender.types import GIB, Device


def bytes_read(catalog: Catalog, model_id: str) -> float:
    rows = catalog.cursor().execute(
        "SELECT read_bytes_per_token FROM variants WHERE model_id = $1 AND quantization = 'Q4_K_M'", [model_id]
    )
    return float(rows.fetchall()[0][0])


def test_a_faster_machine_is_probed_with_a_larger_model(catalog: Catalog, laptop: Device, workstation: Device) -> None:
    plans = [plan_probe(device, catalog) for device in (laptop, workstation)]
    assert all(plan.expected_s <= RUN_S for plan in plans)
    slow, fast = (bytes_read(catalog, plan.forecast.model_id) for plan in plans)
    assert fast > 2 * slow


def test_a_model_is_never_split_between_gpu_and_cpu(catalog: Catalog) -> None:
    for name in ("rtx-4060", "rtx-3050", "gtx-1050-ti"):
        forecast = plan_probe(preset(name), catalog).forecast
        layers = (
            catalog.cursor()
            .execute("SELECT n_layer FROM models WHERE model_id = $1", [forecast.model_id])
            .fetchall()[0][0]
        )
        assert forecast.settings.gpu_layers == layers + 1


def test_a_slow_machine_is_probed_with_the_smallest_model(catalog: Catalog, laptop: Device) -> None:
    slow = replace(laptop, bandwidth_bytes_per_s=0.5e9, physical_cores=1, usable_threads=1, isa=())
    plan = plan_probe(slow, catalog)
    assert plan.expected_s > RUN_S
    assert bytes_read(catalog, plan.forecast.model_id) < 0.2e9


def test_without_free_memory_no_model_is_run(catalog: Catalog, laptop: Device) -> None:
    with pytest.raises(RunError, match="only memory was measured"):
        plan_probe(replace(laptop, ram_free_bytes=0.01 * GIB), catalog)


def test_memory_is_read_remembered_and_its_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    found = read_memory(this_machine(), seconds=0.2)
    assert this_machine().bandwidth_bytes_per_s == found.bandwidth_bytes_per_s > 0
    assert 0 <= found.busy_cpus <= found.cpus
    assert f"{found.busy_cpus:.1f} of {found.cpus} CPUs" in found.sentence


def test_a_busy_machine_is_asked_to_be_probed_again(laptop: Device) -> None:
    quiet = MemoryProbe(laptop, 40e9, 0.1, 8)
    assert "again" not in quiet.sentence
    assert "40 GB/s" in quiet.sentence
    assert "probe again" in replace(quiet, busy_cpus=6.0).sentence
