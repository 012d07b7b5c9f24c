"""Who makes GGUF files with an importance matrix: it changes a few rules of the mixes, so the bytes too."""

from __future__ import annotations

import csv
from functools import cache

from recommender.paths import catalog_dir

__all__ = ["made_with_imatrix"]


def made_with_imatrix(repo: str) -> bool:
    """Whether the owner of ``repo`` ("owner/name") quantizes with an importance matrix.

    From ``catalog/quantizers.csv``, which was read off file sizes; an owner that is not there is taken to, as the
    most used ones do.
    """
    return _owners().get(repo.partition("/")[0], True)


@cache
def _owners() -> dict[str, bool]:
    with open(catalog_dir() / "quantizers.csv", newline="", encoding="utf-8") as file:
        return {row["owner"]: row["imatrix"] == "yes" for row in csv.DictReader(file)}
