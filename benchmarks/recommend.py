"""How long ``recommend()`` takes: over the shipped catalog, and over larger ones made of it.

    python benchmarks/recommend.py [--sizes 1000,3000,10000] [--repeats 5]

Wall time. "Cold" is the first time a question is asked of an open catalog, "warm" every later time: the part of a
question that SQL answers is kept. Larger catalogs copy the shipped models with up to 15% more or less of everything
that has a size, so that no two are alike. Other work on the machine makes everything slower: the load is printed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import duckdb

from recommender.catalog import Catalog, open_catalog
from recommender.device import preset
from recommender.engine import recommend as engine
from recommender.types import Device, Need

DEVICES = ("rtx-4060", "rtx-4090", "cpu-intel-core-i7-13700h", "macbook-air-m3", "galaxy-s24", "raspberry-pi-5")


def questions() -> list[tuple[Device, Need]]:
    """36 different questions: machines × tasks, each with another constraint or priority."""
    needs = [
        Need(task="chat"),
        Need(task="code", priority="quality"),
        Need(task="summarize", context_tokens=32768),
        Need(task="rag", commercial=True, priority="speed"),
        Need(task="reasoning", max_answer_time_s=300.0),
        Need(task="multilingual", languages=("de", "zh"), priority="smallest"),
    ]
    return [(preset(device), need) for device in DEVICES for need in needs]


def timed_ms(catalog: Catalog, device: Device, need: Need, top: int | None) -> float:
    start = time.perf_counter()
    engine.recommend(device, need, catalog, top=top)
    return (time.perf_counter() - start) * 1e3


def row(name: str, catalog: Catalog, repeats: int) -> str:
    """One line of the table: cold, warm with every pick, warm with the ten picks that the command line prints."""
    asked = questions()
    engine.recommend(preset("t4"), Need(task="write"), catalog)  # reads the tables that every question shares
    cold = [timed_ms(catalog, device, need, None) for device, need in asked]
    warm = [min(timed_ms(catalog, device, need, None) for _ in range(repeats)) for device, need in asked]
    ten = [min(timed_ms(catalog, device, need, 10) for _ in range(repeats)) for device, need in asked]
    cells = [f"{statistics.median(times):.1f} / {_p95(times):.1f}" for times in (cold, warm, ten)]
    return f"| {name} | {catalog.count('models')} | {catalog.count('candidates')} | {' | '.join(cells)} |"


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


def enlarged(source: Path, models: int, folder: Path) -> Path:
    """A catalog file with this many models: every row that belongs to a model is copied, sizes jittered per copy.

    The tables are made without keys and checks, which are not what is measured.
    """
    target = folder / f"catalog-{models}.duckdb"
    with duckdb.connect(str(target)) as connection:
        connection.execute(f"ATTACH '{source}' AS shipped (READ_ONLY)")
        have = _one(connection, "SELECT count(*) FROM shipped.models")
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            "CREATE TEMP TABLE copies AS"
            " SELECT model_id, model_id || '__copy' || n AS copy, n, 0.85 + 0.3 * random() AS factor"
            f" FROM shipped.models, range(1, {models // have + 2}) t(n) ORDER BY n, model_id LIMIT {models - have}"
        )
        names = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'shipped'").fetchall()
        for (name,) in names:
            connection.execute(f"CREATE TABLE {name} AS {_rows(connection, name)}")
        views = connection.execute("SELECT sql FROM duckdb_views() WHERE database_name = 'shipped' AND NOT internal")
        for (sql,) in views.fetchall():
            connection.execute(sql)
        connection.execute("UPDATE build_info SET fingerprint = fingerprint || ?", [str(models)])
    return target


_COPIED = ("models", "shapes", "variants", "abilities", "quant_losses")
_COPY_ID = "t.variant_id + c.n * (SELECT count(*) FROM shipped.variants)"
_SIZED = ("params_total", "params_active", "file_bytes", "tensor_bytes", "read_bytes_per_token")


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """SQL for a table's rows and, where they belong to a model, those of its copies."""
    if table == "variant_runtimes":
        # Runtimes with a list of models of their own would not know the copies.
        return (
            f"FROM shipped.{table} UNION ALL SELECT {_COPY_ID}, t.runtime, t.support FROM shipped.{table} t"
            " JOIN shipped.variants v USING (variant_id) JOIN copies c USING (model_id)"
            " WHERE v.format IN ('gguf', 'mlx', 'safetensors')"
        )
    if table not in _COPIED:
        return f"FROM shipped.{table}"
    kinds = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE shipped.{table}").fetchall()}
    special = {
        "model_id": "c.copy",
        "variant_id": _COPY_ID,
        "name": "c.copy",
        "superseded_by": "NULL",
        "base_model": "t.base_model || c.copy",  # a copy is a model of its own, not one more fine-tune
        "score": "least(t.score * c.factor, 100)",
    }
    special |= {name: f"CAST(t.{name} * c.factor AS {kind})" for name, kind in kinds.items() if name in _SIZED}
    wanted = ", ".join(f"{special.get(name, f't.{name}')} AS {name}" for name in kinds)
    return f"FROM shipped.{table} UNION ALL SELECT {wanted} FROM shipped.{table} t JOIN copies c USING (model_id)"


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,3000,10000", help="models of the larger catalogs")
    parser.add_argument("--repeats", type=int, default=5, help="warm repeats, of which the fastest counts")
    arguments = parser.parse_args()
    print(f"{len(questions())} questions, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.")
    print("Milliseconds, median / 95th percentile.\n")
    print("| catalog | models | candidates | cold | warm | warm, ten picks |\n|---|---|---|---|---|---|")
    with open_catalog() as catalog:
        print(row("shipped", catalog, arguments.repeats), flush=True)
        source = catalog.path
    if source is None:
        print("The catalog is in memory, so no larger ones can be made of it.")
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in (int(text) for text in arguments.sizes.split(",") if text):
            path = enlarged(source, size, Path(folder))
            with opened(path) as catalog:
                print(row("enlarged", catalog, arguments.repeats), flush=True)
            path.unlink()
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}.")


def opened(path: Path) -> Catalog:
    """A catalog file as it is: not compared with the CSV files, which it is not made of."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"ATTACH '{path}' AS catalog (READ_ONLY)")
    return Catalog(connection, path)


if __name__ == "__main__":
    main()
