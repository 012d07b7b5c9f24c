"""What was once measured of this machine is kept, so that it need not be measured at every start."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

from recommender import paths
from recommender.device.detect import detect
from recommender.device.key import device_key
from recommender.types import Device


def this_machine() -> Device:
    """``detect()``, with the memory bandwidth that was measured on this hardware, if it was."""
    device = detect()
    measured = _read(paths.probe_file()).get(device_key(device))
    return _with_bandwidth(device, measured) if measured else device


def remember_bandwidth(device: Device, bandwidth_bytes_per_s: float) -> Device:
    """``device`` with a measured bandwidth, which is kept for the next start where the data folder can be written."""
    path = paths.probe_file()
    known = _read(path) | {device_key(device): bandwidth_bytes_per_s}
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(known, indent=1), encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True) if path.parent.is_dir() else None
    return _with_bandwidth(device, bandwidth_bytes_per_s)


def _with_bandwidth(device: Device, bandwidth_bytes_per_s: float) -> Device:
    sources = {**device.sources, "bandwidth_bytes_per_s": "measured"}
    return replace(device, bandwidth_bytes_per_s=bandwidth_bytes_per_s, sources=sources)


def _read(path: Path) -> dict[str, float]:
    """Hardware → bytes per second; empty when there is no file or it is not what was written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        key: float(value)
        for key, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value) and value > 0
    }
