from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import paths
from recommender.catalog.entries import decode, encode, open_entries
from recommender.catalog.sources.base import Batch, Entry, EntryFile, Score
from recommender.errors import CatalogError, DatabaseLockedError
from tests.catalog.entries_made import entry, gguf

texts = st.text(string.printable + "äß漢\x00\u202e", max_size=20)
entries = st.builds(
    Entry,
    source=texts, entry_id=texts, read_at=texts, version=texts, url=texts, name=texts, publisher=texts, format=texts,
    bases=st.tuples(texts), tags=st.tuples(texts, texts), languages=st.tuples(), gated=st.booleans(),
    downloads=st.one_of(st.none(), st.integers(0, 10**12)),
    params_total=st.one_of(st.none(), st.integers(1, 10**13)),
    architecture=st.dictionaries(texts, texts, max_size=3), details=st.dictionaries(texts, texts, max_size=3),
    files=st.tuples(st.builds(EntryFile, path=texts, bytes=st.one_of(st.none(), st.integers(0, 10**12)))),
    scores=st.tuples(st.builds(Score, benchmark=texts, value=st.floats(0, 100), verified=st.booleans())),
)  # fmt: skip


@given(entries)
def test_an_entry_comes_back_from_its_json_as_it_was(one: Entry) -> None:
    assert decode(encode(one)) == one


def test_a_batch_is_kept_with_its_cursor_and_read_again_by_another_opening(tmp_path: Path) -> None:
    place = tmp_path / "entries.duckdb"
    with open_entries(place) as store:
        store.add("hugging-face", Batch((entry("a/b"), gguf("c/d-GGUF", "a/b")), "page 2"))
    with open_entries(place) as store:
        assert store.cursor("hugging-face") == "page 2"
        assert [one.entry.entry_id for one in store.all()] == ["a/b", "c/d-GGUF"]
        assert store.versions("hugging-face") == {"a/b": "0123abc", "c/d-GGUF": "0123abc"}


def test_a_later_reading_replaces_the_entry_and_keeps_when_it_was_first_seen(tmp_path: Path) -> None:
    with open_entries(tmp_path / "e.duckdb") as store:
        store.add("hugging-face", Batch((entry("a/b", read_at="2026-11-01T00:00:00Z"),), "1"))
        store.add("hugging-face", Batch((entry("a/b", version="new"),), "2"))
        [found] = store.all()
    assert (found.first_seen, found.entry.version) == ("2026-11-01T00:00:00Z", "new")


def test_what_a_place_says_is_gone_is_marked_and_comes_back_when_it_is_listed_again(tmp_path: Path) -> None:
    with open_entries(tmp_path / "e.duckdb") as store:
        store.add("hugging-face", Batch((entry("a/b"), entry("a/c")), "1"))
        store.add("hugging-face", Batch((), "2", gone=("a/b",)))
        assert [bool(one.gone_at) for one in store.all()] == [True, False]
        assert "a/b" not in store.versions("hugging-face")
        store.add("hugging-face", Batch((entry("a/b"),), "3"))
        assert not any(one.gone_at for one in store.all())


def test_after_a_full_round_what_was_not_given_has_gone(tmp_path: Path) -> None:
    old = "2020-01-01T00:00:00Z"
    with open_entries(tmp_path / "e.duckdb") as store:
        store.add("ollama", Batch((entry("x", source="ollama", read_at=old), entry("y", source="ollama")), ""))
        store.add("hugging-face", Batch((entry("a/b", read_at=old),), ""))
        later = "2999-01-01T00:00:00Z"
        store.add("ollama", Batch((entry("y", source="ollama", read_at=later),), "", complete=True))
        assert {one.entry.entry_id: bool(one.gone_at) for one in store.all()} == {"a/b": False, "x": True, "y": False}


def test_a_second_refresh_at_the_same_time_is_refused_in_a_sentence(tmp_path: Path) -> None:
    place = tmp_path / "e.duckdb"
    code = (
        "import sys\nfrom pathlib import Path\nfrom recommender.catalog.entries import open_entries\n"
        f"with open_entries(Path({str(place)!r})):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    package = str(Path(paths.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=package
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(DatabaseLockedError, match="Another refresh"), open_entries(place):
            pass
        other.stdin.close()


def test_a_damaged_file_is_said_with_what_to_do(tmp_path: Path) -> None:
    place = tmp_path / "e.duckdb"
    place.write_bytes(b"no database" * 1000)
    with pytest.raises(CatalogError, match="Remove it"), open_entries(place):
        pass
