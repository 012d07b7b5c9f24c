"""Model names as they are found in the world, and which catalog model they mean."""

from __future__ import annotations

import math
import re

_SIZE = re.compile(r"(?<![a-z0-9.])[ea]?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_VARIANT_WORDS = frozenset(
    [
        "instruct",
        "chat",
        "it",
        "base",
        "pt",
        "thinking",
        "think",
        "reasoning",
        "sft",
        "dpo",
        "rl",
        "preview",
        "hf",
        "fp8",
        "bf16",
        "vl",
        "vision",
        "preview",
    ]
)


def size_in_name(text: str) -> float:
    """Total parameters as the name gives them ("7B", "350m", "30B-A3B": the first); NaN when it gives none."""
    found = _SIZE.search(text.casefold().replace("_", "-"))
    return float(found[1]) * (1e9 if found[2] == "b" else 1e6) if found else math.nan


def family_key(model_id: str) -> str:
    """What is left of a model's name in front of its size and variant words: "Qwen/Qwen2.5-7B-Instruct" → "qwen2.5"."""
    parts: list[str] = []
    for part in re.split(r"[-_\s]+", model_id.rpartition("/")[2].casefold()):
        if _SIZE.fullmatch(part) or part in _VARIANT_WORDS:
            break
        parts.append(part)
    return "-".join(parts)
