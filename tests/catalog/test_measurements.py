from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import paths
from recommender.catalog import migrations
from recommender.catalog.measurements import MeasurementStore, export_json, export_markdown
from recommender.errors import CatalogError, DatabaseLockedError, UnknownNameError
from recommender.types import Measurement, Memory, Settings
from tests.measured import MEASURED

ONE = MEASURED


def another(name: str, **changes: object) -> Measurement:
    return dataclasses.replace(ONE, id=name, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "measurements.duckdb"


def python(code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(paths.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def holder(path: Path) -> subprocess.Popen[str]:
    """A process that keeps the database open for writing until it is told to end."""
    process = python(f"import duckdb; held = duckdb.connect({str(path)!r}); print('held', flush=True); input()")
    assert process.stdout is not None
    process.stdout.readline()
    return process


# ── keeping ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_measurement_comes_back_as_it_was_also_for_another_store(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    assert MeasurementStore(path).all() == (ONE,)
    assert MeasurementStore(path).get("one") == ONE


def test_asking_for_measurements_makes_no_file(path: Path) -> None:
    assert MeasurementStore(path).all() == ()
    assert not path.parent.exists()


def test_newest_come_first_and_other_hardware_can_be_left_out(path: Path) -> None:
    store = MeasurementStore(path)
    store.add(another("old", measured_at="2026-01-01T00:00:00Z"))
    store.add(another("new", measured_at="2026-12-01T00:00:00Z", device_key="gpu|24"))
    store.add(ONE)
    assert [one.id for one in store.all()] == ["new", "one", "old"]
    assert [one.id for one in store.all("cpu|16")] == ["one", "old"]
    assert store.all("unheard of") == ()


def test_the_same_id_is_kept_once(path: Path) -> None:
    store = MeasurementStore(path)
    store.add(ONE)
    store.add(dataclasses.replace(ONE, decode_tokens_per_s=99.0))
    assert store.all() == (ONE,)


def test_an_unknown_id_brings_the_nearest(path: Path) -> None:
    MeasurementStore(path).add(another("run-17"))
    with pytest.raises(UnknownNameError, match="run-17"):
        MeasurementStore(path).get("run-71")


NUMBERS = st.floats(allow_nan=False)
BY_TYPE: dict[str, st.SearchStrategy[object]] = {
    "str": st.text(st.characters(codec="utf-8")),
    "int": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "float": NUMBERS,
    "float | None": st.none() | NUMBERS,
    "Provenance": st.sampled_from(["measured here", "estimated"]),
}


def any_of(kind: type[Measurement] | type[Settings] | type[Memory]) -> st.SearchStrategy[Any]:
    parts = {"Settings": lambda: any_of(Settings), "Memory | None": lambda: st.none() | any_of(Memory)}
    names = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    return st.builds(kind, **{name: BY_TYPE[of] if of in BY_TYPE else parts[of]() for name, of in names.items()})


@settings(max_examples=15, deadline=None)
@given(measurement=any_of(Measurement))
def test_any_measurement_survives_the_file_unchanged(
    tmp_path_factory: pytest.TempPathFactory, measurement: Measurement
) -> None:
    path = tmp_path_factory.mktemp("any") / "measurements.duckdb"
    MeasurementStore(path).add(measurement)
    assert MeasurementStore(path).all() == (measurement,)


# ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_json_export_has_every_field_and_is_valid_for_unknown_numbers_too(path: Path) -> None:
    store = MeasurementStore(path)
    store.add(another("one", ttft_s=float("nan")))
    [exported] = json.loads(export_json(store.all()), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(exported) == {field.name for field in dataclasses.fields(Measurement)}
    assert exported["settings"]["context_tokens"] == 4096
    assert exported["memory"]["total_bytes"] == 5.7e8
    assert exported["ttft_s"] is None


def changed(part: Any) -> list[tuple[str, Any]]:
    """A dataclass once for each of its fields, with another value there; those of its parts by their own names."""
    found: list[tuple[str, Any]] = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        others: list[tuple[str, Any]] = [(field.name, "changed")]
        if dataclasses.is_dataclass(value):
            others = [(f"{field.name}.{name}", one) for name, one in changed(value)]
        elif isinstance(value, bool):
            others = [(field.name, not value)]
        elif isinstance(value, (int, float)) or value is None:
            others = [(field.name, 4321.0 if value is None else value * 2 + 1)]
        found += [(name, dataclasses.replace(part, **{field.name: other})) for name, other in others]
    return found


FULL = another("full", noisy=True, noise_reason="busy")


@pytest.mark.parametrize(("name", "other"), changed(FULL), ids=lambda value: value if isinstance(value, str) else "")
def test_the_markdown_export_shows_every_field(monkeypatch: pytest.MonkeyPatch, name: str, other: Measurement) -> None:
    texts = []
    for measurement in (FULL, other):
        monkeypatch.setattr(MeasurementStore, "all", lambda _, kept=(measurement,): kept)
        texts.append(export_markdown(MeasurementStore().all()))
    assert texts[0] != texts[1], f"{name} is not in the export"


def test_the_markdown_export_stays_a_table_whatever_the_names_hold(path: Path) -> None:
    store = MeasurementStore(path)
    store.add(another("one", device_name="a | b\nc", noisy=True, noise_reason="busy", rehearsal=True))
    head, rule, row = export_markdown(store.all()).splitlines()
    assert head.count("|") == rule.count("|") == row.replace("\\|", "").count("|")
    assert "31.5 (30.0–32.0)" in row
    assert "busy; rehearsal" in row


# ── other processes ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say which process holds a file")
def test_writing_while_another_process_has_the_file_names_file_and_process(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    other = holder(path)
    with pytest.raises(DatabaseLockedError) as caught:
        MeasurementStore(path, patience_s=0.2).add(another("two"))
    assert str(path) in str(caught.value)
    assert f"(PID {other.pid})" in str(caught.value)
    assert "Close that program" in str(caught.value)
    other.communicate("\n", timeout=20)
    MeasurementStore(path).add(another("two"))
    assert len(MeasurementStore(path).all()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let a held file be copied")
def test_what_could_not_be_written_because_of_another_process_is_written_with_the_next(path: Path) -> None:
    store = MeasurementStore(path, patience_s=0.2)
    store.add(ONE)
    other = holder(path)
    with pytest.raises(DatabaseLockedError):
        store.add(another("two"))
    assert {one.id for one in store.all()} == {"one", "two"}
    other.communicate("\n", timeout=20)
    store.add(another("three"))
    with duckdb.connect(str(path), read_only=True) as connection:
        written = connection.execute("SELECT id FROM measurements ORDER BY id").fetchall()
    assert written == [("one",), ("three",), ("two",)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let a held file be copied")
def test_reading_while_another_process_has_the_file_reads_a_copy(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    other = holder(path)
    assert MeasurementStore(path, patience_s=0.2).all() == (ONE,)
    other.communicate("\n", timeout=20)


def test_a_store_sees_what_another_process_added(path: Path) -> None:
    store = MeasurementStore(path)
    store.add(ONE)
    assert len(store.all()) == 1
    code = f"""
    import dataclasses
    from pathlib import Path
    from recommender.catalog.measurements import MeasurementStore, export_json
    store = MeasurementStore(Path({str(path)!r}))
    [one] = store.all()
    store.add(dataclasses.replace(one, id="two"))
    """
    assert python(code).wait(timeout=60) == 0
    assert {one.id for one in store.all()} == {"one", "two"}


@pytest.mark.skipif(sys.platform == "win32", reason="kill signals are POSIX")
def test_a_process_that_is_killed_leaves_only_whole_measurements(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    code = f"""
    import dataclasses, itertools
    from pathlib import Path
    from recommender.catalog.measurements import MeasurementStore, export_json
    store = MeasurementStore(Path({str(path)!r}))
    [one] = store.all()
    for number in itertools.count():
        store.add(dataclasses.replace(one, id=str(number)))
        print(number, flush=True)
    """
    other = python(code)
    assert other.stdout is not None
    while other.stdout.readline() != "3\n":
        pass
    other.send_signal(signal.SIGKILL)
    other.wait(timeout=20)
    found = {one.id: one for one in MeasurementStore(path).all()}
    assert {"one", "0", "1", "2", "3"} <= set(found)
    assert {dataclasses.replace(one, id="one") for one in found.values()} == {ONE}


@pytest.mark.skipif(sys.platform == "win32", reason="kill signals are POSIX")
def test_killed_at_any_moment_all_that_was_said_to_be_kept_is_there_whole(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    said = {"one"}
    for turn in range(5):
        code = f"""
        import dataclasses, itertools
        from pathlib import Path
        from recommender.catalog.measurements import MeasurementStore
        store = MeasurementStore(Path({str(path)!r}))
        one = store.get("one")
        for number in itertools.count():
            store.add(dataclasses.replace(one, id=f"{turn}-{{number}}"))
            print(f"{turn}-{{number}}", flush=True)
        """
        other = python(code)
        assert other.stdout is not None
        said.add(other.stdout.readline().strip())
        time.sleep(random.uniform(0.0, 0.2))
        other.kill()
        said |= set(other.communicate(timeout=20)[0].split())
        found = {one.id: one for one in MeasurementStore(path).all()}
        assert said <= set(found)
        assert {dataclasses.replace(one, id="one") for one in found.values()} == {ONE}


# ── places that cannot be written, files that are something else ─────────────────────────────────────────────


def test_where_nothing_can_be_written_measurements_are_kept_in_memory_and_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    path = tmp_path / "home" / "measurements.duckdb"
    store = MeasurementStore(path)
    store.add(ONE)
    assert store.all() == (ONE,)
    assert MeasurementStore(path).all() == (ONE,)
    assert "kept in memory" in store.notes[0]
    assert str(path) in store.notes[0]


# The log cannot be written, the log can but not the file, the file can grow a little but not enough.
@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
@pytest.mark.parametrize("room", ["no byte", "the log only", "half of the file's growth"])
def test_on_a_full_disk_nothing_is_lost_and_it_is_written_once_there_is_room(path: Path, room: str) -> None:
    MeasurementStore(path).add(ONE)
    size = path.stat().st_size
    limit = {"no byte": 0, "the log only": 100_000, "half of the file's growth": size + 200_000}[room]
    code = f"""
    import dataclasses, json, resource
    from pathlib import Path
    from recommender.catalog.measurements import MeasurementStore, export_json
    store = MeasurementStore(Path({str(path)!r}))
    [one] = store.all()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, most))
    store.add(dataclasses.replace(one, id="two"))
    exported = [row["id"] for row in json.loads(export_json(store.all()))]
    print(json.dumps([[row.id for row in store.all()], exported, store.notes]), flush=True)
    input()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    store.add(dataclasses.replace(one, id="three"))
    print(json.dumps([sorted(row.id for row in store.all()), store.notes]), flush=True)
    """
    process = python(code)
    assert process.stdout is not None
    assert process.stdin is not None
    kept, exported, [note] = json.loads(process.stdout.readline())
    assert kept == exported == ["two", "one"]
    assert note.startswith(f"Measurements cannot be written to {path}: ")
    assert note.endswith("they are written with the next one, or end with the program.")
    seen_elsewhere = MeasurementStore(path).all()
    assert ONE in seen_elsewhere
    assert {dataclasses.replace(one, id="one") for one in seen_elsewhere} == {ONE}
    output, _ = process.communicate("\n", timeout=60)
    assert json.loads(output) == [["one", "three", "two"], []]
    assert {one.id for one in MeasurementStore(path).all()} == {"one", "two", "three"}


def test_a_file_that_is_no_database_is_left_alone_and_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"precious notes" * 1000)
    with pytest.raises(CatalogError, match="is not a database"):
        MeasurementStore(path).all()
    with pytest.raises(CatalogError, match="is not a database"):
        MeasurementStore(path).add(ONE)
    assert path.read_bytes() == b"precious notes" * 1000
    path.rename(path.with_name("notes"))
    assert MeasurementStore(path).all() == (ONE,)


# ── migrations ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_measurement_applies_every_migration_once(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    MeasurementStore(path).add(another("two"))
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY name").fetchall()]
    assert names == [function.__name__ for function in migrations.MIGRATIONS]
    assert names == sorted(names)


def test_an_older_file_is_brought_up_to_date_and_keeps_its_measurements(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MeasurementStore(path).add(ONE)

    def m999_a_later_change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("ALTER TABLE measurements ADD COLUMN weather VARCHAR")

    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, m999_a_later_change])
    assert MeasurementStore(path).all() == (ONE,)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert "weather" in [row[0] for row in connection.execute("DESCRIBE measurements").fetchall()]


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MeasurementStore(path).add(ONE)

    def m999_half_done(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("ALTER TABLE measurements ADD COLUMN weather VARCHAR")
        raise CatalogError("the second half does not work")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, m999_half_done])
        with pytest.raises(CatalogError, match="second half"):
            MeasurementStore(path).all()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert "weather" not in [row[0] for row in connection.execute("DESCRIBE measurements").fetchall()]
    assert MeasurementStore(path).all() == (ONE,)


def test_a_file_of_a_newer_version_is_refused_and_not_touched(path: Path) -> None:
    MeasurementStore(path).add(ONE)
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO migrations VALUES ('m998_of_tomorrow', now()::TIMESTAMP)")
    for act in (MeasurementStore(path).all, lambda: MeasurementStore(path).add(another("two"))):
        with pytest.raises(CatalogError, match=r"newer version of this program \(m998_of_tomorrow\)"):
            act()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT id FROM measurements").fetchall() == [("one",)]
