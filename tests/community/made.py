"""Runs to share, made from the catalog's own estimates so that they are plausible."""

from __future__ import annotations

from dataclasses import replace

from recommender.calibrated import priors
from recommender.catalog.store import Catalog
from recommender.community import record
from recommender.community.record import SharedRun, row_of, shared_run
from recommender.community.stores import Row
from recommender.device import device_key
from recommender.types import Device, Measurement, Settings
from tests.measured import MEASURED

MODEL, QUANTIZATION = "Qwen/Qwen3-0.6B", "Q4_0"


def measured(device: Device, catalog: Catalog, times: float, **changes: object) -> Measurement:
    """A run on a device at ``times`` the uncorrected estimate."""
    one = replace(
        MEASURED,
        device_name="of somebody",
        device_key=device_key(device),
        model_id=MODEL,
        quantization=QUANTIZATION,
        settings=Settings(1024, "f16", 2048, 512, 1, 4, -1 if device.gpus else 0, True),
    )
    one = replace(one, **changes)  # type: ignore[arg-type]
    decode, prefill = (speed * times for speed in priors([replace(one, id=repr(one))], device, catalog)[repr(one)])
    return replace(
        one,
        decode_tokens_per_s=decode,
        decode_low=decode,
        decode_high=decode,
        prefill_tokens_per_s=prefill,
        prefill_low=prefill,
        prefill_high=prefill,
    )


def shared(run: Measurement, device: Device, contributor: int = 0, **changes: object) -> SharedRun:
    """A run as a contributor with this number would share it, with other values in its record."""
    return keyed(replace(shared_run(run, device), contributor=f"{contributor:016x}", **changes))  # type: ignore[arg-type]


def keyed(run: SharedRun) -> SharedRun:
    """The same with the key of its content."""
    return replace(run, id=record._key(run))


def row(run: Measurement, device: Device, contributor: int = 0, **changes: object) -> Row:
    return row_of(shared(run, device, contributor, **changes))
