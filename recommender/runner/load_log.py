"""Reads what llama.cpp says about its buffers while it loads, and why it could not load."""

from __future__ import annotations

import re

from recommender.types import GIB, MIB, Memory

# Anchored: the log also repeats texts out of the file, which must not pass for the runtime's own lines.
_BUFFER = re.compile(
    r"^(?:[\d.]+ [A-Z] )?\w+: +(\S+) +(model|KV|RS|compute|output|DSV4 \w+ state) buffer size = *([\d.]+) MiB",
    re.MULTILINE,
)
_NO_MEMORY = re.compile(
    r"failed to allocate|unable to allocate|bad_alloc|out of memory|cudaMalloc failed|insufficient memory|"
    r"cannot allocate memory|failed to mmap",
    re.IGNORECASE,
)
_BYTES_WANTED = re.compile(r"(?:of size|allocate)\s+(\d{4,})|allocating ([\d.]+) MiB|failed to allocate ([\d.]+) MiB")
_UNKNOWN_ARCHITECTURE = re.compile(r"unknown model architecture: '([^']{0,60})'")
_CAUSE = re.compile(r"error loading model: (.+)|(GGML_ASSERT.+)|what\(\):\s+(.+)|(init: chat template parsing error)")
_SIGNS_OF_TROUBLE = re.compile(r"\berror\b|failed|terminate called|invalid|missing", re.IGNORECASE)


def memory_from_log(log: str, overhead_bytes: float, tensor_bytes: float | None = None) -> Memory:
    """Memory by part as llama.cpp's load log gives it, bytes (the log rounds to 0.01 MiB).

    Caches and model parts are logged once each and are summed; compute and output buffers may be logged again when
    they are reserved anew, then the last line holds. ``overhead_bytes`` is the process before the model was loaded.
    ``tensor_bytes`` is the size of all tensors in the file: what is allocated for weights beyond it are mapped pages
    whose tensors were repacked into a second buffer, which the system can take back.
    """
    summed: dict[tuple[str, str], float] = {}
    for name, kind, mib in _BUFFER.findall(log):
        last_holds = kind in ("compute", "output")
        before = 0.0 if last_holds else summed.get((name, kind), 0.0)
        summed[name, kind] = before + float(mib) * MIB
    weights = sum(size for (_, kind), size in summed.items() if kind == "model")
    compute = sum(size for (_, kind), size in summed.items() if kind in ("compute", "output"))
    cache = sum(size for (_, kind), size in summed.items() if kind not in ("model", "compute", "output"))
    repacked = sum(size for (name, kind), size in summed.items() if kind == "model" and name.endswith("_REPACK"))
    on_gpu = (size for (name, _), size in summed.items() if not name.startswith("CPU") and not name.endswith("_Host"))
    reclaimable = 0.0
    if tensor_bytes is not None and repacked:
        reclaimable = max(0.0, min(repacked, weights - tensor_bytes))
    return Memory(
        weights_bytes=weights,
        kv_cache_bytes=cache,
        compute_bytes=compute,
        overhead_bytes=overhead_bytes,
        total_bytes=weights + cache + compute + overhead_bytes,
        reclaimable_bytes=reclaimable,
        gpu_bytes=float(sum(on_gpu)),
        provenance="measured here",
    )


def is_complete(log: str) -> bool:
    """Whether the last buffer that a load reports has been logged."""
    return "compute buffer size" in log


def load_failure(log: str, file: str, free_bytes: float | None, rehearsal: bool = False) -> str:
    """One sentence on why a load failed, from the runtime's log; of a rehearsal there is no other file to fetch."""
    if _NO_MEMORY.search(log):
        return out_of_memory(file, free_bytes, _wanted_bytes(log))
    if found := _UNKNOWN_ARCHITECTURE.search(log):
        return (
            f"{file} is of the architecture {found[1]!r}, which this build of llama.cpp does not know. "
            "Update the runtime, or choose another model."
        )
    reason = complaint(log)
    advice = "Choose another file, or fetch it again."
    if rehearsal:
        advice = "This build of llama.cpp does not take this shape, or the catalog has it wrong. Choose another model."
    return f"llama.cpp could not load {file}{f': {reason}' if reason else ''}. {advice}"


def ran_out_of_memory(log: str) -> bool:
    """Whether a load failed for want of memory."""
    return bool(_NO_MEMORY.search(log))


def out_of_memory(file: str, free_bytes: float | None, wanted_bytes: float | None = None) -> str:
    """The sentence for a load that ran out of memory."""
    wanted = f" for a buffer of {wanted_bytes / GIB:.1f} GiB" if wanted_bytes else ""
    free = f" ({free_bytes / GIB:.1f} GiB were free before)" if free_bytes is not None else ""
    return (
        f"Memory ran out while {file} was loading{wanted}{free}. "
        "Choose a smaller quantization or model, or a shorter context."
    )


def complaint(log: str) -> str:
    """What a log gives as the cause of a failure, made safe to show; "" when it gives none.

    The line that names a cause, else the last one that tells of trouble; without timestamps and source paths.
    """
    lines = log.splitlines()
    for line in lines:
        if found := _CAUSE.search(line):
            return _clean(next(part for part in found.groups() if part))
    for line in reversed(lines):
        if _SIGNS_OF_TROUBLE.search(line):
            return _clean(re.sub(r"^[\d.]+ [A-Z] ", "", line.strip()))
    return ""


def refused_template(log: str) -> bool:
    """Whether a load failed only because the runtime's engine cannot read the file's chat template."""
    return "chat template parsing error" in log


def _clean(text: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:200].rstrip(".")


def _wanted_bytes(log: str) -> float | None:
    for found in _BYTES_WANTED.finditer(log):
        plain, *mib = found.groups()
        if plain:
            return float(plain)
        return next((float(size) * MIB for size in mib if size), None)
    return None
