"""A machine as a JSON file: what ``recommender device --json`` prints, and what ``--device FILE`` takes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from recommender.device.budget import memory_budget
from recommender.device.key import device_key
from recommender.errors import BadInputError, nearest
from recommender.types import Device, Gpu

_KINDS = ("phone", "tablet", "laptop", "desktop", "mini-pc", "workstation", "server", "sbc")
_SYSTEMS = ("linux", "windows", "macos", "android", "ios")
_BACKENDS = ("", "cuda", "metal", "rocm", "vulkan")
_TEXT = frozenset(
    ("id", "name", "kind", "os", "arch", "cpu_model", "npu_name", "source", "vendor", "backend", "compute_capability")
)
_WHOLE = frozenset(("physical_cores", "performance_cores", "usable_threads"))
_FLAGS = frozenset(("unified_memory", "unified"))
_LARGEST = 1e18  # bytes, FLOP/s: nothing real comes near

#: Printed for the reader and for scripts; worked out again when a file is read.
_DERIVED = frozenset(("budget", "device_key", "probe"))


def to_dict(device: Device) -> dict[str, Any]:
    """The fields of ``device`` plus ``budget`` (what a model may use) and ``device_key``."""
    plain: dict[str, Any] = {field.name: getattr(device, field.name) for field in fields(Device)}
    plain["isa"] = list(device.isa)
    plain["gpus"] = [{field.name: getattr(gpu, field.name) for field in fields(Gpu)} for gpu in device.gpus]
    plain["sources"] = dict(device.sources)
    budget = memory_budget(device)
    plain["device_key"] = device_key(device)
    plain["budget"] = {
        "ram_bytes": budget.ram_bytes,
        "gpu_bytes": budget.gpu_bytes,
        "unified": budget.unified,
        "disk_bytes": budget.disk_bytes,
        "reasons": list(budget.reasons),
    }
    return plain


def to_json(device: Device, indent: int | None = 2) -> str:
    return json.dumps(to_dict(device), indent=indent, ensure_ascii=False)


def from_json(text: str) -> Device:
    """The machine that ``text`` describes.

    Raises:
        BadInputError: not JSON, an unknown key (the nearest real ones are named), or a value that makes no sense.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            f"The device file is not valid JSON: {error}. `recommender device --json` writes one."
        ) from error
    return from_dict(plain)


def read_device(path: Path) -> Device:
    """The machine in a JSON file.

    Raises:
        BadInputError: the file cannot be read, or what it says makes no sense; the file is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The device file {path} cannot be read: {error}.") from error
    try:
        return from_json(text)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def from_dict(plain: object) -> Device:
    """As ``from_json``, from parsed JSON."""
    known = _checked(plain, Device, "the device", _DERIVED)
    kind, system = known.get("kind", "desktop"), known.get("os", "")
    _one_of("kind", kind, _KINDS)
    _one_of("os", system, _SYSTEMS)
    known["isa"] = _texts(known.get("isa", []), "isa")
    known["gpus"] = tuple(_gpu(entry, place) for place, entry in enumerate(_items(known.get("gpus", []), "gpus")))
    known["sources"] = _sources(known.get("sources", {}))
    known.setdefault("id", "from-file")
    known.setdefault("name", known.get("cpu_model") or "Device from a file")
    known.setdefault("kind", kind)
    known.setdefault("arch", "arm64" if system in ("android", "ios") else "x86-64")
    share = known.get("gpu_memory_fraction")
    if share is not None and share > 1:
        raise BadInputError(f"gpu_memory_fraction is a share between 0 and 1, not {share:g}.")
    _not_more("ram_free_bytes", "ram_bytes", known)
    return Device(**known)


def _checked(plain: object, cls: type, what: str, ignored: frozenset[str]) -> dict[str, Any]:
    if not isinstance(plain, Mapping):
        raise BadInputError(
            f"{what[:1].upper()}{what[1:]} must be a JSON object with names and values, not {_shown(plain)}."
        )
    names = [field.name for field in fields(cls)]
    known: dict[str, Any] = {}
    for key, value in plain.items():
        if key in ignored:
            continue
        if key not in names:
            close = nearest(str(key), names)
            hint = f" Did you mean {', '.join(close)}?" if close else ""
            raise BadInputError(f"{what[:1].upper()}{what[1:]} has no field called {key!r}.{hint}")
        known[key] = _value(str(key), value)
    return known


def _value(key: str, value: Any) -> Any:
    if key in ("isa", "gpus", "sources"):
        return value
    if key in _TEXT:
        if not _is_text(value):
            raise BadInputError(f"{key} must be text, not {_shown(value)}.")
        return value
    if key in _FLAGS:
        if not isinstance(value, bool):
            raise BadInputError(f"{key} must be true or false, not {_shown(value)}.")
        return value
    if value is None:
        return None
    # Compared, not converted: a whole number of 400 digits has no float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise BadInputError(f"{key} must be a number or null, not {_shown(value)}.")
    if key in _WHOLE:
        if value != int(value) or not 1 <= value <= 65536:
            raise BadInputError(f"{key} must be a whole number from 1 to 65536, not {_shown(value)}.")
        return int(value)
    if value < 0 or (value == 0 and key in ("ram_bytes", "bandwidth_bytes_per_s", "fp16_flops")):
        raise BadInputError(f"{key} must be more than 0, not {_shown(value)}.")
    if value > _LARGEST:
        raise BadInputError(
            f"{key} is {_shown(value)}, more than any machine has. It is counted in bytes (or per second), not GiB."
        )
    return float(value)


def _gpu(entry: object, place: int) -> Gpu:
    known = _checked(entry, Gpu, f"GPU {place + 1}", frozenset())
    if not known.get("name"):
        raise BadInputError(f"GPU {place + 1} has no name.")
    known.setdefault("vendor", "")
    known.setdefault("backend", "")
    _one_of("backend", known["backend"], _BACKENDS)
    known.setdefault("memory_bytes", None)
    known.setdefault("memory_free_bytes", None)
    _not_more("memory_free_bytes", "memory_bytes", known)
    return Gpu(**known)


def _not_more(part: str, whole: str, known: Mapping[str, Any]) -> None:
    if known.get(part) is not None and known.get(whole) is not None and known[part] > known[whole]:
        raise BadInputError(f"{part} ({known[part]:g}) is more than {whole} ({known[whole]:g}).")


def _one_of(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInputError(
            f"{key} must be one of {', '.join(choice or '(empty)' for choice in choices)}, not {_shown(value)}."
        )


def _items(value: object, key: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise BadInputError(f"{key} must be a list, not {_shown(value)}.")
    if len(value) > 64:
        raise BadInputError(f"{key} has {len(value)} entries; 64 are the most that make sense.")
    return list(value)


def _texts(value: object, key: str) -> tuple[str, ...]:
    items = _items(value, key)
    if not all(map(_is_text, items)):
        raise BadInputError(f"{key} must be a list of texts.")
    return tuple(items)


def _sources(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(map(_is_text, (*value, *value.values()))):
        raise BadInputError("sources must name a text for each field.")
    return dict(value)


def _is_text(value: object) -> bool:
    """A text that can be written down: half of a pair of surrogates cannot."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
