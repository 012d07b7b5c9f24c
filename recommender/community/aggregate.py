"""Shared runs of the same thing as one figure: medians with counts, and what corrects estimates.

A contributor has one voice in a group, the median of what it shared, however many runs those are. A group has the same
hardware, model, quantization, runtime, version and side (CPU or GPU); settings may differ, which is why voices are held
against each other by their distance from the estimate for their own settings.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from recommender.community.judging import (
    BROWSER,
    Counted,
    SetAside,
    beyond_others,
    by_contributor,
    judged,
    rule,
)
from recommender.community.record import settings_of
from recommender.community.stores import Row
from recommender.device import device_key
from recommender.types import Device, Measurement

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = ["Group", "Median", "Summary", "as_measurement", "summary"]

_RANGE_SAYS = 10  # up to so many values their range is about √n standard deviations, which calibration takes it for


@dataclass(frozen=True)
class Median:
    """The middle of the contributors' medians, and the least and greatest of them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """What was shared of one thing and is counted. Speeds in tokens per second."""

    device_key: str
    device: str  # its hardware in words
    model_id: str
    quantization: str
    runtime: str
    version: str
    side: str  # "cpu" or "gpu"
    runs: int
    contributors: int
    decode_tokens_per_s: Median
    prefill_tokens_per_s: Median
    ttft_s: Median
    memory_bytes: Median | None
    newest: str  # day of the newest run
    corrects: bool  # whether it corrects the estimates for this hardware
    counted: tuple[Counted, ...]


@dataclass(frozen=True)
class Summary:
    """All that was shared: what is counted, by group, and what is not."""

    groups: tuple[Group, ...]
    set_aside: tuple[SetAside, ...]


def summary(rows: Iterable[Row], catalog: Catalog, device: Device | None = None) -> Summary:
    """Medians of what is counted, and why the rest is not. Nothing that a row says makes it fail.

    Args:
        device: as :func:`recommender.community.judging.judged` takes it.
    """
    counted, aside = judged(rows, catalog, device)
    members: dict[tuple[str, ...], list[Counted]] = {}
    for one in counted:
        members.setdefault(_group_key(one), []).append(one)
    groups = []
    for key_of_group, group in members.items():
        far = beyond_others(group)
        aside += [
            SetAside(one.run.id, one.run, far[one.run.contributor]) for one in group if one.run.contributor in far
        ]
        groups.append(_group(key_of_group, [one for one in group if one.run.contributor not in far]))
    groups.sort(key=lambda one: (-one.contributors, -one.runs, one.device_key, one.model_id, one.quantization))
    return Summary(tuple(groups), tuple(aside))


def as_measurement(group: Group, device: Device) -> Measurement:
    """A group as a run on ``device``, with the settings of its run nearest to the middle and the group's median
    distance from the estimate for them.

    Its range is that of the contributors, so that machines of the same hardware that differ make it count for less. It
    has no time, so that no version of others makes a run made here look old.
    """
    voices = by_contributor(group.counted)
    decode = [median(one.decode_ratio for one in own) for own in voices.values()]
    prefill = [median(one.prefill_ratio for one in own) for own in voices.values()]
    middle = median(decode)
    one = min(group.counted, key=lambda counted: (abs(counted.decode_ratio - middle), counted.run.id))
    run = one.run
    name = "\n".join((group.device_key, group.model_id, group.quantization, group.runtime, group.version, run.id))
    return Measurement(
        id=f"shared {hashlib.sha256(name.encode()).hexdigest()[:24]}",
        measured_at="",
        device_name=device.name,
        device_key=device_key(device),
        model_id=run.model_id,
        quantization=run.quantization,
        file_name="",
        file_sha256="",
        file_bytes=math.nan,
        runtime=run.runtime,
        binding=run.binding,
        build=run.build,
        settings=settings_of(run),
        prompt_tokens=run.prompt_tokens,
        gen_tokens=run.gen_tokens,
        repeats=min(len(voices), _RANGE_SAYS),
        **_speeds("prefill", one.prefill.value, prefill),
        **_speeds("decode", one.decode.value, decode),
        ttft_s=group.ttft_s.value,
        load_s=math.nan,
        memory=None,
        peak_resident_bytes=None,
        load_average_before=None,
        load_average_after=None,
        cpu_steal_fraction=None,
        noisy=False,
    )


def _speeds(phase: str, estimate: float, ratios: Sequence[float]) -> dict[str, Any]:
    values = (median(ratios), min(ratios), max(ratios))
    names = ("tokens_per_s", "low", "high")
    return {f"{phase}_{name}": estimate * math.exp(value) for name, value in zip(names, values, strict=True)}


def _group(key: tuple[str, ...], group: Sequence[Counted]) -> Group:
    voices = by_contributor(group)

    def middle(name: str) -> Median | None:
        said = [[getattr(one.run, name) for one in own] for own in voices.values()]
        known = [median(values) for own in said if (values := [value for value in own if value is not None])]
        return Median(median(known), min(known), max(known)) if known else None

    def sure(name: str) -> Median:
        found = middle(name)
        assert found is not None
        return found

    hardware, model_id, quantization, runtime, version, side = key
    return Group(
        hardware,
        group[0].run.device.words(),
        model_id,
        quantization,
        runtime,
        version,
        side,
        len(group),
        len(voices),
        sure("decode_tokens_per_s"),
        sure("prefill_tokens_per_s"),
        sure("ttft_s"),
        middle("memory_bytes"),
        max(one.run.day for one in group),
        len(voices) >= rule("calibration_contributors") and not runtime.startswith(BROWSER),
        tuple(group),
    )


def _group_key(one: Counted) -> tuple[str, ...]:
    run = one.run
    return run.hardware, run.model_id, run.quantization, run.runtime, run.version, one.side
