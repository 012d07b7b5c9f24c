from __future__ import annotations

from dataclasses import replace

import pytest

from recommender.device import detect, device_key, measure_bandwidth, preset
from recommender.errors import BadInputError
from recommender.types import GIB


def test_free_memory_name_and_system_do_not_change_the_key() -> None:
    device = preset("rtx-4060")
    changed = replace(device, name="Another", ram_free_bytes=1.0, os="linux", id="x", disk_free_bytes=5.0)
    assert device_key(changed) == device_key(device)


def test_what_the_kernel_keeps_does_not_change_the_key() -> None:
    device = preset("thinkpad-t480", ram_gib=16)
    assert device_key(replace(device, ram_bytes=15.6 * GIB)) == device_key(device)


def test_another_card_more_memory_or_fewer_cores_are_other_hardware() -> None:
    base = preset("rtx-4060-ti-8gb")
    keys = {
        device_key(base),
        device_key(preset("rtx-4060-ti-16gb")),
        device_key(preset("rtx-4060-ti-8gb", ram_gib=64)),
        device_key(replace(base, physical_cores=4)),
        device_key(replace(base, gpus=base.gpus * 2)),
    }
    assert len(keys) == 5


def test_this_machine_has_the_same_key_twice() -> None:
    assert device_key(detect()) == device_key(detect())


def test_the_probe_reads_memory_at_a_speed_that_hardware_has() -> None:
    assert 1e8 < measure_bandwidth(seconds=0.2, threads=1) < 5e12


@pytest.mark.parametrize("arguments", [{"seconds": 0.0}, {"seconds": 1e6}, {"seconds": 0.2, "threads": 0}])
def test_a_probe_that_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        measure_bandwidth(**arguments)  # type: ignore[arg-type]
