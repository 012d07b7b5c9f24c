"""The other way round: from a model and a speed to the least class of device that runs it so.

Every machine of the list is asked through ``recommend``, class by class in the order of ``device_classes.csv``, until
one meets the target; so what is planned is what Find would say of that machine. Where a speed is asked, a machine whose
memory bandwidth is not known does not count: its speed is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from recommender.catalog.queries import find_model
from recommender.device.budget import memory_budget
from recommender.engine.device_classes import DeviceClass, Machine, machines, order
from recommender.engine.recommend import judge_named, qualities, recommend
from recommender.engine.scoring import scoring_numbers
from recommender.engine.words import count, rate, seconds, size
from recommender.errors import BadInputError
from recommender.estimate.speed import SideTerms
from recommender.types import Device, NearMiss, Need, Pick

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_SPEED_RULES = ("decode speed", "answer time", "first token")
# A search for a bandwidth between a hundredth and a hundred times what there is, to within half a percent.
_FURTHEST, _CLOSE_ENOUGH = 100.0, 1.005


@dataclass(frozen=True)
class Found:
    """A machine that meets the target, with the smallest RAM that does, and what it would run."""

    machine: Machine
    device: Device
    pick: Pick

    @property
    def place(self) -> tuple[float, ...]:
        return order(self.machine.of_class, self.device, self.machine.release_year)


@dataclass(frozen=True)
class Nearest:
    """What came nearest where nothing meets the target."""

    device: Device
    miss: NearMiss


@dataclass(frozen=True)
class Needed:
    """What the target asks of the found device's hardware."""

    terms: tuple[SideTerms, ...]  # of the formula, per side that does a part
    token_s: float  # their sum
    bandwidth_bytes_per_s: float | None  # the least that meets the target; None where bandwidth alone never does
    has_bytes_per_s: float | None  # what the device has


@dataclass(frozen=True)
class Plan:
    """``found`` is least first and empty where nothing of the list meets the target; then ``nearest`` is set."""

    need: Need
    least_quality: float | None
    of_class: DeviceClass | None
    found: tuple[Found, ...]
    in_class: int  # machines of that class in the list
    passed_over: tuple[DeviceClass, ...]  # classes before it in which nothing meets the target
    needed: Needed | None
    nearest: Nearest | None
    limit: str  # which limit most of what comes near breaks; "" where something meets the target


def plan(
    need: Need,
    catalog: Catalog,
    least_quality: float | None = None,
    among: Sequence[Machine] | None = None,
) -> Plan:
    """The least class of device that meets the need.

    Args:
        need: task, context, users and speeds; ``models`` names the model, or is empty for any of ``least_quality``.
        least_quality: quality of 100 on the task that a model must reach after quantization.
        among: machines to choose from; those of the list by default.

    Raises:
        UnknownNameError: a name that the catalog does not have.
        BadInputError: neither a model nor a quality is given, or a limit makes no sense.
    """
    if not need.models and least_quality is None:
        raise BadInputError("Name a model, or say how good any model must be: a least quality of 0 to 100.")
    if least_quality is not None and not 0 <= least_quality <= 100:
        raise BadInputError(f"The least quality must be 0 to 100, not {least_quality:g}.")
    _check_published(need, catalog)
    asked, least_quality = _narrowed(need, catalog, least_quality)
    search = _Search(asked, catalog, least_quality)
    listed = sorted(machines() if among is None else among, key=lambda one: one.of_class.rank)
    passed_over: list[DeviceClass] = []
    for of_class, members in groupby(listed, key=lambda one: one.of_class):
        of_this = list(members)
        meeting = sorted(search.meeting(of_this), key=lambda one: one.place)
        if meeting:
            shown = _different(meeting)
            needed = _needed(asked, shown[0], catalog)
            return Plan(need, least_quality, of_class, tuple(shown), len(of_this), tuple(passed_over), needed, None, "")
        passed_over.append(of_class)
    nearest = search.nearest()
    limit = nearest.miss.rule if nearest else max(search.rejected.items(), key=lambda one: one[1], default=("", 0))[0]
    return Plan(need, least_quality, None, (), 0, tuple(passed_over), None, nearest, limit)


# Of which neither memory nor speed is known, so that every variant of a model fits it.
_BOUNDLESS = Device(id="", name="", kind="server", os="linux", arch="x86-64")


def _narrowed(need: Need, catalog: Catalog, least_quality: float | None) -> tuple[Need, float | None]:
    """The need with the models and quantizations that are good enough, and how good that is.

    Of a model that is named without a quantization and a quality, those count that lose no more than what is called
    a loss elsewhere too (``near_miss_points``).
    """
    if least_quality is None and (need.quantizations or len(need.models) != 1):
        return need, None
    anywhere = replace(need, min_decode_tokens_per_s=None, max_ttft_s=None, max_answer_time_s=None, users=1)
    anywhere = replace(anywhere, all_quantizations=True, accelerator=None, platform=None, form_factor=None)
    variants = [
        (model, quantization, quality)
        for model, quantization, quality in qualities(_BOUNDLESS, anywhere, catalog)
        if not need.quantizations or quantization in need.quantizations
    ]
    best = max((quality for _, _, quality in variants), default=0.0)
    if least_quality is None:
        least_quality = best - scoring_numbers()["near_miss_points"]
    good = [variant for variant in variants if variant[2] >= least_quality]
    if not good:
        raise BadInputError(
            f"Nothing published reaches a quality of {least_quality:.0f} on this task; the best has {best:.0f}. Ask "
            "for less, or name a model."
        )
    narrowed = replace(
        need,
        models=tuple(dict.fromkeys(model for model, _, _ in good)),
        quantizations=tuple(dict.fromkeys(quantization for _, quantization, _ in good)),
        all_quantizations=need.all_quantizations or len(need.models) != 1,
    )
    return narrowed, least_quality


def _check_published(need: Need, catalog: Catalog) -> None:
    """Say at once when nobody publishes what was named: no device would help."""
    if not need.models or not need.quantizations or need.own_conversion:
        return
    models = [find_model(catalog, name).model_id for name in need.models]
    rows = (
        catalog.cursor()
        .execute(
            "SELECT quantization FROM variants WHERE availability <> 'convert' AND model_id IN (SELECT unnest($1)) "
            "GROUP BY quantization ORDER BY max(tensor_bytes) DESC",
            [models],
        )
        .fetchall()
    )
    published = [str(row[0]) for row in rows]
    if not set(published) & set(need.quantizations):
        raise BadInputError(
            f"Nobody is recorded to publish {', '.join(need.quantizations)} of {', '.join(models)}. Published are "
            f"{', '.join(published) or 'none'}; or allow your own conversion."
        )


def _different(meeting: Sequence[Found]) -> list[Found]:
    """Machines of different names only, least first."""
    by_name = {one.device.name: one for one in reversed(meeting)}
    return sorted(by_name.values(), key=lambda one: one.place)


class _Search:
    """Asks machines and remembers what came near."""

    def __init__(self, need: Need, catalog: Catalog, least_quality: float | None) -> None:
        self._need, self._catalog, self._least_quality = need, catalog, least_quality
        self._least_bytes = _least_tensor_bytes(need, catalog)
        self._misses: list[Nearest] = []
        self.rejected: dict[str, int] = {}

    def meeting(self, of_class: Sequence[Machine]) -> Iterator[Found]:
        """Each machine that meets the target, with the least RAM that does.

        More RAM never takes a pick away, so a machine that fails with the most it is sold with fails with less.
        """
        for machine in of_class:
            largest = machine.devices[-1]
            pick = self._pick(largest, keep_miss=True)
            if pick is None:
                continue
            found = Found(machine, largest, pick)
            for device in machine.devices[:-1]:
                smaller = self._pick(device) if self._could_hold(device) else None
                if smaller is not None:
                    found = Found(machine, device, smaller)
                    break
            yield found

    def _could_hold(self, device: Device) -> bool:
        budget = memory_budget(device)
        if budget.ram_bytes is None:
            return True
        return budget.ram_bytes + (0.0 if budget.unified else budget.gpu_bytes or 0.0) >= self._least_bytes

    def _pick(self, device: Device, keep_miss: bool = False) -> Pick | None:
        if not self._could_hold(device) and not keep_miss:
            return None
        answer = recommend(device, self._need, self._catalog)
        good = [pick for pick in answer.picks if self._good(pick, device)]
        if good:
            return good[0]
        if keep_miss:
            for rule, number in answer.rejected.items():
                self.rejected[rule] = self.rejected.get(rule, 0) + number
            self._misses += [
                Nearest(answer.device, miss)
                for miss in answer.near_misses
                if miss.rule in (*_SPEED_RULES, "memory") and miss.pick.quality >= (self._least_quality or 0.0)
            ]
        return None

    def _good(self, pick: Pick, device: Device) -> bool:
        """Good enough and, where a speed is asked, of a speed that rests on a known bandwidth."""
        if pick.quality < (self._least_quality or 0.0):
            return False
        need, estimate = self._need, pick.estimate
        if not (need.min_decode_tokens_per_s or need.max_answer_time_s or need.max_ttft_s):
            return True
        return estimate.decode_tokens_per_s is not None and main_bandwidth(device, pick) is not None

    def nearest(self) -> Nearest | None:
        """The one that is short by the smallest share of what was asked."""
        return min(self._misses, key=lambda one: _share_short(one.miss, self._need), default=None)


def _share_short(miss: NearMiss, need: Need) -> float:
    estimate = miss.pick.estimate
    if miss.rule == "decode speed" and estimate.decode_tokens_per_s:
        return miss.short_by / estimate.decode_tokens_per_s.value
    if miss.rule == "answer time" and need.max_answer_time_s:
        return miss.short_by / need.max_answer_time_s
    if miss.rule == "first token" and need.max_ttft_s:
        return miss.short_by / need.max_ttft_s
    if miss.rule == "memory" and estimate.memory:
        return miss.short_by / max(estimate.memory.total_bytes - miss.short_by, 1.0)
    return math.inf


def _least_tensor_bytes(need: Need, catalog: Catalog) -> float:
    """The smallest that any wanted variant's weights can be: whatever cannot hold that need not be asked."""
    models = [find_model(catalog, name).model_id for name in need.models]
    row = (
        catalog.cursor()
        .execute(
            "SELECT min(tensor_bytes) FROM variants WHERE (len($1) = 0 OR model_id IN (SELECT unnest($1))) "
            "AND (len($2) = 0 OR quantization IN (SELECT unnest($2)))",
            [models, list(need.quantizations)],
        )
        .fetchone()
    )
    return float(row[0]) if row and row[0] is not None else 0.0


# ── what the target asks of the hardware ─────────────────────────────────────────────────────────────────────


def with_bandwidth(device: Device, factor: float) -> Device:
    """The device with its memory, and its GPUs' memory, ``factor`` times as fast and all else as it is."""
    main = device.bandwidth_bytes_per_s
    gpus = tuple(
        replace(gpu, bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s * factor) if gpu.bandwidth_bytes_per_s else gpu
        for gpu in device.gpus
    )
    return replace(device, bandwidth_bytes_per_s=main * factor if main else None, gpus=gpus)


def main_bandwidth(device: Device, pick: Pick) -> float | None:
    """The bandwidth, bytes/s, that most of the pick's layers read at: the GPU's own, or main memory's."""
    memory = pick.estimate.memory
    own = [gpu.bandwidth_bytes_per_s for gpu in device.gpus if not gpu.unified and gpu.bandwidth_bytes_per_s]
    if own and memory is not None and memory.gpu_bytes > 0:
        return max(own)
    return device.bandwidth_bytes_per_s


def _needed(need: Need, found: Found, catalog: Catalog) -> Needed | None:
    """The formula's terms on the found device, and the bandwidth at which the same pick just meets the target."""
    combination = (found.pick.model_id, found.pick.quantization or "", found.pick.runtime)
    named = judge_named(found.device, need, combination, catalog)
    if named is None or not named.terms:
        return None
    has = main_bandwidth(found.device, found.pick)

    def meets(factor: float) -> bool:
        one = judge_named(with_bandwidth(found.device, factor), need, combination, catalog)
        return one is not None and not one.against

    least: float | None = None
    if has is not None and meets(_FURTHEST):
        low, high = 1 / _FURTHEST, _FURTHEST
        while high / low > _CLOSE_ENOUGH:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if meets(middle) else (middle, high)
        least = has * high
    return Needed(named.terms, sum(side.total_s for side in named.terms), least, has)


def sentences(found: Plan) -> tuple[str, ...]:
    """The answer in a few sentences, for page and terminal alike."""
    if found.of_class is None:
        if found.nearest is None:
            return (f"Nothing in the list meets this; the limit that keeps out most is {found.limit or 'the model'}.",)
        miss = found.nearest.miss
        return (
            f"Nothing in the list meets this. The limit is {found.limit}: the nearest, {found.nearest.device.name} "
            f"with {miss.pick.name} {miss.pick.quantization or ''} on {miss.pick.runtime}, {miss.reason}.",
            f"What would admit it: {miss.change}.",
        )
    first = found.found[0]
    pick, estimate = first.pick, first.pick.estimate
    told = [
        f"Least class: {found.of_class.name}. {len(found.found)} of {found.in_class} in the list meet it; the least of "
        f"them is {first.device.name}{_memory_words(first.device)}.",
    ]
    if found.least_quality is not None:
        told.append(f"Counted is what reaches a quality of {found.least_quality:.0f} of 100 on this task.")
    if estimate.decode_tokens_per_s and estimate.answer_time_s:
        decode, answer = estimate.decode_tokens_per_s, estimate.answer_time_s
        told.append(
            f"It runs {pick.name} {pick.quantization or ''} on {pick.runtime} at {rate(decode.value)} "
            f"({rate(decode.low)} to {rate(decode.high)}, {decode.provenance})"
            f"{f' for each of {count(found.need.users)} users' if found.need.users > 1 else ''} and has answered in "
            f"{seconds(answer.value)} ({seconds(answer.low)} to {seconds(answer.high)})."
        )
    if memory := estimate.memory:
        told.append(
            f"It takes {size(memory.total_bytes - memory.reclaimable_bytes)} of memory: weights "
            f"{size(memory.weights_bytes - memory.reclaimable_bytes)}, KV cache {size(memory.kv_cache_bytes)}, compute "
            f"buffer {size(memory.compute_bytes)}, overhead {size(memory.overhead_bytes)}."
        )
    if needed := found.needed:
        has = f"; it has {needed.has_bytes_per_s / 1e9:.0f} GB/s" if needed.has_bytes_per_s else ""
        if needed.bandwidth_bytes_per_s is not None:
            told.append(
                f"The target needs about {needed.bandwidth_bytes_per_s / 1e9:.3g} GB/s of memory bandwidth on such a "
                f"device{has}."
            )
        elif needed.has_bytes_per_s is None:
            told.append("The bandwidth of its memory is not known, so none can be solved for.")
    return tuple(told)


def _memory_words(device: Device) -> str:
    parts = [size(device.ram_bytes)] if device.ram_bytes else []
    own = [gpu.memory_bytes for gpu in device.gpus if not gpu.unified and gpu.memory_bytes]
    parts += [f"{size(sum(own))} on the card"] if own else []
    return f" with {' and '.join(parts)}" if parts else ""
