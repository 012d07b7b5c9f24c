"""Who makes GGUF files with an importance matrix: it changes a few rules of the mixes, so the bytes too."""

from __future__ import annotations

import csv
from functools import cache

from recommender.paths import catalog_dir

__all__ = ["made_with_imatrix"]


def made_with_imatrix(repo: str) -> bool:
    """Whether the files of ``repo`` ("owner/name") were quantized with an importance matrix.

    The longest prefix in ``catalog/quantizers.csv`` decides, which was read off file sizes; where none fits it is
    taken that they were, as the most used makers do.
    """
    fitting = [prefix for prefix in _prefixes() if f"{repo}/".startswith(prefix)]
    return _prefixes()[max(fitting, key=len)] if fitting else True


@cache
def _prefixes() -> dict[str, bool]:
    with open(catalog_dir() / "quantizers.csv", newline="", encoding="utf-8") as file:
        return {row["repo_prefix"]: row["imatrix"] == "yes" for row in csv.DictReader(file)}
