"""Entries as sources give them, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recommender.catalog.entries import Kept
from recommender.catalog.sources.base import Entry, EntryFile

READ_AT = "2026-11-27T10:00:00Z"
# A network of the same kind as Qwen3's, of a size that nobody ships.
SHAPE = {
    "architecture": "qwen3",
    "n_layer": "30",
    "n_embd": "2048",
    "n_head": "16",
    "n_head_kv": "8",
    "head_dim": "128",
    "n_ff": "6144",
    "vocab_size": "151936",
    "tied_embeddings": "yes",
}
PARAMS = 1_820_000_000


def entry(entry_id: str, **changes: Any) -> Entry:
    """A repository of the Hub with its original weights; keywords replace fields."""
    made = Entry(
        source="hugging-face",
        entry_id=entry_id,
        read_at=READ_AT,
        version="0123abc",
        url=f"https://huggingface.co/{entry_id}",
        name=entry_id.split("/")[-1],
        publisher=entry_id.split("/")[0],
        format="safetensors",
    )
    return replace(made, **changes)


def gguf(entry_id: str, base: str, **changes: Any) -> Entry:
    """A quantized repository with one file."""
    name = entry_id.split("/")[-1].removesuffix("-GGUF")
    file = EntryFile(f"{name}-Q4_K_M.gguf", 1_200_000_000, "a" * 64, "Q4_K_M")
    values: dict[str, Any] = {"format": "gguf", "relation": "quantized", "bases": (base,) if base else (),
                              "files": (file,), "params_total": PARAMS}  # fmt: skip
    return entry(entry_id, **values | changes)


def new_maker_model() -> tuple[Entry, Entry]:
    """A model that does not ship, by a maker of others, and its files by a known quantizer."""
    original = entry(
        "Qwen/Qwen9-1.8B",
        params_total=PARAMS,
        created="2026-11-01",
        license_id="apache-2.0",
        context_tokens=65536,
        thinking="hybrid",
        tool_calling="yes",
        pipeline="text-generation",
        languages=("de", "en"),
    )
    files = gguf(
        "unsloth/Qwen9-1.8B-GGUF", original.entry_id, architecture=SHAPE, architecture_source="GGUF header of x"
    )
    return original, files


def kept(*entries: Entry, gone_at: str = "") -> list[Kept]:
    return [Kept(one, one.read_at, gone_at) for one in entries]
