"""Words of a command that a person will paste into a shell: what is odd is refused, the rest is quoted.

Names come from catalogs that others wrote. A repository, tag or alias has a narrow alphabet, so anything outside it
is an attempt or an error and never reaches a command. Paths may have spaces; they are quoted.
"""

from __future__ import annotations

import re
import shlex

from recommender.errors import BadInputError

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_FILE = re.compile(rf"{_PART}(/{_PART})*")
_TAG = re.compile(rf"{_PART}(/{_PART})*(:{_PART})?")
_NAME = re.compile(_PART)


def _checked(kind: str, value: str, allowed: re.Pattern[str]) -> str:
    if not allowed.fullmatch(value) or ".." in value:
        raise BadInputError(
            f"The {kind} {value!r} is not one a command can name: it may have letters, digits, '-', '_' and '.' only. "
            "Correct it in the catalog."
        )
    return value


def repository(value: str) -> str:
    """A Hugging Face repository, "owner/name"."""
    return _checked("repository", value, _REPOSITORY)


def file_name(value: str) -> str:
    """A file inside a repository; folders are allowed, ".." is not."""
    return _checked("file name", value, _FILE)


def tag(value: str) -> str:
    """A registry tag such as "qwen3:0.6b-q4_K_M" or "ai/qwen3:8B-Q4_K_M"."""
    return _checked("tag", value, _TAG)


def name(value: str) -> str:
    """An alias, model name, quantization or cache type."""
    return _checked("name", value, _NAME)


def path(value: str) -> str:
    """A path on this machine, quoted. Control characters are refused, a leading dash cannot become an option."""
    if not value or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise BadInputError(f"The path {value!r} is empty or has control characters: rename the file.")
    return shlex.quote(f"./{value}" if value.startswith("-") else value)


def join(*words: str | int) -> str:
    """Words with spaces between them; empty ones are left out."""
    return " ".join(str(word) for word in words if word != "")


def steps(*commands: str) -> str:
    """Commands of which each starts only when the one before succeeded, a line each."""
    return " &&\n".join(command for command in commands if command)


def quoted(text: str) -> str:
    """A text that is meant to have spaces or signs, such as a line of Python, as one word."""
    return shlex.quote(text)


def powershell(commands: str) -> str:
    """POSIX commands of this module as Windows PowerShell takes them.

    Each line is a command; a failed one does not stop those after it. Variables are set before a command, and a quote
    inside quotes is doubled.
    """
    lines = commands.replace(" &&\n", "\n").replace(" && ", "\n").replace("""'"'"'""", "''").split("\n")
    return "\n".join(_with_variables(line) for line in lines)


_VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(\S+) ")


def _with_variables(line: str) -> str:
    """``A=1 B=2 command &`` → ``$env:A="1"; $env:B="2"; Start-Process command``."""
    found = ""
    while match := _VARIABLE.match(line):
        found += f'$env:{match[1]}="{match[2]}"; '
        line = line[match.end() :]
    if line.endswith(" &"):
        program, _, arguments = line.removesuffix(" &").partition(" ")
        line = f'Start-Process {program} "{arguments}"'
    return found + line.replace("$PWD/", "$PWD\\")
