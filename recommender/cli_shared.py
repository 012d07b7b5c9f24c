"""What commands have in common: the device they speak of, the catalog, and how an answer is printed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommender.errors import BadInputError
from recommender.plain import plain
from recommender.types import Device

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog


def device_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (this machine), a preset's id, or a JSON file")
    command.add_argument("--ram-gib", type=float, help="memory in GiB")
    command.add_argument("--free-ram-gib", type=float, help="free memory in GiB")
    command.add_argument("--vram-gib", type=float, help="GPU memory in GiB")
    command.add_argument("--bandwidth-gb-s", type=float, help="memory bandwidth in GB/s")


def print_answer(arguments: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=1, allow_nan=False) if arguments.json else plain(text))


def catalog_with_notes() -> Catalog:
    from recommender.catalog.store import open_catalog

    catalog = open_catalog()
    for note in catalog.notes:
        print(f"recommender: {note}", file=sys.stderr)
    return catalog


def device_by_name(name: str) -> Device:
    from recommender.device import from_json, preset, this_machine

    if name == "auto":
        return this_machine()
    if name.endswith(".json"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"{name} cannot be read: {error}.") from error
        return from_json(text)
    return preset(name)


def chosen_device(arguments: argparse.Namespace) -> Device:
    return _with(
        device_by_name(arguments.device),
        ram_gib=arguments.ram_gib,
        free_ram_gib=arguments.free_ram_gib,
        vram_gib=arguments.vram_gib,
        bandwidth_gb_s=arguments.bandwidth_gb_s,
    )


def _with(device: Device, **changes: float | None) -> Device:
    from recommender.device import with_overrides

    given = {name: value for name, value in changes.items() if value is not None}
    return with_overrides(device, **given) if given else device


def calibration_of(device: Device, catalog: Catalog) -> Any:
    from recommender.calibrated import calibration_here

    return calibration_here(device, catalog)
