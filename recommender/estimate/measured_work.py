"""One phase (decode or prefill) of measured rows, ready for the formulas."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recommender.estimate.measured import Measured
from recommender.estimate.roofline import Coefficients, Hardware, Work, decode_seconds, prefill_seconds
from recommender.estimate.speed import classes_of, decode_work
from recommender.estimate.speed_hardware import Side
from recommender.estimate.speed_tables import SpeedTables
from recommender.types import Floats, Texts

# Any prompt length does where a row has none: such rows are not in a prefill phase.
NO_PROMPT = 512.0


@dataclass(frozen=True)
class PhaseRows:
    """Rows that measured one phase; arrays have shape (n,), ``kept`` are their places among all measured rows."""

    phase: str
    kept: NDArray[np.intp]
    work: Work
    hardware: Hardware
    prompt_tokens: Floats
    ubatch_tokens: Floats
    sides: tuple[Side, ...]
    family: Texts
    quant_class: Texts
    params_total: Floats
    measured: Floats  # tokens/s

    def __len__(self) -> int:
        return len(self.measured)

    def tokens_per_s(self, c: Coefficients) -> Floats:
        """What the formulas say with these coefficients (one of each per row)."""
        if self.phase == "decode":
            return np.asarray(1.0 / decode_seconds(self.work, self.hardware, c))
        took = prefill_seconds(self.work, self.hardware, c, self.prompt_tokens, self.ubatch_tokens)
        return np.asarray(self.prompt_tokens / took)


def phase_rows(data: Measured, phase: str, tables: SpeedTables) -> PhaseRows:
    """The rows that have a speed of this phase; for prefill also a prompt length."""
    measured = data.decode_tokens_per_s if phase == "decode" else data.prefill_tokens_per_s
    prompt = np.nan_to_num(data.prompt_tokens, nan=NO_PROMPT)
    depth = data.depth_tokens if phase == "decode" else prompt / 2
    work = decode_work(data.variants, data.settings, depth, tables)
    keep = np.isfinite(measured) & (measured > 0) & np.isfinite(work.weight_bytes) & (work.weight_bytes > 0)
    if phase == "prefill":
        keep &= np.isfinite(data.prompt_tokens)
    kept = np.flatnonzero(keep)
    sides = tuple(data.sides[i] for i in kept)
    threads = data.settings.threads[kept]
    nominal = np.array([side.flops for side in sides])
    on_cpu = np.array([side.accelerator == "cpu" for side in sides], dtype=bool)
    classes, class_of_row = classes_of(tables, data.variants.quantizations)
    return PhaseRows(
        phase=phase,
        kept=kept,
        work=Work(**{item.name: getattr(work, item.name)[kept] for item in fields(Work)}),
        hardware=Hardware(
            bandwidth_bytes_per_s=np.array([side.bandwidth_bytes_per_s for side in sides]),
            flops=np.where(on_cpu & (threads > 0), threads, nominal),
            balance=np.array([side.balance for side in sides]),
        ),
        prompt_tokens=prompt[kept],
        ubatch_tokens=data.settings.ubatch_tokens[kept],
        sides=sides,
        family=data.family[kept],
        quant_class=np.array(classes, dtype=object)[class_of_row][kept],
        params_total=data.variants.params_total[kept],
        measured=measured[kept],
    )
