"""Hard limits. A rule answers yes or no for every candidate at once and gives its reason with the numbers in it.

Adding a rule: write a function from ``Case`` to ``Verdict`` and name it in ``RULES`` or ``ESTIMATE_RULES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommender.engine.placement import Placement, npu_reason
from recommender.engine.runtime_rules import GPU_ACCELERATORS, RUNTIME_RULES, RuntimeOnDevice, RuntimeRule
from recommender.engine.words import count, rate, seconds, size
from recommender.estimate.columns import known_or_zero
from recommender.types import Device, Floats, Need, Task

if TYPE_CHECKING:
    from recommender.device.budget import Budget
    from recommender.engine.candidates import Candidates
    from recommender.estimate import Estimates

Sentence = Callable[[int], str]


@dataclass(frozen=True)
class Case:
    """One question with everything the rules look at. Row arrays have shape (n,)."""

    need: Need
    task: Task
    context_tokens: int
    budget: Budget
    candidates: Candidates
    runtimes: dict[str, RuntimeOnDevice]
    longest_useful_s: float  # without a limit of their own nobody waits longer for this task
    device: Device
    placement: Placement  # what each row computes on

    @property
    def ram_bytes(self) -> float:
        """Main memory a model may use; infinite when it is unknown, so that nothing is left out for it."""
        return np.inf if self.budget.ram_bytes is None else self.budget.ram_bytes

    @property
    def gpu_bytes(self) -> float:
        return self.budget.gpu_room_bytes

    @property
    def on_gpu(self) -> NDArray[np.bool_]:
        """Whether each row computes on a GPU, shape (n,)."""
        return self.placement.among(GPU_ACCELERATORS)

    @property
    def free_bytes(self) -> float:
        """Everything a pick may take: main memory and GPU memory beside it."""
        return self.ram_bytes + self.gpu_bytes


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
    names, index = case.candidates.variants.runtimes
    return np.array([question(case.runtimes[name]) for name in names], dtype=np.bool_)[index]


def _plain(rule: str, fails: NDArray[np.bool_], reason: Sentence, change: Sentence) -> Verdict:
    """A verdict of a rule that is met or not, with nothing to measure."""
    return Verdict(rule, fails, np.where(fails, 1.0, 0.0), "", reason, change)


# ── before anything is estimated ─────────────────────────────────────────────────────────────────────────────


def by_runtime(rule: RuntimeRule) -> Callable[[Case], Verdict]:
    """A rule about the runtime alone, asked once per runtime and answered for every row."""

    def judge(case: Case) -> Verdict:
        def runtime_of(row: int) -> RuntimeOnDevice:
            return case.runtimes[case.candidates.variants.runtime[row]]

        return _plain(
            rule.name,
            _by_runtime(case, lambda runtime: bool(rule.reason(case.need, runtime))),
            lambda row: rule.reason(case.need, runtime_of(row)),
            lambda row: rule.change(case.need, runtime_of(row)),
        )

    return judge


def quantization_is_taken(case: Case) -> Verdict:
    """The runtime takes this quantization on this device's accelerator, compute capability included."""
    rows = case.candidates
    reasons = [case.runtimes[runtime].quantization_reasons.get((form, name), "") for runtime, form, name in rows.kinds]
    fails = np.array([bool(reason) for reason in reasons], dtype=np.bool_)[rows.kind]
    return _plain(
        "quantization",
        fails,
        lambda row: reasons[rows.kind[row]],
        lambda row: "another quantization, or a device that supports this one",
    )


def accelerator_takes_it(case: Case) -> Verdict:
    """Something is left that the row can compute on; an NPU runs only models that have a variant for it."""
    rows = case.candidates
    fails = case.placement.among(("",))

    def reason(row: int) -> str:
        runtime = case.runtimes[rows.variants.runtime[row]]
        if case.need.accelerator == "npu":
            why = npu_reason(
                runtime.row.id, runtime.row.name, rows.variants.model_id[row], case.device, case.context_tokens
            )
            return why or f"{runtime.row.name} does not run {rows.variants.quantization[row]} on the NPU"
        asked = f", the {case.need.accelerator.upper()} was asked for" if case.need.accelerator else ""
        return f"{runtime.row.name} runs {rows.variants.quantization[row]} on nothing that is here{asked}"

    return _plain("accelerator", fails, reason, lambda row: "let the best accelerator be used")


def file_is_small_enough(case: Case) -> Verdict:
    """A runtime inside a browser holds only so much; what was published in pieces has no limit per file."""
    rows = case.candidates
    file_bytes = known_or_zero(rows.variants.file_bytes)
    of_file, of_all = (
        np.array(
            [getattr(case.runtimes[runtime].row, name) or np.inf for runtime, _, _ in rows.kinds], dtype=np.float64
        )[rows.kind]
        for name in ("max_file_bytes", "max_model_bytes")
    )
    limit = np.minimum(of_all, np.where(rows.in_pieces, np.inf, of_file))
    short = np.maximum(file_bytes - limit, 0.0)

    def reason(row: int) -> str:
        name = case.runtimes[rows.variants.runtime[row]].row.name
        what = "a file" if limit[row] < of_all[row] else "weights"
        return f"{name} takes {what} of at most {size(limit[row])}, this one has {size(file_bytes[row])}"

    return Verdict("file size", short > 0, short, "bytes", reason, lambda row: "a smaller quantization")


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
    fails = terms.among("no", "") & case.need.commercial
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
    fails = case.candidates.tools.among("no") & case.task.needs_tools
    return _plain(
        "tools",
        fails,
        lambda row: "it was not trained to call tools, which this task needs",
        lambda row: "choose a task without tools",
    )


def file_exists(case: Case) -> Verdict:
    """Somebody publishes this quantization, or the person wants to convert."""
    fails = case.candidates.availability.among("convert") & (not case.need.own_conversion)
    return _plain(
        "published",
        fails,
        lambda row: "nobody is recorded to publish this quantization; you would have to convert it yourself",
        lambda row: "allow your own conversion",
    )


def disk_holds_it(case: Case) -> Verdict:
    """The file fits on the disk with the asked reserve left. An unknown disk passes."""
    file_bytes = known_or_zero(case.candidates.variants.file_bytes)
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


def memory_holds_it(case: Case, estimates: Estimates) -> Verdict:
    """What must stay resident fits into free memory, on the GPU and in RAM. Unknown memory passes, with a note."""
    memory = estimates.memory
    in_ram = memory.total_bytes - memory.reclaimable_bytes - memory.gpu_bytes
    on_gpu = case.on_gpu
    room = np.where(on_gpu, case.budget.ram_room_bytes(True), case.budget.ram_room_bytes(False))
    ram = room - case.need.memory_reserve_bytes
    gpu = case.gpu_bytes
    short_ram = np.nan_to_num(in_ram - ram, nan=0.0, posinf=0.0, neginf=0.0)
    short_gpu = memory.gpu_bytes - gpu
    short = np.maximum(np.maximum(short_ram, short_gpu), 0.0)

    def reason(row: int) -> str:
        if short_gpu[row] > max(short_ram[row], 0.0):
            needs, free, where = memory.gpu_bytes[row], gpu, "GPU memory"
        else:
            needs, free, where = in_ram[row], max(ram[row], 0.0), "memory"
        return f"needs {size(needs)}, {size(free)} of {where} free: short by {size(needs - free)}"

    return Verdict("memory", short > 0, short, "bytes", reason, lambda row: f"free {size(short[row])} more memory")


def decode_is_fast_enough(case: Case, estimates: Estimates) -> Verdict:
    """Decode reaches the asked tokens per second."""
    floor = case.need.min_decode_tokens_per_s
    value = estimates.decode.value
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


def first_token_is_soon(case: Case, estimates: Estimates) -> Verdict:
    """The first token comes within the asked time."""
    return _time_limit("first token", "the first token", case.need.max_ttft_s, estimates.ttft.value)


def answer_is_soon(case: Case, estimates: Estimates) -> Verdict:
    """The whole answer, thinking included, comes within the asked time, or else in one that is of any use."""
    return _time_limit(
        "answer time",
        "the whole answer",
        case.need.max_answer_time_s or case.longest_useful_s,
        estimates.answer_time.value,
    )


RULES: tuple[Callable[[Case], Verdict], ...] = (
    *(by_runtime(rule) for rule in RUNTIME_RULES),
    quantization_is_taken,
    accelerator_takes_it,
    file_is_small_enough,
    file_exists,
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
