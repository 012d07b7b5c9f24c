"""The derived tables: what the estimate room makes of the facts. Each step says what it could not do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from recommender.catalog.load import column_types, insert_columns
from recommender.catalog.published import (
    Offer,
    likely_in_repository,
    offers,
    published_files,
    published_quantizations,
    usual_quantizations,
)
from recommender.catalog.rows import CsvTable
from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, ShapeRefused, architecture_from_row, merge_rows
from recommender.estimate.quality import fit_abilities
from recommender.estimate.quant_loss import loss_points
from recommender.estimate.tensors import kv_shape, layout, live_width, rough_layout

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from recommender.types import Layout

Row = dict[str, Any]
Records = list[dict[str, str]]
# A published file may carry a newer tokenizer or a tensor more; beyond this share its recipe or shape is another one.
_LAYOUT_TOLERANCE = 0.02


def derive(connection: DuckDBPyConnection, loaded: Mapping[str, CsvTable]) -> list[str]:
    """Fill shapes, variants, abilities, quant_losses, lifecycles and candidates; returns notes about what is thin."""
    models = loaded["models"].records()
    own = {row["model_id"]: row for row in loaded["architectures"].records()}
    merged = [merge_rows(row, own.get(row["model_id"])) for row in models]
    # The fit of abilities takes longest and spends its time outside Python: it runs beside the layouts.
    with ThreadPoolExecutor(max_workers=1) as beside:
        fitting = beside.submit(fit_abilities, loaded["benchmarks"].records(), models)
        architectures, refused, notes = _shapes(connection, merged)
        notes += _variants(connection, merged, architectures, refused, loaded)
        _quant_losses(connection)
        _insert(connection, "abilities", [vars(ability) for ability in fitting.result()])
    _lifecycles(connection)
    return notes + _candidates(connection)


def _shapes(connection: DuckDBPyConnection, models: Records) -> tuple[dict[str, Architecture], set[str], list[str]]:
    """One row per model; the architectures of those whose numbers are complete, and the models llama.cpp refuses."""
    architectures: dict[str, Architecture] = {}
    refused: set[str] = set()
    rows: list[Row] = []
    for model in models:
        row: Row = {"model_id": model["model_id"], "architecture": model["architecture"] or None, "complete": False}
        rows.append(row)
        try:
            arch = architecture_from_row(model)
            cache = kv_shape(arch)
        except BadInputError as error:
            row["reason"] = str(error)
            if isinstance(error, ShapeRefused):
                refused.add(row["model_id"])
            continue
        # Fine-tunes of one network differ in name and trained context only, which no byte count depends on.
        architectures[arch.model_id] = replace(arch, model_id="", context_train=0)
        row.update(vars(cache), complete=True, reason="", n_layer=arch.n_layer, n_embd=arch.n_embd)
        row.update(n_vocab=arch.n_vocab, n_head=max(arch.n_head), n_ff_live=live_width(arch))
    _insert(connection, "shapes", rows)
    rough = [row["model_id"] for row in rows if not row["complete"]]
    notes = [f"{len(rough)} of {len(rows)} models have rough layouts only: {', '.join(rough)}"] if rough else []
    return architectures, refused, notes


def _variants(
    connection: DuckDBPyConnection,
    models: Records,
    architectures: Mapping[str, Architecture],
    refused: Collection[str],
    loaded: Mapping[str, CsvTable],
) -> list[str]:
    """One row per model, format and quantization: GGUF in every standard file type, unless llama.cpp refuses the
    model's shape, and other formats where offered."""
    files = loaded["gguf_files"].records()
    published, listed_types = published_files(models, files), published_quantizations(files)
    usual = usual_quantizations(listed_types)
    standard, special = _file_types(loaded)
    own_catalogs: dict[str, Records] = defaultdict(list)
    for listed in loaded["runtime_models"].records():
        own_catalogs[listed["model_id"]].append(listed)
    convertible = _convertible(loaded)
    on_load = [
        (row["format"], row["quantization"])
        for row in loaded["runtime_formats"].records()
        if row["made_on_load"] == "yes"
    ]
    native = {row["model_id"] for row in loaded["native_quantizations"].records()}
    # A quantization whose loss of quality is not known cannot be judged: it is left out.
    bits = {
        row["name"]: float(row["bits_per_weight"]) for row in loaded["quant_loss"].records() if row["kind"] == "type"
    }
    rows: list[Row] = []
    left_out: set[str] = set()
    for model in models:
        model_id, arch = model["model_id"], architectures.get(model["model_id"])
        has = listed_types.get(model_id, set())
        file_types = () if model_id in refused else (*standard, *(name for name in special if name in has))
        for quantization in file_types:
            sizes = _gguf_sizes(model, arch, quantization)
            if sizes is None or quantization not in bits:
                left_out.add(quantization)
                continue
            row = {"model_id": model_id, "format": "gguf", "quantization": quantization, **sizes}
            file = published.get((model_id, quantization))
            if file is not None:
                row.update(repo=file.repo, file=file.file, published_bytes=file.bytes, availability="file")
            elif model["gguf_repos"] and likely_in_repository(quantization, has, {} if model_id in native else usual):
                row.update(repo=model["gguf_repos"].split(";")[0].strip(), file="", availability="repo")
            else:
                row.update(repo="", file="", availability="convert")
            rows.append(row)
        # A model trained in a quantization of its own has no full weights to make another of.
        for offer in offers(model, own_catalogs[model_id], convertible, () if model_id in native else on_load):
            other = _other_sizes(model, arch, offer, bits)
            if other is None or (offer.quantization and offer.quantization not in bits):
                left_out.add(offer.quantization)
                continue
            if offer.loads and (full := _other_sizes(model, arch, replace(offer, quantization=offer.loads), bits)):
                other["file_bytes"] = full["file_bytes"]
            row = {"model_id": model_id, "format": offer.format, "quantization": offer.quantization, **other}
            row.update(repo=offer.repo, file=offer.file, published_bytes=None, availability=offer.availability)
            rows.append(row)
    _insert(connection, "variants", rows)
    return [*_left_out(left_out), *_far_from_published(rows)]


def _far_from_published(rows: Sequence[Row]) -> list[str]:
    """Layouts that a published file of exactly known size contradicts."""
    far = [
        f"{row['model_id']} {row['quantization']} ({row['file_bytes'] / row['published_bytes'] - 1:+.1%})"
        for row in rows
        if row.get("layout") == "exact"
        and row.get("published_bytes")
        and abs(row["file_bytes"] / row["published_bytes"] - 1) > _LAYOUT_TOLERANCE
    ]
    return [f"{len(far)} layouts differ from the published file: {', '.join(far)}"] if far else []


def _left_out(left_out: set[str]) -> list[str]:
    what = "Quantizations left out, because their size or their loss of quality is not known"
    return [f"{what}: {', '.join(sorted(left_out))}"] if left_out else []


def _file_types(loaded: Mapping[str, CsvTable]) -> tuple[list[str], list[str]]:
    """GGUF file types that any model can be converted to, and those that suit only models trained for them.

    The first kind are the file types whose loss was measured on converted models; of the second kind (ternary and
    such) a model has only what somebody published.
    """
    measured = dict.fromkeys(row["name"] for row in loaded["quant_types"].records() if row["kind"] == "file_mix")
    known = dict.fromkeys(row["file_type"] for row in loaded["file_mixes"].records() if row["file_type"])
    return [name for name in known if name in measured], [name for name in known if name not in measured]


def _convertible(loaded: Mapping[str, CsvTable]) -> list[tuple[str, str]]:
    """Format and quantization of the runtimes that come with a converter for any model."""
    converters = {row["id"] for row in loaded["runtimes"].records() if row["own_conversion"] == "yes"}
    return [
        (row["format"], row["quantization"])
        for row in loaded["runtime_formats"].records()
        if row["runtime"] in converters and row["support"] != "no" and row["format"] != "gguf"
    ]


@lru_cache(maxsize=16384)
def _layout(arch: Architecture, quantization: str) -> Layout:
    return layout(arch, quantization)


def _gguf_sizes(model: Mapping[str, str], arch: Architecture | None, quantization: str) -> Row | None:
    """Exact where the architecture is complete, else rough; ``None`` for a file type without known rules."""
    try:
        if arch is not None:
            return _sizes(_layout(arch, quantization))
        return _sizes(rough_layout(*_parameters(model), quantization))
    except BadInputError:
        return None


def _other_sizes(
    model: Mapping[str, str], arch: Architecture | None, offer: Offer, bits_per_weight: Mapping[str, float]
) -> Row | None:
    """Rough bytes of a format whose tensor types the catalog does not list; ``None`` where nothing is known.

    A complete architecture still gives the shares of embedding, head and experts in use: those of its BF16 layout.
    """
    if offer.format == "managed":
        return {}
    total, active = _parameters(model)
    if offer.bytes is not None:
        bits = 8 * offer.bytes / total
    elif offer.quantization in bits_per_weight:
        bits = bits_per_weight[offer.quantization]
    else:
        return None
    full = _layout(arch, "BF16") if arch is not None else rough_layout(total, active, "BF16")
    scale = bits / full.bits_per_weight
    sizes = {name: value * scale for name, value in vars(full).items() if name.endswith(("_bytes", "_per_token"))}
    return {**sizes, "bits_per_weight": bits, "layout": "rough", "repack_x86_bytes": 0.0, "repack_arm_bytes": 0.0}


def _parameters(model: Mapping[str, str]) -> tuple[float, float]:
    total = float(model["params_total"])
    return total, float(model["params_active"] or total)


def _sizes(found: Layout) -> Row:
    row: Row = dict(vars(found))
    row["layout"] = "exact" if row.pop("exact") else "rough"
    return row


def _quant_losses(connection: DuckDBPyConnection) -> None:
    """Points lost of 100 per model and quantization."""
    rows = connection.execute(
        "SELECT DISTINCT v.model_id, v.quantization, m.params_total::DOUBLE, coalesce(n.quantization, '')"
        " FROM variants v JOIN models m USING (model_id) LEFT JOIN native_quantizations n USING (model_id)"
        " WHERE v.quantization <> '' ORDER BY ALL"
    ).fetchall()
    model_ids, quantizations, sizes, native = ([row[column] for row in rows] for column in range(4))
    points = loss_points(
        np.array(sizes, dtype=np.float64), np.array(quantizations, dtype=object), np.array(native, dtype=object)
    )
    columns = {"model_id": model_ids, "quantization": quantizations, "points": points.tolist()}
    _insert_columns(connection, "quant_losses", columns)


def _lifecycles(connection: DuckDBPyConnection) -> None:
    """Where each model stands: withdrawn when no source that listed it does any more, new by its release date."""
    connection.execute(
        """
        INSERT INTO lifecycles
        WITH seen AS (
            SELECT model_id, min(gone_at) AS gone_at, bool_and(gone_at IS NOT NULL) AS gone,
                   string_agg(DISTINCT source, ', ') AS sources
            FROM sightings WHERE relation IN ('original', 'quantized') AND model_id IS NOT NULL GROUP BY model_id
        ), today AS (
            SELECT greatest(max(rpad(release_date, 10, '-01')), (SELECT max(read_at[:10]) FROM sightings))::DATE AS day
            FROM models
        )
        SELECT m.model_id,
               CASE WHEN s.gone THEN 'withdrawn' WHEN m.superseded_by IS NOT NULL THEN 'superseded'
                    WHEN today.day - rpad(m.release_date, 10, '-01')::DATE <= n.value THEN 'new' ELSE 'current' END,
               CASE WHEN s.gone THEN 'No longer listed by ' || s.sources || ' since ' || s.gone_at[:10] || '.'
                    WHEN m.superseded_by IS NOT NULL THEN 'Superseded by ' || m.superseded_by || '.'
                    WHEN m.release_date IS NULL THEN 'Its release date is not recorded.'
                    ELSE 'Released ' || m.release_date || '.' END
        FROM models m CROSS JOIN today CROSS JOIN (SELECT value FROM scoring WHERE name = 'new_model_days') n
        LEFT JOIN seen s USING (model_id)
        """
    )


def _candidates(connection: DuckDBPyConnection) -> list[str]:
    """Every variant with every runtime that takes its format, its quantization and its architecture.

    Where a runtime has a catalog of its own in a format other than GGUF, it takes what that catalog lists.
    """
    connection.execute(
        """
        INSERT INTO candidates
        WITH own AS (
            SELECT runtime, model_id, format, quantization FROM runtime_models WHERE format <> 'gguf'
            UNION
            SELECT 'foundry-local', model_id, 'onnx', 'onnx-int4' FROM models
            WHERE onnx_foundry_local_alias IS NOT NULL
        ), own_catalog AS (SELECT DISTINCT runtime, format FROM own)
        SELECT v.model_id, v.format, v.quantization, f.runtime,
               CASE WHEN 'experimental' IN (f.support, a.support) THEN 'experimental' ELSE 'yes' END
        FROM variants v
        JOIN models m USING (model_id)
        JOIN runtime_formats f ON f.format = v.format AND coalesce(f.quantization, '') = v.quantization
        LEFT JOIN own_catalog c ON c.runtime = f.runtime AND c.format = f.format
        LEFT JOIN own ON own.runtime = f.runtime AND own.model_id = v.model_id AND own.format = v.format
            AND own.quantization = v.quantization
        LEFT JOIN runtime_architectures a ON a.runtime = f.runtime AND a.architecture = m.architecture
        WHERE f.support <> 'no'
          -- What one runtime makes of the original weights while loading is no file that another could load.
          AND (f.made_on_load OR v.repo IS DISTINCT FROM v.model_id OR v.quantization NOT IN
               (SELECT o.quantization FROM runtime_formats o WHERE o.made_on_load AND o.format = v.format))
          AND CASE WHEN c.runtime IS NULL THEN coalesce(a.support, 'no') <> 'no' ELSE own.runtime IS NOT NULL END
        """
    )
    none = connection.execute(
        "SELECT model_id FROM models ANTI JOIN candidates USING (model_id) ORDER BY model_id"
    ).fetchall()
    return [f"No runtime takes: {', '.join(name for (name,) in none)}"] if none else []


def _insert(connection: DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    names = column_types(connection, table)
    _insert_columns(connection, table, {name: [row.get(name) for row in rows] for name in names})


def _insert_columns(connection: DuckDBPyConnection, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
    insert_columns(connection, table, column_types(connection, table), columns)
