"""The process of a run whose work a server does. It must end whatever the server sends, or does not send."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from recommender.errors import RecommenderError
from recommender.runner import protocol
from recommender.runner.channel import Channel, open_channel
from recommender.runner.protocol import RunRequest
from recommender.types import GIB

_MOST_MEMORY_BYTES = 4 * GIB  # of address space: an endless line would otherwise fill the machine
MORE_THAN_ASKED = 4  # pieces of text over the tokens asked for: then a server does not keep to the limit
_FEW_WORDS, _MORE_WORDS = 4, 24
_WORDS = ("river", "stone", "paper", "seven", "green", "house", "music", "table", "north", "water")


class Silence:
    """Ends the process when a server sends nothing of use for too long; a client's own time limit counts any byte.

    It watches while it is entered, and starts anew with each ``heard``.
    """

    def __init__(self, channel: Channel, server: str, limit_s: float) -> None:
        self._channel, self._server, self._limit_s = channel, server, limit_s
        self._since: float | None = None
        threading.Thread(target=self._watch, name="silence", daemon=True).start()

    def __enter__(self) -> Silence:
        self.heard()
        return self

    def __exit__(self, *_: object) -> None:
        self._since = None

    def heard(self) -> None:
        self._since = time.monotonic()

    def _watch(self) -> None:
        while (since := self._since) is None or time.monotonic() - since < self._limit_s:
            time.sleep(min(1.0, self._limit_s / 4))
        message = f"{self._server} said nothing of use for {self._limit_s:g} s. Restart it, then try again."
        self._channel.send(protocol.Error("RunError", message))
        os._exit(0)


def run_client(play: Callable[[RunRequest, Channel, Silence], None], server: str) -> None:
    """Be the process of one run: request from stdin, events to stdout."""
    channel = open_channel()
    _limit_memory()
    request = protocol.from_dict(RunRequest, channel.request)
    try:
        play(request, channel, Silence(channel, server, request.longest_silence_s))
    except RecommenderError as error:
        channel.send(protocol.Error(type(error).__name__, str(error)))
    except (MemoryError, RecursionError):
        channel.send(protocol.Error("RunError", f"{server} sent more than can be held. Check its address."))
    channel.close()
    os._exit(0)


def filler(words: int, nonce: str) -> str:
    """A prompt of about that many words, which begins differently each time."""
    return " ".join([nonce, *(_WORDS[number % len(_WORDS)] for number in range(words))])


def words_for(tokens: int, count: Callable[[int], int | None]) -> int:
    """How many words of ``filler`` make a prompt of about so many tokens.

    Servers take texts, not tokens, and tokenizers differ by a factor of five. Two short prompts tell what a word takes
    and what comes on top of the words.

    Args:
        count: sends a prompt of so many words and returns its tokens, ``None`` where the server does not tell.
    """
    few, more = count(_FEW_WORDS), count(_MORE_WORDS)
    if few is None or more is None or more <= few:
        return tokens
    return max(1, _FEW_WORDS + round((tokens - few) * (_MORE_WORDS - _FEW_WORDS) / (more - few)))


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = int(_MOST_MEMORY_BYTES) if most == resource.RLIM_INFINITY else min(int(_MOST_MEMORY_BYTES), most)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
