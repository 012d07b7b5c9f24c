"""Reads JSON from the Hub through its own client's session, and believes nothing of what comes.

The token, the user agent, proxies, the offline switch and the error classes are those of ``huggingface_hub`` 2.4. Its
``list_models`` and ``model_info`` are not used: they follow a next-page link to whatever host it names, token
included, wait as long as a ``Retry-After`` says, read a body of any length, and end a whole listing at one row of a
wrong type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from recommender.catalog.sources.answers import retry_after_s, sit_out, whole_body
from recommender.errors import DownloadError
from recommender.runner import hub_errors
from recommender.runner.hub import endpoint
from recommender.types import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    Params = Mapping[str, str | Sequence[str]]

TIMEOUT_S = 15.0  # without a byte
ANSWER_S = 60.0  # for one whole answer, however steadily it trickles
ANSWER_BYTES = 8 * MIB  # a page of 100 rows with their chat templates is about 1 MiB
TRIES = 3
FIRST_WAIT_S = 1.0  # doubled from try to try
LONGEST_WAIT_S = 310.0  # the Hub counts requests over windows of 5 minutes
_REDIRECTS = 3
_PASSING = (408, 429, 500, 502, 503, 504)
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_REFUSED = (401, 403, 404, 410)


class BadAnswerError(DownloadError):
    """One answer could not be read: cut off, too slow, no JSON, or the Hub failed at it. Others may still be."""


class _CutOffError(BadAnswerError):
    """The answer broke off or never came: another try may bring it."""


@dataclass(frozen=True)
class Answer:
    """What the Hub said. Of 304 and of refusals (401, 403, 404, 410) there is no ``body``."""

    status: int
    body: Any = None
    next_page: str = ""  # a path below the endpoint
    leads_away: bool = False  # the next page is said to be at another host
    etag: str = ""
    error_code: str = ""  # as the Hub names it, such as GatedRepo

    @property
    def gated(self) -> bool:
        return self.error_code == "GatedRepo" or self.status == 403


class HubClient:
    """Asks one Hub, one question at a time.

    Args:
        waiting: called several times a second while a wait is sat out, with what is waited for in a few words; what
            it raises ends the wait.
    """

    def __init__(self, waiting: Callable[[str], None]) -> None:
        self.endpoint = endpoint()
        self._waiting = waiting
        self._time: datetime | None = None

    @property
    def started(self) -> str:
        """The Hub's time at the first answer, an hour early, as ISO 8601: what changes later is newer than this."""
        return ((self._time or datetime.now(UTC)) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def get(self, path: str, params: Params | None = None, etag: str = "") -> Answer:
        """One answer, asked for again where that may help.

        Args:
            path: below the endpoint, with its slash; also a ``next_page`` of an answer before.
            etag: of the answer that is known; an unchanged one comes back as 304.

        Raises:
            BadAnswerError: this answer cannot be had.
            DownloadError: the Hub cannot be reached, or wants nothing more asked now.
        """
        import httpx2

        url = f"{self.endpoint}{path}"
        wait_s = FIRST_WAIT_S
        for attempt in range(1, TRIES + 1):
            last = attempt == TRIES
            try:
                with hub_errors.explained(self._what(url)):
                    response, body = self._send(url, params or {}, etag)
            except _CutOffError:
                if last:
                    raise
                asked_s = None
            except BadAnswerError:
                raise
            except DownloadError as error:
                # Explained already; what it was tells whether another try, or another question, may do better.
                passing = isinstance(error.__cause__, httpx2.NetworkError | httpx2.ConnectTimeout)
                if last or not passing:
                    raise
                asked_s = None
            else:
                if response.status_code not in _PASSING:
                    return self._answer(response, body, url)
                asked_s = _asked_wait_s(response)
                if last or (asked_s is not None and asked_s > LONGEST_WAIT_S):
                    raise self._gave_up(response.status_code, asked_s, url)
            sit_out(wait_s if asked_s is None else asked_s, self._waiting, "the Hub")
            wait_s *= 2
        raise AssertionError("the last try returns or raises")

    def _send(self, url: str, params: Params, etag: str) -> tuple[httpx2.Response, bytes]:
        """The response with its body read, after redirects within the Hub. Of redirects elsewhere: an error."""
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers = build_hf_headers() | ({"If-None-Match": etag} if etag else {})
        session = get_session()
        given: Params | None = params or None  # None leaves a link's own query as it is
        for _ in range(_REDIRECTS + 1):
            request = session.build_request("GET", url, params=given, headers=headers, timeout=TIMEOUT_S)
            with self._unreadable(url):
                response = session.send(request, stream=True, follow_redirects=False)
                try:
                    body = whole_body(
                        response,
                        ANSWER_BYTES,
                        ANSWER_S,
                        BadAnswerError(
                            f"The Hub's answer is larger than {ANSWER_BYTES / MIB:.0f} MiB, so it was not read."
                        ),
                        BadAnswerError(f"The Hub took more than {ANSWER_S:.0f} s for one answer. Try again later."),
                    )
                finally:
                    response.close()
            if response.status_code not in _REDIRECT_CODES:
                return response, body
            url, given = urljoin(str(response.url), response.headers.get("Location", "")), None
            if not self._is_here(url):
                raise BadAnswerError(
                    f"The Hub sends the question for {self._what(str(response.url))} to another host, which is not "
                    "followed. Check HF_ENDPOINT."
                )
        raise BadAnswerError(f"The Hub's answer for {self._what(url)} is redirected without end. Check HF_ENDPOINT.")

    def _answer(self, response: httpx2.Response, body: bytes, url: str) -> Answer:
        if self._time is None:
            self._time = _date_of(response)
        code, status = response.headers.get("X-Error-Code", "")[:64], response.status_code
        if status == 401 and "credentials" in response.headers.get("X-Error-Message", ""):
            raise DownloadError("The Hub does not accept the token that is stored. Log in again with `hf auth login`.")
        if status == 304 or status in _REFUSED:
            return Answer(status, error_code=code)
        if not 200 <= status < 300:
            raise BadAnswerError(f"The Hub answered {status} for {self._what(url)}. Try again in a few minutes.")
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadAnswerError(f"What the Hub sent for {self._what(url)} is no JSON. Try again later.") from error
        link = _next_link(response)
        away = bool(link) and not self._is_here(link)
        return Answer(status, content, self._below(link) if not away else "", away, _etag(response), code)

    def _is_here(self, url: str) -> bool:
        """Whether an address that was sent is on the Hub's own host, and below its address."""
        own, other = urlsplit(self.endpoint), urlsplit(url)
        return (other.scheme, other.netloc) == (own.scheme, own.netloc) and other.path.startswith(f"{own.path}/")

    def _below(self, url: str) -> str:
        """Path and query of an address on the Hub, so that a kept one holds wherever HF_ENDPOINT points later."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(urlsplit(self.endpoint).path)
        return f"{path}?{parts.query}" if parts.query else path

    def _what(self, url: str) -> str:
        name = self._below(url).partition("?")[0].removeprefix("/api/models").strip("/")
        return name[:200] or "the list of models"

    @contextmanager
    def _unreadable(self, url: str) -> Iterator[None]:
        """An answer that came too slowly or was cut off is this question's trouble, not the Hub's."""
        import httpx2

        try:
            yield
        except httpx2.ReadTimeout as error:
            raise _CutOffError(
                f"The Hub was silent for {TIMEOUT_S:.0f} s at {self._what(url)}. Try again in a few minutes."
            ) from error
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.DecodingError) as error:
            raise _CutOffError(
                f"What the Hub sent for {self._what(url)} was cut off or damaged. Try again in a few minutes."
            ) from error

    def _gave_up(self, status: int, asked_s: float | None, url: str) -> DownloadError:
        if status != 429:
            return BadAnswerError(f"The Hub answered {status} for {self._what(url)}. Try again in a few minutes.")
        when = f"in {asked_s:,.0f} s" if asked_s is not None else "in a few minutes"
        return DownloadError(
            f"The Hub takes no more questions now. Try again {when}: it then goes on where it stopped. With a token "
            "(`hf auth login`) more may be asked."
        )


def _next_link(response: httpx2.Response) -> str:
    link = response.links.get("next", {}).get("url", "")
    try:
        return urljoin(str(response.url), link) if link else ""
    except ValueError:  # it is no address
        return ""


def _etag(response: httpx2.Response) -> str:
    etag: str = response.headers.get("ETag", "")
    return etag if len(etag) <= 200 else ""


def _date_of(response: httpx2.Response) -> datetime:
    """When the answer was sent, by the Hub's clock; never later than by ours, so that nothing is passed over."""
    here = datetime.now(UTC)
    try:
        there = parsedate_to_datetime(response.headers.get("Date", ""))
        return min(here, there.astimezone(UTC))
    except (ValueError, TypeError, OverflowError):
        return here


def _asked_wait_s(response: httpx2.Response) -> float | None:
    """How long the Hub asks to wait: its rate limit's reset, else Retry-After in seconds or as a date."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    limit = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    return retry_after_s(response)
