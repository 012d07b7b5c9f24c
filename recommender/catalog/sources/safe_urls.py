"""Which addresses may be asked for a file, and reading parts of one by HTTP ranges without going anywhere else.

Addresses of files come from people and redirects from servers. Only https is followed, only to the Hub, to where it
keeps its files and to the configured endpoint, and never to a private or local address; the endpoint that
``HF_ENDPOINT`` names is believed, since whoever started this program set it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from recommender.errors import BadInputError, DownloadError

if TYPE_CHECKING:
    import httpx2

# The Hub, and the hosts that its redirects lead to.
HUB_HOSTS = ("huggingface.co", "hf.co")
_TIMEOUT_S = 15.0
_REDIRECTS = 5
_DEADLINE_S = 120.0  # for one part, however slowly it comes
_LONGEST = 4096  # signed addresses of the file storage have about 1,000 characters
_PART = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")
_REFUSED = {
    401: "needs a login: run `hf auth login` (or set HF_TOKEN)",
    403: "is gated: accept its licence on its page, then run `hf auth login`",
    404: "does not exist (any more)",
    416: "is shorter than it was said to be",
    429: "was asked for too often; try again in a few minutes",
}


def check_url(url: str) -> str:
    """The address itself, where it may be asked.

    Raises:
        BadInputError: it is not https, holds a password, or leads to a host that is not allowed.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip(".").lower(), parts.port
        host.encode("idna")
    except ValueError:  # UnicodeError is one
        raise BadInputError(f"{url[:100]!r} is no address. Check it.") from None
    if not url.isprintable() or len(url) > _LONGEST:
        raise BadInputError(f"{url[:100]!r} is no address. Check it.")
    if (parts.scheme, host, port) == _endpoint():
        return url
    if parts.scheme != "https" or not host:
        raise BadInputError(f"{url[:100]!r} is not an https address. Give one that begins with https://.")
    if parts.username or parts.password:
        raise BadInputError("The address holds a name or a password. Give it without; tokens are read from HF_TOKEN.")
    if port not in (None, 443) or not any(host == hub or host.endswith(f".{hub}") for hub in HUB_HOSTS):
        raise BadInputError(
            f"{host} is not a place that files are read from. Give an address at {HUB_HOSTS[0]}, or download the file."
        )
    _check_public(host)
    return url


def is_hub(url: str) -> bool:
    """Whether a token of the Hub may be sent there: the Hub itself or the configured endpoint, not its file storage."""
    parts = urlsplit(url)
    return (parts.scheme, parts.hostname, parts.port) == _endpoint() or (
        parts.scheme == "https" and parts.hostname in HUB_HOSTS
    )


def _endpoint() -> tuple[str, str | None, int | None] | None:
    told = os.environ.get("HF_ENDPOINT", "")
    parts = urlsplit(told)
    return (parts.scheme, parts.hostname, parts.port) if parts.hostname else None


def _check_public(host: str) -> None:
    """Refuse a name that leads into a private network, whatever it is called."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)}
    except OSError:
        return  # behind a proxy names are not resolved here; elsewhere the request itself will fail
    private = [one for one in found if not ipaddress.ip_address(one.partition("%")[0]).is_global]
    if private:
        raise BadInputError(f"{host} leads to {private[0]}, which is not a public address.")


class RangeReader:
    """Parts of one file by range requests, at most ``limit_bytes`` in all. The file must not change meanwhile."""

    def __init__(self, url: str, client: httpx2.Client, limit_bytes: int) -> None:
        self._url, self._client, self._left = check_url(url), client, limit_bytes
        self._name = urlsplit(url).path.rsplit("/", 1)[-1] or url
        self._etag = ""
        self.file_bytes: int | None = None  # known after the first read
        self.transferred_bytes = 0

    def read(self, start: int, count: int) -> bytes:
        """``count`` bytes from ``start``.

        Raises:
            BadInputError: a redirect leads to where nothing may be read.
            DownloadError: refused, cut off, changed meanwhile, or more than may be read.
        """
        import httpx2

        if count > self._left:
            raise DownloadError(f"{self._name} would take more than may be read of it.")
        url = self._url
        try:
            for _ in range(_REDIRECTS):
                with self._client.stream(
                    "GET", url, headers=self._headers(url, start, count), follow_redirects=False, timeout=_TIMEOUT_S
                ) as response:
                    if response.is_redirect:
                        url = _next(url, response.headers.get("location", ""))
                        continue
                    return self._body(response, start, count)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadError(f"{self._name} could not be read: {type(error).__name__}. Try again.") from error
        raise DownloadError(f"{self._name} is redirected more than {_REDIRECTS} times.")

    def _headers(self, url: str, start: int, count: int) -> dict[str, str]:
        headers = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        if is_hub(url):
            from huggingface_hub import get_token

            if token := get_token():
                headers["Authorization"] = f"Bearer {token}"
        return headers

    def _body(self, response: httpx2.Response, start: int, count: int) -> bytes:
        status = response.status_code
        if status in _REFUSED:
            raise DownloadError(f"{self._name} {_REFUSED[status]}.")
        if status != 206 and not (status == 200 and start == 0):
            raise DownloadError(f"{self._name}: the server answered {status} instead of the part that was asked for.")
        self._check_same(response, start)
        data = bytearray()
        deadline = time.monotonic() + _DEADLINE_S
        for piece in response.iter_raw():
            data += piece
            if len(data) >= count:
                break
            if time.monotonic() > deadline:
                raise DownloadError(f"{self._name} comes too slowly to be read. Try again later.")
        self._left -= min(len(data), count)
        self.transferred_bytes += min(len(data), count)
        if len(data) < count and (self.file_bytes is None or start + len(data) < self.file_bytes):
            raise DownloadError(f"{self._name} was cut off after {len(data)} of {count} bytes. Try again.")
        return bytes(data[:count])

    def _check_same(self, response: httpx2.Response, start: int) -> None:
        """Refuse another part than the one asked for, and a part of another version of the file."""
        etag, file_bytes = response.headers.get("etag", ""), self.file_bytes
        if response.status_code == 206:
            part = _PART.fullmatch(response.headers.get("content-range", ""))
            if not part or int(part[1]) != start:
                raise DownloadError(f"{self._name}: the server sent another part than the one asked for. Try again.")
            file_bytes = int(part[2])
        elif (length := response.headers.get("content-length", "")).isdecimal():
            file_bytes = int(length)
        if (self._etag and etag and etag != self._etag) or (self.file_bytes not in (None, file_bytes)):
            raise DownloadError(f"{self._name} was changed while it was read. Try again.")
        self._etag, self.file_bytes = etag or self._etag, file_bytes


def _next(url: str, location: str) -> str:
    """Where a redirect leads, where that may be asked."""
    try:
        return check_url(urljoin(url, location))
    except ValueError as error:  # BadInputError is one
        raise (
            error if isinstance(error, BadInputError) else BadInputError(f"{location[:100]!r} is no address.")
        ) from None
