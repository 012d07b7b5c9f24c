"""Estimate requests from the command line's options, or from a CSV file that has them as columns."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recommender.engine.estimate_rows import EstimateRequest
from recommender.errors import BadInputError, RecommenderError, nearest
from recommender.types import Device

# Option → the request's field, and how its text is read.
_WHOLE = {
    "context": "context_tokens",
    "depth": "depth_tokens",
    "batch": "batch_tokens",
    "ubatch": "ubatch_tokens",
    "parallel": "parallel",
    "threads": "threads",
    "gpu_layers": "gpu_layers",
    "devices": "devices",
    "prompt_tokens": "prompt_tokens",
    "gen_tokens": "gen_tokens",
}
_TEXT = {"model": "model", "quant": "quantization", "runtime": "runtime", "kv_type": "kv_type", "binding": "binding"}
_OTHER = ("flash_attn", "model_bytes", "device")
_SWITCH = {"on": True, "1": True, "true": True, "yes": True, "off": False, "0": False, "false": False, "no": False}


def values_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The options that were given, as texts."""
    names = (*_WHOLE, *_TEXT, *(name for name in _OTHER if name != "device"))
    return {name: str(value) for name in names if (value := getattr(arguments, name, None)) is not None}


def request_from(values: Mapping[str, str], device: Device) -> EstimateRequest:
    """One request.

    Raises:
        BadInputError: an option's value cannot be read.
    """
    fields: dict[str, Any] = {field: values[name] for name, field in _TEXT.items() if values.get(name)}
    for name, field in _WHOLE.items():
        if values.get(name):
            fields[field] = _whole(name, values[name])
    if values.get("model_bytes"):
        fields["model_bytes"] = _number("model_bytes", values["model_bytes"])
    if values.get("flash_attn"):
        text = values["flash_attn"].casefold()
        if text not in _SWITCH:
            raise BadInputError(f"flash_attn is on or off, not {values['flash_attn']!r}.")
        fields["flash_attn"] = _SWITCH[text]
    for name in ("model", "quant"):
        if not values.get(name):
            raise BadInputError(f"The row has no {name}.")
    return EstimateRequest(device=device, **fields)


def requests_from_csv(
    path: Path, device: Device, device_by_name: Callable[[str], Device]
) -> list[EstimateRequest | RecommenderError]:
    """A request per row; a row that cannot be read becomes its error. A ``device`` column overrides ``device``.

    Raises:
        BadInputError: the file cannot be read, or has a column that is not an option.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip().replace("-", "_") for name in next(reader, [])]
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read as a CSV file: {error}.") from error
    known = [*_TEXT, *_WHOLE, *_OTHER]
    for name in header:
        if name not in known:
            close = ", ".join(nearest(name, known)) or ", ".join(known)
            raise BadInputError(f"{path.name} has a column {name!r} that is no option. Did you mean {close}?")
    if "model" not in header or "quant" not in header:
        raise BadInputError(f"{path.name} needs the columns model and quant.")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{path.name} has the column {twice!r} twice.")
    devices: dict[str, Device] = {}
    requests: list[EstimateRequest | RecommenderError] = []
    for number, cells in rows:
        try:
            if len(cells) > len(header):
                raise BadInputError(f"The row has {len(cells)} cells, the header {len(header)}.")
            row = dict(zip(header, cells, strict=False))
            name = row.get("device", "")
            if name and name not in devices:
                devices[name] = device_by_name(name)
            requests.append(request_from(row, devices.get(name, device)))
        except RecommenderError as error:
            requests.append(_at_line(error, path.name, number))
    return requests


def _at_line(error: RecommenderError, file: str, line: int) -> RecommenderError:
    return type(error)(f"{file} line {line}: {error}")


def _whole(name: str, text: str) -> int:
    value = _number(name, text)
    if value != int(value):
        raise BadInputError(f"{name} must be a whole number, not {text!r}.")
    return int(value)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e18:
        raise BadInputError(f"{name} must be a number, not {text!r}.")
    return value
