"""Makes the overlay out of what ships and of every entry that live sources told.

Reviewed rows keep what they say; gaps in them are filled, and what a row has only by its family's rule gives way to
what the model's own repository says. Architecture numbers read from a file's header win: they are what a runtime will
load. Wherever two figures differ both are kept, with the reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from recommender.catalog.clean_entries import cleaned
from recommender.catalog.entries import Kept
from recommender.catalog.identity import Identified, Known, identify
from recommender.catalog.model_rows import architecture_conflicts, changed_model, new_model, superseding
from recommender.catalog.rows import CsvTable
from recommender.catalog.sources.base import Entry, EntryFile
from recommender.estimate.architecture import merge_rows
from recommender.estimate.names import Resolver
from recommender.estimate.quantize import file_types
from recommender.runner.hub import part_of

Row = dict[str, str]
_OTHER_KINDS = (
    ("mmproj", re.compile(r"mmproj", re.IGNORECASE)),
    ("imatrix", re.compile(r"imatrix|\.dat$", re.IGNORECASE)),
    ("draft", re.compile(r"(?<![a-z])(draft|mtp)(?![a-z])", re.IGNORECASE)),
    ("vocab", re.compile(r"vocab", re.IGNORECASE)),
)
_TRUST = ("maker", "local", "quantizer", "other")  # whose word counts first


@dataclass(frozen=True)
class Merged:
    """Rows of the overlay by table."""

    rows: Mapping[str, list[Row]]


# The shipped tables that a merge reads.
NEEDED = (
    "models",
    "architectures",
    "gguf_files",
    "model_aliases",
    "quantizers",
    "runtime_models",
)


def merge(shipped: Mapping[str, CsvTable], kept: Iterable[Kept]) -> Merged:
    """The overlay for these entries."""
    models = {row["model_id"]: row for row in shipped["models"].records()}
    own = {row["model_id"]: row for row in shipped["architectures"].records()}
    known = known_of(shipped, models, own)
    licences = _licences(models.values())
    found = identify((replace(one, entry=cleaned(one.entry)) for one in kept), known)
    groups: dict[str, list[Identified]] = defaultdict(list)
    for one in found:
        if one.model_id:
            groups[one.model_id].append(one)
    rows: dict[str, list[Row]] = {name: [] for name in ("models", "architectures", "conflicts", "benchmarks")}
    unusable: dict[str, str] = {}
    for model_id, entries in groups.items():
        entries.sort(key=_preference)
        # A stranger's copy says nothing of a model that was reviewed.
        described = [
            one.entry
            for one in entries
            if one.relation not in ("finetune", "adapter", "merge") and (one.trust != "other" or model_id not in models)
        ]
        if model_id in models:
            row, conflicts = changed_model(models[model_id], described, licences)
            architecture, more = architecture_conflicts(models[model_id], own.get(model_id), described)
            rows["models"] += [row] if row else []
            rows["architectures"] += [architecture] if architecture else []
            rows["conflicts"] += conflicts + more
        elif not described:
            unusable[model_id] = "only tunes of it are known"
            continue
        else:
            made = new_model(model_id, described, licences, models)
            if made is None:
                unusable[model_id] = "how many parameters it has is not known"
                continue
            row, architecture = made
            rows["models"].append(row)
            rows["architectures"] += [architecture] if architecture else []
        rows["benchmarks"] += _scores(model_id, described)
    rows["models"] = superseding(models, rows["models"])
    catalog = models.keys() | {row["model_id"] for row in rows["models"]}
    rows["gguf_files"] = _files(shipped["gguf_files"].records(), groups, catalog)
    rows["runtime_models"] = _runtime_models(shipped["runtime_models"].records(), groups, catalog)
    rows["sightings"] = [_sighting(one, unusable.get(one.model_id, "")) for one in found]
    return Merged(rows)


def known_of(shipped: Mapping[str, CsvTable], models: Mapping[str, Row], own: Mapping[str, Row]) -> Known:
    """What the shipped catalog knows of names and shapes."""
    names: dict[str, str] = {}
    repositories: dict[str, set[str]] = defaultdict(set)
    for file in shipped["gguf_files"].records():
        if file["catalog_model_id"] and file["gguf_repo"]:
            repositories[file["gguf_repo"].casefold()].add(file["catalog_model_id"])
    names |= {repo: next(iter(ids)) for repo, ids in repositories.items() if len(ids) == 1}
    for row in shipped["runtime_models"].records():
        for column in ("name", "repo"):
            if row[column]:
                names.setdefault(row[column].casefold(), row["model_id"])
    names |= {row["alias"].casefold(): row["model_id"] for row in shipped["model_aliases"].records()}
    for row in models.values():
        for column in ("ollama_tag", "onnx_foundry_local_alias", "azure_catalog_id"):
            if row[column]:
                names.setdefault(row[column].casefold(), row["model_id"])
        for repo in row["gguf_repos"].split(";"):
            if repo.strip():
                names.setdefault(repo.strip().casefold(), row["model_id"])
    names |= {model_id.casefold(): model_id for model_id in models}
    makers, quantizers = publishers(shipped)
    return Known(
        names=names,
        shapes={model_id: merge_rows(row, own.get(model_id)) for model_id, row in models.items()},
        params={model_id: int(row["params_total"]) for model_id, row in models.items()},
        released={model_id: row["release_date"] for model_id, row in models.items()},
        makers=frozenset(one.casefold() for one in makers),
        quantizers=frozenset(one.casefold() for one in quantizers),
        resolver=Resolver(models.values(), shipped["model_aliases"].records()),
    )


def publishers(shipped: Mapping[str, CsvTable]) -> tuple[frozenset[str], frozenset[str]]:
    """Makers of catalog models, and who publishes GGUF files of them, as the Hub spells their names."""
    makers = frozenset(row["model_id"].split("/")[0] for row in shipped["models"].records())
    repos = [row["gguf_repo"] for row in shipped["gguf_files"].records() if row["catalog_model_id"]]
    repos += [row["repo_prefix"] for row in shipped["quantizers"].records()]
    return makers, frozenset(repo.split("/")[0] for repo in repos if "/" in repo) - makers


def _preference(one: Identified) -> tuple[object, ...]:
    """Whose word counts first: the original repository's, then by trust, then by downloads."""
    entry = one.entry
    return (bool(one.kept.gone_at), one.relation != "original", _TRUST.index(one.trust), -(entry.downloads or 0),
            entry.source, entry.entry_id)  # fmt: skip


def _licences(models: Iterable[Row]) -> dict[str, tuple[str, str]]:
    """Licence id → name and commercial use, as most reviewed rows have it."""
    counted: dict[str, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for row in models:
        if row["license_id"]:
            counted[row["license_id"]][row["license"], row["commercial_use"]] += 1
    return {licence: max(found, key=lambda one: (found[one], one)) for licence, found in counted.items()}


# ── rows of the other tables ─────────────────────────────────────────────────────────────────────────────────


def _files(shipped: Sequence[Row], groups: Mapping[str, Sequence[Identified]], catalog: Iterable[str]) -> list[Row]:
    """Files of quantized repositories, where the shipped catalog does not have them just so already.

    Repositories of nobody known count only where nobody else publishes the model.
    """
    before = {(row["gguf_repo"], row["file"]): row for row in shipped}
    known_types = {name for name in file_types() if name}
    rows: dict[tuple[str, str], Row] = {}  # a repository may be known from the Hub and added by hand as well
    catalog = set(catalog)
    for model_id, entries in groups.items():
        if model_id not in catalog:
            continue
        forms = [
            one
            for one in entries
            if one.entry.format == "gguf"
            and one.relation in ("quantized", "original", "copy", "installed")
            and not one.kept.gone_at
            and one.entry.source in ("hugging-face", "gguf")
        ]
        trusted = [one for one in forms if one.trust != "other"]
        for one in trusted or forms:
            repo, source = one.entry.entry_id, _read(one.entry)
            for file in one.entry.files:
                row = _file_row(model_id, repo, source, file, known_types)
                old = before.get((row["gguf_repo"], row["file"]))
                if old and _same_file(old, row):
                    continue
                if old:  # what was found out about its recipe holds; its size is now exact
                    row |= {name: old[name] for name in ("recipe", "recipe_reason", "quantization", "kind", "quant")}
                rows.setdefault((repo, file.path), row)
    return list(rows.values())


def _same_file(old: Row, new: Row) -> bool:
    exact = old["bytes_kind"] == "exact" and old["bytes"] == new["bytes"]
    return exact and new["sha256"] in ("", old["sha256"]) and old["catalog_model_id"] == new["catalog_model_id"]


def _file_row(model_id: str, repo: str, source: str, file: EntryFile, known_types: set[str]) -> Row:
    _, parts = part_of(file.path)
    other = next((kind for kind, pattern in _OTHER_KINDS if pattern.search(file.path)), "")
    plain = file.quantization in known_types and not file.quantization.startswith("UD-")
    return {
        "model_id": model_id,
        "gguf_repo": repo,
        "file": file.path,
        "quant": file.quantization,
        "bytes": str(file.bytes) if file.bytes else "",
        "bytes_kind": "exact" if file.bytes else "none",
        "sha256": file.sha256,
        "source": source,
        "catalog_model_id": model_id,
        "quantization": file.quantization if plain and not other else "",
        "kind": other or ("split" if parts > 1 else "model"),
        "recipe": "unknown" if plain or other else "own",
        "recipe_reason": "" if plain or other else "its name is no file type of llama.cpp",
        "split_count": str(parts),
    }


def _runtime_models(
    shipped: Sequence[Row], groups: Mapping[str, Sequence[Identified]], catalog: Iterable[str]
) -> list[Row]:
    """What runtimes with a catalog of their own list: name, device and bytes, one row per name."""
    before = {(row["runtime"], row["name"]): row for row in shipped}
    catalog = set(catalog)
    rows = []
    for model_id, entries in groups.items():
        for one in entries:
            entry = one.entry
            if model_id not in catalog or not entry.runtime or entry.source == "ollama" or one.kept.gone_at:
                continue
            file = entry.files[0] if entry.files else EntryFile("")
            quantization = file.quantization or "onnx-int4"
            row = {
                "runtime": entry.runtime,
                "model_id": model_id,
                "format": entry.format,
                "quantization": quantization,
                "name": entry.entry_id,
                "file_bytes": str(file.bytes) if file.bytes else "",
                "memory_bytes": str(entry.memory_bytes) if entry.memory_bytes else "",
                "accelerator": entry.accelerator.split("/")[0],
                "note": entry.accelerator,
                "source": _read(entry),
            }
            old = before.get((row["runtime"], row["name"]))
            if old is None or any(row[name] and row[name] != old[name] for name in ("model_id", "file_bytes")):
                rows.append(row)
    return rows


def _scores(model_id: str, entries: Iterable[Entry]) -> list[Row]:
    """Benchmark results that a model's own repository states, where they are percentages."""
    rows: dict[tuple[str, str], Row] = {}
    for entry in entries:
        if entry.entry_id != model_id:  # what somebody else states of it
            continue
        shares = bool(entry.scores) and all(0 <= score.value <= 1 for score in entry.scores)
        for score in entry.scores:
            value = 100 * score.value if shares else score.value
            if not 0 <= value <= 100:
                continue
            who = "checked by the Hub" if score.verified else f"{entry.publisher} (its own model page)"
            rows.setdefault(
                (score.benchmark, score.metric),
                {
                    "model_id": model_id,
                    "benchmark": score.benchmark,
                    "score": repr(round(value, 6)),
                    "metric_details": score.metric,
                    "evaluator": who,
                    "source": _read(entry),
                    "name_at_source": entry.entry_id,
                    "catalog_model_id": model_id,
                    "direction": "higher",
                    "unit": "percent",
                    "scale_min": "0",
                    "scale_max": "100",
                },
            )
    return list(rows.values())


def _sighting(one: Identified, unusable: str) -> Row:
    entry = one.entry
    return {
        "source": entry.source,
        "entry_id": entry.entry_id,
        "model_id": "" if unusable else one.model_id,
        "relation": one.relation or "unknown",
        "why": f"{one.why}; {unusable}" if unusable else one.why,
        "name": entry.name,
        "publisher": entry.publisher,
        "trust": one.trust,
        "format": entry.format,
        "url": entry.url,
        "version": entry.version,
        "license_id": entry.license_id,
        "gated": "yes" if entry.gated else "no",
        "downloads": "" if entry.downloads is None else str(entry.downloads),
        "created": entry.created,
        "modified": entry.modified,
        "lifecycle": entry.lifecycle,
        "runtime": entry.runtime,
        "details": ";".join(f"{name}={value}" for name, value in entry.details.items()),
        "read_at": entry.read_at,
        "first_seen": one.kept.first_seen,
        "gone_at": one.kept.gone_at,
    }


def _read(entry: Entry) -> str:
    """Where and when a row's figures were read."""
    return f"{entry.source}: {entry.entry_id}@{entry.version[:12]}, read {entry.read_at[:10]}"
