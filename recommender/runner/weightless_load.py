"""Loads a GGUF file in a child process and reads the buffers off llama.cpp's load log; nothing is computed.

``python -m recommender.runner.weightless_load`` is that child; it takes its orders as one JSON argument.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from recommender.errors import RunError
from recommender.runner.load_log import is_complete, load_failure
from recommender.types import MIB, Settings

__all__ = ["LLAMA_CLASS", "SERVER", "LoadBuffers", "measure_load"]

SERVER = "xllamacpp"  # as llama-server loads: logits of each sequence's last token, windows kept short
LLAMA_CLASS = "llama-cpp-python"  # as its Llama class loads: logits of a batch, windowed layers at full length
TIME_LIMIT_S = 600.0
LOG_WITH_BUFFERS = 4  # the lowest verbosity at which the log names its buffers
_LINE = re.compile(r"(\S+)\s+(model|KV|RS|compute|output) buffer size =\s*([\d.]+) MiB")
_DONE = "weightless-load: done"
_LOADED: list[object] = []


@dataclass(frozen=True)
class LoadBuffers:
    """Buffers of one load, bytes (the log rounds to 0.01 MiB)."""

    mapped_bytes: float  # pages of the file
    repack_bytes: float  # a second copy of some tensors in a CPU layout
    kv_bytes: float
    state_bytes: float
    compute_bytes: float
    output_bytes: float
    build: str


def measure_load(
    path: str | Path, settings: Settings, binding: str = SERVER, python: str = sys.executable
) -> LoadBuffers:
    """Load ``path`` in a child process of ``python`` and return its buffers.

    Raises ``RunError`` with the reason when it cannot be loaded or takes longer than ten minutes.
    """
    order = json.dumps({"path": str(path), "binding": binding, "settings": asdict(settings)})
    command = [python, "-m", "recommender.runner.weightless_load", order]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT_S, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"{Path(path).name} did not load within {TIME_LIMIT_S:.0f} s. Try a smaller model.") from None
    log = done.stdout + done.stderr
    if _DONE not in log or not is_complete(log):
        raise RunError(load_failure(log, Path(path).name, None))
    return _buffers(log)


def _buffers(log: str) -> LoadBuffers:
    sums: dict[str, float] = {}
    for name, kind, mib in _LINE.findall(log):
        key = "repack" if name.endswith("_REPACK") else kind
        last_holds = kind in ("compute", "output")  # reserved anew: the last line counts
        sums[key] = (0.0 if last_holds else sums.get(key, 0.0)) + float(mib) * MIB
    build = re.search(rf"{_DONE} (.*)", log)
    return LoadBuffers(
        mapped_bytes=sums.get("model", 0.0),
        repack_bytes=sums.get("repack", 0.0),
        kv_bytes=sums.get("KV", 0.0),
        state_bytes=sums.get("RS", 0.0),
        compute_bytes=sums.get("compute", 0.0),
        output_bytes=sums.get("output", 0.0),
        build=build.group(1).strip() if build else "",
    )


def _load_with_server(path: str, settings: Settings) -> str:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = settings.context_tokens
    params.n_parallel = settings.parallel
    params.n_batch = settings.batch_tokens
    params.n_ubatch = settings.ubatch_tokens
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.kv_type.upper()}")
    flash = xllamacpp.llama_flash_attn_type
    enabled, disabled = flash.LLAMA_FLASH_ATTN_TYPE_ENABLED, flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.flash_attn_type = enabled if settings.flash_attn else disabled
    params.fit_params = params.warmup = params.load_mtp = params.ui = False
    params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.verbosity = LOG_WITH_BUFFERS
    _LOADED.append(xllamacpp.Server(params))  # taking it down would wait for its threads
    return f"xllamacpp {importlib.metadata.version('xllamacpp')}"


def _load_with_llama_class(path: str, settings: Settings) -> str:
    import llama_cpp

    kv_type = getattr(llama_cpp, f"GGML_TYPE_{settings.kv_type.upper()}")
    model = llama_cpp.Llama(
        path,
        n_ctx=settings.context_tokens,
        n_batch=settings.batch_tokens,
        n_ubatch=settings.ubatch_tokens,
        n_threads=settings.threads,
        n_gpu_layers=0,
        flash_attn=settings.flash_attn,
        type_k=kv_type,
        type_v=kv_type,
        verbose=True,
    )
    _LOADED.append(model)
    return f"llama-cpp-python {llama_cpp.__version__}"


def _child(order: str) -> None:
    request = json.loads(order)
    load = _load_with_server if request["binding"] == SERVER else _load_with_llama_class
    build = load(request["path"], Settings(**request["settings"]))
    print(f"\n{_DONE} {build}", flush=True)  # not to the log, which other threads still write
    os._exit(0)  # the server's threads would wait for requests


if __name__ == "__main__":
    _child(sys.argv[1])
