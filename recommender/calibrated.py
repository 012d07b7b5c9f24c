"""What was measured on this machine, held against what is estimated for it today without any correction.

A prediction that is stored with a run is what was shown at the time: made with the coefficients, the bandwidth and
perhaps the corrections of that day. Learning from it would teach that nothing needs correcting; so each run is
estimated anew, uncorrected, whenever the corrections are worked out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from recommender import settings
from recommender.catalog.measurements import MeasurementStore
from recommender.device import device_key
from recommender.engine.estimate_rows import EstimateRequest, estimate_rows
from recommender.errors import BadInputError, RecommenderError
from recommender.estimate.calibrate import Calibration, calibration
from recommender.types import Device, Measurement

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = ["calibration_here", "priors", "request_of"]


def calibration_here(
    device: Device, catalog: Catalog, measurements: Sequence[Measurement] | None = None
) -> Calibration | None:
    """What runs on this kind of hardware say about every other model on it; ``None`` when there are none.

    Medians that others shared count like one run each, where the same was not measured here.

    Args:
        measurements: the runs to learn from; the user's own by default. Those of other hardware do not count.
    """
    key = device_key(device)
    runs = MeasurementStore().all(key) if measurements is None else measurements
    quiet = [run for run in runs if run.device_key == key and not run.noisy]
    here = {(run.model_id, run.quantization, run.runtime) for run in quiet}
    quiet += [run for run in _shared(device, catalog) if (run.model_id, run.quantization, run.runtime) not in here]
    estimated = priors(quiet, device, catalog)
    known = [run for run in quiet if run.id in estimated]
    return calibration(known, key, estimated) if known else None


def _shared(device: Device, catalog: Catalog) -> tuple[Measurement, ...]:
    try:
        place = settings.community()
    except BadInputError:  # a broken settings file: `recommender community` and `serve` say so, no answer waits for it
        place = ""
    if not place:
        return ()
    from recommender.community.feed import measured_elsewhere

    return measured_elsewhere(device, catalog)


def priors(measurements: Sequence[Measurement], device: Device, catalog: Catalog) -> Mapping[str, tuple[float, float]]:
    """Measurement id → (decode, prefill) in tokens per second as estimated without calibration; runs of models or
    runtimes that the catalog does not have are left out."""
    machine = _machine(device)
    known: dict[tuple[str, str], tuple[float, float] | None] = catalog.keep("priors", dict)
    new = [run for run in measurements if (machine, run.id) not in known]
    answers = estimate_rows([request_of(run, device) for run in new], catalog)
    for run, answer in zip(new, answers, strict=True):
        decode = prefill = None
        if not isinstance(answer, RecommenderError):
            decode, prefill = answer.estimate.decode_tokens_per_s, answer.estimate.prefill_tokens_per_s
        known[machine, run.id] = (decode.value, prefill.value) if decode and prefill else None
    found = {run.id: known[machine, run.id] for run in measurements}
    return {run_id: speeds for run_id, speeds in found.items() if speeds is not None}


def _machine(device: Device) -> str:
    """What of a device its speeds depend on; free memory changes all the time and is not part of it."""
    gpus = tuple(replace(gpu, memory_free_bytes=None) for gpu in device.gpus)
    return repr(replace(device, ram_free_bytes=None, disk_free_bytes=None, gpus=gpus, sources={}))


def request_of(run: Measurement, device: Device) -> EstimateRequest:
    """The estimate that a run answers: same model, settings and token counts."""
    asked = run.settings
    return EstimateRequest(
        run.model_id,
        run.quantization,
        device,
        runtime=run.runtime,
        context_tokens=asked.context_tokens,
        kv_type=asked.kv_type,
        batch_tokens=asked.batch_tokens,
        ubatch_tokens=asked.ubatch_tokens,
        parallel=asked.parallel,
        threads=asked.threads,
        gpu_layers=asked.gpu_layers,
        flash_attn=asked.flash_attn,
        prompt_tokens=run.prompt_tokens,
        gen_tokens=run.gen_tokens,
    )
