"""What a click on Try it hands from one page to the next."""

from __future__ import annotations

from dataclasses import dataclass

from recommender.types import Pick


@dataclass(frozen=True)
class Wanted:
    """A pick to run. ``at_once``: it was chosen for this computer, its size and licence were on the button."""

    pick: Pick
    at_once: bool
