"""Why this pick: sentences with the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommender.engine.scoring import PARTS
from recommender.engine.words import count, listing, rate, seconds, size
from recommender.estimate.batching import batch_share
from recommender.runtimes import tables
from recommender.runtimes.platforms import npu_makers, npu_name
from recommender.types import Pick

if TYPE_CHECKING:
    from recommender.engine.rules import Case


@dataclass(frozen=True)
class Rival:
    """The best way to run the same model with another engine, where it fits too."""

    runtime: str  # its name
    quantization: str
    decode_tokens_per_s: float | None
    quality: float


def pick_reasons(
    case: Case, picks: Sequence[Pick], place: int, thinks: bool, rivals: Sequence[Rival] | None = None
) -> tuple[str, ...]:
    """What speaks for the pick at ``place``, and what it beat or what beat it. The second sentence is its runtime's.

    ``rivals`` are the other engines that could run it, best first; ``None`` where nobody looked for them.
    """
    pick = picks[place]
    sentences = [_quality(pick), _runtime(case, pick, rivals), *_speed(case, pick, thinks), *_memory(case, pick)]
    if case.need.languages:
        languages = listing(tuple(case.need.languages))
        sentences.append(f"Its ability in {languages} is in that figure; no language was excluded for lack of data.")
    other = picks[1] if place == 0 and len(picks) > 1 else picks[0]
    if other is not pick:
        sentences.append(_against(pick, other))
    return tuple(sentences)


def _quality(pick: Pick) -> str:
    if not pick.quality_evidence:
        behind = "no benchmark score of its own: judged by its size, age and kind"
    else:
        behind = f"{count(pick.quality_evidence)} benchmark scores behind it"
    return f"Quality {pick.quality:.0f} ± {pick.quality_se:.0f} of 100 on this task ({behind})."


_ON = {"cpu": "the CPU", "npu": "the NPU", "webgpu": "the GPU"}
_APIS = {"cuda": "CUDA", "rocm": "ROCm", "metal": "Metal", "vulkan": "Vulkan"}


def _runtime(case: Case, pick: Pick, rivals: Sequence[Rival] | None) -> str:
    """Why this runtime: what it alone can do here, what it computes on, and the speed of the next engine beside its."""
    runtime = case.runtimes[pick.runtime]
    if runtime.row.managed:
        asked = [item.upper() if item in ("sla", "rbac") else item for item in case.need.enterprise]
        with_it = f" with {listing(asked)}" if asked else ""
        return f"{runtime.row.name} runs it as a managed service{with_it}: nothing runs on the device."
    on = _ON.get(pick.accelerator, f"the GPU ({_APIS.get(pick.accelerator, pick.accelerator)})")
    parts = [f"{runtime.row.name} runs it on {on}"]
    if pick.accelerator == "npu":
        variant = _npu_variant(case, pick)
        parts.append(f"it has {variant}" if variant else "")
    elif case.need.users > 1 and runtime.row.many_users and pick.accelerator != "cpu":
        share = batch_share("llama.cpp")
        parts.append(
            f"it batches {count(case.need.users)} users in one pass; llama.cpp's engine was measured at {share:.0%} of "
            "that speed"
        )
    if rivals:
        parts.append(_beside(pick, rivals[0]))
    elif rivals is not None and _alone(case, pick):
        parts.append(f"nothing else here takes {pick.quantization}")
    if case.need.enterprise:
        items = [item.upper() if item in ("sla", "rbac") else item for item in case.need.enterprise]
        parts.append(f"{listing(items)} can be had with it")
    return f"{'; '.join(part for part in parts if part)}."


def _npu_variant(case: Case, pick: Pick) -> str:
    makers = npu_makers(case.device)
    for row in tables.npu_models(pick.runtime).get(pick.model_id, ()):
        if row.npu in makers:
            what = "a published variant" if row.how == "published" else "a published recipe"
            return f"{what} for {npu_name(row.npu)} ({row.name})"
    return ""


def _alone(case: Case, pick: Pick) -> bool:
    """Whether no other runtime on this device takes the pick's format and quantization."""
    kinds = {(form, name) for runtime, form, name in case.candidates.kinds if runtime == pick.runtime}
    own = [kind for kind in kinds if kind[1] == (pick.quantization or "")]
    others = [
        row
        for name, runtime in case.runtimes.items()
        if name != pick.runtime and not runtime.reason_against
        for kind in own
        if (row := tables.format_row(name, *kind))
        and row.support != "no"
        and not runtime.quantization_reasons.get(kind)
    ]
    return not others


def _beside(pick: Pick, rival: Rival) -> str:
    """The two engines' speeds, both estimated from the same fitted tables, and what else differs."""
    mine = pick.estimate.decode_tokens_per_s
    if mine is None or rival.decode_tokens_per_s is None:
        return ""
    ratio = rival.decode_tokens_per_s / mine.value - 1
    how = "as fast" if abs(ratio) < 0.02 else f"{abs(ratio):.0%} {'faster' if ratio > 0 else 'slower'}"
    gap = rival.quality - pick.quality
    quality = f" and {abs(gap):.0f} points {'better' if gap > 0 else 'weaker'}" if abs(gap) >= 0.5 else ""
    return (
        f"{rival.runtime} with {rival.quantization} would be {how} by estimate ({rate(rival.decode_tokens_per_s)} "
        f"instead of {rate(mine.value)}){quality}"
    )


def _speed(case: Case, pick: Pick, thinks: bool) -> list[str]:
    decode, ttft, answer = pick.estimate.decode_tokens_per_s, pick.estimate.ttft_s, pick.estimate.answer_time_s
    if decode is None or ttft is None or answer is None:
        return []
    thinking = f", {count(case.task.thinking_tokens)} tokens of thinking included" if thinks else ""
    return [
        f"It writes about {rate(decode.value)} ({rate(decode.low)} to {rate(decode.high)}), starts after "
        f"{seconds(ttft.value)} and has answered in {seconds(answer.value)}{thinking}."
    ]


def _memory(case: Case, pick: Pick) -> list[str]:
    memory = pick.estimate.memory
    if memory is None:
        return []
    free = case.free_bytes
    of_free = f" of {size(free)} free" if math.isfinite(free) else ""
    return [
        f"It takes {size(memory.total_bytes - memory.reclaimable_bytes)}{of_free} at a context of "
        f"{count(case.context_tokens)} tokens."
    ]


# A part of the score as what it means: gained and lost.
_GAINED = {"quality": "better", "speed": "faster", "memory": "smaller", "runtime": "on a runtime that suits more"}
_LOST = {"quality": "weaker", "speed": "slower", "memory": "larger", "runtime": "on a runtime that suits less"}
_NOTHING_POINTS = 0.05  # what one decimal does not show


def _against(pick: Pick, other: Pick) -> str:
    """What the pick gains and loses most against another, in points of score."""
    gap = {
        part.name: part.points - theirs.points
        for part, theirs in zip(pick.score_parts, other.score_parts, strict=True)
        if part.name in PARTS and abs(part.points - theirs.points) >= _NOTHING_POINTS
    }
    what = f"{other.name} {other.quantization or ''}".strip()
    verb = "It beats" if pick.score >= other.score else "It stands behind"
    by = f"{verb} {what} by {abs(pick.score - other.score):.1f} points of score"
    if not gap:
        return f"{by}: they are alike in all that counts."
    gained = [f"{_GAINED[name]} (+{points:.1f})" for name, points in gap.items() if points > 0]
    lost = [f"{_LOST[name]} (−{-points:.1f})" for name, points in gap.items() if points < 0]
    first, second = (gained, lost) if pick.score >= other.score else (lost, gained)
    if not first or not second:
        return f"{by}: {listing(first or second)}."
    return f"{by}: {listing(first)}, though {listing(second)}."
