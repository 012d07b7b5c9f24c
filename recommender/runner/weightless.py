"""Weightless models: GGUF files with a model's exact tensor shapes and types and nothing in them.

Decode speed, prefill speed and memory do not depend on the weights' values, so such a file loads and runs like the
real one while it takes a few MB on disk: the data is a hole in a sparse file, which reads as zeros. Zeros give ties,
and a tie sends every token to the same experts; so mixture-of-experts models get random routers, norms of one and
random embeddings for the first tokens.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommender.errors import RunError
from recommender.estimate.architecture import Architecture
from recommender.estimate.quantize import block_types, tensor_types, type_bytes, type_names
from recommender.estimate.tensors import table, tensors
from recommender.runner.gguf_metadata import metadata
from recommender.runner.gguf_write import TensorEntry, front

__all__ = ["RANDOM_TOKENS", "Weightless", "supports_sparse_files", "weightless", "write_weightless"]

RANDOM_TOKENS = 1024  # embedding rows with values, from token 0 on: prompts should be made of these
ROUTER_COLUMNS = 1024  # values per expert: one page of 4 KiB, so that the file stays small
_SEED = 0


@dataclass(frozen=True)
class Weightless:
    """A file by what is not zero in it: ``pieces`` are (offset, bytes) in ascending order, the first is its front."""

    total_bytes: int
    pieces: tuple[tuple[int, bytes], ...]


def weightless(arch: Architecture, quantization: str) -> Weightless:
    """The weightless file of a model in a quantization.

    Raises ``BadInputError`` for a file type without known rules.
    """
    columns = table(arch)
    types = tensor_types(columns, quantization, imatrix=True)
    sizes = type_bytes(columns, types)
    names, shapes = type_names(), {tensor.name: tensor.shape for tensor in tensors(arch)}
    numbers = block_types()
    entries = [
        TensorEntry(name, shapes[name], numbers[names[kind]].gguf_number, int(size))
        for name, kind, size in zip(columns.names, types, sizes, strict=True)
    ]
    head, offsets, total = front(metadata(arch, quantization, f"weightless {arch.model_id}"), entries)
    values = (
        (offset + at, data)
        for entry, kind, offset in zip(entries, types, offsets, strict=True)
        for at, data in _values(arch, entry, names[kind])
    )
    return Weightless(total, ((0, head), *values))


def write_weightless(arch: Architecture, quantization: str, path: str | Path) -> int:
    """Write a weightless GGUF file and return its apparent size in bytes.

    Its disk use is a few MB, of which most is the tokenizer; with experts up to a few tens of MB for the routers.
    Raises ``RunError`` when the filesystem has no sparse files and the file would take its full size, and
    ``BadInputError`` for a file type without known rules.
    """
    path = Path(path)
    made = weightless(arch, quantization)
    if made.total_bytes > 1 << 30 and not supports_sparse_files(path.parent):
        raise RunError(
            f"{path.parent} does not keep sparse files, so this rehearsal would take {made.total_bytes / 2**30:.1f} "
            "GiB of disk. Choose another folder."
        )
    with open(path, "wb") as file:
        file.truncate(made.total_bytes)
        for offset, data in made.pieces:
            file.seek(offset)
            file.write(data)
    return made.total_bytes


def supports_sparse_files(folder: str | Path) -> bool:
    """Whether a hole in a file in ``folder`` takes no disk space; tried with a file of 64 MiB."""
    trial = Path(folder) / f".sparse-trial-{os.getpid()}"
    size = 64 << 20
    try:
        with open(trial, "wb") as file:
            file.truncate(size)
        blocks = getattr(trial.stat(), "st_blocks", None)
        return blocks is not None and blocks * 512 < size // 2
    finally:
        trial.unlink(missing_ok=True)


def _values(arch: Architecture, entry: TensorEntry, kind: str) -> list[tuple[int, bytes]]:
    """Pieces of data (offset in the tensor, bytes) that must not be zero."""
    if not arch.n_expert:
        return []
    generator = np.random.default_rng([_SEED, *entry.name.encode()])
    if entry.name.endswith("norm.weight"):
        return [(0, np.ones(int(np.prod(entry.shape)), dtype=np.float32).tobytes())]
    if entry.name.endswith("ffn_gate_inp.weight"):
        width, count = entry.shape
        used = min(width, ROUTER_COLUMNS)
        rows = generator.standard_normal((count, used)).astype(np.float32)
        return [(i * width * 4, row.tobytes()) for i, row in enumerate(rows)]
    if entry.name == "token_embd.weight":
        return [(0, _random_rows(kind, entry.shape[0] * min(entry.shape[1], RANDOM_TOKENS), generator))]
    return []


def _random_rows(kind: str, elements: int, generator: np.random.Generator) -> bytes:
    """``elements`` random values as the type stores them: random bits with a small scale in each block."""
    if kind == "F32":
        return generator.standard_normal(elements).astype(np.float32).tobytes()
    if kind == "F16":
        return generator.standard_normal(elements).astype(np.float16).tobytes()
    if kind == "BF16":
        return (
            (generator.standard_normal(elements).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        )
    block = block_types()[kind]
    data = generator.integers(0, 256, (elements // block.block, block.block_bytes), dtype=np.uint8)
    scale = np.frombuffer(np.float16(0.01).tobytes(), dtype=np.uint8)
    for offset in block.scale_offsets:
        data[:, offset : offset + 2] = scale
    return data.tobytes()
