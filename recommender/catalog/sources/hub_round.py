"""A round of questions to the Hub: which lists are asked for, and how far a round has come.

A first round asks each publisher for what changed last and for what is fetched most; later ones only for what changed
since. The repositories that everybody fetches most are asked for in every round, whoever publishes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from recommender.types import TIER_BOUNDS

LARGEST_PARAMS = TIER_BOUNDS[-1][1]
PAGE_ROWS = 100
CHECKS = "checks"  # in place of a list's id: repositories that are kept are looked at again
_DONE = "done"
_PUBLISHER_ROWS = 100  # of one that is new; few have more that anybody fetches
_CHANGED_ROWS = 300  # since the last round; some publish hundreds a week
_BAND_ROWS = 200
_UNREAD = 500
_HEADERS = 10_000
_LISTED = ("author", "cardData", "createdAt", "disabled", "downloads", "gated", "gguf", "lastModified", "pipeline_tag",
           "private", "sha", "tags")  # fmt: skip


@dataclass(frozen=True)
class Query:
    """One list to be asked for."""

    id: str
    of: str  # the publisher, or the band of parameters
    params: dict[str, str | list[str]]
    most: int  # rows that are read
    since: str = ""  # the list is sorted by change, and ends at this moment; "" = nowhere


@dataclass
class Round:
    """How far a round has come; as text it is the source's cursor."""

    since: str = ""  # what changed before was read by an earlier round; "" in the first
    started: str = ""  # the next round's ``since``
    query: str = ""  # the list that is being read, CHECKS, or done
    page: str = ""  # of it; "" is the first
    rows: int = 0  # of it, before this page
    asked: list[str] = field(default_factory=list)  # publishers that an earlier round has read
    etags: dict[str, str] = field(default_factory=dict)  # of first pages, by list
    headers: dict[str, str] = field(default_factory=dict)  # model → the repository whose file told its architecture
    unread: list[str] = field(default_factory=list)  # could not be read, to be tried again in the next round
    failed: list[str] = field(default_factory=list)  # publishers whose list could not be read to its end
    checked: str = ""  # the last one that was looked at again

    @staticmethod
    def of(cursor: str) -> Round:
        """The round that a cursor stands in; after a finished one, the next."""
        try:
            kept = Round(**json.loads(cursor)) if cursor else Round()
        except (ValueError, TypeError):  # of another version of this program
            return Round()
        if kept.query == _DONE:
            kept.query = ""
        return kept

    def text(self) -> str:
        del self.unread[:-_UNREAD]
        for model in list(self.headers)[:-_HEADERS]:
            del self.headers[model]
        return json.dumps(asdict(self))

    def go_to(self, query: str, page: str = "", rows: int = 0) -> None:
        self.query, self.page, self.rows = query, page, rows

    def finish(self, publishers: Iterable[str]) -> None:
        self.go_to(_DONE)
        self.since, self.started = self.started, ""
        self.asked, self.failed = sorted(set(publishers) - set(self.failed)), []


def queries(publishers: Iterable[str], kept: Round) -> list[Query]:
    """The lists of a round, in order."""
    made = []
    for publisher in sorted(publishers):
        new = publisher not in kept.asked
        since = "" if new else kept.since
        most = _CHANGED_ROWS if since else _PUBLISHER_ROWS
        made.append(_query("changed", publisher, most, since, author=publisher, sort="lastModified"))
        if new:
            made.append(_query("fetched", publisher, _PUBLISHER_ROWS, author=publisher, sort="downloads"))
    bands = [
        replace(_query("fetched", band, _BAND_ROWS, num_parameters=band, sort="downloads"), of=f"models of {words}")
        for band, words in _bands()
    ]
    return made + bands


def _query(kind: str, of: str, most: int, since: str = "", **params: str) -> Query:
    wanted: dict[str, str | list[str]] = {"filter": "gguf", "limit": str(PAGE_ROWS), "expand": list(_LISTED)}
    return Query(f"{kind}:{of}", of, {**wanted, **params}, most, since)


def _bands() -> list[tuple[str, str]]:
    """The tiers as the Hub's filter takes them, and in words: in whole billions, so that bands overlap where a bound
    is none."""
    bands, low = [], 0.0
    for _, bound in TIER_BOUNDS:
        least, most = math.floor(low / 1e9), math.ceil(bound / 1e9)
        bands.append(
            (f"min:{least}B,max:{most}B", f"{least} to {most} billion parameters")
            if low
            else (f"max:{most}B", f"up to {most} billion parameters")
        )
        low = bound
    return bands
