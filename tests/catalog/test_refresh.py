from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recommender import paths
from recommender.catalog import overlay, refresh
from recommender.catalog.changes import saved
from recommender.catalog.entries import open_entries
from recommender.catalog.refresh import Prepared
from recommender.catalog.sources.base import Batch, Entry, EntryFile, OnProgress, Progress, Score, Source
from recommender.catalog.sources.gguf import entry_of
from recommender.catalog.store import open_catalog
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.errors import BadInputError, Cancelled, DownloadError
from recommender.estimate.architecture import architecture_from_row
from recommender.runner.hub import at_hand
from recommender.runner.weightless import write_weightless
from recommender.types import Need
from tests.catalog.entries_made import gguf, new_maker_model
from tests.estimate.shapes import DENSE

NEW = "Qwen/Qwen9-1.8B"


class Told:
    """A source that tells what it was made with, in batches of one, from its cursor on."""

    id, name = "hugging-face", "Told"

    def __init__(self, *entries: Entry, fails_after: int | None = None, reason: str = "") -> None:
        self.entries, self.fails_after, self.reason = entries, fails_after, reason
        self.asked_from: list[str] = []

    def unavailable(self) -> str:
        return self.reason

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        self.asked_from.append(cursor)
        for place in range(int(cursor or 0), len(self.entries)):
            if place == self.fails_after:
                raise DownloadError("The network is gone. Try again.")
            progress(Progress(self.id, "reading", place, len(self.entries)))
            yield Batch((self.entries[place],), str(place + 1))


def quiet(_: Progress) -> None:
    pass


def refreshed(*sources: Source) -> Prepared:
    return refresh.refresh(lambda _: sources, quiet)


@pytest.fixture
def home(own_catalog: Path, built: tuple[Path, Path]) -> Path:
    """A data folder with the small catalog built in it."""
    paths.catalog_database().parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built[1], paths.catalog_database())
    return own_catalog


@pytest.fixture
def csv_dir(built: tuple[Path, Path]) -> Path:
    return built[0]


def model_ids() -> set[str]:
    with open_catalog() as catalog:
        assert not catalog.notes
        return {model.model_id for model in catalog.models()}


def test_nothing_is_changed_until_it_is_applied_and_undo_takes_it_back(home: Path) -> None:
    before = model_ids()
    prepared = refreshed(Told(*new_maker_model()))
    assert prepared.changes.added == (NEW,)
    assert model_ids() == before
    refresh.apply(prepared)
    assert model_ids() == before | {NEW}
    undone = refresh.undo().changes
    assert undone.added == (NEW,)
    assert model_ids() == before
    refresh.undo()
    assert model_ids() == before | {NEW}


def test_an_applied_catalog_is_opened_without_another_build(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))
    file = paths.catalog_database().stat().st_ino
    model_ids()
    assert paths.catalog_database().stat().st_ino == file


def test_a_new_model_can_be_recommended_with_its_file(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))
    with open_catalog() as catalog:
        rows = catalog.cursor().execute(
            "SELECT availability, repo, file, layout FROM variants WHERE model_id = ? AND quantization = 'Q4_K_M'"
            " AND format = 'gguf'", [NEW],
        ).fetchall()  # fmt: skip
        assert rows == [("file", "unsloth/Qwen9-1.8B-GGUF", "Qwen9-1.8B-Q4_K_M.gguf", "exact")]
        state = catalog.cursor().execute("SELECT state FROM lifecycles WHERE model_id = ?", [NEW]).fetchall()
        assert state == [("new",)]


def test_a_discarded_refresh_leaves_no_folder_and_keeps_what_was_told(home: Path) -> None:
    prepared = refreshed(Told(*new_maker_model()))
    refresh.discard(prepared)
    assert not prepared.folder.exists()
    assert NEW not in model_ids()
    again = refreshed(source := Told(*new_maker_model()))
    assert source.asked_from == ["2"]
    assert again.changes.added == (NEW,)


def test_a_source_that_fails_costs_only_what_it_would_have_told(home: Path) -> None:
    original, files = new_maker_model()
    prepared = refreshed(Told(original, files, gguf("bartowski/x-GGUF", NEW), fails_after=2))
    assert prepared.changes.added == (NEW,)
    [told] = prepared.told
    assert (told.entries, told.problem) == (2, "The network is gone. Try again.")
    away = refreshed(Told(reason="Nobody is signed in."))
    assert away.told[0].problem == "Nobody is signed in."


def test_an_interrupted_refresh_goes_on_where_it_stopped(home: Path) -> None:
    def stop(one: Progress) -> None:
        if one.done == 1:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        refresh.refresh(lambda _: [Told(*new_maker_model())], stop)
    source = Told(*new_maker_model())
    assert refreshed(source).changes.added == (NEW,)
    assert source.asked_from == ["1"]


def test_a_model_that_its_place_no_longer_lists_is_withdrawn_and_its_files_are_gone(home: Path) -> None:
    original, files = new_maker_model()
    refresh.apply(refreshed(Told(original, files)))
    with open_entries() as store:
        store.add("hugging-face", Batch((), "2", gone=(original.entry_id, files.entry_id)))
    prepared = refreshed(Told(original, files))
    assert set(prepared.changes.withdrawn) == {original.entry_id, files.entry_id}
    assert prepared.changes.files_removed == 1
    refresh.apply(prepared)
    with open_catalog() as catalog:
        [(state, why)] = catalog.cursor().execute(
            "SELECT state, why FROM lifecycles WHERE model_id = ?", [NEW]
        ).fetchall()  # fmt: skip
        assert state == "withdrawn"
        assert "hugging-face" in why
        assert not catalog.files(NEW)


def test_a_second_refresh_of_the_same_things_changes_nothing(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))
    assert refreshed(Told(*new_maker_model())).changes.nothing


def test_a_file_of_one_s_own_is_added_and_removed(home: Path) -> None:
    _, files = new_maker_model()
    own = gguf("local/mine", "", source="gguf", publisher="", architecture=files.architecture)
    refresh.apply(refresh.add_entry(own, quiet))
    assert "local/mine" in model_ids()
    refresh.apply(refresh.remove_entry("gguf", "local/mine", quiet))
    assert "local/mine" not in model_ids()
    with pytest.raises(BadInputError, match="was not added"):
        refresh.remove_entry("gguf", "local/mine", quiet)


def test_a_file_on_this_disk_becomes_a_model_with_its_exact_layout(home: Path, tmp_path: Path) -> None:
    arch = architecture_from_row(DENSE)
    path = tmp_path / "own-Q8_0.gguf"
    write_weightless(arch, "Q8_0", path)
    refresh.apply(refresh.add_entry(entry_of(str(path)), quiet))
    with open_catalog() as catalog:
        assert catalog.model("local/own-Q8_0").context_max == arch.context_train
        rows = catalog.cursor().execute(
            "SELECT quantization, layout, published_bytes, repo, file FROM variants WHERE model_id = 'local/own-Q8_0'"
        ).fetchall()  # fmt: skip
        assert rows == [("Q8_0", "exact", path.stat().st_size, "", str(path))]
        need = Need(task="chat", models=("local/own-Q8_0",), runtimes=("llama.cpp",))
        [pick] = recommend(preset("rtx-4090"), need, catalog).picks
        assert f"llama-server -m {path} " in pick.command
        assert at_hand(pick.file_repo, pick.file_name) == path


def test_a_repository_whose_files_are_all_listed_is_not_said_to_have_others(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))
    with open_catalog() as catalog:
        found = dict(
            catalog.cursor()
            .execute("SELECT quantization, availability FROM variants WHERE model_id = ? AND format = 'gguf'", [NEW])
            .fetchall()
        )
        listed = {file.quantization for file in catalog.files(NEW)}
    assert {name for name, availability in found.items() if availability == "file"} == listed
    assert set(found.values()) == {"file", "convert"}


def test_a_date_that_no_calendar_has_does_not_stop_the_build(home: Path) -> None:
    original, files = new_maker_model()
    refresh.apply(refreshed(Told(replace(original, created="2026-02-31"), files)))
    with open_catalog() as catalog:
        [(state, why)] = catalog.cursor().execute(
            "SELECT state, why FROM lifecycles WHERE model_id = ?", [NEW]
        ).fetchall()  # fmt: skip
        assert (state, why) == ("current", "Its release date is not recorded.")


NONSENSE: list[dict[str, Any]] = [
    {"name": " "},
    {"name": "a\rb\x00c\ud800"},
    {"license_id": "mit\r"},
    {"created": "2026-19-39", "modified": "2099-12-31"},
    {"params_total": 10**17},
    {"context_tokens": 2**40, "downloads": -3},
    {"architecture": {"architecture": "llama", "n_layer": "1000000000000", "n_embd": "8589934592"}},
    {"scores": (Score("MMLU-Pro", float("nan")), Score("IFEval", 1e300))},
    {"files": (EntryFile("a-Q8_0.gguf", 5), EntryFile("a-Q8_0.gguf", 6))},
]


def test_nonsense_in_some_entries_costs_those_alone(home: Path) -> None:
    original, files = new_maker_model()
    odd: list[Entry] = []
    for number, nonsense in enumerate(NONSENSE):
        odd.append(replace(gguf(f"bartowski/odd{number}-GGUF", "nobody/odd"), **nonsense))
        others = {name: value for name, value in nonsense.items() if name != "files"}
        odd.append(replace(original, entry_id=f"Qwen/Qwen8{number}-1.8B", **others))
    refresh.apply(refreshed(Told(*odd, original, files)))
    assert NEW in model_ids()


def test_a_name_of_any_form_becomes_an_id_of_its_source(home: Path) -> None:
    _, files = new_maker_model()
    names = ("hf.co/bob/Foo-GGUF:Q4_K_M", "registry:5000/team/m:latest", "Qwen/Qwen9:latest")
    installed = replace(files, source="ollama", bases=(), publisher="", relation="installed", runtime="ollama")
    refresh.apply(refreshed(Told(*(replace(installed, entry_id=name, name=name) for name in names))))
    added = {one for one in model_ids() if one.startswith("ollama/")}
    assert len(added) == len(names)
    assert all(one.count("/") == 1 for one in added)


def test_a_source_that_fails_in_a_way_nobody_thought_of_costs_only_what_it_would_have_told(home: Path) -> None:
    class Broken(Told):
        id = "azure-ai-foundry"

        def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
            raise ValueError("Invalid IPv6 URL")
            yield

    prepared = refreshed(Broken(), Told(*new_maker_model()))
    assert prepared.changes.added == (NEW,)
    assert "could not be read (ValueError)" in prepared.told[0].problem


def test_what_was_only_tried_is_neither_kept_nor_forgotten(home: Path) -> None:
    _, files = new_maker_model()
    own = gguf("local/mine", "", source="gguf", publisher="", architecture=files.architecture)
    refresh.discard(refresh.add_entry(own, quiet))
    with open_entries() as store:
        assert store.get("gguf", "local/mine") is None
    refresh.apply(refresh.add_entry(own, quiet))
    refresh.discard(refresh.remove_entry("gguf", "local/mine", quiet))
    with open_entries() as store:
        assert store.get("gguf", "local/mine") is not None


def test_what_was_taken_back_does_not_return_with_another_change(home: Path) -> None:
    _, files = new_maker_model()
    refresh.apply(refreshed(Told(*new_maker_model())))
    refresh.undo()
    own = gguf("local/mine", "", source="gguf", publisher="", architecture=files.architecture)
    prepared = refresh.add_entry(own, quiet)
    assert prepared.changes.added == ("local/mine",)


def test_a_catalog_prepared_before_another_was_put_in_use_is_refused(home: Path) -> None:
    _, files = new_maker_model()
    first, second = (
        refresh.add_entry(
            gguf(f"local/{name}", "", source="gguf", publisher="", architecture=files.architecture), quiet
        )
        for name in ("first", "second")
    )
    refresh.apply(second)
    with pytest.raises(BadInputError, match="changed meanwhile"):
        refresh.apply(first)
    assert "local/second" in model_ids()


def test_two_files_of_one_name_are_two_models(home: Path) -> None:
    _, files = new_maker_model()
    for folder in ("x", "y"):
        own = gguf("local/model", "", source="gguf", publisher="", architecture=files.architecture)
        refresh.apply(refresh.add_entry(replace(own, details={"path": f"/{folder}/model.gguf"}), quiet))
    assert len({one for one in model_ids() if one.startswith("local/model")}) == 2


def test_a_withdrawn_model_has_no_files_to_fetch(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))

    class Gone(Told):
        def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
            yield Batch((), "x", gone=tuple(one.entry_id for one in self.entries))

    refresh.apply(refreshed(Gone(*new_maker_model())))
    with open_catalog() as catalog:
        found = catalog.cursor().execute(
            "SELECT DISTINCT availability FROM variants WHERE model_id = ? AND format = 'gguf'", [NEW]
        )
        assert found.fetchall() == [("convert",)]


def test_an_overlay_of_another_version_is_set_aside(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))
    folder = overlay.current()
    assert folder is not None
    path = folder / "sightings.csv"
    rows = [line.split(",", 1)[1] for line in path.read_text().splitlines()]
    path.write_text("\n".join(rows) + "\n")
    with open_catalog() as catalog:
        assert "set aside" in catalog.notes[0]


def test_undoing_before_any_refresh_is_refused(home: Path) -> None:
    with pytest.raises(BadInputError, match="nothing to undo"):
        refresh.undo()


def test_a_refreshed_catalog_that_no_longer_fits_is_set_aside_and_the_shipped_one_is_used(home: Path) -> None:
    refresh.apply(refreshed(Told(*new_maker_model())))
    folder = overlay.current()
    assert folder is not None
    with (folder / "models.csv").open("a") as file:
        file.write("not a row\n")
    with open_catalog() as catalog:
        assert NEW not in {model.model_id for model in catalog.models()}
        assert "set aside" in catalog.notes[0]
    assert model_ids()
    assert overlay.current() is None


def test_only_the_overlay_in_use_and_the_one_before_it_are_kept(home: Path) -> None:
    for _ in range(3):
        refresh.apply(refreshed(Told(*new_maker_model())))
    folders = [path for path in paths.live_dir().iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert saved(folders[0]).entries == 2


def test_a_pointer_that_names_another_place_is_not_followed(home: Path) -> None:
    paths.live_dir().mkdir(parents=True, exist_ok=True)
    (paths.live_dir() / "current").write_text("../../etc")
    assert overlay.current() is None


def test_an_open_catalog_knows_that_a_newer_one_is_in_use(home: Path) -> None:
    with open_catalog() as catalog:
        assert not catalog.replaced
        refresh.apply(refreshed(Told(*new_maker_model())))
        assert catalog.replaced
        assert NEW not in {model.model_id for model in catalog.models()}
