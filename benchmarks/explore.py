"""How long a filter of the Explore page takes over a large catalog made of the shipped one, and a rerun of the page.

    python benchmarks/explore.py [--models 20000] [--files 15] [--repeats 7]

Wall time, milliseconds, median / 95th percentile. The list that filters read is made once per open catalog: "first"
is that. Files, benchmarks and sightings are enlarged with the models. Other work on the machine makes everything
slower: the load is printed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
from recommend import enlarged, opened
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.catalog import Catalog, open_catalog
from recommender.catalog.explore import Filters, explore, facets, without_each
from recommender.catalog.model_detail import detail

FILTERS = {
    "no filter": Filters(),
    "search, one word": Filters(text="qwen"),
    "search, three words": Filters(text="qwen 3 instruct"),
    "tier and state": Filters(tiers=("Small", "Micro"), states=("current",)),
    "family": Filters(families=("Qwen3", "Gemma 3")),
    "licence and commercial use": Filters(licenses=("Apache-2.0",), commercial_use=("yes",)),
    "languages": Filters(languages=("de", "zh")),
    "runtimes": Filters(runtimes=("llama.cpp", "mlx")),
    "file, context and date": Filters(file_bytes=4e9, context_tokens=32768, released_since="2025-01-01"),
    "benchmarks and tools": Filters(with_benchmarks=True, tool_calling=True, thinking=("hybrid", "yes")),
    "listed by": Filters(sources=("hugging-face",)),
    "everything at once": Filters(
        text="instruct",
        tiers=("Small",),
        states=("current", "superseded"),
        commercial_use=("yes",),
        languages=("de",),
        runtimes=("llama.cpp",),
        file_bytes=8e9,
        context_tokens=8192,
        with_benchmarks=True,
        tool_calling=True,
    ),
}


def widen(path: Path, files: int) -> None:
    """Give every model so many files, the benchmarks of the one it copies, and sightings with fine-tunes of it."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TEMP TABLE origins AS SELECT model_id, split_part(model_id, '__copy', 1) AS origin FROM models"
        )
        connection.execute("CREATE TEMP TABLE shipped_files AS FROM gguf_files; DELETE FROM gguf_files")
        connection.execute(
            "INSERT INTO gguf_files BY NAME SELECT f.* REPLACE (o.model_id AS model_id, o.model_id AS catalog_model_id,"
            " 'file-' || n || '.gguf' AS file, f.bytes + n * 1000 AS bytes)"
            f" FROM origins o, range({files}) t(n), (SELECT * FROM shipped_files WHERE kind = 'model' AND"
            " bytes IS NOT NULL LIMIT 1) f"
        )
        connection.execute(
            "INSERT INTO benchmarks BY NAME SELECT b.* REPLACE (o.model_id AS catalog_model_id) FROM benchmarks b"
            " JOIN origins o ON o.origin = b.catalog_model_id AND o.origin <> o.model_id"
        )
        connection.execute(
            "INSERT INTO sightings BY NAME SELECT 'hugging-face' AS source, o.model_id || '/' || n AS entry_id,"
            " o.model_id, CASE n WHEN 0 THEN 'original' WHEN 1 THEN 'quantized' ELSE 'finetune' END AS relation,"
            " 'made up' AS why, 'entry ' || n AS name, 'other' AS trust, 'gguf' AS format, n AS downloads,"
            " '2026-11-01T00:00:00Z' AS read_at, '2026-11-01T00:00:00Z' AS first_seen FROM origins o, range(5) t(n)"
        )
        connection.execute(
            "DELETE FROM lifecycles; INSERT INTO lifecycles SELECT model_id,"
            " CASE hash(model_id) % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'current' ELSE 'superseded' END, 'made up'"
            " FROM models"
        )


def timed_ms(action: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def told(times: list[float]) -> str:
    worst = statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
    return f"{statistics.median(times):.1f} / {worst:.1f}"


def line(name: str, found: object, times: list[float]) -> None:
    print(f"| {name} | {found} | {told(times)} |", flush=True)


def filters(catalog: Catalog, repeats: int) -> None:
    line("first: the list is made", "", timed_ms(lambda: explore(catalog), 1))
    line("first: the choices are counted", "", timed_ms(lambda: facets(catalog), 1))
    for name, asked in FILTERS.items():
        # As the page asks: how many there are, then one page of them.
        times = timed_ms(
            lambda asked=asked: (explore(catalog, asked, limit=0), explore(catalog, asked, limit=12)), repeats
        )
        line(name, f"{explore(catalog, asked, limit=0).total:,}", times)
    everything = FILTERS["everything at once"]
    line("how many without each", "", timed_ms(lambda: without_each(catalog, everything), repeats))
    for sort in ("released", "name", "file"):
        line(
            f"sorted by {sort}, the last page",
            "",
            timed_ms(lambda sort=sort: explore(catalog, None, sort, offset=19_900), repeats),
        )
    model_id = explore(catalog, limit=1).rows[0].model_id
    line("one model's details", "", timed_ms(lambda: detail(catalog, model_id), repeats))


def page(catalog: Catalog, repeats: int) -> None:
    """Reruns of the whole page, over the catalog as it is given."""
    import recommender.ui.resources as resources

    resources.catalog.clear()
    real, resources.open_catalog = resources.open_catalog, lambda: catalog
    try:
        app = AppTest.from_file(str(paths.bundled("app.py")), default_timeout=300)
        app.run()
        app.switch_page(str(Path("recommender") / "ui" / "pages" / "explore.py")).run()
        assert not app.exception, app.exception
        texts = iter(f"qwen {n}" for n in range(1000))
        line(
            "the whole page, another search",
            "",
            timed_ms(lambda: app.text_input(key="q").set_value(next(texts)).run(), repeats),
        )
        app.text_input(key="q").set_value("").run()
        tiers = iter([["Micro"], ["Small"], ["Medium"], []] * 250)
        line(
            "the whole page, another tier",
            "",
            timed_ms(lambda: app.button_group(key="tier").set_value(next(tiers)).run(), repeats),
        )
        assert not app.exception, app.exception
    finally:
        resources.open_catalog = real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=15, help="of each model")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.")
    with open_catalog() as shipped:
        source = shipped.path
    if source is None:
        print("The catalog is in memory, so no larger one can be made of it.")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = enlarged(source, arguments.models, Path(folder))
        widen(path, arguments.files)
        with opened(path) as catalog:
            counts = ", ".join(
                f"{catalog.count(name):,} {name}" for name in ("models", "gguf_files", "benchmarks", "sightings")
            )
            print(f"{counts}.\n\n| question | models | ms |\n|---|---|---|")
            filters(catalog, arguments.repeats)
            page(catalog, arguments.repeats)
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
