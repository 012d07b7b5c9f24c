"""Write the table of commands and options into README.md, from the program itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from recommender.cli import parser

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"


def commands() -> str:
    """Every command with its options, as Markdown."""
    lines = ["| Command | Options |", "|---|---|"]
    actions = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in actions.choices.items():
        options = []
        for action in command._actions:
            if action.dest in ("help", "json"):
                continue
            flag = (
                action.option_strings[0] if action.option_strings else f"`{'|'.join(action.choices or [action.dest])}`"
            )
            options.append(f"`{flag}`: {action.help}" if action.option_strings else flag)
        lines.append(
            f"| `recommender {name}`: {command.description} | {'<br>'.join(options).replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}{commands()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
