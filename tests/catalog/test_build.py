from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recommender import paths
from recommender.catalog.build import build
from recommender.catalog.store import Catalog, open_catalog
from recommender.errors import CatalogError, NotWritableError

Edit = Callable[[str, int, str, str], None]


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_build_reports_what_it_made(csv_dir: Path, tmp_path: Path) -> None:
    database = tmp_path / "data" / "catalog.duckdb"
    report = build(csv_dir, database)
    assert report.database == database
    assert report.rows["models"] == 5
    assert report.rows["shapes"] == 5
    assert report.rows["variants"] > 5 * 20
    assert rows(database, "SELECT count(*) FROM candidates") == [(report.rows["variant_runtimes"],)]
    assert rows(database, "SELECT catalog_date FROM build_info") == [(report.catalog_date,)]
    assert report.catalog_date > "2025"
    assert [path.name for path in database.parent.iterdir()] == ["catalog.duckdb"]


def test_the_storage_version_is_pinned_to_one_that_older_clients_read(built: tuple[Path, Path]) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{built[1]}' AS made (READ_ONLY)")
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'made'").fetchall()[0][0]
    assert tags["storage_version"].startswith("v1.5.0")


def test_a_failed_build_leaves_the_old_catalog_and_nothing_else(built: tuple[Path, Path]) -> None:
    folder, database = built
    before = database.read_bytes()
    with (folder / "devices.csv").open("a") as file:
        file.write("half a row\n")
    with pytest.raises(CatalogError, match=r"devices\.csv line \d+: 1 cells where the header has"):
        build(folder, database)
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["catalog.duckdb"]


def test_a_csv_without_a_table_is_reported_and_not_read(built: tuple[Path, Path]) -> None:
    folder, database = built
    (folder / "odd.csv").write_text("a\n1\n")
    assert any("odd.csv" in note for note in build(folder, database).notes)


def test_what_a_killed_build_left_is_removed_once_it_is_old(built: tuple[Path, Path]) -> None:
    folder, database = built
    old, young = (database.with_name(f"catalog.duckdb.building-{name}") for name in ("1-a", "2-b"))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    build(folder, database)
    assert not old.exists()
    assert young.exists()


def test_two_processes_that_build_at_once_leave_one_whole_catalog(built: tuple[Path, Path]) -> None:
    folder, database = built
    database.unlink()
    code = f"""
from pathlib import Path
from recommender.catalog.build import build
build(Path({str(folder)!r}), Path({str(database)!r}))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], env=_environment()) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert [path.name for path in database.parent.iterdir()] == ["catalog.duckdb"]
    with open_catalog(database, folder) as catalog:
        assert len(catalog.models()) == 5


def test_a_folder_that_cannot_be_made_is_named(csv_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotWritableError, match=f"cannot be written to .*file.*{paths.HOME_VARIABLE}"):
        build(csv_dir, tmp_path / "file" / "catalog.duckdb")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_leaves_the_old_catalog_and_the_answer_comes_from_memory(built: tuple[Path, Path]) -> None:
    """A limit on file sizes stands in for the full disk: writes fail in the same way, part of the way through."""
    folder, database = built
    before = database.read_bytes()
    with (folder / "scoring.csv").open("a") as file:
        file.write("extra,1,points,makes the build stale\n")
    code = f"""
    import resource
    from pathlib import Path
    from recommender.catalog.build import build
    from recommender.catalog.store import open_catalog
    from recommender.errors import NotWritableError
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    folder, database = Path({str(folder)!r}), Path({str(database)!r})
    try:
        build(folder, database)
    except NotWritableError as error:
        print(error)
    catalog = open_catalog(database, folder)
    print(catalog.path, len(catalog.models()), catalog.count("scoring"), catalog.notes)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=_environment(), capture_output=True, text=True, timeout=120
    )
    refused, answer = done.stdout.splitlines()
    assert "cannot be written to" in refused
    assert answer.startswith("None 5 ")
    assert "kept in memory" in answer
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["catalog.duckdb"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(paths.__file__).parent.parent)}


# ── what is derived ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_published_file_of_known_size_stands_behind_its_variant(built: tuple[Path, Path]) -> None:
    found = rows(
        built[1],
        "SELECT availability, layout, file_bytes, published_bytes, repo, file FROM variants"
        " WHERE model_id = 'Qwen/Qwen3-0.6B' AND format = 'gguf' AND quantization = 'Q8_0'",
    )
    [(availability, layout, file_bytes, published_bytes, repo, file)] = found
    assert (availability, layout) == ("file", "exact")
    assert file_bytes == pytest.approx(published_bytes, rel=0.001)
    assert repo
    assert file.endswith(".gguf")


def test_every_model_can_be_converted_to_every_standard_quantization(built: tuple[Path, Path]) -> None:
    [(fewest, most)] = rows(
        built[1],
        "SELECT min(n), max(n) FROM (SELECT count(*) AS n FROM variants v WHERE format = 'gguf'"
        " AND quantization IN (SELECT name FROM quant_types WHERE kind = 'file_mix') GROUP BY model_id)",
    )
    assert fewest == most >= 25


def test_types_for_models_trained_for_them_appear_only_where_they_were_published(built: tuple[Path, Path]) -> None:
    found = rows(built[1], "SELECT model_id, availability FROM variants WHERE quantization = 'I2_S'")
    assert found == [("microsoft/bitnet-b1.58-2B-4T", "file")]


def test_an_incomplete_architecture_gives_rough_layouts_and_says_why(csv_dir: Path, tmp_path: Path, edit: Edit) -> None:
    edit("models", 0, "n_layer", "")
    database = tmp_path / "catalog.duckdb"
    report = build(csv_dir, database)
    [(model_id, complete, reason)] = rows(database, "SELECT model_id, complete, reason FROM shapes WHERE NOT complete")
    assert not complete
    assert "n_layer" in reason
    assert any(model_id in note for note in report.notes)
    layouts = rows(database, f"SELECT DISTINCT layout FROM variants WHERE model_id = '{model_id}' AND format = 'gguf'")
    assert layouts == [("rough",)]


def test_a_model_whose_shape_llama_cpp_refuses_has_no_gguf(csv_dir: Path, tmp_path: Path, edit: Edit) -> None:
    edit("models", 0, "head_dim", "8")
    edit("models", 0, "architecture", "qwen2")
    database = tmp_path / "catalog.duckdb"
    build(csv_dir, database)
    [(model_id, reason)] = rows(database, "SELECT model_id, reason FROM shapes WHERE NOT complete")
    assert "llama.cpp does not load" in reason
    assert not rows(database, f"SELECT * FROM variants WHERE model_id = '{model_id}' AND format = 'gguf'")


def test_a_managed_variant_has_no_bytes_and_no_quantization(built: tuple[Path, Path]) -> None:
    columns = "quantization, file_bytes, layout, availability"
    found = rows(built[1], f"SELECT DISTINCT {columns} FROM variants WHERE format = 'managed'")
    assert found == [("", None, None, "service")]


def test_a_runtime_is_a_candidate_only_for_formats_quantizations_and_architectures_it_takes(
    built: tuple[Path, Path],
) -> None:
    wrong = rows(
        built[1],
        "SELECT c.* FROM candidates c ANTI JOIN runtime_formats f ON f.runtime = c.runtime AND f.format = c.format"
        " AND coalesce(f.quantization, '') = c.quantization AND f.support <> 'no'",
    )
    assert wrong == []
    bitnet = rows(built[1], "SELECT DISTINCT runtime FROM candidates WHERE quantization = 'I2_S'")
    assert bitnet == [("bitnet.cpp",)]


def test_every_variant_has_a_number_of_its_own_and_each_runtime_once(built: tuple[Path, Path]) -> None:
    twice = "SELECT variant_id FROM variants GROUP BY variant_id HAVING count(*) > 1"
    assert rows(built[1], twice) == []
    twice = "SELECT variant_id, runtime FROM variant_runtimes GROUP BY ALL HAVING count(*) > 1"
    assert rows(built[1], twice) == []


def test_a_runtime_with_a_catalog_of_its_own_takes_only_what_that_lists(built: tuple[Path, Path]) -> None:
    found = rows(built[1], "SELECT DISTINCT model_id FROM candidates WHERE runtime = 'foundry-local'")
    listed = rows(built[1], "SELECT model_id FROM models WHERE onnx_foundry_local_alias IS NOT NULL")
    assert set(found) == set(listed)
    assert found


def test_smaller_quantizations_lose_more_and_need_less(built: tuple[Path, Path]) -> None:
    sql = (
        "SELECT q.points, v.file_bytes FROM quant_losses q JOIN variants v USING (model_id, quantization)"
        " WHERE model_id = 'Qwen/Qwen3-4B' AND v.format = 'gguf' AND quantization = '{}'"
    )
    [(points_8, bytes_8)], [(points_4, bytes_4)] = (rows(built[1], sql.format(name)) for name in ("Q8_0", "Q4_0"))
    assert 0 <= points_8 < points_4
    assert bytes_4 < bytes_8


def test_a_model_loses_nothing_at_the_type_it_was_trained_for_and_something_far_below(built: tuple[Path, Path]) -> None:
    sql = "SELECT q.points FROM quant_losses q JOIN native_quantizations n USING (model_id) WHERE {}"
    assert set(rows(built[1], sql.format("q.quantization = n.quantization"))) == {(0.0,)}
    [(points,)] = rows(built[1], sql.format("n.quantization = 'MXFP4_MOE' AND q.quantization = 'IQ1_S'"))
    assert points > 1


def test_every_model_of_the_shipped_catalog_has_a_shape_and_abilities(catalog: Catalog) -> None:
    cursor = catalog.cursor()
    assert cursor.execute("SELECT count(*) FROM models ANTI JOIN shapes USING (model_id)").fetchall() == [(0,)]
    without = cursor.execute(
        "SELECT model_id FROM models ANTI JOIN abilities USING (model_id) WHERE role NOT IN ('embedding', 'reranker')"
    ).fetchall()
    assert without == []


def test_published_files_in_standard_mixes_are_predicted_within_a_hundredth(catalog: Catalog) -> None:
    errors = catalog.cursor().execute(
        """
        SELECT abs(v.file_bytes / v.published_bytes - 1)
        FROM variants v
        JOIN gguf_files f ON f.gguf_repo = v.repo AND f.file = v.file AND f.bytes = v.published_bytes
        WHERE v.layout = 'exact' AND f.recipe = 'standard'
        """
    )
    found = [error for (error,) in errors.fetchall()]
    assert len(found) >= 300
    assert sum(error < 0.01 for error in found) / len(found) > 0.95
