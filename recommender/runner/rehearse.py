"""Rehearsal: measure a model on this machine before anything is downloaded.

A weightless file (``weightless.py``) has the model's exact tensor shapes and types and takes a few MB of disk. The real
runtime loads and runs it like the real file, so memory, prefill and decode are those of the real file; only the time
to read it from disk is not in its load time.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from recommender import paths
from recommender.catalog.queries import architecture_of
from recommender.device import device_key, memory_budget
from recommender.errors import BadInputError, NotWritableError, RunError
from recommender.estimate.architecture import Architecture
from recommender.estimate.tensors import layout
from recommender.runner.job import Job
from recommender.runner.jobs import Runs
from recommender.runner.measure import measure
from recommender.runner.ollama_server import REHEARSAL_PREFIX
from recommender.runner.protocol import Event, RunRequest
from recommender.runner.runners import make_runner
from recommender.runner.weightless import supports_sparse_files, write_weightless
from recommender.types import GIB, MIB, Device, Estimate, Measurement, Memory, Settings

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = [
    "Rehearsal",
    "expected_s",
    "prepare",
    "rehearse",
    "remove_leftovers",
    "submit",
    "usual_counts",
]

# Prompt and generated tokens, most telling first: the protocol's own, then what a slow machine can do in the time.
COUNTS = ((512, 128), (256, 64), (128, 32), (64, 16))
USUAL_S = 20.0  # what a rehearsal should take
REPEATS = 3
START_S = 2.0  # Python, the runtime's library and the file's header, before the model is loaded
WARM_UP_TOKENS = 8  # generated once before the repeats (worker.py)
# A weightless file's own data: the tokenizer, and with experts their routers; the largest take some tens of MB.
DISK_BYTES = 128 * MIB
# What a process writes, by its id: a folder per rehearsal, and the trial whether the disk keeps holes (weightless.py).
_OWN = re.compile(r"(?:rehearsal-(\d+)-\w+|\.sparse-trial-(\d+))")


@dataclass(frozen=True)
class Rehearsal:
    """What to rehearse: a model of the catalog in a quantization, and how.

    ``estimate`` is what it should need and do, kept beside the result; its memory is checked against what is free.
    """

    model_id: str
    quantization: str
    settings: Settings
    estimate: Estimate | None = None
    runtime: str = "llama.cpp"
    binding: str | None = None
    prompt_tokens: int = COUNTS[0][0]
    gen_tokens: int = COUNTS[0][1]
    repeats: int = REPEATS


def rehearse(
    wanted: Rehearsal, catalog: Catalog, device: Device, on_event: Callable[[Event], None] | None = None
) -> Measurement:
    """Measure a model on this machine without its weights, and wait for the result.

    Args:
        device: this machine, with its free memory.
        on_event: called with each event, on another thread.

    Raises:
        UnknownNameError: the catalog has no such model.
        BadInputError: the model's exact shape is not known, or a number makes no sense.
        RunError: memory or disk would not hold it, the disk keeps no sparse files, or the runtime refused.
        RuntimeMissingError: no binding of llama.cpp is installed.
    """
    request = prepare(wanted, catalog, device)
    try:
        return measure(request, on_event)
    finally:
        _remove(request)


def submit(manager: Runs, request: RunRequest) -> Job:
    """Queue a rehearsal that ``prepare`` made; its file goes when the job ends, however that comes."""
    try:
        job = manager.submit(request)
    except BaseException:
        _remove(request)
        raise

    def clean_up() -> None:
        job.wait()
        _remove(request)

    threading.Thread(target=clean_up, name="rehearsal file", daemon=True).start()
    return job


def prepare(wanted: Rehearsal, catalog: Catalog, device: Device) -> RunRequest:
    """Refuse what cannot be rehearsed, else write the weightless file and return the run that measures it.

    Removes what rehearsals of dead processes left behind. Errors as for ``rehearse``.
    """
    arch = architecture_of(catalog, wanted.model_id)
    estimate, quantization = wanted.estimate, wanted.quantization
    memory = estimate.memory if estimate else None
    if memory is not None:
        _check_memory(arch.model_id, quantization, memory, device)
    request = RunRequest(
        model_id=arch.model_id,
        quantization=quantization,
        settings=wanted.settings,
        model_path="-",
        file=f"{REHEARSAL_PREFIX}{uuid.uuid4().hex[:8]}" if wanted.runtime == "ollama" else "",
        runtime=wanted.runtime,
        binding=wanted.binding,
        prompt_tokens=wanted.prompt_tokens,
        gen_tokens=wanted.gen_tokens,
        repeats=wanted.repeats,
        device_name=device.name,
        device_key=device_key(device),
        rehearsal=True,
        predicted_decode_tokens_per_s=_value(estimate.decode_tokens_per_s if estimate else None),
        predicted_prefill_tokens_per_s=_value(estimate.prefill_tokens_per_s if estimate else None),
        predicted_ttft_s=_value(estimate.ttft_s if estimate else None),
        predicted_memory_bytes=memory.total_bytes if memory else None,
    )
    request.check()
    if wanted.repeats < 1:
        raise BadInputError(f"A rehearsal needs at least 1 repeat, not {wanted.repeats}.")
    request = replace(request, model_path=str(_write(arch, quantization)))
    plan = make_runner(wanted.runtime).plan(request)  # a server may copy the file at its full size
    if plan.problem:
        _remove(request)
        raise RunError(plan.problem)
    return request


def expected_s(estimate: Estimate | None, prompt_tokens: int, gen_tokens: int, repeats: int = REPEATS) -> float:
    """About how long a rehearsal takes, from its estimated speeds; NaN where they are unknown."""
    prefill = _value(estimate.prefill_tokens_per_s if estimate else None)
    decode = _value(estimate.decode_tokens_per_s if estimate else None)
    if not prefill or not decode:
        return float("nan")
    prompts, steps = (repeats + 1) * prompt_tokens, repeats * gen_tokens + WARM_UP_TOKENS
    return START_S + prompts / prefill + steps / decode


def usual_counts(estimate: Estimate | None, context_tokens: int, repeats: int = REPEATS) -> tuple[int, int]:
    """Prompt and generated tokens of a rehearsal that takes about 20 s: the protocol's 512 and 128 where the machine
    is fast enough, fewer where it is not or where the context is short."""
    fitting = [counts for counts in COUNTS if sum(counts) < context_tokens] or [COUNTS[-1]]
    quick = [counts for counts in fitting if expected_s(estimate, *counts, repeats) <= USUAL_S]
    return quick[0] if quick else fitting[-1]


def remove_leftovers(folder: Path | None = None) -> int:
    """Remove what rehearsals wrote whose process is gone, and return how many there were."""
    folder = folder or paths.scratch_dir()
    removed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _OWN.fullmatch(path.name)
        if found and not _alive(int(found[1] or found[2]), path):
            with contextlib.suppress(OSError):  # another program was quicker, or has it open
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _alive(pid: int, path: Path) -> bool:
    """Whether the process that made ``path`` still runs; ids are used again, so a younger process does not count."""
    try:
        return bool(psutil.Process(pid).create_time() <= path.stat().st_mtime + 1)
    except (psutil.Error, OSError):
        return False


def _check_memory(model_id: str, quantization: str, memory: Memory, device: Device) -> None:
    budget = memory_budget(device)
    in_ram = memory.total_bytes - memory.reclaimable_bytes - memory.gpu_bytes
    places = [("memory", in_ram, budget.ram_bytes)]
    if memory.gpu_bytes and not budget.unified:
        places.append(("GPU memory", memory.gpu_bytes, budget.gpu_bytes))
    for name, needed, free in places:
        if free is not None and needed > free:
            raise RunError(
                f"{model_id} {quantization} needs {needed / GIB:.1f} GiB of {name}, {free / GIB:.1f} GiB are free: "
                f"short by {(needed - free) / GIB:.1f} GiB. Choose a smaller quantization or a shorter context."
            )


def _write(arch: Architecture, quantization: str) -> Path:
    folder = paths.scratch_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        # Without holes a file takes its full size; write_weightless refuses the large ones.
        needed = DISK_BYTES if supports_sparse_files(folder) else layout(arch, quantization).file_bytes
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise RunError(
                f"The rehearsal's file needs up to {needed / GIB:.1f} GiB in {folder}, where {free / GIB:.1f} GiB are "
                "free. Make room there, or move the folder with RIGHTSIZE_HOME."
            )
        own = folder / f"rehearsal-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        own.mkdir()
        path = own / f"{arch.model_id.rsplit('/', 1)[-1]}-{quantization}.gguf"
        try:
            write_weightless(arch, quantization, path)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
    except OSError as error:
        if isinstance(error, RunError):
            raise
        raise NotWritableError(f"{folder} cannot be written: {error}. Move it with RIGHTSIZE_HOME.") from error
    return path


def _remove(request: RunRequest) -> None:
    # On Windows a dying process may hold the file: then it goes at the next start.
    shutil.rmtree(Path(request.model_path).parent, ignore_errors=True)


def _value(figure: object) -> float | None:
    value = getattr(figure, "value", None)
    return float(value) if value is not None and value > 0 else None
