"""The quick check of quality: a few prompts per task whose answers can be judged without another model.

A smoke test, not a benchmark: it tells a model that works from one that is broken by its quantization, its template or
its size, and says nothing finer. The prompts are rows of ``catalog/checks.csv``; what ``expected`` holds depends on the
kind and is always JSON:

- ``number``: a number. The last number of the answer must equal it, or the one in the last ``\\boxed{}``.
- ``json``: a JSON Schema. The answer must be JSON that fits it, alone or in one ``` fence, with no word around it.
- ``code``: ``{"function", "calls": [{"arguments", "returns"}]}``. The function must return that, see ``code_sandbox``.
- ``text``: any of ``contains`` (lists of alternatives, each with one that must be there), ``without`` (what must not),
  ``most_words``, and ``pattern``, which the whole answer must match. Letter case does not matter.
- ``translation``: ``{"language", "pattern", "back", "contains", "share"}``. The prompt asks for a translation into
  ``language``, ``back`` for one of that answer into the prompt's own language; at least ``share`` of ``contains`` must
  come back. The first answer must have a ``pattern`` of its language in it, and must not be the sentence itself.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

__all__ = ["LABEL", "Ask", "Check", "Verdict", "run_check", "summary"]

LABEL = "Quick check: a smoke test, not a benchmark"

Ask = Callable[[str, int], str]
"""Sends one prompt as a chat of its own with a limit of answer tokens; returns the answer without any thinking."""

_ANSWER_CHARACTERS = 20_000  # what goes beyond is no answer to any of these prompts
_DETAIL_CHARACTERS = 240
_SHOWN_CHARACTERS = 80
_TOLERANCE = 1e-9  # relative and absolute, between the float a function returns and the one it should


@dataclass(frozen=True)
class Check:
    """One prompt with a checkable answer, as ``checks.csv`` has it."""

    id: str
    task: str
    kind: Literal["number", "json", "code", "text", "translation"]
    prompt: str
    expected: str  # JSON, by kind
    answer_tokens: int  # enough for a right answer, thinking not counted; a translation takes them twice
    example: str  # an answer that passes; of a translation both, with a blank line between them
    source: str


@dataclass(frozen=True)
class Verdict:
    """``detail`` is a sentence of printable characters on one line that says why; "" where the check passed."""

    check_id: str
    passed: bool
    detail: str


def run_check(check: Check, ask: Ask) -> Verdict:
    """Ask the model and judge its answer. Raises only what ``ask`` raises."""
    expected = json.loads(check.expected)
    if check.kind == "translation":
        failure = _round_trip(check, expected, ask)
    else:
        failure = _JUDGES[check.kind](expected, _asked(ask, check.prompt, check))
    return Verdict(check.id, not failure, _shown(failure, _DETAIL_CHARACTERS))


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many passed, with what that is worth."""
    return f"{LABEL}. Passed {sum(verdict.passed for verdict in verdicts)} of {len(verdicts)}."


def _asked(ask: Ask, prompt: str, check: Check) -> str:
    return ask(prompt, check.answer_tokens)[:_ANSWER_CHARACTERS].strip()


def _shown(text: str, most: int = _SHOWN_CHARACTERS) -> str:
    """Fit to be shown wherever it came from: one line, no control characters, no marks that turn text around."""
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return line if len(line) <= most else line[: most - 1] + "…"


def _quoted(answer: str) -> str:
    return f'"{_shown(answer)}"' if answer else "nothing"


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────

_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_GROUPS = r"[,'’\u00a0\u202f]"  # between thousands
_NUMBER = re.compile(
    rf"(?<![\w.])[-+]?(?:\d{{1,3}}(?:{_GROUPS}\d{{3}})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?[0-9]{{1,3}})?"
)


def _number(expected: float, answer: str) -> str:
    """English notation: a comma stands between thousands, a point before decimals."""
    boxed: list[str] = _BOXED.findall(answer)
    text = (boxed[-1] if boxed else answer).replace("{,}", ",").replace("\\,", "").replace("\\!", "").replace("−", "-")
    numbers = _NUMBER.findall(text)
    if not numbers:
        return f"Answered {_quoted(answer)}, which has no number in it; expected {expected}."
    if Decimal(re.sub(_GROUPS, "", numbers[-1])) == Decimal(str(expected)):
        return ""
    return f"Answered {_shown(numbers[-1])}, expected {expected}."


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────

_FENCED = re.compile(r"```[ \t]*(?:json)?[ \t]*\n(.*)```", re.DOTALL | re.IGNORECASE)


def _json(expected: Mapping[str, Any], answer: str) -> str:
    fenced = _FENCED.fullmatch(answer)
    try:
        return _misfit(expected, json.loads(fenced[1] if fenced else answer, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return f"Answered {_quoted(answer)}, which is not JSON alone."


def _misfit(schema: Mapping[str, Any], found: object) -> str:
    """Where the value leaves the schema first; "" when it fits."""
    import jsonschema  # type: ignore[import-untyped]  # a sixth of a second, for this kind alone

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(found))
    if error is None:
        return ""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"Missing property '{missing}'{f' in {place}' if place else ''}."
    if error.validator == "const":
        return f"{place or 'The answer'} is {json.dumps(error.instance)}, expected {json.dumps(error.validator_value)}."
    return f"{place or 'The answer'}: {error.message}."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# ── code ─────────────────────────────────────────────────────────────────────────────────────────────────────

_BLOCK = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def _code(expected: Mapping[str, Any], answer: str) -> str:
    from recommender.runner.code_sandbox import call_function

    function, calls = expected["function"], expected["calls"]
    blocks: list[str] = _BLOCK.findall(answer) or [answer]
    code = next((block for block in blocks if f"def {function}" in block), blocks[0])
    ran = call_function(code, function, [call["arguments"] for call in calls])
    for call, returned in zip(calls, ran.returned, strict=False):
        if not _same(returned, call["returns"]):
            asked = ", ".join(map(repr, call["arguments"]))
            return f"{function}({asked}) returned {reprlib.repr(returned)}, expected {call['returns']!r}."
    return ran.failure


def _same(found: Any, wanted: Any) -> bool:
    """Equal JSON values: ``True`` is not 1, 2.0 is 2, and a float may be off by what rounding does."""
    if {type(found), type(wanted)} in ({float}, {float, int}):
        try:
            return math.isclose(found, wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        except OverflowError:  # a whole number that no float can hold
            return False
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in wanted)
    return type(found) is type(wanted) and bool(found == wanted)


# ── text and translation ─────────────────────────────────────────────────────────────────────────────────────


def _text(expected: Mapping[str, Any], answer: str) -> str:
    answer = unicodedata.normalize("NFKC", answer)
    missing = [words for words in expected.get("contains", ()) if not _said(words, answer)]
    if missing:
        return f"Answered {_quoted(answer)}, without '{missing[0][0]}'."
    unwanted = [words for words in expected.get("without", ()) if _said([words], answer)]
    if unwanted:
        return f"Answered {_quoted(answer)}, with '{unwanted[0]}', which should not be there."
    words = len(answer.split())
    if words > expected.get("most_words", math.inf):
        return f"Answered in {words} words, where {expected['most_words']} were allowed."
    if "pattern" in expected and not re.fullmatch(expected["pattern"], answer, re.IGNORECASE):
        return f"Answered {_quoted(answer)}, which is not what was asked for or not in that form."
    return ""


def _said(alternatives: Sequence[str], text: str) -> bool:
    """Whether one of the words or phrases stands in the text, not as a part of a longer word in Latin letters."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().replace("’", "'").split())
    return any(
        re.search(rf"(?<!\w){re.escape(phrase.casefold())}(?!\w)", folded, re.ASCII) is not None
        for phrase in alternatives
    )


def _round_trip(check: Check, expected: Mapping[str, Any], ask: Ask) -> str:
    words, share = expected["contains"], expected["share"]
    there = _asked(ask, check.prompt, check)
    if sum(_said(word, there) for word in words) >= share * len(words):
        return f"Answered {_quoted(there)}: the sentence itself, not translated into {expected['language']}."
    if not re.search(expected["pattern"], there, re.IGNORECASE):
        return f"Answered {_quoted(there)}, which is not {expected['language']}."
    back = _asked(ask, f"{expected['back']}\n\n{there}", check)
    lost = [word[0] for word in words if not _said(word, back)]
    if len(words) - len(lost) >= share * len(words):
        return ""
    return (
        f"Of {len(words)} words {len(words) - len(lost)} came back from {expected['language']}, where "
        f"{math.ceil(share * len(words))} were expected, without {', '.join(lost)}: {_quoted(back)}."
    )


_JUDGES: Mapping[str, Callable[[Any, str], str]] = {"number": _number, "json": _json, "code": _code, "text": _text}
