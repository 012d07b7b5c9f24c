"""Small architectures for tests: rows as the catalog has them."""

from __future__ import annotations

import csv
from functools import cache

from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows
from recommender.paths import catalog_dir

DENSE = {
    "model_id": "test/dense",
    "architecture": "llama",
    "n_layer": "8",
    "n_embd": "512",
    "n_head": "8",
    "n_head_kv": "2",
    "head_dim": "64",
    "n_ff": "1024",
    "vocab_size": "1000",
    "tied_embeddings": "no",
    "context_max": "4096",
}
MOE = {
    **DENSE,
    "model_id": "test/moe",
    "architecture": "qwen3moe",
    "n_ff": "",
    "n_expert": "16",
    "n_expert_used": "4",
    "n_ff_expert": "256",
}
WINDOWED = {**DENSE, "model_id": "test/windowed", "architecture": "gemma3", "tied_embeddings": "yes"} | {
    "sliding_window": "512"
}
HYBRID = {
    **DENSE,
    "model_id": "test/hybrid",
    "architecture": "granitehybrid",
    "n_head_kv": "0*3;2",
    "ssm_conv": "4",
    "ssm_inner": "1024",
    "ssm_state": "64",
    "ssm_heads": "16",
    "ssm_groups": "1",
}


def dense(**changes: str) -> Architecture:
    return architecture_from_row({**DENSE, **changes})


@cache
def catalog_rows() -> dict[str, dict[str, str]]:
    """Merged rows of the catalog's models and architectures, by model id."""
    extra = {row["model_id"]: row for row in _rows("architectures.csv")}
    return {row["model_id"]: merge_rows(row, extra.get(row["model_id"])) for row in _rows("models.csv")}


def catalog_architecture(model_id: str) -> Architecture:
    return architecture_from_row(catalog_rows()[model_id])


def _rows(name: str) -> list[dict[str, str]]:
    with open(catalog_dir() / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
