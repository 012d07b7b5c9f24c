"""Which published file stands for a model in a quantization, and which other formats a model is published in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

# Under the standard recipe a layout is exact; a repository's own mix of types has another size.
_RECIPES = ("standard", "unknown", "own")
# With this many quantizations of a model on record, one more is taken not to exist rather than not to be listed.
_WELL_LISTED = 5
_MOST, _NEARLY_ALL = 0.5, 0.9
_MLX_PRECISIONS = ("4bit", "8bit", "bf16")


@dataclass(frozen=True, slots=True)  # there can be hundreds of thousands
class Published:
    """A GGUF file somebody published. ``bytes`` is its exact size, ``None`` where only a rounded one is known."""

    repo: str
    file: str
    bytes: int | None


_ORIGINAL = "bf16"  # what the original weights of a repository are in


@dataclass(frozen=True)
class Offer:
    """A format other than GGUF in which a model can be had, or made by oneself."""

    format: str
    quantization: str
    repo: str  # a repository, or the name in the runtime's own catalog
    availability: str  # file, repo, convert or service
    file: str = ""
    bytes: float | None = None  # as listed, where its runtime's catalog says
    loads: str = ""  # the quantization of the file, where the runtime makes this one of it while loading


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
    best: dict[tuple[str, str], _File] = {}
    for row in files:
        if not _usable(row):
            continue
        key = (row["catalog_model_id"], row["quantization"])
        file = _File(row["gguf_repo"], row["file"], row["bytes"], row["bytes_kind"] == "exact", row["recipe"])
        if key not in best or _rank(file, key[0], order) < _rank(best[key], key[0], order):
            best[key] = file
    return {key: Published(one.repo, one.name, int(one.bytes) if one.exact else None) for key, one in best.items()}


class _File(NamedTuple):
    """A listed file as text."""

    repo: str
    name: str
    bytes: str
    exact: bool
    recipe: str


def _rank(file: _File, model_id: str, order: Mapping[tuple[str, str], int]) -> tuple[object, ...]:
    """Less is better; ``order`` has the places of repositories in their model's row."""
    return (
        _RECIPES.index(file.recipe or "unknown"),
        not file.exact,
        file.repo.split("/")[0] != model_id.split("/")[0],
        order.get((model_id, file.repo), len(order)),
        file.repo,
        file.name,
    )


def _usable(row: Mapping[str, str]) -> bool:
    named = row["catalog_model_id"] and row["gguf_repo"] and row["quantization"]
    return bool(named and row["kind"] == "model" and row["split_count"] in ("", "1"))


def published_quantizations(files: Iterable[Mapping[str, str]]) -> dict[str, set[str]]:
    """Per model, every quantization that some listed file has, split files included."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in files:
        if row["kind"] in ("model", "split") and row["catalog_model_id"] and row["quantization"]:
            found[row["catalog_model_id"]].add(row["quantization"])
    return dict(found)


def usual_quantizations(listed: Mapping[str, set[str]]) -> dict[str, float]:
    """Quantization → the share of the models with well-listed files that have it."""
    well_listed = [names for names in listed.values() if len(names) >= _WELL_LISTED]
    count = Counter(name for names in well_listed for name in names)
    return {name: models / len(well_listed) for name, models in count.items()}


def likely_in_repository(quantization: str, listed: set[str], usual: Mapping[str, float]) -> bool:
    """Whether a model's repositories probably have a file that is not listed.

    What most models have, where few of its files are listed; where many are, only what nearly all models have: then
    it is the list that has a gap.
    """
    share = usual.get(quantization, 0.0)
    return quantization in listed or share > (_MOST if len(listed) < _WELL_LISTED else _NEARLY_ALL)


def offers(
    model: Mapping[str, str],
    listed: Iterable[Mapping[str, str]],
    convertible: Iterable[tuple[str, str]],
    on_load: Iterable[tuple[str, str]] = (),
) -> list[Offer]:
    """Every format other than GGUF a model can be had in, one offer per format and quantization.

    Args:
        model: a row of models.csv.
        listed: its rows of runtime_models.csv: what runtimes with a catalog of their own publish.
        convertible: format and quantization of the runtimes that convert any model themselves.
        on_load: format and quantization that a runtime makes of the original weights while loading them.
    """
    found = [Offer("safetensors", _ORIGINAL, model["model_id"], "repo")]
    for repo in _listed(model["mlx_repo"]):
        for bits in _MLX_PRECISIONS:
            name = repo.replace("{quantization}", bits)
            # A repository that does not say its precision is left out: its size could not be told.
            if name.casefold().endswith(bits):
                found.append(Offer("mlx", f"mlx-{bits}", name, "repo"))
    if model["onnx_foundry_local_alias"]:
        found.append(Offer("onnx", "onnx-int4", model["onnx_foundry_local_alias"], "repo"))
    if model["azure_catalog_id"]:
        found.append(Offer("managed", "", model["azure_catalog_id"], "service"))
    for row in listed:
        if row["format"] != "gguf":
            size = float(row["file_bytes"]) if row["file_bytes"] else None
            availability = "file" if row["file"] else "repo"
            repo = row["repo"] or row["name"]
            found.append(Offer(row["format"], row["quantization"], repo, availability, row["file"], size))
    found += [Offer(kind, quantization, model["model_id"], "repo", loads=_ORIGINAL) for kind, quantization in on_load]
    found += [Offer(kind, quantization, "", "convert") for kind, quantization in convertible]
    first: dict[tuple[str, str], Offer] = {}
    for offer in found:
        first.setdefault((offer.format, offer.quantization), offer)
    return list(first.values())


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
