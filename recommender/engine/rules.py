"""Hard limits. A rule answers yes or no for every candidate at once and gives its reason with the numbers in it.

Adding a rule: write a function from ``Case`` to ``Verdict`` and name it in ``RULES`` or ``ESTIMATE_RULES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.engine.words import count, listing, rate, seconds, size
from recommender.types import Floats, Need, Task

if TYPE_CHECKING:
    from recommender.catalog.queries import RuntimeRow
    from recommender.device.budget import Budget
    from recommender.engine.candidates import Candidates
    from recommender.estimate import Estimates

Sentence = Callable[[int], str]


@dataclass(frozen=True)
class RuntimeOnDevice:
    """One runtime on the device asked about."""

    row: RuntimeRow
    reason_against: str  # "" when it runs there
    accelerator: str  # what it would use: cpu, cuda, metal, rocm, vulkan, npu, webgpu or managed
    can_try_here: bool


@dataclass(frozen=True)
class Case:
    """One question with everything the rules look at. Row arrays have shape (n,)."""

    need: Need
    task: Task
    context_tokens: int
    budget: Budget
    candidates: Candidates
    runtimes: dict[str, RuntimeOnDevice]


@dataclass(frozen=True)
class Verdict:
    """One rule's answer: who fails, by how much, and the two sentences for any row."""

    rule: str
    fails: NDArray[np.bool_]
    short_by: Floats
    unit: str
    reason: Sentence
    change: Sentence


def _by_runtime(case: Case, question: Callable[[RuntimeOnDevice], bool]) -> NDArray[np.bool_]:
    """Ask each runtime once, answer for every row."""
    answers = {name: question(on_device) for name, on_device in case.runtimes.items()}
    names = case.candidates.variants.runtime
    return np.fromiter((answers[name] for name in names), dtype=np.bool_, count=len(names))


def _plain(rule: str, fails: NDArray[np.bool_], reason: Sentence, change: Sentence) -> Verdict:
    """A verdict of a rule that is met or not, with nothing to measure."""
    return Verdict(rule, fails, np.where(fails, 1.0, 0.0), "", reason, change)


def _runtime_name(case: Case, row: int) -> str:
    return case.runtimes[case.candidates.variants.runtime[row]].row.name


# ── before anything is estimated ─────────────────────────────────────────────────────────────────────────────


def runs_on_device(case: Case) -> Verdict:
    """The runtime exists for this operating system, processor and accelerator."""
    return _plain(
        "device",
        _by_runtime(case, lambda runtime: bool(runtime.reason_against)),
        lambda row: case.runtimes[case.candidates.variants.runtime[row]].reason_against,
        lambda row: "another runtime or another device",
    )


def context_is_enough(case: Case) -> Verdict:
    """The model reads as many tokens as asked. An unrecorded limit passes."""
    limit = case.candidates.context_max
    short = np.where(np.isnan(limit), 0.0, case.context_tokens - limit)
    return Verdict(
        "context",
        short > 0,
        np.maximum(short, 0.0),
        "tokens",
        lambda row: f"reads at most {count(limit[row])} tokens, {count(case.context_tokens)} asked",
        lambda row: f"ask for a context of {count(limit[row])} tokens",
    )


def licence_allows(case: Case) -> Verdict:
    """Commercial use is allowed, perhaps under conditions. An unrecorded licence is not taken as a yes."""
    terms = case.candidates.commercial
    fails = np.asarray((terms == "no") | (terms == ""), dtype=np.bool_) & case.need.commercial
    return _plain(
        "licence",
        fails,
        lambda row: (
            "its licence forbids commercial use"
            if terms[row] == "no"
            else "its licence is not recorded, so commercial use is not assured"
        ),
        lambda row: "drop the commercial-use limit",
    )


def can_use_tools(case: Case) -> Verdict:
    """A task that calls tools needs a model trained for it; an unrecorded ability passes."""
    fails = np.asarray(case.candidates.tools == "no", dtype=np.bool_) & case.task.needs_tools
    return _plain(
        "tools",
        fails,
        lambda row: "it was not trained to call tools, which this task needs",
        lambda row: "choose a task without tools",
    )


def placement_matches(case: Case) -> Verdict:
    """On the device, managed by a cloud, or either; offline rules out what needs a network to answer."""
    wanted = case.need.placement
    managed = _by_runtime(case, lambda runtime: runtime.row.managed)
    online = _by_runtime(case, lambda runtime: not runtime.row.offline)
    fails = (online & case.need.offline) | (managed & (wanted == "device")) | (~managed & (wanted == "managed"))

    def reason(row: int) -> str:
        if online[row] and case.need.offline:
            return f"{_runtime_name(case, row)} needs a network to answer, and offline was asked"
        where = "is a managed cloud service" if managed[row] else "runs on a machine of your own"
        return f"{_runtime_name(case, row)} {where}, and {'on-device' if managed[row] else 'managed'} was asked"

    return _plain("placement", fails, reason, lambda row: "allow managed services and devices alike")


def enterprise_is_met(case: Case) -> Verdict:
    """The runtime comes with what an enterprise asked for: SLA, audit, role-based access, support."""
    asked = case.need.enterprise

    def missing(name: str) -> list[str]:
        row = case.runtimes[name].row
        return [item.upper() if item in ("sla", "rbac") else item for item in asked if not getattr(row, item)]

    return _plain(
        "enterprise",
        _by_runtime(case, lambda runtime: bool(missing(runtime.row.id))),
        lambda row: (
            f"{_runtime_name(case, row)} comes without {listing(missing(case.candidates.variants.runtime[row]))}"
        ),
        lambda row: f"do without {listing(missing(case.candidates.variants.runtime[row]))}",
    )


def accelerator_is_used(case: Case) -> Verdict:
    """The asked-for accelerator is the one the runtime would use here."""
    wanted = case.need.accelerator
    gpu = ("cuda", "metal", "rocm", "vulkan", "webgpu")

    def other(runtime: RuntimeOnDevice) -> bool:
        if wanted is None or runtime.accelerator == "managed":
            return False
        return runtime.accelerator not in gpu if wanted == "gpu" else runtime.accelerator != wanted

    return _plain(
        "accelerator",
        _by_runtime(case, other),
        lambda row: (
            f"{_runtime_name(case, row)} would run on the "
            f"{case.runtimes[case.candidates.variants.runtime[row]].accelerator.upper()} here, "
            f"the {str(wanted).upper()} was asked for"
        ),
        lambda row: "let the best accelerator be used",
    )


def conversion_is_offered(case: Case) -> Verdict:
    """Who wants to convert and optimize weights needs a runtime with a pipeline for it; who does not, a ready file."""
    if case.need.own_conversion:
        fails = _by_runtime(case, lambda runtime: not runtime.row.own_conversion)
        return _plain(
            "conversion",
            fails,
            lambda row: f"{_runtime_name(case, row)} has no conversion and optimization pipeline of its own",
            lambda row: "take a file that is already converted",
        )
    fails = np.asarray(case.candidates.availability == "convert", dtype=np.bool_)
    return _plain(
        "conversion",
        fails,
        lambda row: "nobody is recorded to publish this quantization; you would have to convert it yourself",
        lambda row: "allow your own conversion",
    )


def experimental_is_allowed(case: Case) -> Verdict:
    """Support that the runtime calls experimental is shown only on request."""
    experimental = np.asarray(case.candidates.support == "experimental", dtype=np.bool_)
    experimental |= _by_runtime(case, lambda runtime: runtime.row.experimental)
    return _plain(
        "experimental",
        experimental & (not case.need.experimental),
        lambda row: f"{_runtime_name(case, row)} supports this only experimentally",
        lambda row: "allow experimental set-ups",
    )


def disk_holds_it(case: Case) -> Verdict:
    """The file fits on the disk with the asked reserve left. An unknown disk passes."""
    file_bytes = np.nan_to_num(case.candidates.variants.file_bytes)
    free = case.budget.disk_bytes
    room = np.inf if free is None else free - case.need.disk_reserve_bytes
    short = np.maximum(file_bytes - room, 0.0)
    return Verdict(
        "disk",
        short > 0,
        short,
        "bytes",
        lambda row: f"its file takes {size(file_bytes[row])}, {size(max(room, 0))} of disk may be used",
        lambda row: f"free {size(short[row])} of disk",
    )


# ── on estimates ─────────────────────────────────────────────────────────────────────────────────────────────


def memory_holds_it(case: Case, estimated: Estimates) -> Verdict:
    """What must stay resident fits into free memory, on the GPU and in RAM. Unknown memory passes, with a note."""
    memory = estimated.memory
    in_ram = memory.total_bytes - memory.reclaimable_bytes - memory.gpu_bytes
    ram = np.inf if case.budget.ram_bytes is None else case.budget.ram_bytes - case.need.memory_reserve_bytes
    gpu = case.budget.gpu_bytes
    short_ram = np.nan_to_num(in_ram - ram, nan=0.0, posinf=0.0, neginf=0.0)
    short_gpu = memory.gpu_bytes - gpu
    short = np.maximum(np.maximum(short_ram, short_gpu), 0.0)

    def reason(row: int) -> str:
        if short_gpu[row] > max(short_ram[row], 0.0):
            needs, free, where = memory.gpu_bytes[row], gpu, "GPU memory"
        else:
            needs, free, where = in_ram[row], max(ram, 0.0), "memory"
        return f"needs {size(needs)}, {size(free)} of {where} free: short by {size(needs - free)}"

    return Verdict("memory", short > 0, short, "bytes", reason, lambda row: f"free {size(short[row])} more memory")


def decode_is_fast_enough(case: Case, estimated: Estimates) -> Verdict:
    """Decode reaches the asked tokens per second."""
    floor = case.need.min_decode_tokens_per_s
    value = estimated.decode.value
    short = np.zeros(len(value)) if floor is None else np.maximum(floor - value, 0.0)
    return Verdict(
        "decode speed",
        short > 0,
        short,
        "tok/s",
        lambda row: f"writes about {rate(value[row])}, {rate(floor or 0)} asked: short by {rate(short[row])}",
        lambda row: f"accept {rate(value[row])}",
    )


def _time_limit(rule: str, what: str, limit_s: float | None, value_s: Floats) -> Verdict:
    over = np.zeros(len(value_s)) if limit_s is None else np.maximum(value_s - limit_s, 0.0)
    return Verdict(
        rule,
        over > 0,
        over,
        "s",
        lambda row: f"{what} takes about {seconds(value_s[row])}, {seconds(limit_s or 0)} allowed",
        lambda row: f"allow {seconds(value_s[row])}",
    )


def first_token_is_soon(case: Case, estimated: Estimates) -> Verdict:
    """The first token comes within the asked time."""
    return _time_limit("first token", "the first token", case.need.max_ttft_s, estimated.ttft.value)


def answer_is_soon(case: Case, estimated: Estimates) -> Verdict:
    """The whole answer, thinking included, comes within the asked time."""
    return _time_limit("answer time", "the whole answer", case.need.max_answer_time_s, estimated.answer_time.value)


RULES: tuple[Callable[[Case], Verdict], ...] = (
    runs_on_device,
    placement_matches,
    accelerator_is_used,
    enterprise_is_met,
    conversion_is_offered,
    experimental_is_allowed,
    context_is_enough,
    licence_allows,
    can_use_tools,
    disk_holds_it,
)

ESTIMATE_RULES: tuple[Callable[[Case, Estimates], Verdict], ...] = (
    memory_holds_it,
    decode_is_fast_enough,
    first_token_is_soon,
    answer_is_soon,
)
