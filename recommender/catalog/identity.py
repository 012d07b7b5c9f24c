"""Which model each entry is: by base-model links, architecture and parameter count, never by how alike names are.

A quantized repository is one more place to fetch its model from; a fine-tune by somebody else is attached to its base;
what a maker of catalog models publishes on its own, or tunes from a base, is a model of its own. An entry that says it
was made from a model whose shape it does not have is left unrecognised, with both figures in the reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from recommender.catalog.entries import Kept
from recommender.catalog.sources.base import Entry
from recommender.estimate.names import Resolver

# A file's count may include a second copy of the output head, or leave out an image tower.
_SAME_PARAMS_RATIO = 1.35
_LONGEST_CHAIN = 8
_OWN_FILES = ("gguf", "ollama")  # sources of files that a person has: runnable whether or not they are recognised
_NAMED = ("azure-ai-foundry", "foundry-local", "ollama")  # sources that name models in their own way
_MODEL_ID = re.compile(r"[^/\s]{1,200}/[^/\s]{1,200}")
_UNSAFE = re.compile(r"[/\s]+")
_SHAPE = ("architecture", "n_layer", "n_embd", "vocab_size")


@dataclass(frozen=True)
class Known:
    """What the shipped catalog knows of models' names and shapes. Keys are casefolded."""

    names: Mapping[str, str]  # id, alias, repository, runtime's name → model id
    shapes: Mapping[str, Mapping[str, str]]  # model id → architecture columns
    params: Mapping[str, int]  # model id → total parameters
    released: Mapping[str, str]  # model id → date
    makers: frozenset[str]
    quantizers: frozenset[str]
    resolver: Resolver  # of names that services and runtimes give


@dataclass(frozen=True)
class Identified:
    """An entry with the model it is. ``model_id`` is "" where that was not recognised."""

    kept: Kept
    model_id: str
    relation: str
    why: str
    trust: str  # maker, quantizer, other or local

    @property
    def entry(self) -> Entry:
        return self.kept.entry


@dataclass
class _Index:
    """The entries by id, and the models of their own among them."""

    known: Known
    entries: dict[str, Entry] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)  # bases that nobody listed, each in one spelling
    quantized_by: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    same_shape: dict[tuple[str, ...], list[str]] = field(default_factory=lambda: defaultdict(list))
    same_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def identify(kept: Iterable[Kept], known: Known) -> list[Identified]:
    """Every entry with its model, in the entries' order."""
    kept = list(kept)
    index = _Index(known)
    # Of one id from several sources the Hub's entry counts, whatever their order.
    for one in sorted(kept, key=lambda one: (one.entry.source == "hugging-face", one.entry.source, one.entry.entry_id)):
        index.entries[one.entry.entry_id.casefold()] = one.entry
    for spelled in sorted({base for one in kept for base in one.entry.bases}, reverse=True):
        index.spelled[spelled.casefold()] = spelled
    for one in kept:
        entry = one.entry
        if entry.format == "gguf" and entry.publisher.casefold() in known.quantizers:
            for base in entry.bases:
                index.quantized_by[base.casefold()] += 1
    for model_id in sorted(known.shapes):
        index.same_shape[_shape_key(known.shapes[model_id])].append(model_id)
        index.same_name[_basename(model_id)].append(model_id)
    return [_identified(one, index) for one in kept]


def _identified(kept: Kept, index: _Index) -> Identified:
    entry = kept.entry
    model_id, relation, why = _model_of(entry, index)
    if model_id and not _MODEL_ID.fullmatch(model_id):
        model_id, why = "", f"{why}; but {model_id[:80]!r} cannot be a model's id"
    return Identified(kept, model_id, relation, why, _trust(entry, index.known))


def _trust(entry: Entry, known: Known) -> str:
    if entry.source in _OWN_FILES:
        return "local"
    publisher = entry.publisher.casefold()
    if publisher in known.makers or entry.source != "hugging-face":
        return "maker"
    return "quantizer" if publisher in known.quantizers else "other"


def _model_of(entry: Entry, index: _Index) -> tuple[str, str, str]:
    """Model id, relation and the reason; the id is "" when it is not recognised."""
    names, said = index.known.names, entry.relation or "unknown"
    listed = index.entries[entry.entry_id.casefold()]
    if entry.source == "gguf" and listed.source == "hugging-face":  # added by hand, and known from there as well
        return _model_of(listed, index)
    if found := names.get(entry.entry_id.casefold()):
        own = found.casefold() == entry.entry_id.casefold()
        relation = "original" if own and entry.format != "gguf" else _of_files(entry)
        return found, relation, "its name is in the catalog"
    if entry.bases and _is_own(entry, index) and entry.source not in _OWN_FILES:
        return entry.entry_id, "original", f"a model of its own, made from {entry.bases[0]} by a maker of others"
    if entry.bases:
        root, relation, why = _follow(entry, index)
        if root and (differs := _contradiction(entry, root, index)):
            return "", said, f"says it was made from {root}, but {differs}"
        if root:
            return root, relation, why
        if not _is_own(entry, index):
            return "", said, why
    if (
        entry.source not in _OWN_FILES
        and entry.format in ("gguf", "onnx")
        and (found := _by_name_and_shape(entry, index))
    ):
        return found, _of_files(entry), f"has the name, architecture and size of {found}"
    if entry.source in _NAMED and (found := names.get(entry.name.casefold()) or _resolved(entry, index)):
        differs = _contradiction(entry, found, index)
        why = f"every part of its name is {found}'s"
        return ("", said, f"is called {found}, but {differs}") if differs else (found, _of_files(entry), why)
    if _is_own(entry, index):
        base = _twin(entry, index)
        if base:
            return base, "finetune", f"has the architecture and size of {base}, and names no base"
        relation = "original" if entry.source == "hugging-face" else _of_files(entry)
        return _own_id(entry), relation, "a model of its own"
    return "", said, "names no base, and nobody known publishes it"


def _follow(entry: Entry, index: _Index) -> tuple[str, str, str]:
    """The model at the end of the links, the loosest relation on the way, and the path as the reason."""
    relation, path, current = _of_files(entry) if _is_copy(entry) else entry.relation, [], entry
    for _ in range(_LONGEST_CHAIN):
        step = current.bases[0]
        path.append(step)
        why = f"made from {' from '.join(path)}, as it says"
        known = index.known.names.get(step.casefold())
        parent = index.entries.get(step.casefold())
        if known:
            return known, relation or "quantized", why
        if parent is None:
            # The original was not read: its own name is all that is known of it.
            trusted = step.split("/")[0].casefold() in index.known.makers or index.quantized_by[step.casefold()]
            step = index.spelled.get(step.casefold(), step)
            return (step, relation or "quantized", why) if trusted and "/" in step else ("", relation, why)
        if parent.entry_id in path[:-1] or parent is entry:
            return "", relation, f"its links go round in a circle: {' from '.join(path)}"
        if _is_own(parent, index):
            if not parent.bases and (twin := _twin(parent, index)):
                return twin, "finetune", f"{why}, which has the architecture and size of {twin}"
            return parent.entry_id, relation or "quantized", why
        if not parent.bases:
            return "", relation, f"{why}, which names no base and is from nobody known"
        if not _is_copy(parent):
            relation = parent.relation
        current = parent
    return "", relation, f"its links are longer than {_LONGEST_CHAIN} steps"


def _is_copy(entry: Entry) -> bool:
    """Whether it holds its base's own weights: quantized, or the same name under another owner."""
    same_name = any(_basename(base) == _basename(entry.entry_id) for base in entry.bases)
    return entry.relation in ("quantized", "copy", "service", "installed", "") or (
        same_name and entry.relation == "finetune"
    )


def _of_files(entry: Entry) -> str:
    """The relation of an entry that is the model itself in another form."""
    by_source = {"azure-ai-foundry": "service", "foundry-local": "quantized", "ollama": "installed"}
    return by_source.get(entry.source, "copy" if entry.format == "safetensors" else "quantized")


def _is_own(entry: Entry, index: _Index) -> bool:
    """Whether an entry is a model of its own rather than a form or a tune of another."""
    if entry.source in _OWN_FILES:
        return True
    if entry.source != "hugging-face" or (_is_copy(entry) and entry.bases):
        return False
    if entry.publisher.casefold() in index.known.makers:
        return entry.relation in ("", "original", "finetune", "merge")
    # A new maker: somebody known found its model worth quantizing, and it builds on nobody's.
    return not entry.bases and entry.format != "gguf" and index.quantized_by[entry.entry_id.casefold()] > 0


def _own_id(entry: Entry) -> str:
    if entry.source in ("hugging-face", "gguf"):
        return entry.entry_id
    return f"{entry.source}/{_UNSAFE.sub('-', entry.entry_id)}"


def _twin(entry: Entry, index: _Index) -> str:
    """The oldest catalog model with exactly this shape, where the entry's publisher makes none of its own."""
    if entry.publisher.casefold() in index.known.makers or not entry.architecture or entry.source in _OWN_FILES:
        return ""
    twins = index.same_shape.get(_shape_key(entry.architecture), [])
    fitting = [one for one in twins if not _contradiction(entry, one, index)]
    return min(fitting, key=lambda one: (index.known.released.get(one) or "9", one), default="")


def _resolved(entry: Entry, index: _Index) -> str:
    match = index.known.resolver.resolve(entry.name, entry.params_total / 1e9 if entry.params_total else None)
    return match.model_id if match else ""


def _by_name_and_shape(entry: Entry, index: _Index) -> str:
    """The one catalog model of the same name, where the shapes agree; a name alone is not enough."""
    found = index.same_name.get(_basename(entry.entry_id), [])
    if len(found) != 1 or not (entry.architecture or entry.params_total):
        return ""
    return "" if _contradiction(entry, found[0], index) else found[0]


def _contradiction(entry: Entry, model_id: str, index: _Index) -> str:
    """What of an entry's shape is not the model's, in words; "" when nothing is known to differ."""
    parent = index.entries.get(model_id.casefold())
    shape = index.known.shapes.get(model_id) or (parent.architecture if parent else {})
    for column, what in (("n_layer", "layers"), ("n_embd", "as its width")):
        mine, theirs = entry.architecture.get(column), shape.get(column)
        if mine and theirs and mine != theirs:
            return f"it has {mine} {what} where that has {theirs}"
    mine_total = entry.params_total
    total = index.known.params.get(model_id) or (parent.params_total if parent else None)
    if mine_total and total and not 1 / _SAME_PARAMS_RATIO <= mine_total / total <= _SAME_PARAMS_RATIO:
        return f"it has {mine_total:,} parameters where that has {total:,}"
    return ""


def _shape_key(shape: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(shape.get(column, "") for column in _SHAPE)


def _basename(entry_id: str) -> str:
    """A repository's name without its owner and without the mark of its format."""
    name = entry_id.split("/")[-1].casefold()
    for mark in ("-gguf", "_gguf", ".gguf"):
        name = name.removesuffix(mark)
    return name
