"""Why this pick: sentences with the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recommender.engine.scoring import PARTS
from recommender.engine.words import count, listing, rate, seconds, size
from recommender.types import Pick

if TYPE_CHECKING:
    from recommender.engine.rules import Case


def pick_reasons(case: Case, picks: Sequence[Pick], place: int, thinks: bool) -> tuple[str, ...]:
    """What speaks for the pick at ``place``, and what it beat or what beat it."""
    pick = picks[place]
    sentences = [_quality(pick), *_speed(case, pick, thinks), *_memory(case, pick)]
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
