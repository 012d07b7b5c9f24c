"""Predicted memory against what llama.cpp logged when it loaded files of exactly these shapes."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np

from recommender.estimate.memory import memory
from recommender.paths import catalog_dir
from recommender.types import MIB, Device, Floats, SettingsColumns, VariantColumns
from tests.estimate.test_memory import columns

MACHINE = Device("load", "load", "server", "linux", "x86-64")
MIB_THAT_DO_NOT_MATTER = 16.0


@cache
def grid() -> tuple[dict[str, str], ...]:
    with open(catalog_dir() / "load_log_grid.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def logged(*names: str) -> Floats:
    return np.array([sum(float(row[name]) for name in names) for row in grid()])


@cache
def predicted() -> dict[str, Floats]:
    rows = grid()
    parts = [variants_of(row["model_id"], row["quantization"]) for row in rows]
    variants = VariantColumns(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in VariantColumns.__dataclass_fields__
            if getattr(parts[0], name) is not None
        }
    )

    def numbers(name: str) -> Floats:
        return np.array([float(row[name]) for row in rows])

    settings = SettingsColumns(
        context_tokens=numbers("context_tokens") / numbers("parallel"),
        kv_type=np.array([row["kv_type"] for row in rows], dtype=object),
        batch_tokens=numbers("batch_tokens"),
        ubatch_tokens=numbers("ubatch_tokens"),
        parallel=numbers("parallel"),
        threads=np.full(len(rows), 2.0),
        gpu_layers=np.zeros(len(rows)),
        flash_attn=np.array([row["flash_attn"] == "yes" for row in rows]),
    )
    binding = np.array([row["binding"] for row in rows])
    found = {name: memory(variants, settings, MACHINE, 0.0, name) for name in set(binding)}
    return {
        part: np.select([binding == name for name in found], [getattr(each, part) for each in found.values()])
        for part in ("weights_bytes", "kv_cache_bytes", "compute_bytes")
    }


@cache
def variants_of(model_id: str, quantization: str) -> VariantColumns:
    return columns((model_id,), quantization)


def names(off: np.ndarray) -> list[str]:
    return [" ".join(list(row.values())[:10]) for row, wrong in zip(grid(), off, strict=True) if wrong]


def test_the_grid_spans_architectures_bindings_and_kinds_of_attention() -> None:
    assert len(grid()) >= 60
    assert len({row["architecture"] for row in grid()}) >= 15
    assert {row["binding"] for row in grid()} == {"xllamacpp", "llama-cpp-python"}
    assert {"gemma3", "lfm2", "deepseek2", "qwen3moe", "gemma4", "granitehybrid"} <= {
        row["architecture"] for row in grid()
    }


def test_weights_are_within_one_percent_of_every_load() -> None:
    truth = logged("mapped_bytes", "repack_bytes")
    assert not names(np.abs(predicted()["weights_bytes"] / truth - 1) > 0.01)


def test_caches_are_within_one_percent_of_every_load() -> None:
    truth = logged("kv_bytes", "state_bytes")
    assert not names(np.abs(predicted()["kv_cache_bytes"] / truth - 1) > 0.01)


def test_compute_buffers_are_within_a_tenth_or_16_mib_of_every_load() -> None:
    truth = logged("compute_bytes", "output_bytes")
    off = np.abs(predicted()["compute_bytes"] - truth)
    assert not names((off > 0.1 * truth) & (off > MIB_THAT_DO_NOT_MATTER * MIB))


def test_the_total_is_within_two_percent_of_every_load() -> None:
    truth = logged("mapped_bytes", "repack_bytes", "kv_bytes", "state_bytes", "compute_bytes", "output_bytes")
    total = sum(predicted().values())
    assert not names(np.abs(total / truth - 1) > 0.02)
