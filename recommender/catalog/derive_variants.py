"""The variants of every model: which formats and quantizations it can be had in, and how large each is.

Everything is columns: what Python does per variant is to look up who publishes it, the bytes are arithmetic on arrays.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender import paths
from recommender.catalog.derive_layouts import lay_out
from recommender.catalog.published import (
    Offer,
    likely_in_repository,
    offers,
    published_files,
    published_quantizations,
    usual_quantizations,
)
from recommender.catalog.rows import CsvTable, read_csv
from recommender.types import OWN_FILE, Floats

Records = list[dict[str, str]]
Columns = dict[str, NDArray[Any]]
# A published file may carry a newer tokenizer or a tensor more; beyond this share its recipe or shape is another one.
_LAYOUT_TOLERANCE = 0.02
# From this many models on, one that does not ship has only those GGUF types that its repositories have.
_MANY_MODELS = 2000
_FULL = "BF16"  # the layout whose shares other formats get
_NAMES_IN_NOTE = 100
_PATH = "path="  # how a sighting says where a file of one's own lies
_LISTED_COLUMNS = ("catalog_model_id", "quantization", "kind")
_FILE_COLUMNS = (*_LISTED_COLUMNS, "gguf_repo", "file", "recipe", "bytes", "bytes_kind", "split_count")


class _Rows:
    """Variants as they are found, without their bytes."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, str, str, str, float, str]] = []
        self.left_out: set[str] = set()

    def columns(self) -> Columns:
        names = ("model", "format", "quantization", "repo", "file", "published_bytes", "availability")
        types = {"model": np.int64, "published_bytes": np.float64}
        values = zip(*self.rows, strict=True) if self.rows else ((),) * len(names)
        return {name: np.array(one, dtype=types.get(name, object)) for name, one in zip(names, values, strict=True)}


def variants(
    models: Records, own: Mapping[str, Mapping[str, str]], loaded: Mapping[str, CsvTable]
) -> tuple[Columns, list[dict[str, Any]], list[str]]:
    """Rows of variants as columns by name, rows of shapes, and notes about what is thin or odd.

    GGUF in every standard file type, unless llama.cpp refuses the model's shape, and other formats where offered. In a
    catalog of many models, one that does not ship and has files has only the file types of its repositories.

    Args:
        models: rows of models.csv.
        own: rows of architectures.csv by model.
        loaded: every CSV file.
    """
    # A quantization whose loss of quality is not known cannot be judged: it is left out.
    bits = {
        row["name"]: float(row["bits_per_weight"]) for row in loaded["quant_loss"].records() if row["kind"] == "type"
    }
    native = {row["model_id"] for row in loaded["native_quantizations"].records()}
    gguf, unknown = _gguf(models, loaded, native, bits)
    types = list(dict.fromkeys((_FULL, *gguf["quantization"])))
    place = {name: index for index, name in enumerate(types)}
    gguf["type"] = np.array([place[name] for name in gguf["quantization"]], dtype=np.int64)
    wanted = np.zeros((len(models), len(types)), dtype=np.bool_)
    wanted[gguf["model"], gguf["type"]] = wanted[:, 0] = True
    laid = lay_out(models, own, types, wanted)
    loads = ~laid.refused[gguf["model"]]
    gguf = {name: values[loads] for name, values in gguf.items()}
    of_type = gguf.pop("type")
    gguf |= {name: values[gguf["model"], of_type] for name, values in laid.sizes.items()}
    gguf["layout"] = np.where(laid.exact, "exact", "rough").astype(object)[gguf["model"]]
    full = {name: values[:, 0] for name, values in laid.sizes.items()}
    other, left_out = _other(models, loaded, native, bits, full)
    order = np.argsort(np.concatenate([gguf["model"], other["model"]]), kind="stable")
    columns = {name: np.concatenate([gguf.pop(name), other.pop(name)])[order] for name in list(gguf)}
    columns["variant_id"] = np.arange(len(order))
    ids = np.array([model["model_id"] for model in models], dtype=object)
    columns["model_id"] = ids[columns.pop("model")]
    rough = [row["model_id"] for row in laid.shapes if not row["complete"]]
    notes = [f"{len(rough)} of {len(models)} models have rough layouts only: {listing(rough)}"] if rough else []
    return columns, laid.shapes, [*notes, *_left_out(unknown | left_out), *_far_from_published(columns)]


def listing(names: Sequence[str]) -> str:
    """The names for a note: all of them, or the first hundred and how many more there are."""
    more = len(names) - _NAMES_IN_NOTE
    return ", ".join(names[:_NAMES_IN_NOTE]) + (f" and {more} more" if more > 0 else "")


def _left_out(left_out: set[str]) -> list[str]:
    what = "Quantizations left out, because their size or their loss of quality is not known"
    return [f"{what}: {', '.join(sorted(left_out))}"] if left_out else []


def _far_from_published(columns: Columns) -> list[str]:
    """Layouts that a published file of exactly known size contradicts."""
    off = columns["file_bytes"] / columns["published_bytes"] - 1
    rows = np.flatnonzero((columns["layout"] == "exact") & (np.abs(off) > _LAYOUT_TOLERANCE))
    names = [f"{columns['model_id'][row]} {columns['quantization'][row]} ({off[row]:+.1%})" for row in rows]
    return [f"{len(names)} layouts differ from the published file: {listing(names)}"] if names else []


# ── GGUF ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _gguf(
    models: Records, loaded: Mapping[str, CsvTable], native: Collection[str], bits: Mapping[str, float]
) -> tuple[Columns, set[str]]:
    """Variants in GGUF without their bytes, and the quantizations left out."""
    published = published_files(models, loaded["gguf_files"].records_of(*_FILE_COLUMNS))
    listed = published_quantizations(loaded["gguf_files"].records_of(*_LISTED_COLUMNS))
    usual = usual_quantizations(listed)
    standard, special = _file_types(loaded)
    complete = _complete_lists(models)
    seen, gone, here = _seen(loaded["sightings"])
    found = _Rows()
    for index, model in enumerate(models):
        model_id = model["model_id"]
        repos = [repo for part in model["gguf_repos"].split(";") if (repo := part.strip()) and repo not in gone]
        has, likely = listed.get(model_id, set()), {} if model_id in native else usual
        if seen.issuperset(repos):
            likely = {}  # a live source has listed every file of every repository
        for quantization in (*standard, *(name for name in special if name in has)):
            if quantization not in bits:
                found.left_out.add(quantization)
            elif file := published.get((model_id, quantization)):
                size = math.nan if file.bytes is None else float(file.bytes)
                own = file.repo.startswith(OWN_FILE)
                repo, name = ("", here.get(file.repo, file.file)) if own else (file.repo, file.file)
                found.rows.append((index, "gguf", quantization, repo, name, size, "file"))
            elif model_id.startswith(OWN_FILE):
                continue  # there are no original weights to make another of
            elif repos and likely_in_repository(quantization, has, likely):
                found.rows.append((index, "gguf", quantization, repos[0], "", math.nan, "repo"))
            elif not has or model_id not in complete:
                found.rows.append((index, "gguf", quantization, "", "", math.nan, "convert"))
    return found.columns(), found.left_out


def _seen(sightings: CsvTable) -> tuple[set[str], set[str], dict[str, str]]:
    """Repositories whose files a live source has listed, those that are gone, and where files of one's own lie."""
    seen: set[str] = set()
    gone: set[str] = set()
    here: dict[str, str] = {}
    for row in sightings.records_of("source", "entry_id", "details", "gone_at", "format"):
        if row["source"] == "hugging-face" and row["format"] == "gguf":
            (gone if row["gone_at"] else seen).add(row["entry_id"])
        elif row["source"] == "gguf" and row["details"].startswith(_PATH):
            here[row["entry_id"]] = row["details"].removeprefix(_PATH)
    return seen, gone, here


def _complete_lists(models: Records) -> set[str]:
    """Models of which a type that nobody published is no variant: in a large catalog, all that do not ship."""
    if len(models) < _MANY_MODELS:
        return set()
    shipped = {row["model_id"] for row in read_csv(paths.catalog_dir() / "models.csv").records_of("model_id")}
    return {model["model_id"] for model in models} - shipped


def _file_types(loaded: Mapping[str, CsvTable]) -> tuple[list[str], list[str]]:
    """GGUF file types that any model can be converted to, and those that suit only models trained for them.

    The first kind are the file types whose loss was measured on converted models; of the second kind (ternary and
    such) a model has only what somebody published.
    """
    measured = dict.fromkeys(row["name"] for row in loaded["quant_types"].records() if row["kind"] == "file_mix")
    known = dict.fromkeys(row["file_type"] for row in loaded["file_mixes"].records() if row["file_type"])
    return [name for name in known if name in measured], [name for name in known if name not in measured]


# ── other formats ────────────────────────────────────────────────────────────────────────────────────────────


def _other(
    models: Records,
    loaded: Mapping[str, CsvTable],
    native: Collection[str],
    bits: Mapping[str, float],
    full: Mapping[str, Floats],
) -> tuple[Columns, set[str]]:
    """Variants in formats whose tensor types the catalog does not list, and the quantizations left out.

    A complete architecture still gives the shares of embedding, head and experts in use: those of its BF16 layout,
    ``full``. What a runtime makes of the original weights while loading takes their room on disk.
    """
    own_catalogs: dict[str, Records] = defaultdict(list)
    for listed in loaded["runtime_models"].records():
        own_catalogs[listed["model_id"]].append(listed)
    convertible = _convertible(loaded)
    on_load = [
        (row["format"], row["quantization"])
        for row in loaded["runtime_formats"].records()
        if row["made_on_load"] == "yes"
    ]
    found, in_memory, on_disk = _Rows(), [], []
    for index, model in enumerate(models):
        model_id = model["model_id"]
        if model_id.startswith(OWN_FILE):
            continue
        # A model trained in a quantization of its own has no full weights to make another of.
        for offer in offers(model, own_catalogs[model_id], convertible, () if model_id in native else on_load):
            weight = _bits(offer, offer.quantization, float(model["params_total"]), bits)
            if weight is None or (offer.quantization and offer.quantization not in bits):
                found.left_out.add(offer.quantization)
                continue
            loaded_from = _bits(offer, offer.loads, float(model["params_total"]), bits) if offer.loads else None
            found.rows.append(
                (index, offer.format, offer.quantization, offer.repo, offer.file, math.nan, offer.availability)
            )
            in_memory.append(weight)
            on_disk.append(loaded_from or weight)
    columns = found.columns()
    of_model = {name: values[columns["model"]] for name, values in full.items()}
    weights = np.array(in_memory, dtype=np.float64)
    scale = weights / of_model["bits_per_weight"]
    columns |= {name: values * scale for name, values in of_model.items()}
    columns["file_bytes"] = of_model["file_bytes"] * (np.array(on_disk, dtype=np.float64) / of_model["bits_per_weight"])
    columns["bits_per_weight"] = weights
    sized = ~np.isnan(weights)
    columns |= {name: np.where(sized, 0.0, np.nan) for name in ("repack_x86_bytes", "repack_arm_bytes")}
    columns["layout"] = np.array(["rough" if known else None for known in sized], dtype=object)
    return columns, found.left_out


def _bits(offer: Offer, quantization: str, params_total: float, bits: Mapping[str, float]) -> float | None:
    """Bits per weight, NaN for a model that a service holds and ``None`` where they are not known."""
    if offer.format == "managed":
        return math.nan
    return bits.get(quantization) if offer.bytes is None else 8 * offer.bytes / params_total


def _convertible(loaded: Mapping[str, CsvTable]) -> list[tuple[str, str]]:
    """Format and quantization of the runtimes that come with a converter for any model."""
    converters = {row["id"] for row in loaded["runtimes"].records() if row["own_conversion"] == "yes"}
    return [
        (row["format"], row["quantization"])
        for row in loaded["runtime_formats"].records()
        if row["runtime"] in converters and row["support"] != "no" and row["format"] != "gguf"
    ]
