"""One variable moves everything that is the user's; what ships is found in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from recommender import paths


def test_the_variable_moves_every_place_but_the_shipped_facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "elsewhere"))
    for name, place in paths.all_paths().items():
        assert place.is_relative_to(tmp_path) == (name != "catalog_csv"), name


def test_without_the_variable_the_user_s_data_folder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(paths.HOME_VARIABLE)
    assert paths.data_dir().name == "rightsize"
    assert paths.data_dir().is_absolute()


def test_a_home_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.HOME_VARIABLE, "~/models here")
    assert paths.data_dir() == Path.home() / "models here"


def test_asking_for_a_place_creates_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "new"))
    paths.all_paths()
    assert not (tmp_path / "new").exists()


def test_what_ships_is_there() -> None:
    assert (paths.catalog_dir() / "schema.sql").is_file()
    assert paths.bundled("app.py").is_file()


def test_in_a_wheel_what_ships_lies_inside_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inside = tmp_path / "recommender" / "_bundled" / "catalog"
    inside.mkdir(parents=True)
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "recommender" / "paths.py"))
    assert paths.catalog_dir() == inside
    assert paths.bundled("app.py") == tmp_path / "app.py"
