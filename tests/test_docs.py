"""The README says everything that can be asked: each command, option, page and setting."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from recommender import paths
from recommender.cli import parser

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _commands() -> dict[str, argparse.ArgumentParser]:
    action = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def _options() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name, command in _commands().items()
        for action in command._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    ]


def _mentioned(text: str, option: str) -> bool:
    """The option itself, not a longer one that begins with it."""
    return re.search(re.escape(option) + r"(?![\w-])", text) is not None


@pytest.mark.parametrize("command", sorted(_commands()))
def test_the_readme_names_every_command(readme: str, command: str) -> None:
    assert _mentioned(readme, f"recommender {command}")


@pytest.mark.parametrize("option", sorted({option for _, option in _options()}))
def test_the_readme_names_every_option(readme: str, option: str) -> None:
    users = sorted({command for command, name in _options() if name == option})
    assert _mentioned(readme, option), f"{option} of {', '.join(users)} is not in README.md"


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "recommender" / "ui" / "pages").glob("*.py")))
def test_the_readme_names_every_page(readme: str, page: str) -> None:
    if page != "__init__":
        title = page.replace("_", " ").capitalize()
        assert re.search(rf"\b{re.escape(title.split()[0])}\b", readme), f"the page {title} is not in README.md"


def test_the_readme_names_every_environment_variable(readme: str) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "recommender").rglob("*.py")]
    variables = {paths.HOME_VARIABLE} | {
        name for text in sources for name in re.findall(r'"(RIGHTSIZE_[A-Z_]+)"', text)
    }
    assert not [name for name in sorted(variables) if name not in readme]


def test_every_option_has_a_help_text() -> None:
    bare = [
        f"{name} {'/'.join(action.option_strings) or action.dest}"
        for name, command in _commands().items()
        for action in command._actions
        if not action.help and action.dest != "action"
    ]
    assert not bare
