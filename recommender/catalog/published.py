"""Which published file stands for a model in a quantization, and which other formats a model is published in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Other spellings of llama.cpp's own file types; its quantize tool takes the short ones for the same mixes.
_SPELLINGS = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}

_MLX_PRECISIONS = ("4bit", "8bit", "bf16")


@dataclass(frozen=True)
class Published:
    """A GGUF file somebody published. ``bytes`` is its exact size, ``None`` where only a rounded one is known."""

    repo: str
    file: str
    bytes: int | None


@dataclass(frozen=True)
class Offer:
    """A format other than GGUF in which a model can be had."""

    format: str
    quantization: str
    repo: str


def file_type(text: str) -> str:
    """A quantization as llama.cpp names it."""
    return _SPELLINGS.get(text, text)


def published_files(
    models: Iterable[Mapping[str, str]], files: Iterable[Mapping[str, str]]
) -> dict[tuple[str, str], Published]:
    """The best published file per (model_id, quantization).

    Text models in one file, whose repository is known. Preferred, in this order: made by the standard recipe, of
    exactly known size, from the maker's own repository, from the repository its model's row names first.
    """
    order = {
        (row["model_id"], repo): place
        for row in models
        for place, repo in enumerate(_listed(row.get("gguf_repos", "")))
    }
    best: dict[tuple[str, str], tuple[tuple[object, ...], Published]] = {}
    for row in files:
        if not _usable(row):
            continue
        model_id, repo = row["model_id"], row["gguf_repo"]
        exact = row["bytes_kind"] == "exact"
        rank = (
            row.get("recipe", "") not in ("", "standard"),
            not exact,
            repo.split("/")[0] != model_id.split("/")[0],
            order.get((model_id, repo), len(order)),
            repo,
            row["file"],
        )
        key = (model_id, file_type(row["quant"]))
        if key not in best or rank < best[key][0]:
            best[key] = (rank, Published(repo, row["file"], int(row["bytes"]) if exact else None))
    return {key: published for key, (_, published) in best.items()}


def _usable(row: Mapping[str, str]) -> bool:
    parts = row.get("split_count", "")
    return bool(row["kind"] == "model" and row["model_id"] and row["gguf_repo"] and row["quant"] and parts in ("", "1"))


def published_quantizations(files: Iterable[Mapping[str, str]]) -> dict[str, set[str]]:
    """Per model, every quantization that some listed file has, split files included."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in files:
        if row["kind"] in ("model", "split") and row["model_id"] and row["quant"]:
            found[row["model_id"]].add(file_type(row["quant"]))
    return dict(found)


def offers(row: Mapping[str, str]) -> list[Offer]:
    """What a model's row says about formats other than GGUF."""
    found = [Offer("safetensors", "bf16", row["model_id"])]
    for repo in _listed(row.get("mlx_repo", "")):
        for bits in _MLX_PRECISIONS:
            name = repo.replace("{quantization}", bits)
            # A repository that does not say its precision is left out: its size could not be told.
            if name.casefold().endswith(bits) and not any(offer.quantization == f"mlx-{bits}" for offer in found):
                found.append(Offer("mlx", f"mlx-{bits}", name))
    if alias := row.get("onnx_foundry_local_alias", ""):
        found.append(Offer("onnx", "onnx-int4", alias))
    if azure := row.get("azure_catalog_id", ""):
        found.append(Offer("managed", "", azure))
    return found


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
