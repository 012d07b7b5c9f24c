"""Azure's catalogs, asked without an account, page by page; nothing of what comes is believed.

There are two of them. The one of all models takes the request that
learn.microsoft.com/azure/foundry-local/reference/reference-catalog-api describes; Foundry Local's own is asked as its
engine does in foundry-local-sdk 2.2.1. Both want this user agent, and no Authorization.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recommender.catalog.sources.answers import retry_after_s, sit_out, whole_body
from recommender.catalog.sources.base import Batch, Entry, OnProgress, Progress, Source
from recommender.catalog.sources.foundry_assets import Asset
from recommender.catalog.sources.untrusted import count, mapping
from recommender.errors import DownloadError
from recommender.types import MIB

if TYPE_CHECKING:
    import httpx2

ALL_MODELS = "https://ai.azure.com/api/eastus/ux/v1.0/entities/crossRegion"
FOUNDRY_LOCAL = "https://api.catalog.azureml.ms/asset-gallery/v1.0/models"

TIMEOUT_S = 20.0  # without a byte
ANSWER_S = 90.0  # for one whole answer, however steadily it trickles
ANSWER_BYTES = 16 * MIB
PAGES = 200  # of one round
TRIES = 3
FIRST_WAIT_S = 1.0  # doubled from try to try
LONGEST_WAIT_S = 120.0
_PAGE_ROWS = 50  # as Foundry Local's engine asks
_LONGEST_TOKEN = 8192  # characters
_PASSING = (408, 429, 500, 502, 503, 504)
_HEADERS = {"User-Agent": "AzureAiStudio", "x-ms-use-full-service-contracts": "true"}
# What was interrupted or left out in one of these is not told by an error's status.
_SKIPPED = ("regionalErrors", "resourceSkipReasons", "shardErrors", "numberOfResourcesNotIncludedInSearch")


def equals(field: str, *values: str) -> dict[str, Any]:
    """A filter of a request."""
    return {"field": field, "operator": "eq", "values": list(values)}


@dataclass(frozen=True)
class Place:
    """How far a round has come. As text it is a batch's cursor."""

    token: str = ""
    skip: int | None = None
    pages: int = 0
    rows: int = 0
    total: int | None = None  # rows of the whole round, where the catalog says
    whole: bool = True  # no page of the round said that something was left out

    @staticmethod
    def of(cursor: str) -> Place:
        """The start where the cursor is none of ours."""
        try:
            said = mapping(json.loads(cursor or "{}"))
        except (ValueError, RecursionError):
            return Place()
        token = said.get("token")
        if not isinstance(token, str) or len(token) > _LONGEST_TOKEN:
            return Place()
        skip, pages, rows, total = (count(said.get(name)) for name in ("skip", "pages", "rows", "total"))
        return Place(token, skip, pages or 0, rows or 0, total, said.get("whole") is True)

    @property
    def text(self) -> str:
        """ "" at the start of a round."""
        return json.dumps(vars(self)) if self.token or self.skip else ""


@dataclass(frozen=True)
class Page:
    rows: tuple[Mapping[str, Any], ...]
    following: Place | None  # None after the last one
    place: Place  # with this page counted

    @property
    def complete(self) -> bool:
        """Whether this page ends a round in which everything the catalog has was given."""
        place = self.place
        return self.following is None and place.whole and place.rows > 0 and place.rows >= (place.total or 0)


class FoundryCatalog:
    """One of the two catalogs.

    Args:
        address: of the catalog; by https, except on loopback.
        name: as people call it, for errors.
        waiting: called several times a second while a wait is sat out, with what is waited for in a few words; what
            it raises ends the wait.
    """

    def __init__(self, address: str, name: str, waiting: Callable[[str], None]) -> None:
        self._address, self._name, self._waiting = address, name, waiting

    def pages(
        self, cursor: str, filters: Sequence[Mapping[str, Any]], registries: Sequence[str] = ()
    ) -> Iterator[Page]:
        """Every page from a cursor on.

        Args:
            cursor: ``Place.text`` of what follows the last page that was kept.
            registries: to search; without any it is Foundry Local's form of the request, which names none.

        Raises:
            DownloadError: the catalog cannot be reached, refuses, or sends what cannot be read.
        """
        import httpx2

        place: Place | None = Place.of(cursor)
        resumed = bool(place and place.text)
        with httpx2.Client(headers=_HEADERS, timeout=TIMEOUT_S, follow_redirects=False) as client:
            while place is not None:
                answer = self._ask(client, _request(place, filters, registries), resumed)
                if answer is None:
                    place, resumed = Place(), False
                    continue
                page = self._page(place, answer)
                resumed = False
                yield page
                place = page.following

    def _page(self, place: Place, answer: Mapping[str, Any]) -> Page:
        listed = mapping(answer.get("indexEntitiesResponse")) or answer
        rows = listed.get("value", listed.get("summaries"))
        if not isinstance(rows, list):
            raise self._failed("answered in a form that is not known. Update this program, or try again later.")
        token, skip = listed.get("continuationToken"), count(listed.get("nextSkip"))
        done = replace(
            place,
            pages=place.pages + 1,
            rows=place.rows + len(rows),
            total=count(listed.get("totalCount")) or place.total,
            whole=place.whole and not any(answer.get(name) for name in _SKIPPED),
        )
        following: Place | None = None
        if token or skip:
            if token and (not isinstance(token, str) or len(token) > _LONGEST_TOKEN):
                raise self._failed("did not say how to go on after a page. Try again later.")
            following = replace(done, token=token or "", skip=skip)
            if (following.token, following.skip) == (place.token, place.skip) or done.pages >= PAGES:
                raise self._failed(f"gave {done.pages} pages without an end. Try again later.")
        return Page(tuple(row for row in rows if isinstance(row, dict)), following, done)

    def _ask(self, client: httpx2.Client, body: Mapping[str, Any], resumed: bool) -> Mapping[str, Any] | None:
        """The answer to one request; None where a place of an earlier round is no longer known."""
        import httpx2

        wait_s = FIRST_WAIT_S
        for attempt in range(1, TRIES + 1):
            last, asked_s = attempt == TRIES, None
            try:
                with client.stream("POST", self._address, json=body) as response:
                    status = response.status_code
                    if status in _PASSING:
                        asked_s = retry_after_s(response)
                    else:
                        return self._answer(response, resumed)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if last:
                    raise self._failed("cannot be reached. Check the network, then try again.") from error
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                if last:
                    raise self._failed("broke off its answer. Try again in a few minutes.") from error
            except httpx2.HTTPError as error:
                raise self._failed("cannot be asked. Check the network and its proxy, then try again.") from error
            else:
                if last or (asked_s is not None and asked_s > LONGEST_WAIT_S):
                    when = f"in {asked_s:,.0f} s" if asked_s is not None else "in a few minutes"
                    raise self._failed(f"answered {status}. Try again {when}: it then goes on where it stopped.")
            sit_out(wait_s if asked_s is None else asked_s, self._waiting, self._name)
            wait_s *= 2
        raise AssertionError("the last try returns or raises")

    def _answer(self, response: httpx2.Response, resumed: bool) -> Mapping[str, Any] | None:
        status = response.status_code
        if resumed and status in (400, 404, 410):
            return None
        if 300 <= status < 400:
            raise self._failed("sends the question to another address, which is not followed. Try again later.")
        if not 200 <= status < 300:
            raise self._failed(f"answered {status}. Try again later, or update this program.")
        try:
            body = whole_body(
                response,
                ANSWER_BYTES,
                ANSWER_S,
                self._failed(f"sent more than {ANSWER_BYTES / MIB:.0f} MiB for one page. Try again later."),
                self._failed(f"took more than {ANSWER_S:.0f} s for one page. Try again later."),
            )
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._failed("sent what is no JSON. Try again later.") from error
        return mapping(answer)

    def _failed(self, what: str) -> DownloadError:
        return DownloadError(f"The catalog of {self._name} {what}")


def batches(
    address: str,
    source: Source,
    cursor: str,
    progress: OnProgress,
    entry_of: Callable[[Asset], Entry | None],
    filters: Sequence[Mapping[str, Any]],
    registries: Sequence[str] = (),
) -> Iterator[Batch]:
    """A catalog's pages from a cursor on, as a source's batches; see :meth:`FoundryCatalog.pages`."""
    done = 0
    catalog = FoundryCatalog(address, source.name, lambda what: progress(Progress(source.id, what, done)))
    progress(Progress(source.id, "the first page", 0))
    for page in catalog.pages(cursor, filters, registries):
        done = page.place.rows
        found = [entry for row in page.rows if (entry := entry_of(Asset(row)))]
        progress(Progress(source.id, f"page {page.place.pages}", done, page.place.total))
        yield Batch(tuple(found), page.following.text if page.following else "", complete=page.complete)


def _request(place: Place, filters: Sequence[Mapping[str, Any]], registries: Sequence[str]) -> dict[str, Any]:
    search: dict[str, Any] = {"filters": list(filters), "pageSize": _PAGE_ROWS}
    if place.token:
        search["continuationToken"] = place.token
    if not registries:
        return search
    if place.skip:
        search["skip"] = place.skip
    search["includeTotalResultCount"] = not place.text
    resources = [{"resourceId": name, "entityContainerType": "Registry"} for name in registries]
    return {"resourceIds": resources, "indexEntitiesRequest": search}
