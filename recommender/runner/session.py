"""What a binding of llama.cpp must do for us. One module per binding implements it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from recommender.runner.protocol import Question
from recommender.types import Settings

ALL_LAYERS = 9_999  # what llama.cpp gets for "as many as there are"


@dataclass(frozen=True)
class Timing:
    """One prompt and its continuation, as the runtime counted and timed them.

    ``gen_tokens`` are decode steps: the first token comes out of the prompt's own pass and is not among them.
    """

    prompt_tokens: int
    prompt_s: float
    gen_tokens: int
    gen_s: float
    ttft_s: float  # wall clock, first token included


OnText = Callable[[str, bool], bool]
"""Called with each piece of text and whether it is thinking; False ends the answer."""


@dataclass(frozen=True)
class Answer:
    prompt_tokens: int
    answer_tokens: int
    ttft_s: float
    decode_tokens_per_s: float
    finish: str
    template: str


class Session(Protocol):
    """A loaded model. It lives as long as its process; nothing is ever unloaded."""

    build: str

    def load(self, path: str, settings: Settings, use_template: bool) -> None:
        """Load the file. Raises ``RuntimeError`` when the runtime refuses; its log says why.

        Without ``use_template`` the file's chat template is ignored and answers are plain completions.
        """

    def time_tokens(self, prompt: list[int], gen_tokens: int) -> Timing:
        """Prefill ``prompt`` with an empty cache, then exactly ``gen_tokens`` decode steps; nothing stops early."""

    def answer(self, question: Question, on_text: OnText) -> Answer:
        """Answer a chat, handing over the text as it comes, until it ends or ``on_text`` says so."""


def make_session(binding_id: str) -> Session:
    """Import the binding (slow, in the run's own process only) and make its session."""
    if binding_id == "llama-cpp-python":
        from recommender.runner.llama_cpp_python import LlamaCppPythonSession

        return LlamaCppPythonSession()
    from recommender.runner.xllamacpp_binding import XllamacppSession

    return XllamacppSession()


def timing_prompt(n_vocab: int, tokens: int, seed: int) -> list[int]:
    """Token ids for a timed prompt: spread over the vocabulary, so that mixture-of-experts layers see all experts."""
    source = random.Random(seed)
    return [source.randrange(n_vocab) for _ in range(tokens)]


def read_log(wait_for: Callable[[str], bool] = lambda log: True, timeout_s: float = 1.0) -> str:
    """What this process has written to standard error, which must be a file open for reading and appending.

    A runtime may log from a thread of its own, so this waits up to ``timeout_s`` for the log to satisfy ``wait_for``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        written = os.fstat(2).st_size
        log = _read_from_start(written)
        is_whole = len(log) >= written
        text = log.decode("utf-8", errors="replace")
        if (is_whole and wait_for(text)) or time.monotonic() > deadline:
            return text
        time.sleep(0.01)


def _read_from_start(size_bytes: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(2, size_bytes, 0)
    # Windows: a line that another thread writes in between moves the place that is read from.
    os.lseek(2, 0, os.SEEK_SET)
    return os.read(2, size_bytes)
