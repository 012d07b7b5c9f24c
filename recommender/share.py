"""An answer as others get it: the link that asks the same question again, and the answer as JSON and as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from recommender.engine.words import count, rate, seconds, size
from recommender.markdown import cell, table
from recommender.present import recommendation_json
from recommender.types import Device, Figure, Gpu, Need, Pick, Recommendation

__all__ = [
    "LONGEST_SPECS",
    "answer_markdown",
    "answer_text",
    "between",
    "catalog_note",
    "figures",
    "headline",
    "link",
    "specs",
]

LONGEST_SPECS = 8000  # characters: a longer address is cut or refused on its way
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# What a device says of itself beside its numbers: where they were found, and under which name in a list.
_LEFT_OUT = ("id", "source", "sources")


def specs(device: Device) -> str:
    """A device as short JSON that ``from_json`` reads: everything an answer depends on, and nothing else of it.

    Raises nothing; the text may be longer than ``LONGEST_SPECS``, and then has no place in a link.
    """
    known = {name: value for name, value in _told(device).items() if name not in _LEFT_OUT}
    if device.gpus:
        known["gpus"] = [_told(gpu) for gpu in device.gpus]
    return json.dumps(_whole(known), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _told(thing: Device | Gpu) -> dict[str, Any]:
    """The fields that say more than nothing."""
    return {
        field.name: value
        for field in fields(thing)
        if (value := getattr(thing, field.name)) is not None and value != field.default
    }


def _whole(value: Any) -> Any:
    """Floats without a fraction as whole numbers: bytes need no ".0"."""
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def link(base: str, question: Mapping[str, Any], catalog_date: str) -> str:
    """The address that asks ``question``, the URL's parameters, again, and says with which catalog it was answered."""
    parts = urlsplit(base)
    query = urlencode({**question, "catalog": catalog_date}, doseq=True)
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def catalog_note(told: str, date: str) -> str:
    """What a link's catalog date means here; "" when it is this catalog's.

    Args:
        told: the link's ``catalog`` parameter, whatever it holds.
        date: of the catalog in use.
    """
    if told == date:
        return ""
    if not _DATE.fullmatch(told):
        return f"This link does not say which catalog it was shared with; this is the one of {date}."
    return f"Shared with the catalog of {told}; this is the one of {date}, so the answer may differ."


# ── the answer as a file ─────────────────────────────────────────────────────────────────────────────────────


def answer_text(answer: Recommendation, address: str) -> str:
    """The answer as JSON: what ``recommender recommend --json`` prints, and the link.

    It holds the question (``device``, ``need``, ``task``) and ``catalog_date``.
    """
    return json.dumps({**recommendation_json(answer), "link": address}, indent=1, allow_nan=False)


def answer_markdown(answer: Recommendation, about_device: str, address: str) -> str:
    """A short report that stands alone: question, pick, figures with their origin, the way to run it, alternatives.

    Args:
        about_device: the device's memory, processor and bandwidth in one line.
        address: the link that asks again.
    """
    pick = answer.picks[0]
    lines = [
        f"# {cell(headline(pick))}",
        "",
        f"Rightsize's pick for {_lower(answer.task.name)} on {cell(answer.device.name)}.",
        "",
        f"- Device: {cell(answer.device.name)}: {cell(about_device)}",
        f"- Task: {cell(answer.task.name)}, a context of {count(answer.context_tokens)} tokens",
        f"- What counts most: {answer.need.priority}",
        f"- Limits: {cell(limits_in_words(answer.need)) or 'none'}",
        f"- Licence: {cell(pick.license) or 'not recorded'}",
        "",
        table(("Figure", "Value", "Range or condition", "From"), figures(pick)),
        "",
        "## Why",
        "",
        *(f"- {cell(reason)}" for reason in pick.reasons),
        "",
        "## Run it",
        "",
        *_fenced(pick.command),
        "",
    ]
    if answer.alternatives:
        lines += ["## Other ways to go", ""]
        lines += [f"- {cell(trade)}: {cell(headline(one))}" for trade, one in answer.alternatives]
        lines.append("")
    lines += [
        *(f"{cell(note)}\n" for note in answer.notes),
        f"Catalog of {answer.catalog_date}; {count(answer.considered)} combinations looked at. Ask again: <{address}>",
    ]
    return "\n".join(lines) + "\n"


def figures(pick: Pick) -> list[tuple[str, str, str, str]]:
    """A pick's figures in words: name, value, range or condition, and where it comes from."""
    estimate = pick.estimate
    rows: list[tuple[str, str, str, str]] = [
        (name, words(figure.value), between(figure, words), figure.provenance)
        for name, figure, words in (
            ("Speed", estimate.decode_tokens_per_s, rate),
            ("Prompt reading", estimate.prefill_tokens_per_s, rate),
            ("First token", estimate.ttft_s, seconds),
            ("Answer time", estimate.answer_time_s, seconds),
        )
        if figure
    ]
    if memory := estimate.memory:
        context = f"at {count(pick.settings.context_tokens)} tokens" if pick.settings else ""
        rows.append(("Memory", size(memory.charged_bytes), context, memory.provenance))
    if estimate.file_bytes:
        rows.append(("File", size(estimate.file_bytes), "", estimate.file_provenance))
    scores = f"{count(pick.quality_evidence)} score{'' if pick.quality_evidence == 1 else 's'}"
    rows.append(("Quality", f"{pick.quality:.0f} of 100", f"± {pick.quality_se:.0f}, {scores}", "estimated"))
    return rows


def between(figure: Figure, words: Any) -> str:
    """A figure's range, "7.6 to 80 tok/s": the unit once where both ends share it."""
    low, high = words(figure.low), words(figure.high)
    unit = high.partition(" ")[2]
    return f"{low.removesuffix(' ' + unit)} to {high}" if low.endswith(" " + unit) else f"{low} to {high}"


def limits_in_words(need: Need) -> str:
    """The limits that are set, each by its name and value: "min decode tokens per s 10, commercial"."""
    said = []
    for field in fields(Need):
        value = getattr(need, field.name)
        if field.name in ("task", "priority") or (field.default is not MISSING and value == field.default):
            continue
        name = field.name.replace("_", " ")
        if isinstance(value, tuple):
            value = " ".join(value)
        said.append(name if value is True else f"{name} {f'{value:g}' if isinstance(value, float) else value}")
    return ", ".join(said)


def headline(pick: Pick) -> str:
    """A pick by its name, quantization and runtime."""
    return " · ".join(part for part in (pick.name, pick.quantization or "managed", pick.runtime) if part)


def _lower(text: str) -> str:
    return cell(text[:1].lower() + text[1:])


def _fenced(text: str) -> list[str]:
    """A code block that no run of backticks inside it ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}bash", text, fence]
