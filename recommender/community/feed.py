"""What others measured on the same hardware, for the calibration, and one's own runs on their way to others."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from recommender import settings
from recommender.community.aggregate import Summary, as_measurement, summary
from recommender.community.record import SharedRun, row_of, shared_key
from recommender.community.stores import open_store
from recommender.errors import RecommenderError
from recommender.types import Device, Measurement

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = ["measured_elsewhere", "share", "shared_with_all", "shared_with_this_hardware"]

_KEPT_S = 600.0
_KEPT_AFTER_FAILURE_S = 60.0  # a database that hangs must not hold up every answer

_TURN = Lock()  # one reads, whoever comes meanwhile takes what was read before

# (until, summary, why it could not be read) by setting and hardware ("" for all)
_Kept = dict[tuple[str, str], tuple[float, Summary, str]]


def measured_elsewhere(device: Device, catalog: Catalog) -> tuple[Measurement, ...]:
    """The groups of this hardware that correct estimates, as runs; newest first."""
    groups = [group for group in shared_with_this_hardware(device, catalog)[0].groups if group.corrects]
    groups.sort(key=lambda group: group.newest, reverse=True)
    return tuple(as_measurement(group, device) for group in groups)


def shared_with_this_hardware(device: Device, catalog: Catalog) -> tuple[Summary, str]:
    """What was shared of this hardware, at most ten minutes old, and why it could not be read ("" when it could)."""
    return _read(catalog, device)


def shared_with_all(catalog: Catalog) -> tuple[Summary, str]:
    """As :func:`shared_with_this_hardware`, of all hardware."""
    return _read(catalog, None)


def share(run: SharedRun, catalog: Catalog) -> None:
    """Store one run for others.

    Raises:
        RecommenderError: sharing is off, or the place cannot be written.
    """
    open_store(settings.community()).add(row_of(run))
    _kept(catalog).clear()


def _read(catalog: Catalog, device: Device | None) -> tuple[Summary, str]:
    setting, hardware = settings.community(), shared_key(device) if device else None
    key = (setting, repr((hardware, device and device.bandwidth_bytes_per_s)))
    known = _kept(catalog).get(key)
    if known and (known[0] > time.monotonic() or not _TURN.acquire(blocking=False)):
        return known[1:]  # fresh, or somebody is reading it anew just now
    if not known:
        _TURN.acquire()
    try:
        known = _kept(catalog).get(key)
        if known is None or known[0] < time.monotonic():
            known = _kept(catalog)[key] = _read_anew(setting, hardware, catalog, device)
    finally:
        _TURN.release()
    return known[1:]


def _read_anew(
    setting: str, hardware: str | None, catalog: Catalog, device: Device | None
) -> tuple[float, Summary, str]:
    try:
        found, problem = summary(open_store(setting).rows(hardware), catalog, device), ""
    except RecommenderError as error:
        found, problem = Summary((), ()), str(error)
    return time.monotonic() + (_KEPT_AFTER_FAILURE_S if problem else _KEPT_S), found, problem


def _kept(catalog: Catalog) -> _Kept:
    return catalog.keep("community", dict)
