"""Text columns as few distinct values: what depends on a text is looked up once per value, not once per row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recommender.types import Floats, Kinds


def look_up(kinds: Kinds, number: Callable[[str], float]) -> Floats:
    """``number`` of each row's text, shape (n,)."""
    names, index = kinds
    return np.array([number(name) for name in names], dtype=np.float64)[index]


def among(kinds: Kinds, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which rows (n,) have one of these texts."""
    names, index = kinds
    return np.array([name in wanted for name in names], dtype=np.bool_)[index]


def known_or_zero(values: Floats) -> Floats:
    """The same numbers (n,) with 0 where nothing is known; several times as fast as ``np.nan_to_num``."""
    return np.where(np.isnan(values), 0.0, values)
