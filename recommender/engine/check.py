"""Is a need sensible? Each nonsense gets a sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recommender.engine.scoring import weights
from recommender.errors import BadInputError, nearest
from recommender.types import Need, Task

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog

_CHOICES = {
    "placement": ("device", "managed", "any"),
    "accelerator": ("cpu", "gpu", "npu"),
    "platform": ("linux", "windows", "macos", "android", "ios"),
    "form_factor": ("phone", "tablet", "laptop", "desktop", "mini-pc", "workstation", "server", "sbc"),
}
ENTERPRISE = ("sla", "audit", "rbac", "support")
# Above this a number is a slip of the keyboard: no model reads so much, no machine serves so many here.
_MOST_CONTEXT_TOKENS = 16_777_216
_MOST_USERS = 10_000


def check_need(need: Need, task: Task, catalog: Catalog) -> None:
    """Refuse what makes no sense.

    Raises:
        BadInputError: a number or choice that cannot be meant.
    """
    weights(need.priority)
    for name, choices in _CHOICES.items():
        value = getattr(need, name)
        if value is not None and value not in choices:
            raise BadInputError(f"{_words(name)} {value!r} is not one of {', '.join(choices)}.")
    for item in need.enterprise:
        if item not in ENTERPRISE:
            raise BadInputError(f"Enterprise need {item!r} is not one of {', '.join(ENTERPRISE)}.")
    for name in ("min_decode_tokens_per_s", "max_ttft_s", "max_answer_time_s"):
        limit = getattr(need, name)
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise BadInputError(f"{_words(name)} must be above 0, not {limit:g}.")
    for name in ("memory_reserve_bytes", "disk_reserve_bytes"):
        reserve = getattr(need, name)
        if not (math.isfinite(reserve) and reserve >= 0):
            raise BadInputError(f"{_words(name)} must be 0 or more, not {reserve:g}.")
    context = need.context_tokens
    if context is not None and not 1 <= context <= _MOST_CONTEXT_TOKENS:
        raise BadInputError(f"Context must be 1 to {_MOST_CONTEXT_TOKENS:,} tokens, not {context:,}.")
    if context is not None and context < task.answer_tokens:
        raise BadInputError(
            f"A context of {context:,} tokens cannot hold an answer to {task.name!r}, which takes "
            f"{task.answer_tokens:,} tokens: ask for more."
        )
    if not 1 <= need.users <= _MOST_USERS:
        raise BadInputError(f"Users at once must be 1 to {_MOST_USERS:,}, not {need.users:,}.")
    for language in need.languages:
        if not (language.isascii() and language.isalpha() and 2 <= len(language) <= 3 and language.islower()):
            raise BadInputError(f"Language {language!r} is not an ISO 639 code such as en, de or zh.")
    quantizations = catalog.quantizations() if need.quantizations else ()
    for quantization in need.quantizations:
        if quantization not in quantizations:
            close = ", ".join(nearest(quantization, list(quantizations)))
            raise BadInputError(f"There is no quantization called {quantization!r}. Did you mean {close}?")


def _words(name: str) -> str:
    return (
        name.replace("_bytes", "").replace("_tokens_per_s", " speed").replace("_s", "").replace("_", " ").capitalize()
    )
