"""Every place keeps what it was given: from several processes at once, and when one is killed in mid-write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from recommender import paths
from recommender.community.folder import FolderStore
from recommender.community.stores import LONGEST_CHARACTERS, CommunityStore, Row, open_store
from recommender.errors import BadInputError, CommunityError, NotWritableError, RuntimeMissingError
from tests.community.postgres_server import PASSWORD, programs, running

KINDS = ("local", "folder", "postgresql")
WRITERS, EACH = 4, {"local": 10, "folder": 20, "postgresql": 50}  # DuckDB is opened for each row
WRITER = """
import sys
from recommender.community.stores import Row, open_store
store = open_store(sys.argv[1])
for number in range(int(sys.argv[3])):
    name = f"{sys.argv[2]}-{number}"
    store.add(Row(name, "cpu|16", '{"of": "' + name + '", "filler": "' + "x" * 4000 + '"}'))
    print(name, flush=True)
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    folder = programs()
    pytest.importorskip("psycopg", reason="the driver for PostgreSQL is not installed (extra postgres)")
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    with running(folder) as address:
        yield address


@pytest.fixture
def setting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place of the kind that the test asks for."""
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    if request.param != "postgresql":
        return {"local": "local", "folder": f"folder:{tmp_path}/a [folder] of 'ours'*"}[request.param]
    import psycopg

    address: str = request.getfixturevalue("postgres")
    with psycopg.connect(address) as connection:
        connection.execute("DROP TABLE IF EXISTS rightsize_shared")
    return address


each = pytest.mark.parametrize("setting", KINDS, indirect=True)


def writer(setting: str, name: str, count: int) -> subprocess.Popen[str]:
    root = Path(paths.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, setting, name, str(count)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def whole(store: CommunityStore) -> set[str]:
    """The ids of all rows; each must be whole, and there once."""
    rows = store.rows()
    for row in rows:
        assert row.record.startswith(f'{{"of": "{row.id}"')
        assert row.record.endswith('x"}')
    assert len({row.id for row in rows}) == len(rows)
    return {row.id for row in rows}


@each
def test_a_row_is_kept_once_and_found_by_its_hardware(setting: str) -> None:
    store = open_store(setting)
    assert store.rows() == []
    for row in (Row("1", "cpu|16", "{}"), Row("2", "gpu|24", '{"ä": "’"}'), Row("1", "cpu|16", "{}")):
        store.add(row)
    assert open_store(setting).rows() == [Row("1", "cpu|16", "{}"), Row("2", "gpu|24", '{"ä": "’"}')]
    assert store.rows("gpu|24") == [Row("2", "gpu|24", '{"ä": "’"}')]
    assert store.rows("unheard of") == []
    store.add(Row("3", "cpu|16", "x" * (LONGEST_CHARACTERS + 1)))
    assert len(store.rows()) == 2  # what no record can be is not read


@each
def test_several_writers_at_once_lose_nothing_and_write_nothing_twice(setting: str) -> None:
    count = EACH[setting.partition(":")[0]]
    writers = [writer(setting, f"w{number}", count) for number in range(WRITERS)]
    store = open_store(setting)
    if isinstance(store, FolderStore):  # a merge meanwhile takes nothing away, and what is read is never half
        while any(one.poll() is None for one in writers):
            before = whole(store)
            store.merge()
            assert before <= whole(store)
            time.sleep(0.3)
    for one in writers:
        one.communicate()
        assert one.returncode == 0
    assert whole(store) == {f"w{number}-{row}" for number in range(WRITERS) for row in range(count)}


@each
def test_a_writer_killed_in_mid_write_leaves_what_it_committed_and_nothing_half(setting: str) -> None:
    killed = writer(setting, "k", 10_000)
    assert killed.stdout is not None
    done = {killed.stdout.readline().strip() for _ in range(5)}
    killed.kill()
    done |= set(killed.stdout.read().split())
    killed.wait()
    store = open_store(setting)
    found = whole(store)
    assert done <= found
    assert len(found) <= len(done) + 1  # the row that was just committed but not yet told
    store.add(Row("after", "cpu|16", '{"of": "after" x"}'))
    assert whole(store) == found | {"after"}
    if isinstance(store, FolderStore):
        store.merge()
        assert whole(store) == found | {"after"}


# ── the folder's merge ───────────────────────────────────────────────────────────────────────────────────────


class Killed(BaseException):
    """Nothing handles it, as nothing handles the end of a process."""


@pytest.mark.parametrize("point", range(6))
def test_a_merge_that_ends_at_any_point_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    store = FolderStore(tmp_path)
    rows = [Row(str(number), "cpu|16", "{}") for number in range(4)]
    for row in rows:
        store.add(row)
    calls = 0

    def dies(kept: object) -> object:
        def instead(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls > point:
                raise Killed
            return kept(*arguments, **named)  # type: ignore[operator]

        return instead

    with monkeypatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink")):
            patch.setattr(owner, name, dies(getattr(owner, name)))
        with pytest.raises(Killed):
            store.merge()
    assert store.rows() == rows
    assert store.merge().rows == len(rows)
    assert store.rows() == rows
    assert len(list(tmp_path.glob("*.parquet"))) == 1


@pytest.mark.parametrize(
    ("name", "content", "unreadable"),
    [
        ("broken.parquet", "", True),
        ("no-parquet.parquet", "PAR1 no", True),
        ("a-other.parquet", "SELECT 1 AS other", True),
        ("a-null.parquet", "SELECT NULL AS id, 'k' AS device_key, 7 AS record", False),
        ("z-struct.parquet", "SELECT {'a': 1} AS id, [1] AS device_key, {'b': NULL} AS record", False),
    ],
)
def test_files_of_others_in_the_folder_hide_nothing_and_only_what_was_read_is_removed(
    tmp_path: Path, name: str, content: str, unreadable: bool
) -> None:
    store = FolderStore(tmp_path)
    ours = [Row("1", "cpu|16", "{}"), Row("2", "cpu|16", "{}")]
    for row in ours:
        store.add(row)
    if content.startswith("SELECT"):
        duckdb.sql(content).write_parquet(str(tmp_path / name))
    else:
        (tmp_path / name).write_text(content)
    assert store.rows("cpu|16") == ours
    assert set(ours) <= set(store.rows())
    merged = store.merge()
    assert merged.unreadable == ((name,) if unreadable else ())
    assert (tmp_path / name).exists() == unreadable
    assert store.rows("cpu|16") == ours


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritableError, match="Shared measurements cannot be written"):
        open_store(f"folder:{tmp_path}/file/folder").add(Row("1", "k", "{}"))


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_error_of_the_database_holds_a_part_of_its_address(postgres: str) -> None:
    parts = (PASSWORD, "a%3As3cret", "wrong-word", "rightsize:", "rightsize-pg", "postgres?", "no-such")
    for address, words in (
        (postgres.replace("s3cret", "wrong-word"), "refuses the user or the password"),
        (postgres.replace("rightsize-pg", "no-such"), "cannot be reached"),
        (postgres.replace("?", "?no-such-option=1&"), "connection string makes no sense"),
        (postgres.replace("%3A", "%zz"), "connection string makes no sense"),
        (postgres.replace("/postgres?", "/no-such?"), "error 3D000|cannot be reached"),
    ):
        with pytest.raises(CommunityError, match=words) as raised:
            open_store(address).rows()
        assert raised.value.__suppress_context__
        for part in parts:
            assert part not in str(raised.value)


def test_without_its_driver_postgresql_is_a_sentence_that_says_how_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "recommender.community.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RuntimeMissingError, match="extra `postgres`"):
        open_store("postgresql://me@h/db")


@pytest.mark.parametrize("setting", ["", "nowhere", "folder:", "mysql://u:hidden@h/d", "postgres:u:hidden@h"])
def test_a_setting_that_names_no_place_is_a_sentence_without_its_value(setting: str) -> None:
    with pytest.raises(BadInputError) as raised:
        open_store(setting)
    assert "folder:PATH" in str(raised.value)
    assert "hidden" not in str(raised.value)
