"""Words with marks: where a number comes from, and text from outside made safe for Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

_COLOURS = {
    "measured here": "green",
    "measured on the same hardware": "green",
    "measured in your browser": "green",
    "rehearsed in your browser": "green",
    "estimated": "blue",
    "rough estimate": "orange",
}

# Live sources by their id.
SOURCE_NAMES = {
    "hugging-face": "Hugging Face",
    "azure-ai-foundry": "Azure AI Foundry",
    "foundry-local": "Foundry Local",
    "ollama": "Ollama",
}


def badge(origin: str) -> str:
    """Where a number comes from, as a coloured badge."""
    return f":{_COLOURS.get(origin, 'gray')}-badge[{origin}]"


_ROOT = r"""(?:(?<=[\s'"(])|^)(?:/[^\s/]+/|~/|[A-Za-z]:\\)"""
_REST = r"""[^\s'"(),;]*"""


def without_paths(text: str, folder: Path) -> str:
    """An error's text without paths: of ``folder``, whatever its name holds, and all others that begin at a root."""
    paths = rf"(?:{re.escape(str(folder))}|{_ROOT}){_REST}"
    return re.sub(paths, lambda found: f"a place there{found[0][len(found[0].rstrip('.:')) :]}", text)


def without_address(text: str, address: str) -> str:
    """A text without the addresses of the server that ``address`` names, which may be a private one."""
    place = urlsplit(address).netloc.rpartition("@")[2]
    if not place:
        return text
    return re.sub(rf"https?://(?:[^\s/@]*@)?{re.escape(place)}[^\s'\"(),;]*", "the model server", text)


def plain(text: str) -> str:
    """Text from outside, safe inside Markdown: one line, without markup, and without addresses that would be links.

    Escapes are undone before addresses and icons are looked for, so a word joiner, which nobody sees, parts them.
    """
    one_line = " ".join(text.split("\n"))
    parted = re.sub(r"(?<=:)(?=[a-z/])|(?<=@)|(?<=www)(?=\.)", "\u2060", one_line, flags=re.IGNORECASE)
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+!|~$:" else char for char in parted)
