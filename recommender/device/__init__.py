"""What the machine is: this one, one from the list, or one that was described."""

from recommender.device.budget import Budget, memory_budget
from recommender.device.detect import detect
from recommender.device.json import from_dict, from_json, read_device, to_dict, to_json
from recommender.device.key import device_key
from recommender.device.match import search
from recommender.device.overrides import with_overrides
from recommender.device.presets import Preset, preset, presets, ram_options
from recommender.device.probe import measure_bandwidth
from recommender.device.remember import remember_bandwidth, this_machine

__all__ = [
    "Budget",
    "Preset",
    "detect",
    "device_key",
    "from_dict",
    "from_json",
    "measure_bandwidth",
    "memory_budget",
    "preset",
    "presets",
    "ram_options",
    "read_device",
    "remember_bandwidth",
    "search",
    "this_machine",
    "to_dict",
    "to_json",
    "with_overrides",
]
