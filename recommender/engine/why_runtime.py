"""One model on every runtime: what each would run it with, or the reason why it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from recommender.catalog.queries import find_model
from recommender.engine.candidates import question
from recommender.engine.judging import CACHE, Asked, case_of, free_bytes, judge, understood
from recommender.engine.picks import Judged, build_one
from recommender.engine.rules import RULES
from recommender.engine.runtime_rules import RUNTIME_RULES, RuntimeOnDevice
from recommender.errors import UnknownNameError
from recommender.estimate.quant_loss import loss_points
from recommender.runtimes import Runtime, RuntimeModel, all_runtimes, tables
from recommender.types import GIB, Device, Need, Pick

if TYPE_CHECKING:
    from recommender.catalog.facts import ModelRow
    from recommender.catalog.store import Catalog
    from recommender.estimate.calibrate import Calibration

_LEAST_ROOM_BYTES = GIB  # so that on the smallest device too something is there whose lack of memory can be told
_ALIKE = 0.02  # share of the speed within which two are called equally fast


@dataclass(frozen=True)
class RuntimeVerdict:
    """What is to be said of one model on one runtime."""

    runtime: str
    name: str
    reason: str  # why not, in a sentence without a full stop; "" where it runs it
    pick: Pick | None  # what it would run, with its figures; None where the catalog has nothing for it to run
    rule: str = ""  # the rule that says no: device, placement …, catalog; "" where it runs it

    @property
    def runs(self) -> bool:
        return not self.reason


def why_runtimes(
    device: Device,
    need: Need,
    model: str,
    catalog: Catalog,
    quantization: str = "",
    calibration: Calibration | None = None,
) -> tuple[RuntimeVerdict, ...]:
    """Every runtime's verdict on a model for a need, in the runtimes' order.

    Args:
        quantization: only this one; "" takes each runtime's best.

    Raises:
        UnknownNameError: the model, the task or the quantization is not in the catalog.
        BadInputError: a limit makes no sense.
    """
    row = find_model(catalog, model)
    wanted = replace(need, models=(row.model_id,), runtimes=(), all_quantizations=True)
    if quantization:
        wanted = replace(wanted, quantizations=(quantization,))
    asked = understood(device, wanted, catalog)
    judged = _judged(asked, catalog, calibration)
    formats = _formats(catalog, row.model_id, quantization)
    return tuple(
        _verdict(runtime, asked, judged, catalog, row, formats, quantization)
        for runtime in all_runtimes()
        if runtime.id in asked.runtimes
    )


def best_on_each(
    device: Device, need: Need, catalog: Catalog, calibration: Calibration | None = None
) -> tuple[RuntimeVerdict, ...]:
    """Every runtime's verdict on a need whatever the model: its best pick, or what keeps all its candidates out."""
    asked = understood(device, replace(need, runtimes=()), catalog)
    judged = _judged(asked, catalog, calibration)
    return tuple(
        _verdict(runtime, asked, judged, catalog, None, (), "")
        for runtime in all_runtimes()
        if runtime.id in asked.runtimes
    )


def best(verdicts: Sequence[RuntimeVerdict]) -> Pick | None:
    """The pick with the highest score among the runtimes that run the model."""
    picks = [verdict.pick for verdict in verdicts if verdict.runs and verdict.pick]
    return max(picks, key=lambda pick: pick.score, default=None)


def compared(verdict: RuntimeVerdict, chosen: Pick) -> str:
    """How a runtime's way of running the model compares with the chosen pick, in a sentence without a full stop."""
    pick = verdict.pick
    if pick is None or not verdict.runs:
        return verdict.reason
    if (pick.runtime, pick.quantization) == (chosen.runtime, chosen.quantization):
        return "the pick"
    parts = [_faster(pick, chosen)]
    if abs(pick.quality - chosen.quality) >= 0.5:
        better = "better" if pick.quality > chosen.quality else "weaker"
        parts.append(f"{abs(pick.quality - chosen.quality):.1f} points of quality {better}")
    mine, theirs = _memory_bytes(pick), _memory_bytes(chosen)
    if mine and theirs and abs(mine / theirs - 1) > 0.05:
        parts.append(f"{abs(mine / theirs - 1):.0%} {'more' if mine > theirs else 'less'} memory")
    gap = pick.score - chosen.score
    parts.append(f"{abs(gap):.1f} points of score {'ahead' if gap > 0 else 'behind'}" if abs(gap) >= 0.05 else "")
    return ", ".join(part for part in parts if part)


def _faster(pick: Pick, chosen: Pick) -> str:
    mine, theirs = pick.estimate.decode_tokens_per_s, chosen.estimate.decode_tokens_per_s
    if mine is None or theirs is None:
        return "speed not known"
    ratio = mine.value / theirs.value - 1
    if abs(ratio) < _ALIKE:
        return "as fast by estimate"
    return f"{abs(ratio):.0%} {'faster' if ratio > 0 else 'slower'} by estimate"


def _memory_bytes(pick: Pick) -> float:
    memory = pick.estimate.memory
    return 0.0 if memory is None else memory.charged_bytes


def _judged(asked: Asked, catalog: Catalog, calibration: Calibration | None) -> Judged:
    """What the catalog has for the question; of named models also what has to be converted or is experimental."""
    wanted = replace(asked.need, own_conversion=True, experimental=True) if asked.need.models else asked.need
    running = tuple(name for name, rule in asked.broken.items() if not rule)
    room = np.inf if asked.need.models else max(free_bytes(asked.budget), _LEAST_ROOM_BYTES)
    found = CACHE.get(catalog, question(wanted, asked.task, running, (), room, asked.numbers))
    case = case_of(asked, found)
    rows = np.arange(len(found.variants))
    return judge(asked, case, [rule(case) for rule in RULES], rows, calibration)


def _formats(catalog: Catalog, model_id: str, quantization: str) -> tuple[tuple[str, str], ...]:
    """Format and quantization of the variants in question."""
    rows = catalog.cursor().execute(
        "SELECT DISTINCT format, quantization FROM variants WHERE model_id = $1 AND ($2 = '' OR quantization = $2) "
        "ORDER BY ALL",
        [model_id, quantization],
    )
    return tuple((str(form), str(name)) for form, name in rows.fetchall())


def _verdict(
    runtime: Runtime,
    asked: Asked,
    judged: Judged,
    catalog: Catalog,
    model: ModelRow | None,
    formats: Sequence[tuple[str, str]],
    quantization: str,
) -> RuntimeVerdict:
    on_device = asked.runtimes[runtime.id]
    rule, reason = _broken(asked.need, on_device)
    if reason:
        return RuntimeVerdict(runtime.id, runtime.name, reason, None, rule)
    rows = np.flatnonzero(judged.case.candidates.variants.runtime == runtime.id)
    experimental = judged.case.candidates.support.take(rows).among("experimental")
    if not asked.need.experimental and experimental.any() and not experimental.all():
        rows = rows[~experimental]
    if not len(rows):
        why = _nothing_there(runtime, asked, model, formats, quantization)
        return RuntimeVerdict(runtime.id, runtime.name, why, None, "catalog")
    best = int(rows[np.lexsort((-judged.scores.total[rows], judged.failures[rows]))[0]])
    pick = build_one(judged, catalog, best)
    broken = next((verdict for verdict in judged.verdicts if verdict.fails[best]), None)
    if broken is not None:
        return RuntimeVerdict(runtime.id, runtime.name, _about(pick, broken.reason(best), model), pick, broken.rule)
    if pick.experimental and not asked.need.experimental:
        note = tables.format_row(runtime.id, judged.case.candidates.variants.format[best], pick.quantization or "")
        why = f"{runtime.name} takes {pick.quantization} only as an experimental set-up"
        why += f": {note.note}" if note and note.note else ""
        return RuntimeVerdict(runtime.id, runtime.name, why, pick, "experimental")
    return RuntimeVerdict(runtime.id, runtime.name, "", pick)


def _about(pick: Pick, reason: str, model: ModelRow | None) -> str:
    """A rule's reason with what it speaks of in front, where it starts with a verb or with "its"."""
    what = (
        f"{pick.quantization}" if model is not None and pick.quantization else f"{pick.name} {pick.quantization or ''}"
    )
    return f"{what.strip()}: {reason}" if reason[:1].islower() else reason


def _broken(need: Need, runtime: RuntimeOnDevice) -> tuple[str, str]:
    """The first rule about the runtime alone that it breaks, and its reason."""
    return next(((rule.name, reason) for rule in RUNTIME_RULES if (reason := rule.reason(need, runtime))), ("", ""))


def _nothing_there(
    runtime: Runtime,
    asked: Asked,
    model: ModelRow | None,
    formats: Sequence[tuple[str, str]],
    quantization: str,
) -> str:
    """Why the catalog has no candidate of a runtime."""
    if model is None:
        return f"{runtime.name} has no model in the catalog for this question"
    taken = [kind for kind in formats if not runtime.quantization_reason(*kind)]
    if not taken:
        unranked = _unranked(runtime, model.model_id)
        if unranked and not quantization:
            return unranked
        if quantization and formats:
            return runtime.quantization_reason(*formats[0])
        nothing = f"{runtime.name} has no published build of {model.model_id}"
        return nothing if tables.formats(runtime.id) else f"{runtime.name} takes no format that is known"
    why = runtime.architecture_reason(model.architecture)
    if why:
        return why
    for form, name in taken:
        why = runtime.model_reason(_named(model, form), name)
        if why:
            return why
    return f"{runtime.name} runs its own catalog only, and {model.model_id} is not known to be in it"


def _named(model: ModelRow, form: str) -> RuntimeModel:
    return RuntimeModel(
        model.model_id,
        form,
        base_repo=model.model_id,
        mlx_repo=model.mlx_repo or "",
        foundry_alias=model.onnx_foundry_local_alias or "",
        azure_id=model.azure_catalog_id or "",
    )


def _unranked(runtime: Runtime, model_id: str) -> str:
    """A published build whose quantization nobody has measured the loss of: it runs, and it cannot be ranked."""
    names = [name for name in tables.published_quantizations(runtime.id, model_id) if _loss_unknown(name)]
    if not names:
        return ""
    return (
        f"{runtime.name} runs {model_id} in {names[0]}, and no measurement of what that quantization loses is known, "
        "so it cannot be ranked"
    )


def _loss_unknown(quantization: str) -> bool:
    try:
        loss_points(np.array([np.nan]), np.array([quantization], dtype=object))
    except UnknownNameError:
        return True
    return False
