"""Rows of models.csv and architectures.csv from what entries say, and what they contradict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from recommender.catalog.sources.base import Entry
from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows
from recommender.estimate.names import family_key, parse
from recommender.estimate.tensors import layout, parameters
from recommender.types import tier_of

Row = dict[str, str]
T = TypeVar("T")
# Columns of models.csv that hold one whole number of the architecture each.
_NUMBERS = (
    "n_layer", "n_embd", "n_head", "n_head_kv", "head_dim", "n_ff", "vocab_size", "n_expert", "n_expert_used",
    "n_ff_expert", "sliding_window",
)  # fmt: skip
_ROLE_OF_PIPELINE = {
    "feature-extraction": "embedding",
    "sentence-similarity": "embedding",
    "text-ranking": "reranker",
    "translation": "translation",
}
_MODALITIES_OF_PIPELINE = {
    "image-text-to-text": "text+image",
    "video-text-to-text": "text+image+video",
    "audio-text-to-text": "text+image+audio",
    "any-to-any": "text+image+audio",
}
# A newer model of the same maker and name takes the place of an older one of about its size.
_SUPERSEDES_RATIO = 1.5
_SUPERSEDED = (
    "inferred: same maker and name but for its version, later release, total parameters within a factor of 1.5"
)
_NOT_COMPARED = ("model_id", "context_train", "tokenizer")


def new_model(
    model_id: str,
    entries: Sequence[Entry],
    licences: Mapping[str, tuple[str, str]],
    models: Mapping[str, Row],
) -> tuple[Row, Row | None] | None:
    """Rows for a model that does not ship: models.csv's, and architectures.csv's where a header was read.

    ``entries`` are its own repository and its other forms, the most trusted first. None where the number of its
    parameters is not known, since nothing could be said of it then.
    """
    original = next((entry for entry in entries if entry.entry_id == model_id), None)
    architecture, source = _architecture(entries)
    arch = _complete(model_id, architecture)
    total = _first(original.params_total if original else None, *(entry.params_total for entry in entries))
    if not total and arch is not None:
        total = parameters(arch)
    if not total:
        return None
    name = model_id.split("/")[-1]
    thinking = _said("thinking", entries)
    base = next((one for entry in entries if entry.entry_id == model_id for one in entry.bases), "")
    licence = _said("license_id", [original] if original else entries) or _said("license_id", entries)
    named, commercial = licences.get(licence, (licence, ""))
    created = _first(original.created if original else None, *(entry.created for entry in entries[:1])) or ""
    context = _first(*(entry.context_tokens for entry in entries))
    row: Row = {
        "model_id": model_id,
        "family": models[base]["family"] if base in models else family_key(model_id) or name,
        "name": name,
        "params_total": str(total),
        "tier": tier_of(total),
        "release_date": created,
        "release_date_source": "when its repository was made" if created else "",
        "license": named,
        "license_id": licence,
        "commercial_use": commercial,
        "context_max": str(context) if context else "",
        "context_source": "its header or its repository" if context else "",
        "modalities": _modalities(entries),
        "languages": "|".join(sorted({code for entry in entries for code in entry.languages})),
        "thinking": thinking,
        "tool_calling": _said("tool_calling", entries),
        "role": _role(model_id, entries, thinking),
        "base_model": base,
        "base_model_source": "its repository says so" if base else "",
        "gguf_repos": ";".join(
            entry.entry_id for entry in entries if entry.format == "gguf" and entry.source == "hugging-face"
        ),
        "ollama_tag": next((entry.entry_id for entry in entries if entry.source == "ollama"), ""),
        "azure_catalog_id": next((entry.entry_id for entry in entries if entry.source == "azure-ai-foundry"), ""),
        "onnx_foundry_local_alias": _alias(entries),
        "architecture": architecture.get("architecture", ""),
        "tied_embeddings": architecture.get("tied_embeddings", ""),
        "source": "; ".join(f"{entry.source}: {entry.entry_id}, read {entry.read_at[:10]}" for entry in entries[:3]),
    }
    row |= {column: value for column in _NUMBERS if (value := architecture.get(column, "")).isdigit()}
    row |= {column: "" for column in ("n_expert", "n_expert_used", "n_ff_expert", "n_ff") if row.get(column) == "0"}
    if arch is not None and arch.n_expert:
        row["params_active"] = str(min(total, round(layout(arch, "F16").read_bytes_per_token / 2)))
    return row, {**architecture, "model_id": model_id, "source": source} if architecture else None


def changed_model(
    shipped: Row, entries: Sequence[Entry], licences: Mapping[str, tuple[str, str]]
) -> tuple[Row | None, list[Row]]:
    """The shipped row with its gaps filled (None where there is nothing to fill), and what entries contradict."""
    row, conflicts = dict(shipped), []
    by_rule = shipped["rule_filled"].partition(": ")[2].split(",")
    own = [entry for entry in entries if entry.entry_id == shipped["model_id"]] or list(entries)
    told: dict[str, tuple[str, Entry]] = {}
    for entry in own:
        for column, value in _statements(entry).items():
            if value:
                told.setdefault(column, (value, entry))
    for column, (value, entry) in told.items():
        have = shipped[column]
        if not have:
            row[column] = value
        elif not _differs(column, have, value, shipped):
            continue
        elif column in by_rule:
            row[column] = value
            conflicts.append(
                _conflict(shipped, column, value, _where(entry), have, shipped["rule_filled"],
                          "the shipped figure was filled by its family's rule; its repository says otherwise")
            )  # fmt: skip
        else:
            conflicts.append(
                _conflict(shipped, column, have, shipped["source"], value, _where(entry),
                          "the shipped figure was reviewed")
            )  # fmt: skip
    if row["license_id"] != shipped["license_id"] and row["license_id"] in licences and not shipped["license"]:
        row["license"], row["commercial_use"] = licences[row["license_id"]]
    repos = [repo for repo in shipped["gguf_repos"].split(";") if repo]
    repos += [
        entry.entry_id
        for entry in entries
        if entry.format == "gguf" and entry.source == "hugging-face" and entry.entry_id not in repos
    ]
    row["gguf_repos"] = ";".join(repos)
    for column, source in (("ollama_tag", "ollama"), ("azure_catalog_id", "azure-ai-foundry")):
        if not row[column]:
            row[column] = next((entry.entry_id for entry in entries if entry.source == source), "")
    row["onnx_foundry_local_alias"] = row["onnx_foundry_local_alias"] or _alias(entries)
    return (row if row != shipped else None), conflicts


def architecture_conflicts(model: Row, own: Row | None, entries: Sequence[Entry]) -> tuple[Row | None, list[Row]]:
    """The architecture row to lay over the shipped one (None: they agree), and every number that differs."""
    live, source = _architecture(entries)
    found = _complete(model["model_id"], {**live, "context_max": model["context_max"]} if live else {})
    if found is None:
        return None, []
    shipped = _complete(model["model_id"], merge_rows(model, own))
    made = {**live, "model_id": model["model_id"], "source": source}
    if shipped is None:
        return made, []
    conflicts = []
    for one in fields(Architecture):
        if one.name in _NOT_COMPARED or (one.name == "rope_factors" and one.name not in live):
            continue  # whether there are factors is known only where the list of tensors was read
        mine, theirs = getattr(found, one.name), getattr(shipped, one.name)
        if mine != theirs:
            conflicts.append(
                _conflict(model, one.name, _brief(mine), source, _brief(theirs), (own or model)["source"],
                          "a file's header is what a runtime loads")
            )  # fmt: skip
    return (made, conflicts) if conflicts else (None, [])


def superseding(shipped: Mapping[str, Row], overlay: Iterable[Row]) -> list[Row]:
    """The overlay's model rows, with those added or completed that a newer model takes the place of."""
    rows = {row["model_id"]: row for row in overlay}
    new = [row for model_id, row in rows.items() if model_id not in shipped]
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in (*(rows.get(model_id, row) for model_id, row in shipped.items()), *new):
        groups.setdefault(_line(row), []).append(row)
    for group in groups.values():
        for row in group:
            if row.get("superseded_by") or not row.get("release_date"):
                continue
            newer = [
                one
                for one in group
                if one["model_id"] not in shipped
                and one.get("release_date", "") > row["release_date"]
                and set(row["modalities"].split("+")) <= set(one["modalities"].split("+"))
                and 1 / _SUPERSEDES_RATIO <= int(one["params_total"]) / int(row["params_total"]) <= _SUPERSEDES_RATIO
            ]
            if newer:
                latest = max(newer, key=lambda one: (one["release_date"], one["model_id"]))
                rows[row["model_id"]] = {
                    **row, "superseded_by": latest["model_id"], "superseded_source": _SUPERSEDED,
                }  # fmt: skip
    return list(rows.values())


# ── parts of a row ───────────────────────────────────────────────────────────────────────────────────────────


def _architecture(entries: Iterable[Entry]) -> tuple[dict[str, str], str]:
    """Architecture columns of the first entry that has any, and where they were read."""
    for entry in entries:
        if entry.architecture:
            # A header's context is a column of models.csv, where the entry's own statement of it goes.
            columns = {name: value for name, value in entry.architecture.items() if name != "context_max"}
            return columns, entry.architecture_source or _where(entry)
    return {}, ""


def _complete(model_id: str, row: Mapping[str, str]) -> Architecture | None:
    if not row:
        return None
    try:
        return replace(architecture_from_row({**row, "model_id": model_id}), model_id="")
    except BadInputError:
        return None


def _statements(entry: Entry) -> Row:
    """What an entry says that models.csv has a column for."""
    return {
        "license_id": entry.license_id,
        "context_max": str(entry.context_tokens) if entry.context_tokens else "",
        "params_total": str(entry.params_total) if entry.params_total else "",
        "thinking": entry.thinking,
        "tool_calling": entry.tool_calling,
        "languages": "|".join(entry.languages),
    }


def _differs(column: str, have: str, told: str, row: Row) -> bool:
    if column == "languages":
        return False  # cards name the main ones only
    if column == "params_total":
        # Counts differ by a second copy of the head or by a tower for pictures; both are noted in the row.
        return not 0.9 <= int(told) / int(have) <= 1.1
    if column == "context_max":
        return told not in (have, row["context_native"])
    return have != told


def _conflict(row: Row, field: str, chosen: str, chosen_source: str, other: str, other_source: str, why: str) -> Row:
    return {
        "model_id": row["model_id"],
        "field": field,
        "chosen": chosen,
        "chosen_source": chosen_source,
        "other": other,
        "other_source": other_source,
        "why": why,
    }


def _where(entry: Entry) -> str:
    return f"{entry.source}: {entry.entry_id}, read {entry.read_at[:10]}"


def _said(name: str, entries: Iterable[Entry | None]) -> str:
    return next((value for entry in entries if entry and (value := getattr(entry, name))), "")


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value), None)


def _modalities(entries: Iterable[Entry]) -> str:
    return next((found for entry in entries if (found := _MODALITIES_OF_PIPELINE.get(entry.pipeline))), "text")


def _role(model_id: str, entries: Sequence[Entry], thinking: str) -> str:
    pipeline = next((found for entry in entries if (found := _ROLE_OF_PIPELINE.get(entry.pipeline))), "")
    if pipeline:
        return pipeline
    if thinking in ("yes", "hybrid"):
        return {"yes": "thinking", "hybrid": "hybrid"}[thinking]
    name = parse(model_id)
    if "base" in name.kinds or any("base" in entry.tags for entry in entries):
        return "base"
    if name.words & {"coder", "code"}:
        return "code"
    return "vision" if _modalities(entries) != "text" and name.words & {"vl", "vision"} else "instruct"


def _alias(entries: Iterable[Entry]) -> str:
    """Foundry Local's alias: the same for every device's variant."""
    return next((entry.details.get("alias", "") for entry in entries if entry.source == "foundry-local"), "")


def _brief(value: object) -> str:
    """A number per layer as value*count runs."""
    if not isinstance(value, tuple):
        return str(value) or "none"
    runs = re.sub(r"\s", "", ";".join(map(str, value)))
    different = set(value)
    return f"{value[0]}*{len(value)}" if len(different) == 1 else runs


def _line(row: Row) -> tuple[object, ...]:
    """What models that could follow one another have in common: maker, purpose and the name but for its version."""
    name = parse(row["model_id"])
    words = name.words - {"instruct", "preview"}
    return row["model_id"].split("/")[0].casefold(), row["role"], words
