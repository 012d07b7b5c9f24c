"""What a name claims of a model: its sizes, its active size and its context length.

``estimate/names.py`` takes names apart to find which model is meant; here every figure in a name counts, also those
that it may leave aside: "21BA3B", "8x7B", effective sizes such as "E2B", and context lengths such as "128k".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["NamedFigures", "NamedSize", "named_figures"]

# Not preceded by a letter or a digit ("b1.58", "r7b"), not followed by one ("4bit", "10BT").
_FIGURE = re.compile(
    r"(?<![a-z0-9.])(?:(?P<experts>\d{1,3})x)?(?P<effective>e)?(?P<size>\d{1,4}(?:\.\d{1,3})?)(?P<unit>[bm])"
    r"(?:[-_ ]?a(?P<active>\d{1,4}(?:\.\d{1,3})?)(?P<active_unit>[bm]))?(?![a-z0-9])(?![-_ ]?tok)"
)
_CONTEXT = re.compile(r"(?<![a-z0-9.])(\d{1,4})k(?![a-z0-9])")
# "1_6b" is 1.6 billion; in "v2_45b" and "some_3_4b" the underscore only separates.
_WRITTEN_POINT = re.compile(r"(?<![a-z0-9._])(\d)_(\d{1,2}[bm](?![a-z0-9]))")
_UNITS = {"b": 1e9, "m": 1e6}
_SMALLEST_M = 10  # "1M" beside a size in billions is a context length


@dataclass(frozen=True)
class NamedSize:
    """Parameters as a name has them, and half a unit of their last digit."""

    params: float
    rounding: float


@dataclass(frozen=True)
class NamedFigures:
    """Every figure of a name; a name of a mixture may have its two sizes in either order.

    Attributes:
        sizes: total parameters; several where the name has several.
        active: parameters read per token ("A3B").
        experts: how often the size is there ("8x7B": 8); 1 where the name does not say.
        effective: the size is what must be in fast memory, not what there is ("E2B").
        context_tokens: in thousands of 1000 tokens as written ("128k"), or a million ("1M").
    """

    sizes: tuple[NamedSize, ...] = ()
    active: NamedSize | None = None
    experts: int = 1
    effective: bool = False
    context_tokens: int | None = None

    def ratio(self, params: float) -> float:
        """``params`` against the named size nearest to it; 1 where its rounding covers them, or nothing is named."""
        ratios = [1.0]
        if self.sizes:
            ratios = [_ratio(size, params) for size in self.sizes]
        if self.experts > 1 and self.sizes and self.sizes[0].params <= params <= self.experts * self.sizes[0].params:
            return 1.0
        if self.effective and params > self.sizes[0].params:
            return 1.0 if params <= 4 * self.sizes[0].params else params / self.sizes[0].params
        return min(ratios, key=lambda ratio: max(ratio, 1 / ratio))

    def active_ratio(self, params: float) -> float:
        """``params`` against the named active size; 1 where its rounding covers them, or none is named."""
        return _ratio(self.active, params) if self.active else 1.0

    @property
    def text(self) -> str:
        """The sizes as a person writes them: "7B", "1B or 7B"."""
        return " or ".join(size_text(size.params) for size in self.sizes)


def named_figures(name: str) -> NamedFigures:
    """The figures of a model's, a repository's or a file's name; letter case does not matter, a maker is left out.

    >>> named_figures("maker/Some-30B-A3B-Instruct").text
    '30B'
    """
    text = _WRITTEN_POINT.sub(r"\1.\2", name.rpartition("/")[2].lower())
    found = list(_FIGURE.finditer(text))
    in_billions = any(one["unit"] == "b" for one in found)
    sizes, active, experts, effective = [], None, 1, False
    contexts = [1000 * int(one) for one in _CONTEXT.findall(text)]
    for one in found:
        if one["unit"] == "m" and in_billions and float(one["size"]) < _SMALLEST_M:
            contexts.append(int(float(one["size"]) * 1e6))
            continue
        sizes.append(_size(one["size"], one["unit"]))
        effective |= one["effective"] is not None
        experts = int(one["experts"] or experts)
        if one["active"]:
            active = _size(one["active"], one["active_unit"])
    # "A3B" may stand apart from the size.
    if active is None and (apart := re.search(r"(?<![a-z0-9.])a(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])", text)):
        active = _size(apart[1], apart[2])
    return NamedFigures(
        tuple(size for size in sizes if size.params > 0),
        active if active and active.params > 0 else None,
        max(experts, 1),
        effective,
        max(contexts, default=0) or None,
    )


def size_text(params: float) -> str:
    """Parameters in billions or millions: "7B", "1.7B", "350M"."""
    return f"{params / 1e9:.3g}B" if params >= 1e9 else f"{params / 1e6:.3g}M"


def _size(digits: str, unit: str) -> NamedSize:
    decimals = len(digits.partition(".")[2])
    return NamedSize(float(digits) * _UNITS[unit], 0.5 * 10**-decimals * _UNITS[unit])


def _ratio(size: NamedSize, params: float) -> float:
    return 1.0 if abs(params - size.params) <= size.rounding else params / size.params
