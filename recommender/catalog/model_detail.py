"""Everything the catalog knows of one model, each figure with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recommender.catalog.explore import Listed, listed
from recommender.catalog.facts import FileRow, ModelRow, read_facts
from recommender.catalog.queries import runtimes

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

__all__ = ["ModelDetail", "detail"]

MOST_SIGHTINGS = 200  # of one kind; the most downloaded ones, the others are counted
_MADE_OF_IT = "('finetune', 'adapter', 'merge')"


@dataclass(frozen=True)
class Number:
    """One number of the architecture, or of the model, as text."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class OtherFormat:
    """A form of the weights besides the published GGUF files."""

    format: str
    quantization: str
    file_bytes: float | None  # estimated
    repo: str
    availability: str  # file, repo, convert or service


@dataclass(frozen=True)
class ScoreRow:
    """A benchmark's result. ``duplicate`` is "" for one that counts."""

    benchmark: str
    score: float
    unit: str
    direction: str
    mode: str
    metric_details: str
    evaluator: str
    source: str
    duplicate: str


@dataclass(frozen=True)
class AbilityRow:
    """What the benchmarks say together, of 100; ``evidence`` counts the scores behind it."""

    capability: str
    score: float
    standard_error: float
    evidence: int


@dataclass(frozen=True)
class SightingRow:
    """Where something was seen. Texts come from there."""

    source: str
    entry_id: str
    relation: str
    why: str
    name: str
    publisher: str
    trust: str
    format: str
    url: str
    license_id: str
    gated: bool | None
    downloads: int | None
    modified: str
    lifecycle: str
    details: str
    read_at: str
    gone_at: str


@dataclass(frozen=True)
class ConflictRow:
    """Two figures for one field, and why the first was taken."""

    field: str
    chosen: str
    chosen_source: str
    other: str
    other_source: str
    why: str


@dataclass(frozen=True)
class Taken:
    """A runtime that takes the model, in how many quantizations."""

    runtime: str
    name: str
    quantizations: int
    experimental: bool


@dataclass(frozen=True)
class Relative:
    """A model of the same history. ``relation`` is what it is to the one that is shown."""

    model_id: str
    name: str
    released: str
    params_total: int
    state: str
    relation: str  # this one, supersedes it, superseded by it, what it was made from, made from it, same family
    source: str


@dataclass(frozen=True)
class ModelDetail:
    """One model. ``*_total`` count what there is where not everything is given."""

    model: ModelRow
    row: Listed
    numbers: tuple[Number, ...]
    files: tuple[FileRow, ...]
    other_formats: tuple[OtherFormat, ...]
    scores: tuple[ScoreRow, ...]
    abilities: tuple[AbilityRow, ...]
    sightings: tuple[SightingRow, ...]
    sightings_total: int
    made_of_it: tuple[SightingRow, ...]  # fine-tunes, adapters and merges
    made_of_it_total: int
    conflicts: tuple[ConflictRow, ...]
    runtimes: tuple[Taken, ...]
    history: tuple[Relative, ...]  # by release date, the unknown ones last
    notes: tuple[str, ...]  # remarks of the review


def detail(catalog: Catalog, model_id: str) -> ModelDetail:
    """All of one model.

    Raises:
        UnknownNameError: the catalog has no such model; the message has the nearest ids.
    """
    model = catalog.model(model_id)
    row = listed(catalog, model.model_id)
    assert row is not None  # every model is in the list
    facts = _row(catalog, "models", model.model_id)
    own = _row(catalog, "architectures", model.model_id)
    seen = f"model_id = $1 AND relation NOT IN {_MADE_OF_IT}"
    made = f"model_id = $1 AND relation IN {_MADE_OF_IT}"
    return ModelDetail(
        model,
        row,
        _numbers(facts, own),
        catalog.files(model.model_id),
        _other_formats(catalog, model.model_id),
        _read(catalog, ScoreRow, "benchmarks", "catalog_model_id = $1", "duplicate NULLS FIRST, benchmark", model),
        _read(
            catalog,
            AbilityRow,
            "abilities",
            "model_id = $1",
            "evidence = 0, capability LIKE 'lang:%', capability",
            model,
        ),
        _sightings(catalog, seen, model),
        _count(catalog, seen, model),
        _sightings(catalog, made, model),
        _count(catalog, made, model),
        _read(catalog, ConflictRow, "conflicts", "model_id = $1", "field, other_source", model),
        _taken(catalog, model.model_id),
        _history(catalog, model, facts),
        tuple(f"{name.removesuffix('_note').replace('_', ' ')}: {facts[name]}" for name in _NOTES if facts.get(name)),
    )


def _row(catalog: Catalog, table: str, model_id: str) -> dict[str, Any]:
    cursor = catalog.cursor().execute(f"SELECT * FROM {table} WHERE model_id = $1", [model_id])
    names = [column[0] for column in cursor.description or []]
    found = cursor.fetchone()
    return {} if found is None else dict(zip(names, found, strict=True))


def _read(catalog: Catalog, kind: type[Any], table: str, where: str, order: str, model: ModelRow) -> tuple[Any, ...]:
    return read_facts(catalog.cursor(), kind, table, order, where, [model.model_id])


def _sightings(catalog: Catalog, where: str, model: ModelRow) -> tuple[SightingRow, ...]:
    order = f"gone_at IS NOT NULL, downloads DESC NULLS LAST, source, entry_id LIMIT {MOST_SIGHTINGS}"
    return _read(catalog, SightingRow, "sightings", where, order, model)


def _count(catalog: Catalog, where: str, model: ModelRow) -> int:
    cursor = catalog.cursor().execute(f"SELECT count(*) FROM sightings WHERE {where}", [model.model_id])
    return int(cursor.fetchall()[0][0])


# What a number of models.csv is called, and the column that says where it comes from where it has one of its own.
_MODEL_NUMBERS = (
    ("params_total", "Parameters", ""),
    ("params_active", "Parameters active per token", ""),
    ("params_text", "Parameters of the language model", "params_text_source"),
    ("context_max", "Context, tokens", "context_source"),
    ("context_native", "Context it was trained for, tokens", "context_source"),
    ("modalities", "Modalities", ""),
    ("tool_calling", "Tool calling", "tool_calling_source"),
    ("thinking", "Thinking", ""),
    ("languages", "Languages", "languages_source"),
    ("release_date", "Released", "release_date_source"),
    ("base_model", "Made from", "base_model_source"),
)
_SHAPE_NUMBERS = (
    ("architecture", "Architecture"),
    ("n_layer", "Layers"),
    ("n_embd", "Embedding width"),
    ("n_head", "Attention heads"),
    ("n_head_kv", "Key and value heads"),
    ("head_dim", "Head dimension"),
    ("value_dim", "Value dimension"),
    ("n_ff", "Feed-forward width"),
    ("vocab_size", "Vocabulary"),
    ("tied_embeddings", "Output tied to the embedding"),
    ("n_expert", "Experts"),
    ("n_expert_used", "Experts used per token"),
    ("n_ff_expert", "Width of an expert"),
    ("n_ff_shared", "Width of the shared expert"),
    ("n_dense_layers", "Dense layers before the experts"),
    ("sliding_window", "Sliding window, tokens"),
    ("window_layers", "Layers with the window"),
    ("recurrent_layers", "Recurrent layers"),
    ("q_lora_rank", "Rank of the compressed queries"),
    ("kv_lora_rank", "Rank of the compressed keys and values"),
    ("kv_shared_layers", "Layers that share their cache"),
    ("ssm_state", "State-space size"),
    ("draft_layers", "Draft layers"),
    ("tokenizer", "Tokenizer"),
)
_NOTES = (
    "params_note",
    "languages_note",
    "hybrid_notes",
    "head_dim_note",
    "n_head_kv_note",
    "n_ff_note",
    "sliding_window_note",
    "architecture_note",
    "review_note",
)


def _numbers(facts: dict[str, Any], own: dict[str, Any]) -> tuple[Number, ...]:
    """What is known of the model and its shape; of the shape, ``architectures.csv`` goes before ``models.csv``."""
    usual = str(facts["source"])
    found = [
        Number(name, _text(facts[column]), str(facts.get(origin) or usual))
        for column, name, origin in _MODEL_NUMBERS
        if facts.get(column) is not None
    ]
    for column, name in _SHAPE_NUMBERS:
        better = own.get(column)
        if better is not None:
            found.append(Number(name, _text(better), str(own["source"])))
        elif facts.get(column) is not None:
            found.append(Number(name, _text(facts[column]), usual))
    return tuple(found)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", ", ")


def _other_formats(catalog: Catalog, model_id: str) -> tuple[OtherFormat, ...]:
    return read_facts(
        catalog.cursor(),
        OtherFormat,
        "variants",
        "format, file_bytes DESC NULLS LAST",
        "model_id = $1 AND format <> 'gguf' AND availability <> 'convert'",
        [model_id],
    )


def _taken(catalog: Catalog, model_id: str) -> tuple[Taken, ...]:
    names = {one.id: one.name for one in runtimes(catalog)}
    rows = (
        catalog.cursor()
        .execute(
            "SELECT runtime, count(DISTINCT quantization), bool_and(support = 'experimental') FROM candidates"
            " WHERE model_id = $1 GROUP BY runtime",
            [model_id],
        )
        .fetchall()
    )
    found = [Taken(runtime, names.get(runtime, runtime), number, trial) for runtime, number, trial in rows]
    order = list(names)
    return tuple(sorted(found, key=lambda one: order.index(one.runtime) if one.runtime in names else len(order)))


def _history(catalog: Catalog, model: ModelRow, facts: Mapping[str, Any]) -> tuple[Relative, ...]:
    """The family, and what stands before and after the model in another one."""
    rows = (
        catalog.cursor()
        .execute(
            """
            SELECT m.model_id, m.name, coalesce(m.release_date, '') AS released, m.params_total, l.state,
                   CASE WHEN m.model_id = $id THEN 'this one'
                        WHEN m.model_id = $next THEN 'supersedes it'
                        WHEN m.superseded_by = $id THEN 'superseded by it'
                        WHEN $base IN (m.model_id, m.name) THEN 'what it was made from'
                        WHEN m.base_model = $id THEN 'made from it'
                        ELSE 'same family' END AS relation,
                   coalesce(CASE WHEN m.model_id = $next THEN $next_source
                        WHEN m.superseded_by = $id THEN m.superseded_source
                        WHEN $base IN (m.model_id, m.name) THEN $base_source
                        WHEN m.base_model = $id THEN m.base_model_source END, '') AS source
            FROM models m JOIN lifecycles l USING (model_id)
            WHERE m.family = $family OR m.model_id IN ($id, $next) OR m.superseded_by = $id OR m.base_model = $id
                  OR $base IN (m.model_id, m.name)
            ORDER BY m.release_date DESC NULLS LAST, m.params_total DESC, m.model_id
            """,
            {
                "id": model.model_id,
                "family": model.family,
                "next": model.superseded_by,
                "base": model.base_model,
                "next_source": facts["superseded_source"] or "",
                "base_source": facts["base_model_source"] or "",
            },
        )
        .fetchall()
    )
    return tuple(Relative(*row) for row in rows)
