from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from recommender.cli import parser
from recommender.errors import BadInputError
from recommender.paths import HOME_VARIABLE
from recommender.settings import FILE_VARIABLE, PREFIX, Settings, community, load, option, use

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr("recommender.settings._IN_FORCE", [])
    for one in fields(Settings):
        monkeypatch.delenv(PREFIX + one.name.upper(), raising=False)
    return tmp_path


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().port == Settings().port
    (tmp_path / "other.toml").write_text("port = 1001\nhost = '::1'\n")
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "other.toml"))
    assert (load().port, load().host) == (1001, "::1")
    monkeypatch.setenv("RIGHTSIZE_PORT", "1002")
    assert (load().port, load().host) == (1002, "::1")
    assert load({"port": 1003, "host": None}).port == 1003
    assert load({"port": 1003, "host": None}).host == "::1"


@pytest.mark.parametrize("name", [one.name for one in fields(Settings)])
def test_every_setting_is_an_option_a_variable_and_a_line_of_the_readme(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_values = {"door": "hosted", "community": "folder:/shared"}
    value = (
        given_values.get(name) or {str: "other", bool: False, int: 1234, float: 2.5}[type(getattr(Settings(), name))]
    )
    monkeypatch.setenv(PREFIX + name.upper(), str(value))
    assert getattr(load(), name) == value
    assert f"`{PREFIX}{name.upper()}`" in README
    given = [f"--no-{option(name)}"] if value is False else [f"--{option(name)}", str(value)]
    assert getattr(parser().parse_args(["serve", *given]), name) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = 'many'", "port cannot be 'many'"),
        ("port = 0", "port cannot be 0"),
        ("port = 65536", "less than or equal to 65535"),
        ("door = 'back'", "'local' or 'hosted'"),
        ("prot = 1", "no setting called 'prot'. Did you mean port"),
        ("port =", "cannot be read"),
        ("api_per_minute = 0", "greater than or equal to 1"),
    ],
)
def test_a_file_that_makes_no_sense_is_a_sentence(home: Path, text: str, words: str) -> None:
    (home / "settings.toml").write_text(text)
    with pytest.raises(BadInputError, match=words):
        load()


def test_a_file_that_was_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(BadInputError, match="There is no settings file"):
        load()


PASSWORD = "hunter2-word"
ADDRESS = f"postgresql://me:{PASSWORD}@127.0.0.1:9/db"


def test_a_secret_setting_is_printed_by_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", ADDRESS)
    assert load().community == community() == ADDRESS
    assert PASSWORD not in repr(load())
    monkeypatch.delenv("RIGHTSIZE_COMMUNITY")
    for text in (f"community = ['{ADDRESS}']", f"community = {{ at = '{ADDRESS}' }}", f"community = {ADDRESS}"):
        (home / "settings.toml").write_text(text)
        with pytest.raises(BadInputError) as raised:
            load()
        assert PASSWORD not in str(raised.value)
        assert raised.value.__cause__ is None or PASSWORD not in str(raised.value.__cause__)


@pytest.mark.parametrize("address", [ADDRESS, f"postgresql://h/db?password={PASSWORD}&x=1"])
def test_a_password_on_the_command_line_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(BadInputError, match="Set RIGHTSIZE_COMMUNITY") as raised:
        load({"community": address})
    assert PASSWORD not in str(raised.value)
    assert load({"community": "postgresql://me@h/db"}).community == "postgresql://me@h/db"


def test_the_place_to_share_is_known_without_the_other_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert community() == ""
    (home / "settings.toml").write_text("community = 'local'\nport = 'many'\n")
    assert community() == "local"
    monkeypatch.setenv("RIGHTSIZE_COMMUNITY", "")
    assert community() == ""
    use(Settings(community="folder:/shared"))
    assert community() == "folder:/shared"
