"""Whose computer the server is. Through the local door it is the visitor's own, through the hosted one it is not.

What the page says of "this computer" is true through the local door only.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Literal

from recommender.settings import Settings

Door = Literal["local", "hosted"]

# What a proxy adds: the request then comes from somewhere else, whatever its last address is.
_PROXIED = ("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "fly-client-ip")
_PROXIED_PREFIX = "x-forwarded-"
_LOCAL_NAME = "localhost"


def door(settings: Settings, address: str | None, headers: Iterable[tuple[str, str]]) -> Door:
    """The door of one visitor.

    Args:
        settings: ``door`` is "local" or "hosted" for everyone, or "auto": told by where the request comes from.
        address: the connection's other end; ``None`` for a connection from this computer itself.
        headers: of the request.

    A proxy on this computer connects from it too. It is told apart by what it adds to the request, and by the names
    that the browser asked for and came from. One that hides all of that, to a client that lies about the rest, is not
    told apart: an instance that strangers reach is to be started with "hosted".
    """
    if settings.door != "auto":
        return settings.door
    return "local" if comes_from_here(address, headers) else "hosted"


def comes_from_here(address: str | None, headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a request was made on this computer, by everything that it says of itself."""
    if address is not None and not _loopback(address):
        return False
    for name, value in headers:
        name = name.lower()
        if name in _PROXIED or name.startswith(_PROXIED_PREFIX):
            return False
        if name == "host" and not _of_this_computer(value):
            return False
        if name == "origin" and not _of_this_computer(value.partition("://")[2]):
            return False
    return True


def limited_as(address: str) -> str:
    """Who an address is to a limit: one computer with IPv6 has the 2^64 addresses of its network to choose from."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address) or found.ipv4_mapped:
        return str(getattr(found, "ipv4_mapped", None) or found)
    return str(ip_network((int(found), 128)).supernet(new_prefix=64))


def _of_this_computer(host: str) -> bool:
    """Whether "localhost:8501" or "[::1]:8501" names this computer."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name == _LOCAL_NAME or name.endswith(f".{_LOCAL_NAME}") or _loopback(name)


def _loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
