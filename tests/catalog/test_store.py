from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from recommender import paths
from recommender.catalog.build import build
from recommender.catalog.store import Catalog, open_catalog
from recommender.errors import CatalogError, DatabaseLockedError, UnknownNameError
from recommender.types import Need, Task

Edit = Callable[[str, int, str, str], None]


def python(code: str) -> subprocess.Popen[str]:
    """A second process with the package on its path; it runs until its standard input ends."""
    environment = {**os.environ, "PYTHONPATH": str(Path(paths.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def add_a_line(folder: Path, line: str = "extra,1,points,another reason") -> None:
    with (folder / "scoring.csv").open("a") as file:
        file.write(line + "\n")


# ── when it is built ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_catalog_is_built(csv_dir: Path, tmp_path: Path) -> None:
    with open_catalog(tmp_path / "new" / "catalog.duckdb", csv_dir) as catalog:
        assert catalog.path == tmp_path / "new" / "catalog.duckdb"
        assert len(catalog.models()) == 5
        assert catalog.notes == ()


def test_files_that_were_only_touched_cause_no_build(built: tuple[Path, Path]) -> None:
    folder, database = built
    open_catalog(database, folder).close()
    before = database.stat().st_ino
    for path in folder.glob("*.csv"):
        os.utime(path, (1, 1))
    open_catalog(database, folder).close()
    assert database.stat().st_ino == before


def test_a_catalog_that_ships_built_is_opened_where_it_lies_until_another_is_put_in_use(
    csv_dir: Path, tmp_path: Path
) -> None:
    own = tmp_path / "home" / "catalog.duckdb"
    build(csv_dir, csv_dir / "catalog.duckdb")
    with open_catalog(own, csv_dir) as catalog:
        assert len(catalog.models()) == 5
        assert not catalog.replaced
        assert not own.exists()
        own.parent.mkdir()
        shutil.copyfile(csv_dir / "catalog.duckdb", own)
        assert catalog.replaced


def test_a_catalog_that_ships_built_but_is_older_than_its_facts_is_not_used(csv_dir: Path, tmp_path: Path) -> None:
    own = tmp_path / "home" / "catalog.duckdb"
    build(csv_dir, csv_dir / "catalog.duckdb")
    add_a_line(csv_dir)
    with open_catalog(own, csv_dir):
        assert own.exists()


def test_a_changed_fact_is_there_at_the_next_opening(built: tuple[Path, Path]) -> None:
    folder, database = built
    with open_catalog(database, folder) as catalog:
        rows = catalog.count("scoring")
    add_a_line(folder)
    with open_catalog(database, folder) as catalog:
        assert catalog.count("scoring") == rows + 1


def test_a_handle_that_is_open_goes_on_while_the_catalog_is_replaced(built: tuple[Path, Path]) -> None:
    folder, database = built
    with open_catalog(database, folder) as old:
        rows = old.cursor().execute("SELECT count(*) FROM scoring").fetchall()[0][0]
        add_a_line(folder)
        with open_catalog(database, folder) as new:
            assert new.count("scoring") == rows + 1
            assert new.fingerprint != old.fingerprint
            assert old.cursor().execute("SELECT count(*) FROM scoring").fetchall() == [(rows,)]


def test_a_bad_row_leaves_the_last_good_catalog_in_use_and_says_so(built: tuple[Path, Path]) -> None:
    folder, database = built
    add_a_line(folder, "extra,much,points,a bad one")
    with open_catalog(database, folder) as catalog:
        assert len(catalog.models()) == 5
        [note] = catalog.notes
    assert "scoring.csv line" in note
    assert "column value: 'much' is not a number" in note


def test_a_bad_row_without_an_earlier_build_is_an_error(csv_dir: Path, tmp_path: Path) -> None:
    add_a_line(csv_dir, "extra,much,points,a bad one")
    with pytest.raises(CatalogError, match="'much' is not a number"):
        open_catalog(tmp_path / "catalog.duckdb", csv_dir)


def test_a_file_that_is_no_catalog_is_replaced(built: tuple[Path, Path]) -> None:
    folder, database = built
    database.write_bytes(b"not a database" * 1000)
    with open_catalog(database, folder) as catalog:
        assert len(catalog.models()) == 5


def test_a_folder_that_cannot_be_written_gives_a_catalog_in_memory_that_says_so(csv_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    with open_catalog(tmp_path / "home" / "catalog.duckdb", csv_dir) as catalog:
        assert catalog.path is None
        assert len(catalog.models()) == 5
        assert catalog.count("candidates") > 100
        assert "kept in memory" in catalog.notes[0]


# ── several at a time ────────────────────────────────────────────────────────────────────────────────────────


def test_another_process_can_use_the_catalog_at_the_same_time(built: tuple[Path, Path]) -> None:
    folder, database = built
    code = f"""
from pathlib import Path
from recommender.catalog import open_catalog
catalog = open_catalog(Path({str(database)!r}), Path({str(folder)!r}))
print(len(catalog.models()), flush=True)
input()
"""
    other = python(code)
    assert other.stdout is not None
    assert other.stdout.readline() == "5\n"
    with open_catalog(database, folder) as catalog:
        assert len(catalog.models()) == 5
        build(folder, database)
        assert other.poll() is None
    other.communicate("\n", timeout=20)
    assert other.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say which process holds a file")
def test_a_process_that_holds_the_catalog_for_writing_is_named(built: tuple[Path, Path]) -> None:
    folder, database = built
    other = python(f"import duckdb; held = duckdb.connect({str(database)!r}); print('held', flush=True); input()")
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(DatabaseLockedError) as caught:
        open_catalog(database, folder)
    assert str(database) in str(caught.value)
    assert f"(PID {other.pid})" in str(caught.value)
    other.communicate("\n", timeout=20)


def test_threads_each_get_a_cursor_of_their_own(built: tuple[Path, Path]) -> None:
    folder, database = built
    with open_catalog(database, folder) as catalog, ThreadPoolExecutor(8) as pool:
        counts = pool.map(
            lambda _: catalog.cursor().execute("SELECT count(*) FROM variants").fetchall()[0][0], range(64)
        )
        assert set(counts) == {catalog.count("variants")}


def test_a_catalog_cannot_be_changed_through_its_handle(built: tuple[Path, Path]) -> None:
    folder, database = built
    with open_catalog(database, folder) as catalog, pytest.raises(Exception, match="read-only"):
        catalog.cursor().execute("DELETE FROM scoring")


def test_a_name_that_is_no_table_is_never_a_python_variable(built: tuple[Path, Path]) -> None:
    nonsense = [1, 2]
    with open_catalog(built[1], built[0]) as catalog, pytest.raises(duckdb.CatalogException, match="does not exist"):
        catalog.cursor().execute("SELECT * FROM nonsense")
    assert nonsense


def test_opening_a_built_catalog_loads_neither_the_build_nor_data_frames(built: tuple[Path, Path]) -> None:
    folder, database = built
    code = f"""
import sys
from pathlib import Path
from recommender.catalog import open_catalog
open_catalog(Path({str(database)!r}), Path({str(folder)!r})).models()
unwanted = ("pandas", "pyarrow", "streamlit", "recommender.catalog.build", "recommender.estimate")
print([name for name in unwanted if name in sys.modules])
"""
    open_catalog(database, folder).close()
    output, _ = python(code).communicate(timeout=60)
    assert output == "[]\n"


# ── look-ups ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_found_by_its_id_or_its_name_in_any_case(catalog: Catalog) -> None:
    assert catalog.model("Qwen/Qwen3-4B").params_total == 4022468096
    assert catalog.model("qwen3-4b").model_id == "Qwen/Qwen3-4B"


def test_an_unknown_model_brings_the_nearest_ones(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match=r"There is no model called 'Qwen3-4'.*Qwen/Qwen3-4B"):
        catalog.model("Qwen3-4")


def test_unknown_texts_are_empty_and_unknown_numbers_are_none(catalog: Catalog) -> None:
    for model in catalog.models():
        assert None not in (model.license, model.languages, model.base_model, model.release_date)
        assert model.params_active is None or model.params_active > 0


def test_a_task_weighs_capabilities_that_add_up(catalog: Catalog) -> None:
    for task in catalog.tasks():
        assert isinstance(task, Task)
        assert sum(task.weights.values()) == pytest.approx(1)
        assert all(isinstance(weight, float) and weight > 0 for weight in task.weights.values())
        assert task.roles
    with pytest.raises(UnknownNameError, match=r"There is no task called 'chatt'.*chat"):
        catalog.task("chatt")


def test_every_scenario_states_a_need_and_a_known_task(catalog: Catalog) -> None:
    scenarios = catalog.scenarios()
    assert len(scenarios) == 14
    for scenario in scenarios:
        assert isinstance(scenario.need, Need)
        catalog.task(scenario.need.task)


def test_files_are_those_of_the_model_and_the_quantization(catalog: Catalog) -> None:
    found = catalog.files("Qwen/Qwen3-0.6B", "Q8_0")
    assert found
    assert {(file.catalog_model_id, file.quantization) for file in found} == {("Qwen/Qwen3-0.6B", "Q8_0")}
    assert len(catalog.files("Qwen/Qwen3-0.6B")) > len(found)
    assert catalog.files("nobody/nothing") == ()


def test_quantizations_come_from_many_bits_to_few(catalog: Catalog) -> None:
    names = catalog.quantizations()
    assert names.index("F16") < names.index("Q8_0") < names.index("Q4_K_M") < names.index("IQ1_S")
