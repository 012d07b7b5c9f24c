"""The derived tables: what the estimate room makes of the facts. Each step says what it could not do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recommender.catalog.load import column_types, insert_columns
from recommender.catalog.published import file_type, offers, published_files, published_quantizations
from recommender.catalog.rows import CsvTable
from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, architecture_from_row, merge_rows
from recommender.estimate.quality import fit_abilities
from recommender.estimate.quant_loss import loss_points
from recommender.estimate.tensors import kv_shape, layout, rough_layout

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from recommender.types import Layout

Row = dict[str, Any]
Records = list[dict[str, str]]


def derive(connection: DuckDBPyConnection, loaded: Mapping[str, CsvTable]) -> list[str]:
    """Fill shapes, variants, abilities, quant_losses and candidates; returns notes about what is thin."""
    models = loaded["models"].records()
    own = {row["model_id"]: row for row in loaded["architectures"].records()}
    merged = [merge_rows(row, own.get(row["model_id"])) for row in models]
    architectures, notes = _shapes(connection, merged)
    _variants(connection, merged, architectures, loaded)
    _abilities(connection, models, loaded["benchmarks"].records())
    _quant_losses(connection)
    _candidates(connection)
    return notes


def _shapes(connection: DuckDBPyConnection, models: Records) -> tuple[dict[str, Architecture], list[str]]:
    """One row per model; the architectures of those whose numbers are complete."""
    architectures: dict[str, Architecture] = {}
    rows: list[Row] = []
    for model in models:
        row: Row = {"model_id": model["model_id"], "architecture": model["architecture"] or None, "complete": False}
        rows.append(row)
        try:
            arch = architecture_from_row(model)
            cache = kv_shape(arch)
        except BadInputError as error:
            row["reason"] = str(error)
            continue
        architectures[arch.model_id] = arch
        row.update(vars(cache), complete=True, reason="", n_layer=arch.n_layer, n_embd=arch.n_embd)
        row.update(n_vocab=arch.n_vocab, n_head=max(arch.n_head), n_ff_live=feed_forward_live(arch))
    _insert(connection, "shapes", rows)
    rough = [row["model_id"] for row in rows if not row["complete"]]
    notes = [f"{len(rough)} of {len(rows)} models have rough layouts only: {', '.join(rough)}"] if rough else []
    return architectures, notes


def feed_forward_live(arch: Architecture) -> int:
    """Elements of the widest feed-forward row that is live at once: of a dense layer, or of all experts used."""
    return max(*arch.n_ff, arch.n_expert_used * arch.n_ff_expert + arch.n_ff_shared)


def _variants(
    connection: DuckDBPyConnection,
    models: Records,
    architectures: Mapping[str, Architecture],
    loaded: Mapping[str, CsvTable],
) -> None:
    """One row per model, format and quantization: GGUF in every standard file type, other formats where offered."""
    files = loaded["gguf_files"].records()
    published = published_files(models, files)
    listed = published_quantizations(files)
    standard, known = _file_types(loaded)
    rows: list[Row] = []
    for model in models:
        model_id = model["model_id"]
        # A file type outside the standard ones suits only models trained for it: some have it published.
        extra = [name for name in sorted(listed.get(model_id, ())) if name in known and name not in standard]
        for quantization in (*standard, *extra):
            sizes = _layout(model, architectures.get(model_id), quantization)
            if sizes is None:
                continue
            row: Row = {"model_id": model_id, "format": "gguf", "quantization": quantization, **sizes}
            if (file := published.get((model_id, quantization))) is not None:
                row.update(repo=file.repo, file=file.file, published_bytes=file.bytes, availability="file")
            else:
                row.update(repo="", file="", availability="convert")
                if model["gguf_repos"] and quantization in listed.get(model_id, ()):
                    row.update(repo=model["gguf_repos"].split(";")[0].strip(), availability="repo")
            rows.append(row)
        for offer in offers(model):
            sizes = {} if offer.format == "managed" else _layout(model, architectures.get(model_id), offer.quantization)
            if sizes is None:
                continue
            availability = "service" if offer.format == "managed" else "repo"
            row = {"model_id": model_id, "format": offer.format, "quantization": offer.quantization, **sizes}
            rows.append({**row, "repo": offer.repo, "file": "", "availability": availability})
    _insert(connection, "variants", rows)


def _file_types(loaded: Mapping[str, CsvTable]) -> tuple[list[str], set[str]]:
    """The GGUF file types that any model can be converted to, in the file's order, and all that are known."""
    kinds = loaded["quant_types"].records()
    standard = list(dict.fromkeys(row["name"] for row in kinds if row["kind"] == "file_mix"))
    return standard, {file_type(row["name"]) for row in kinds}


def _layout(model: Mapping[str, str], arch: Architecture | None, quantization: str) -> Row | None:
    """The layout's columns: exact where the architecture is complete, else rough; ``None`` when there is neither."""
    sizes: Layout | None = None
    if arch is not None:
        try:
            sizes = layout(arch, quantization)
        except BadInputError:
            return None
    else:
        total = float(model["params_total"])
        try:
            sizes = rough_layout(total, float(model["params_active"] or total), quantization)
        except BadInputError:
            return None
    row: Row = dict(vars(sizes))
    row["layout"] = "exact" if row.pop("exact") else "rough"
    return row


def _abilities(connection: DuckDBPyConnection, models: Records, benchmarks: Records) -> None:
    _insert(connection, "abilities", [vars(ability) for ability in fit_abilities(benchmarks, models)])


def _quant_losses(connection: DuckDBPyConnection) -> None:
    """Points lost of 100 per model and quantization."""
    pairs = connection.execute(
        "SELECT DISTINCT v.model_id, v.quantization, m.params_total FROM variants v JOIN models m USING (model_id)"
        " WHERE v.quantization <> '' ORDER BY ALL"
    ).fetchall()
    sizes = np.array([row[2] for row in pairs], dtype=np.float64)
    points = loss_points(sizes, np.array([row[1] for row in pairs], dtype=object))
    _insert_columns(
        connection,
        "quant_losses",
        {"model_id": [row[0] for row in pairs], "quantization": [row[1] for row in pairs], "points": points.tolist()},
    )


def _candidates(connection: DuckDBPyConnection) -> None:
    """Every variant with every runtime that takes its format, its quantization and its architecture."""
    connection.execute(
        """
        INSERT INTO candidates
        SELECT v.model_id, v.format, v.quantization, f.runtime,
               CASE WHEN 'experimental' IN (f.support, a.support) THEN 'experimental' ELSE 'yes' END
        FROM variants v
        JOIN models m USING (model_id)
        JOIN runtime_formats f ON f.format = v.format AND coalesce(f.quantization, '') = v.quantization
        LEFT JOIN runtime_architectures a ON a.runtime = f.runtime AND a.architecture = m.architecture
        WHERE f.support <> 'no' AND coalesce(a.support, 'yes') <> 'no'
        """
    )


def _insert(connection: DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    names = column_types(connection, table)
    _insert_columns(connection, table, {name: [row.get(name) for row in rows] for name in names})


def _insert_columns(connection: DuckDBPyConnection, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
    insert_columns(connection, table, column_types(connection, table), columns)
