"""Classes of devices in the order of what one usually pays, and the machines of the list by class.

The catalog has no prices and none are invented: the order is a judgement, one row of ``catalog/device_classes.csv``
per class with its reason. Within a class machines are ordered by memory, then bandwidth, then year.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from recommender.device import preset, presets
from recommender.paths import catalog_dir
from recommender.types import GIB, Device

_GB_S = 1e9


@dataclass(frozen=True)
class DeviceClass:
    rank: int
    id: str
    name: str
    kinds: tuple[str, ...]
    own_gpu: bool  # a GPU with memory of its own
    gpu_bytes_max: float
    bandwidth_max: float  # bytes/s of main memory
    why: str

    def takes(self, device: Device) -> bool:
        """Whether the device is of this class, when no class before it takes it."""
        own = own_gpu_bytes(device)
        bandwidth = device.bandwidth_bytes_per_s or 0.0
        return (
            device.kind in self.kinds
            and bool(own) == self.own_gpu
            and own <= self.gpu_bytes_max
            and bandwidth <= self.bandwidth_max
        )


def own_gpu_bytes(device: Device) -> float:
    """Memory of GPUs that have their own; 0 without any."""
    return sum(gpu.memory_bytes or 0.0 for gpu in device.gpus if not gpu.unified)


@cache
def device_classes() -> tuple[DeviceClass, ...]:
    """``catalog/device_classes.csv``, least first."""
    with (catalog_dir() / "device_classes.csv").open(encoding="utf-8", newline="") as file:
        found = [
            DeviceClass(
                int(row["rank"]),
                row["id"],
                row["name"],
                tuple(row["kinds"].split("|")),
                row["graphics"] == "own",
                float(row["gpu_memory_gib_max"] or "inf") * GIB,
                float(row["bandwidth_gb_s_max"] or "inf") * _GB_S,
                row["why"],
            )
            for row in csv.DictReader(file)
        ]
    return tuple(sorted(found, key=lambda one: one.rank))


def class_of(device: Device) -> DeviceClass | None:
    """The first class that takes the device; ``None`` for what cannot be bought, such as a browser."""
    return next((one for one in device_classes() if one.takes(device)), None)


@dataclass(frozen=True)
class Machine:
    """A machine of the list, by its sizes of RAM: the same device once per size, smallest first."""

    preset_id: str
    of_class: DeviceClass
    release_year: int
    devices: tuple[Device, ...]


def order(of_class: DeviceClass, device: Device, release_year: int) -> tuple[float, ...]:
    """Sorts what one usually pays less for first: class, memory that models run in, bandwidth, year."""
    own = own_gpu_bytes(device)
    bandwidths = [gpu.bandwidth_bytes_per_s or 0.0 for gpu in device.gpus if not gpu.unified]
    return (
        of_class.rank,
        own or device.ram_bytes or 0.0,
        max(bandwidths, default=device.bandwidth_bytes_per_s or 0.0),
        device.ram_bytes or 0.0,
        release_year,
    )


@cache
def machines() -> tuple[Machine, ...]:
    """Every machine of the list that belongs to a class."""
    found = []
    for one in presets():
        sizes = sorted(set(one.ram_gib_options)) or [one.ram_gib_default]
        devices = tuple(preset(one.id, size) for size in sizes)
        of_class = class_of(devices[0])
        if of_class is not None:
            found.append(Machine(one.id, of_class, one.release_year or 0, devices))
    return tuple(found)


def usual_sizes(values: Iterable[float]) -> list[float]:
    """Different sizes, smallest first, without those that only one or two machines of the list have."""
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return sorted(value for value, count in counts.items() if count > _ODD)


_ODD = 2
