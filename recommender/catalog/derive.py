"""The derived tables: what the estimate room makes of the facts. Each step says what it could not do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from recommender.catalog.derive_variants import listing, variants
from recommender.catalog.load import Column, column_types, insert_columns
from recommender.catalog.rows import CsvTable
from recommender.estimate.quality import ability_columns
from recommender.estimate.quant_loss import loss_points

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Row = dict[str, Any]
Records = list[dict[str, str]]


def derive(connection: DuckDBPyConnection, loaded: Mapping[str, CsvTable]) -> list[str]:
    """Fill the derived tables; returns notes about what is thin."""
    models = loaded["models"].records()
    own = {row["model_id"]: row for row in loaded["architectures"].records()}
    # The fit of abilities takes longest and spends its time outside Python: it runs beside the layouts.
    with ThreadPoolExecutor(max_workers=1) as beside:
        fitting = beside.submit(ability_columns, loaded["benchmarks"].records(), models)
        columns, shapes, notes = variants(models, own, loaded)
        _insert(connection, "shapes", shapes)
        _insert_columns(connection, "variants", columns)
        del columns, shapes
        _quant_losses(connection)
        _insert_columns(connection, "abilities", vars(fitting.result()))
    _lifecycles(connection)
    return notes + _candidates(connection)


def _quant_losses(connection: DuckDBPyConnection) -> None:
    """Points lost of 100 per model and quantization."""
    columns = connection.execute(
        "SELECT DISTINCT v.model_id, v.quantization, m.params_total::DOUBLE AS size,"
        " coalesce(n.quantization, '') AS native"
        " FROM variants v JOIN models m USING (model_id) LEFT JOIN native_quantizations n USING (model_id)"
        " WHERE v.quantization <> '' ORDER BY ALL"
    ).fetchnumpy()
    columns["points"] = loss_points(columns["size"], columns["quantization"], columns["native"])
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
            SELECT greatest(max(try_cast(rpad(release_date, 10, '-01') AS DATE)),
                            (SELECT max(try_cast(read_at[:10] AS DATE)) FROM sightings)) AS day
            FROM models
        )
        SELECT m.model_id,
               CASE WHEN s.gone THEN 'withdrawn' WHEN m.superseded_by IS NOT NULL THEN 'superseded'
                    WHEN today.day - try_cast(rpad(m.release_date, 10, '-01') AS DATE) <= n.value THEN 'new'
                    ELSE 'current' END,
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
        INSERT INTO variant_runtimes
        WITH own AS (
            SELECT runtime, model_id, format, quantization FROM runtime_models WHERE format <> 'gguf'
            UNION
            SELECT 'foundry-local', model_id, 'onnx', 'onnx-int4' FROM models
            WHERE onnx_foundry_local_alias IS NOT NULL
        ), own_catalog AS (SELECT DISTINCT runtime, format FROM own)
        SELECT v.variant_id, f.runtime,
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
    return [f"No runtime takes: {listing([name for (name,) in none])}"] if none else []


def _insert(connection: DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    names = column_types(connection, table)
    _insert_columns(connection, table, {name: [row.get(name) for row in rows] for name in names})


def _insert_columns(connection: DuckDBPyConnection, table: str, columns: Mapping[str, Sequence[Any] | Column]) -> None:
    insert_columns(connection, table, column_types(connection, table), columns)
