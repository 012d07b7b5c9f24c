"""Entries from what the Hub's API says of repositories. Every field is taken for hostile until it has the right form.

A field of a wrong type, out of range or too long is left out; a row without a usable id is no entry at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

from recommender.catalog.sources.base import Entry, EntryFile, Score, now
from recommender.catalog.sources.remote_header import template_abilities
from recommender.catalog.sources.untrusted import mapping
from recommender.runner.hub import is_repository, part_of, quantization_in
from recommender.types import OWN_FILE

SOURCE_ID = "hugging-face"
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LANGUAGE = re.compile(r"[a-z]{2}")
_BASE = re.compile(r"base_model:(?:(quantized|finetune|adapter|merge):)?(.+)")
_NO_MODEL = re.compile(r"mmproj|imatrix|vocab|(?<![a-z])(draft|mtp|lora|adapter)(?![a-z])", re.IGNORECASE)
_RELATIONS = ("quantized", "finetune", "adapter", "merge")
_PLAIN = ("F16", "BF16", "Q8_0", "Q4_0", "F32")  # one block type throughout, so that a header is soon verified
_TEXT = 200  # characters of a name
_PATH, _PART = 300, 200  # characters of a path, bytes of one of its parts
_SCORE = 1e9
_TEMPLATE = 1_000_000
_FILES = 2_000
_TAGS = 200
_LARGEST = 2**53  # a larger number is no count and no size


@dataclass(frozen=True)
class Listed:
    """A row of a listing: enough to tell whether its repository is to be read."""

    repo: str
    version: str
    modified: str  # ISO 8601, UTC, to the second; "" where it is not said
    params_total: int | None


def listed(row: object) -> Listed | None:
    """What a listing says of one repository; None where it names none, or one that is not for everybody."""
    if not isinstance(row, dict) or row.get("private") is True or row.get("disabled") is True:
        return None
    repo = repo_id(row.get("id"))
    if not repo or repo.startswith(OWN_FILE):  # that name is for files of one's own
        return None
    return Listed(repo, _version(row), _time(row.get("lastModified")), _count(_of(row, "gguf").get("total")))


def gguf_entry(row: Mapping[str, Any], endpoint: str) -> Entry | None:
    """A repository of GGUF files. ``row`` is its model info, ``endpoint`` the Hub's address."""
    gguf = _of(row, "gguf")
    values = _common(row, endpoint)
    if values is None:
        return None
    relation, bases = _bases(row)
    return Entry(
        **values,
        **_abilities(gguf.get("chat_template")),
        format="gguf",
        relation=relation,
        bases=bases,
        params_total=_count(gguf.get("total")),
        context_tokens=_count(gguf.get("context_length")),
        files=_files(row.get("siblings")),
    )


def original_entry(row: Mapping[str, Any], endpoint: str) -> Entry | None:
    """A repository of a model's own weights, or of a tune's."""
    values = _common(row, endpoint)
    if values is None:
        return None
    relation, bases = _bases(row)
    config = _of(row, "config")
    template = _of(config, "tokenizer_config").get("chat_template") or config.get("chat_template_jinja")
    return Entry(
        **values,
        **_abilities(template),
        format="safetensors",
        relation=relation or ("" if bases else "original"),
        bases=bases,
        params_total=_count(_of(row, "safetensors").get("total")),
        scores=_scores(row.get("evalResults")),
    )


def plainest_file(entry: Entry) -> EntryFile | None:
    """The file whose header tells most for the fewest bytes: unsplit, of one block type throughout."""
    models = [
        file
        for file in entry.files
        if file.bytes and file.quantization and not _NO_MODEL.search(file.path) and part_of(file.path)[0] == 1
    ]
    return min(
        models,
        key=lambda file: (
            part_of(file.path)[1],
            _PLAIN.index(file.quantization) if file.quantization in _PLAIN else len(_PLAIN),
            file.path,
        ),
        default=None,
    )


def repo_id(value: object) -> str:
    """``value`` where it is a repository's id, owner/name; else ""."""
    return value if isinstance(value, str) and is_repository(value) else ""


def _abilities(template: Any) -> dict[str, Any]:
    """Thinking and tool calling, as a chat template has them; "" each without one."""
    if not isinstance(template, str) or len(template) > _TEMPLATE:
        template = None
    thinking, tool_calling = template_abilities(template)
    return {"thinking": thinking, "tool_calling": tool_calling}


# ── parts of an entry ────────────────────────────────────────────────────────────────────────────────────────


def _common(row: Mapping[str, Any], endpoint: str) -> dict[str, Any] | None:
    """The fields that every repository has; None where it is no repository that everybody may see."""
    one = listed(row)
    if one is None:
        return None
    owner, name = one.repo.split("/")
    return {
        "source": SOURCE_ID,
        "entry_id": one.repo,
        "read_at": now(),
        "version": one.version,
        "url": f"{endpoint}/{one.repo}",
        "name": name,
        "publisher": owner,
        "license_id": _license(row),
        "gated": row.get("gated") in (True, "auto", "manual"),
        "downloads": _count(row.get("downloads"), least=0),
        "created": _time(row.get("createdAt"))[:10],
        "modified": one.modified[:10],
        "pipeline": _text(row.get("pipeline_tag")),
        "tags": tuple(_texts(row.get("tags"), _TAGS)),
        "languages": _languages(row),
    }


def _bases(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """(relation, bases) from the Hub's own tags, else from the card."""
    relation = ""
    bases: dict[str, None] = {}
    for tag in _texts(row.get("tags"), _TAGS):
        if (match := _BASE.fullmatch(tag)) and (base := repo_id(match[2])):
            relation = relation or match[1] or ""
            bases[base] = None
    card = _of(row, "cardData")
    if not bases:
        named = card.get("base_model")
        bases = {base: None for one in (named if isinstance(named, list) else [named]) if (base := repo_id(one))}
    if bases and not relation and card.get("base_model_relation") in _RELATIONS:
        relation = card["base_model_relation"]
    own = row.get("id")
    return relation, tuple(base for base in list(bases)[:10] if base != own)


def _files(siblings: object) -> tuple[EntryFile, ...]:
    files = []
    for one in siblings if isinstance(siblings, list) else ():
        path = one.get("rfilename") if isinstance(one, dict) else None
        if not _is_file(path):
            continue
        lfs = _of(one, "lfs")
        sha256 = lfs.get("sha256")
        files.append(
            EntryFile(
                path=path,
                bytes=_count(one.get("size")) or _count(lfs.get("size")),
                sha256=sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else "",
                quantization=quantization_in(path),
            )
        )
        if len(files) == _FILES:
            break
    return tuple(files)


def _is_file(path: object) -> TypeGuard[str]:
    """Whether it is the path of a GGUF file that stays within its repository wherever it is written."""
    return (
        isinstance(path, str)
        and len(path) <= _PATH
        and path.lower().endswith(".gguf")
        and path.isprintable()
        and not re.search(r"[\\:<>|?*\"]|\.\.", path)
        and all(_is_part(part) for part in path.split("/"))
    )


def _is_part(part: str) -> bool:
    return part not in ("", ".") and part == part.strip() and len(part.encode()) <= _PART


def _scores(results: object) -> tuple[Score, ...]:
    """What the repository's evaluation files state; a file that the Hub found faulty says nothing."""
    scores = []
    for one in results[:_TAGS] if isinstance(results, list) else ():
        if not isinstance(one, dict) or "error" in one:
            continue
        data = one.get("data", one)
        if not isinstance(data, dict):
            continue
        dataset, value = _of(data, "dataset"), data.get("value")
        name, task = _text(dataset.get("id")).split("/")[-1], _text(dataset.get("task_id"))
        # Compared, not converted: a whole number of 400 digits has no float.
        if not name or not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _SCORE:
            continue
        scores.append(
            Score(
                benchmark=name if task in ("", "default") else task,
                value=float(value),
                metric=_text(data.get("notes")),
                verified=one.get("verified") is True,
            )
        )
    return tuple(scores)


def _license(row: Mapping[str, Any]) -> str:
    card = _of(row, "cardData")
    licence = card.get("license")
    if isinstance(licence, list):
        licence = licence[0] if licence else ""
    named = _text(licence)
    if named == "other":
        named = _text(card.get("license_name")) or named
    tags = _texts(row.get("tags"), _TAGS)
    return named or next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")


def _languages(row: Mapping[str, Any]) -> tuple[str, ...]:
    said = _of(row, "cardData").get("language")
    codes = [said] if isinstance(said, str) else _texts(said, _TAGS)
    found = codes or _texts(row.get("tags"), _TAGS)
    return tuple(dict.fromkeys(code for code in found if _LANGUAGE.fullmatch(code)))


def _version(row: Mapping[str, Any]) -> str:
    """The commit; where that is not said the time of the last change stands for it."""
    sha = row.get("sha")
    return sha if isinstance(sha, str) and _SHA.fullmatch(sha) else _time(row.get("lastModified"))


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────


def _of(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return mapping(row.get(name))


def _text(value: object) -> str:
    """Printable characters only, at most 200 of them."""
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value[: 2 * _TEXT] if char.isprintable()).strip()[:_TEXT]


def _texts(values: object, most: int) -> Iterable[str]:
    return [text for one in (values[:most] if isinstance(values, list) else ()) if (text := _text(one))]


def _count(value: object, least: int = 1) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _LARGEST else None


def _time(value: object) -> str:
    """A moment as ISO 8601 in UTC, to the second; "" where it is none, or none of this century."""
    if not isinstance(value, str) or len(value) > 40:
        return ""
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if 2000 <= moment.year < 2100 else ""
