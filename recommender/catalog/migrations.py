"""Changes to the measurements' database, in order. A new one goes at the end; an applied one is never edited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from recommender.errors import CatalogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Migration = Callable[["DuckDBPyConnection"], object]
MIGRATIONS: list[Migration] = []


def migration(function: Migration) -> Migration:
    MIGRATIONS.append(function)
    return function


def applied(connection: DuckDBPyConnection) -> list[str]:
    """Names of the migrations the current database has had, oldest first."""
    found = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND table_name = 'migrations'"
    ).fetchall()
    if not found[0][0]:
        return []
    return [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY name").fetchall()]


def pending(connection: DuckDBPyConnection, known: list[Migration] | None = None) -> list[Migration]:
    """Migrations still to apply.

    Raises:
        CatalogError: the file has had one that this version does not know: a newer version wrote it.
    """
    known = MIGRATIONS if known is None else known
    had = applied(connection)
    if newer := set(had) - {_name(function) for function in known}:
        raise CatalogError(
            f"The measurements were written by a newer version of this program ({', '.join(sorted(newer))}). "
            "Update it, or move the file away to start anew."
        )
    return [function for function in known if _name(function) not in had]


def migrate(connection: DuckDBPyConnection, known: list[Migration] | None = None) -> list[str]:
    """Apply what is pending, each in a transaction with its own record; returns the names of what was applied."""
    done = []
    for function in pending(connection, known):
        connection.begin()
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR PRIMARY KEY, applied_at TIMESTAMP)")
            function(connection)
            now = datetime.now(UTC).replace(tzinfo=None)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", [_name(function), now])
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        done.append(_name(function))
    return done


def _name(function: Migration) -> str:
    return str(getattr(function, "__name__", function))


@migration
def m001_measurements(connection: DuckDBPyConnection) -> None:
    connection.execute(
        """
        CREATE TABLE measurements (
            id VARCHAR PRIMARY KEY,
            measured_at VARCHAR NOT NULL, -- ISO 8601, UTC
            device_name VARCHAR NOT NULL,
            device_key VARCHAR NOT NULL,
            model_id VARCHAR NOT NULL,
            quantization VARCHAR NOT NULL,
            file_name VARCHAR NOT NULL,
            file_sha256 VARCHAR NOT NULL,
            file_bytes DOUBLE,
            runtime VARCHAR NOT NULL,
            binding VARCHAR NOT NULL,
            build VARCHAR NOT NULL,
            settings_context_tokens BIGINT NOT NULL,
            settings_kv_type VARCHAR NOT NULL,
            settings_batch_tokens BIGINT NOT NULL,
            settings_ubatch_tokens BIGINT NOT NULL,
            settings_parallel BIGINT NOT NULL,
            settings_threads BIGINT NOT NULL,
            settings_gpu_layers BIGINT NOT NULL,
            settings_flash_attn BOOLEAN NOT NULL,
            prompt_tokens BIGINT NOT NULL,
            gen_tokens BIGINT NOT NULL,
            repeats BIGINT NOT NULL,
            prefill_tokens_per_s DOUBLE,
            prefill_low DOUBLE,
            prefill_high DOUBLE,
            decode_tokens_per_s DOUBLE,
            decode_low DOUBLE,
            decode_high DOUBLE,
            ttft_s DOUBLE,
            load_s DOUBLE,
            memory_weights_bytes DOUBLE,
            memory_kv_cache_bytes DOUBLE,
            memory_compute_bytes DOUBLE,
            memory_overhead_bytes DOUBLE,
            memory_total_bytes DOUBLE, -- NULL: memory was not measured
            memory_reclaimable_bytes DOUBLE,
            memory_gpu_bytes DOUBLE,
            memory_provenance VARCHAR,
            peak_resident_bytes DOUBLE,
            load_average_before DOUBLE,
            load_average_after DOUBLE,
            cpu_steal_fraction DOUBLE,
            noisy BOOLEAN NOT NULL,
            noise_reason VARCHAR NOT NULL,
            rehearsal BOOLEAN NOT NULL,
            predicted_decode_tokens_per_s DOUBLE,
            predicted_prefill_tokens_per_s DOUBLE,
            predicted_ttft_s DOUBLE,
            predicted_memory_bytes DOUBLE
        )
        """
    )
