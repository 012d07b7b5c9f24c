"""Write the table of commands and options into README.md, from the program itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from recommender.cli import parser

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"


def commands() -> str:
    """Every command with its options, as Markdown."""
    actions = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return "\n".join(f"{_heading(name, command)}\n{_options(command)}" for name, command in actions.choices.items())


def _heading(name: str, command: argparse.ArgumentParser) -> str:
    return f"**`recommender {name}`**: {command.description}\n"


def _options(command: argparse.ArgumentParser) -> str:
    shown = [action for action in command._actions if action.dest not in ("help", "json")]
    if not shown:
        return ""
    lines = ["| Option | What it says |", "|---|---|"]
    for action in shown:
        name = "`, `".join(action.option_strings) or " ".join(action.choices or [action.dest])
        lines.append(f"| `{name}` | {action.help or 'what to do'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}{commands()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
