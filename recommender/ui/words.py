"""Words with marks: where a number comes from, and text from outside made safe for Markdown."""

from __future__ import annotations

_COLOURS = {
    "measured here": "green",
    "measured on the same hardware": "green",
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


def plain(text: str) -> str:
    """Text from outside, safe inside Markdown."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+!|~$:" else char for char in text)
