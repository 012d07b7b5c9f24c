"""A ten-second look at this machine: what its memory delivers, then what the real runtime makes of a small model.

Bandwidth sets how fast weights are read; the short rehearsal shows the arithmetic, the overheads and the kernels of
this very build. Both are kept, so all estimates for this machine move at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from recommender.device import measure_bandwidth, memory_budget, remember_bandwidth
from recommender.engine.estimate_rows import EstimateRequest, estimate_rows
from recommender.errors import RecommenderError, RunError
from recommender.runner.rehearse import expected_s
from recommender.trial import RehearsalPlan
from recommender.types import Device

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = ["MemoryProbe", "plan_probe", "read_memory"]

# With the two seconds that reading memory takes, ten in all.
RUN_S = 8.0
# Enough for a steady figure, few enough for a machine on which a prompt of 512 tokens takes ten seconds.
PROMPT_TOKENS, GEN_TOKENS = 128, 32
CONTEXT_TOKENS = 1024
QUANTIZATION = "Q4_K_M"  # the file type most people run, with the kernels that most estimates are about
# More CPUs than this at work before the probe begins take from what it finds.
QUIET_CPUS = 0.5


@dataclass(frozen=True)
class MemoryProbe:
    """What memory delivered, and how busy the machine was just before."""

    device: Device  # with the bandwidth, which is remembered for this hardware
    bandwidth_bytes_per_s: float
    busy_cpus: float  # CPUs at work on other things
    cpus: int

    @property
    def quiet(self) -> bool:
        return self.busy_cpus <= QUIET_CPUS

    @property
    def sentence(self) -> str:
        """What was found, and under which load."""
        found = f"Memory delivers {self.bandwidth_bytes_per_s / 1e9:.0f} GB/s"
        load = f"{self.busy_cpus:.1f} of {self.cpus} CPUs were busy with other things before"
        return f"{found}; {load}." if self.quiet else f"{found}, but {load}: probe again when the machine is quiet."


def read_memory(device: Device, seconds: float = 2.0) -> MemoryProbe:
    """Measure this machine's memory bandwidth on all cores and remember it."""
    cpus = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(interval=0.3) / 100 * cpus
    bandwidth = measure_bandwidth(seconds)
    return MemoryProbe(remember_bandwidth(device, bandwidth), bandwidth, busy, cpus)


def plan_probe(device: Device, catalog: Catalog) -> RehearsalPlan:
    """The short rehearsal that says most about ``device``: of the dense models whose shape is known exactly, the one
    that reads most bytes per token and is still done in eight seconds, within free memory and on one side of the
    machine (GPU or CPU). Where even the smallest takes longer, the smallest.

    Raises:
        RunError: none would be done in that time.
    """
    models = _dense_by_size(catalog)
    question = EstimateRequest(
        "", QUANTIZATION, device, context_tokens=CONTEXT_TOKENS, prompt_tokens=PROMPT_TOKENS, gen_tokens=GEN_TOKENS
    )
    requests = [replace(question, model=model_id) for model_id, _ in models]
    free = memory_budget(device).ram_bytes
    best: RehearsalPlan | None = None
    for (_, n_layer), answer in zip(models, estimate_rows(requests, catalog), strict=True):
        if isinstance(answer, RecommenderError) or answer.estimate.memory is None:
            continue
        memory = answer.estimate.memory
        fits = free is None or memory.total_bytes - memory.gpu_bytes <= free
        whole = answer.settings.gpu_layers in (0, n_layer + 1)  # the output head counts as a layer
        load = answer.estimate.load_s  # a file of zeros is read as fast as from the quickest drive
        time = expected_s(answer.estimate, PROMPT_TOKENS, GEN_TOKENS) + (load.low if load else 0.0)
        if fits and whole and (time <= RUN_S or (best is None and math.isfinite(time))):
            best = RehearsalPlan(answer, PROMPT_TOKENS, GEN_TOKENS, time)
    if best is None:
        raise RunError("No model of the catalog can be rehearsed here, so only memory was measured.")
    return best


def _dense_by_size(catalog: Catalog) -> list[tuple[str, int]]:
    """Models with an exact layout, and their layers; smallest first. Those with experts or states are left out: their
    speed says less about others."""
    rows = catalog.cursor().execute(
        """
        SELECT v.model_id, m.n_layer
        FROM variants v
        JOIN candidates c USING (model_id, format, quantization)
        JOIN models m USING (model_id)
        JOIN architecture_features f USING (architecture)
        WHERE c.runtime = 'llama.cpp' AND v.quantization = $1 AND v.layout = 'exact'
          AND m.n_layer IS NOT NULL AND m.n_expert IS NULL AND f.mixer = 'attention' AND f.recurrent IS NULL
        ORDER BY v.read_bytes_per_token, v.model_id
        """,
        [QUANTIZATION],
    )
    return rows.fetchall()
