"""A small catalog folder to build from: a few models of the shipped catalog, every other table as it is."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from recommender import paths
from recommender.catalog.build import build
from recommender.catalog.load import create_tables

KEPT = (
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-4B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "microsoft/bitnet-b1.58-2B-4T",
    "openai/gpt-oss-20b",
)
# Models whose scores reach across every capability's reference benchmarks.
SCORED = (
    *KEPT,
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-14B",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "google/gemma-3-27b-it",
    "microsoft/Phi-4-mini-instruct",
)
TRIMMED = {
    "models": KEPT,
    "model_aliases": KEPT,
    "native_quantizations": KEPT,
    "architectures": KEPT,
    "gguf_files": KEPT,
    "runtime_models": KEPT,
    "runtime_npu_models": KEPT,
    "benchmarks": SCORED,
    "load_log_grid": KEPT,
}


@pytest.fixture(scope="session")
def _small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    for source in paths.catalog_dir().iterdir():
        if source.stem in TRIMMED and source.suffix == ".csv":
            with source.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if row["model_id"] in TRIMMED[source.stem]]
            with (folder / source.name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(reader.fieldnames or ()))
                writer.writeheader()
                writer.writerows(rows)
        elif source.suffix in (".csv", ".sql"):
            shutil.copyfile(source, folder / source.name)
    return folder


@pytest.fixture(scope="session")
def _small_built(_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("built") / "catalog.duckdb"
    build(_small, database)
    return database


@pytest.fixture
def csv_dir(_small: Path, tmp_path: Path) -> Path:
    """A copy of the small folder that a test may change; times are kept, as an installed folder's are."""
    return Path(shutil.copytree(_small, tmp_path / "csv"))


@pytest.fixture
def built(_small: Path, _small_built: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(folder, database built from it), both the test's own."""
    folder = Path(shutil.copytree(_small, tmp_path / "csv"))
    database = tmp_path / "data" / "catalog.duckdb"
    database.parent.mkdir()
    shutil.copyfile(_small_built, database)
    return folder, database


@pytest.fixture
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """The shipped schema's tables, empty, in memory."""
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, paths.catalog_dir() / "schema.sql")
        yield connection


Edit = Callable[[str, int, str, str], None]


@pytest.fixture
def edit(csv_dir: Path) -> Edit:
    """``edit(table, row, column, value)`` changes one cell of the test's folder; rows count from 0."""

    def change(table: str, row: int, column: str, value: str) -> None:
        change_cell(csv_dir / f"{table}.csv", row, column, value)

    return change


def change_cell(path: Path, row: int, column: str, value: str) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    rows[row][column] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(reader.fieldnames or ()))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def own_catalog(csv_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small folder as what ships, and a data folder of the test's own; returns the data folder."""
    home = tmp_path / "home"
    monkeypatch.setattr(paths, "catalog_dir", lambda: csv_dir)
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home))
    return home
