"""Model names as they are found in the world, and which catalog model they mean.

A name is taken apart into words, version numbers, a size, an active size and a training kind; what only tells the file
apart (quantization, container, uploader) is dropped. Two names mean the same model when all parts agree. Anything left
over on either side is a reason to refuse: a fine-tune, an embedding model or another size is another model.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SIZE_TOLERANCE = 0.15  # of a size known beside the text against the model's parameters
NAMED_SIZE_TOLERANCE = 0.03  # of a size in the text, besides its rounding

_SIZE = re.compile(r"(?<![a-z0-9.])e?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_FILE_WORDS = re.compile(
    r"(?<![a-z0-9])(?:ud|iq\d(?:[_-](?:xxs|xs|nl|s|m|l|kt|kl|ks|k))?|q\d[_-][01](?:_\d_\d|_l)?|q\d(?:[_-]k)?(?:[_-](?:xxs|xs|s|m|l|xl))?|tq[12]_0|"
    r"i2_s|mxfp4(?:_moe)?|nvfp4|fp\d+|b?f16|f32|w\d+a\d+|w4|int[48]|[3-8]-?bit|\d(?:\.\d+)?bit|\d(?:\.\d+)?bpw|awq|gptq|"
    r"gguf|mlx|onnx|bnb|imatrix|imat|i1|qat|mtp|dwq|autoround|litert|lm|safetensors|hf|pte|tflite|task|vllm|dynamic|fast|"
    r"local|coreml|ane|gpu|cpu|text|xs|merged|lora|test|original|class|optimized|hip|split|sum|of|parts|latest|val|zero-shot|g\d+)(?![a-z0-9])"
)
_KINDS = {
    **dict.fromkeys(("instruct", "it", "chat", "inst"), "instruct"),
    **dict.fromkeys(("base", "pt", "pretrained"), "base"),
    **dict.fromkeys(("thinking", "think", "reasoning"), "thinking"),
}
_ENDINGS = re.compile(r"\.(gguf|pte|task|litertlm|tflite|safetensors|bin|llamafile)$")


@dataclass(frozen=True)
class Match:
    """A catalog model and how sure the match is: 1 written out in full, less where a part was left unsaid."""

    model_id: str
    confidence: float


@dataclass(frozen=True)
class Name:
    """A name taken apart. Sizes are in parameters, NaN where the name has none."""

    words: frozenset[str]
    numbers: tuple[str, ...]
    size: float
    active: float
    kinds: frozenset[str]
    maker: str  # "" unless the text is maker/name
    rounding: float  # half a unit of the size's last digit, in parameters
    version: str  # the number written with a v ("v0.1"), also among the numbers; "" without one


def size_in_name(text: str) -> float:
    """Total parameters as the name gives them ("7B", "350m", "30B-A3B": the first); NaN when it gives none."""
    return parse(text).size


def family_key(model_id: str) -> str:
    """What is left of a model's name in front of its size and kind: "Qwen/Qwen2.5-7B-Instruct" → "qwen2.5"."""
    parts: list[str] = []
    for part in re.split(r"[-_\s]+", model_id.rpartition("/")[2].casefold()):
        if _SIZE.fullmatch(part) or part in _KINDS or part in ("vl", "vision", "preview", "sft", "dpo", "rl", "hf"):
            break
        parts.append(part)
    return "-".join(parts)


def _split_maker(text: str) -> tuple[str, str]:
    """Maker and name of "maker/name", "hub/maker/name:tag" or "maker/name/file"."""
    parts = [part for part in text.split("/") if part and part not in ("hf.co", "huggingface.co", "https:", ".")]
    if len(parts) < 2:
        return "", parts[0] if parts else ""
    return parts[0], parts[1]


def parse(text: str) -> Name:
    """Take a name apart; case, separators and what describes only the file do not matter."""
    folded = _ENDINGS.sub("", re.sub(r"[()*]", " ", text.strip().casefold().partition("#")[0]).strip())
    folded = re.sub(r"(?<=\d)_(?=\d+b)", ".", folded)  # "0_5b"
    maker, name = _split_maker(_SHARD.sub("", folded).replace("\\", "/"))
    name = re.sub(r"[_:\s@#]+", "-", _FILE_WORDS.sub(" ", _FILE_WORDS.sub(" ", name.replace(":", " "))))
    size = active = math.nan
    rounding = 0.0
    version = ""
    words: list[str] = []
    numbers: list[str] = []
    for token in re.findall(r"a?e?\d+(?:\.\d+)*[a-z]*|[a-z]+\d*(?:\.\d+)*[a-z]*|[^\x00-\x7f]+", name):
        found = re.fullmatch(r"(a|e)?(\d+(?:\.\d+)?)([bm])", token)
        if found and (found[3] == "b" or float(found[2]) >= 20):
            value = float(found[2]) * (1e9 if found[3] == "b" else 1e6)
            if found[1] == "a":
                active = value
            elif math.isnan(size):
                size = value
                digits = len(found[2].partition(".")[2])
                rounding = 0.5 * 10**-digits * (1e9 if found[3] == "b" else 1e6)
            continue
        for part in re.findall(r"\d+(?:\.\d+)*[km](?![a-z])|\d+(?:\.\d+)*|[a-z]+|[^\x00-\x7f]+", token):
            if part[0].isdigit():
                numbers.append(re.sub(r"(?:\.0)+$", "", part))
                version = numbers[-1] if re.match(r"v\d", token) else version
            elif part != "v":
                words.append(part)
    kinds = frozenset(_KINDS[word] for word in words if word in _KINDS)
    kept = frozenset(word for word in words if word not in _KINDS)
    return Name(kept, tuple(sorted(numbers)), size, active, kinds, maker, rounding, version)


@dataclass(frozen=True)
class _Known:
    model_id: str
    name: Name
    params: float
    active: float
    role: str
    maker_words: frozenset[str]
    needed: frozenset[str]  # words that the text must have


class Resolver:
    """Finds the catalog model that a text means.

    Args:
        models: rows of ``catalog/models.csv``.
        aliases: rows of ``catalog/model_aliases.csv`` (alias, model_id): names that cannot be derived.
    """

    def __init__(self, models: Iterable[Mapping[str, Any]], aliases: Iterable[Mapping[str, Any]] = ()) -> None:
        rows = list(models)
        self._known = [_known(row) for row in rows]
        by_id = {known.model_id: known for known in self._known}
        self._exact = {known.model_id.casefold(): known.model_id for known in self._known}
        self._tags: list[tuple[Name, _Known]] = []
        for row in rows:
            tag = str(row.get("ollama_tag") or "").casefold()
            if tag and tag not in self._exact:
                self._exact[tag] = str(row["model_id"])
                self._tags.append((parse(tag), by_id[str(row["model_id"])]))
        self._aliases: list[tuple[Name, _Known]] = []
        for row in aliases:
            self._exact[str(row["alias"]).casefold()] = str(row["model_id"])
            self._aliases.append((parse(str(row["alias"])), by_id[str(row["model_id"])]))

    def resolve(self, text: str, params_b: float | None = None) -> Match | None:
        """The model that ``text`` means, or None when there is none or when several would fit equally well.

        Args:
            text: a name, a repository, a file name or a tag.
            params_b: total parameters in billions, when known beside the text; used when the text has no size.
        """
        exact = self._exact.get(text.strip().casefold())
        if exact:
            return Match(exact, 1.0)
        name = parse(text)
        if not name.words:
            return None
        found = [(confidence, known) for known in self._known if (confidence := _agreement(name, known, params_b))]
        spelled = self._aliases + (self._tags if ":" in text else [])
        found += [
            (0.9, known) for parsed, known in spelled if _same(name, parsed) and _size_fits(name, known, params_b)
        ]
        if not found:
            return None
        best = max(confidence for confidence, _ in found)
        names = {known.model_id for confidence, known in found if confidence == best}
        return Match(names.pop(), best) if len(names) == 1 else None

    def search(self, text: str, limit: int = 10) -> list[Match]:
        """Models whose names contain every part of ``text``, best first; near spellings when none does."""
        wanted = re.findall(r"[a-z]+|\d+(?:\.\d+)*[a-z]*", text.casefold())
        hits = []
        for known in self._known:
            full = known.model_id.casefold()
            parts = re.findall(r"[a-z]+|\d+(?:\.\d+)*[a-z]*", full)
            starts = sum(any(part == want for part in parts) for want in wanted)
            if wanted and all(want in full for want in wanted):
                hits.append(Match(known.model_id, round((1 + starts) / (1 + len(parts)), 3)))
        if not hits and text.strip():
            names = {known.model_id.rpartition("/")[2].casefold(): known.model_id for known in self._known}
            close = difflib.get_close_matches(text.strip().casefold(), list(names), n=limit, cutoff=0.5)
            hits = [
                Match(names[name], round(difflib.SequenceMatcher(None, text.casefold(), name).ratio(), 3))
                for name in close
            ]
        return sorted(hits, key=lambda match: (-match.confidence, match.model_id))[:limit]


def _known(row: Mapping[str, Any]) -> _Known:
    model_id = str(row["model_id"])
    name = parse(model_id)
    maker_words = frozenset(re.findall(r"[a-z]+", name.maker))
    first = re.findall(r"[a-z]+", model_id.rpartition("/")[2].casefold())
    # a maker's name in front of the model's own ("NVIDIA-Nemotron", "Meta-Llama") may be left out
    spare = (
        {first[0]}
        if len(first) > 1 and first[0] in maker_words and len(first[1]) >= 4 and first[1] not in _KINDS
        else set()
    )
    total = float(row.get("params_total") or "nan")
    active = float(row.get("params_active") or "nan")
    return _Known(model_id, name, total, active, str(row.get("role") or ""), maker_words, name.words - spare)


def _same(text: Name, name: Name) -> bool:
    same_size = text.size == name.size or (math.isnan(text.size) and math.isnan(name.size))
    return (
        bool(name.words)
        and text.words == name.words
        and text.numbers == name.numbers
        and same_size
        and text.kinds == name.kinds
    )


def _agreement(text: Name, known: _Known, params_b: float | None) -> float:
    """How well ``text`` agrees with a model: 0 when any part contradicts."""
    if not known.needed <= text.words or not text.words <= known.name.words | known.maker_words:
        return 0.0
    sure = _number_agreement(text, known.name)
    if not sure or not _size_fits(text, known, params_b):
        return 0.0
    stated = known.active if math.isnan(known.name.active) else known.name.active
    if not math.isnan(text.active) and not math.isnan(stated) and abs(text.active / stated - 1) > SIZE_TOLERANCE:
        return 0.0
    if not math.isnan(text.active) and math.isnan(stated):
        return 0.0
    if math.isnan(text.size) and not math.isnan(known.name.size):
        sure *= 0.9
    elif text.size != known.name.size and not math.isnan(known.name.size):
        sure *= 0.95
    return sure * _kind_agreement(text, known)


def _number_agreement(text: Name, name: Name) -> float:
    if text.numbers == name.numbers:
        return 1.0
    without = list(name.numbers)
    if name.version:
        without.remove(name.version)
    return 0.85 if name.version and text.numbers == tuple(without) else 0.0


def _size_fits(text: Name, known: _Known, params_b: float | None) -> bool:
    if not math.isnan(text.size):
        # the digits that were written must be those of the name, or of the true size rounded
        allowed = max(text.rounding, NAMED_SIZE_TOLERANCE * text.size)
        return text.size == known.name.size or abs(text.size - known.params) <= allowed
    if params_b is None or math.isnan(params_b) or params_b <= 0:
        return math.isnan(known.name.size)
    tolerance = SIZE_TOLERANCE if not math.isnan(known.name.size) else 2 * SIZE_TOLERANCE
    return abs(params_b * 1e9 / known.params - 1) <= tolerance


def _kind_agreement(text: Name, known: _Known) -> float:
    kinds = known.name.kinds
    if text.kinds == kinds:
        return 0.98
    if text.kinds == {"base"} and known.role == "base":
        return 0.9
    if "base" in text.kinds | kinds or known.role == "base" or "thinking" in text.kinds ^ kinds:
        return 0.0
    if text.maker and set(re.findall(r"[a-z]+", text.maker)) == known.maker_words:
        return 0.0  # the maker's own repository of that name holds another version
    return 0.75
