"""What the Ollama server on this computer has: every installed model with its exact size and digest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from recommender.catalog.sources.base import Batch, Entry, EntryFile, OnProgress, Progress, now
from recommender.catalog.sources.foundry_assets import details
from recommender.catalog.sources.untrusted import count, date, mapping, repository, text, texts
from recommender.errors import RunError
from recommender.runner.ollama_server import REHEARSAL_PREFIX, InstalledModel, connected, find_server, installed_models

_MOST_MODELS = 2_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}")
_HUB = re.compile(r"(?:hf\.co|huggingface\.co)/([^/:]+/[^/:]+)(?::.*)?", re.IGNORECASE)
_BLOB = re.compile(r"^FROM .*[/\\]sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)
_MADE_HERE = "rightsize-"  # as the runner names what it gives the server
# Columns of models.csv and architectures.csv → the header's key after the architecture's name.
_COLUMNS = {
    "n_layer": "block_count",
    "n_embd": "embedding_length",
    "n_head": "attention.head_count",
    "n_head_kv": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "value_dim": "attention.value_length",
    "n_ff": "feed_forward_length",
    "vocab_size": "vocab_size",
    "n_expert": "expert_count",
    "n_expert_used": "expert_used_count",
    "n_ff_expert": "expert_feed_forward_length",
    "sliding_window": "attention.sliding_window",
    "rope_dim": "rope.dimension_count",
}
# The beginning of a licence's text → its id on the Hub.
_LICENSES = (
    (re.compile(r"apache license,?\s+version 2\.0"), "apache-2.0"),
    (re.compile(r"\bmit license\b|permission is hereby granted, free of charge"), "mit"),
    (re.compile(r"gemma terms of use"), "gemma"),
    (re.compile(r"llama (\d(?:\.\d)?) community license"), "llama"),
)


class OllamaSource:
    """The server at ``host``, else where the runner finds one."""

    id = "ollama"
    name = "Ollama on this computer"

    def __init__(self, host: str | None = None) -> None:
        self._host = host

    def unavailable(self) -> str:
        return ""  # only asking tells whether a server answers

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        """As :meth:`~recommender.catalog.sources.base.Source.fetch`; it always gives everything, in one batch.

        Raises:
            RuntimeMissingError: no server answers.
            RunError: what answers is no Ollama, or broke off.
        """
        progress(Progress(self.id, "the list of models", 0))
        server = find_server(self._host)
        listed = [model for model in installed_models(server)[:_MOST_MODELS] if _is_somebodys(model)]
        entries = []
        for number, model in enumerate(listed):
            progress(Progress(self.id, model.name, number, len(listed)))
            if entry := entry_of(model, _shown(server.host, model.name)):
                entries.append(entry)
        yield Batch(tuple(entries), "", complete=True)


def entry_of(model: InstalledModel, shown: Mapping[str, Any]) -> Entry | None:
    """The entry of an installed model; None where it is not on this computer but asked elsewhere.

    Args:
        shown: the server's answer to /api/show; empty where it gave none.
    """
    if shown.get("remote_host") or shown.get("remote_model"):
        return None
    told, info = mapping(shown.get("details")), mapping(shown.get("model_info"))
    architecture = _architecture(info)
    repo = _repository(model.name)
    able = set(texts(shown.get("capabilities")))
    blob = _BLOB.search(modelfile) if isinstance(modelfile := shown.get("modelfile"), str) else None
    file = EntryFile(model.name, model.size_bytes or None, blob[1] if blob else "", text(model.quantization))
    return Entry(
        source=OllamaSource.id,
        entry_id=model.name,
        read_at=now(),
        version=text(model.sha256),
        url=_url(model.name, repo),
        name=repo.split("/")[1] if repo else model.name,
        publisher=repo.split("/")[0] if repo else _owner(model.name),
        format="safetensors" if told.get("format") == "safetensors" else "gguf",
        relation="installed",
        bases=(repo,) if repo else _parent(told, model.name),
        license_id=_license(info, shown.get("license")),
        modified=date(shown.get("modified_at")),
        pipeline=_pipeline(able),
        languages=tuple(code for code in texts(info.get("general.languages")) if re.fullmatch("[a-z]{2}", code)),
        params_total=count(info.get("general.parameter_count")),
        context_tokens=count(info.get(f"{architecture.get('architecture')}.context_length")),
        thinking=_thinking(able, shown.get("template")),
        tool_calling=_tool_calling(able, shown.get("template")),
        architecture=architecture,
        architecture_source=f"ollama: {model.name}@{model.sha256[:12]}" if architecture else "",
        files=(file,),
        runtime=OllamaSource.id,
        details=details(
            parameter_size=text(told.get("parameter_size")),
            quantization=text(model.quantization),
            capabilities=sorted(able),
        ),
    )


def _shown(host: str, name: str) -> Mapping[str, Any]:
    """What the server tells of a model; nothing where it fails at it, which costs the entry nothing else.

    Raises:
        RuntimeMissingError: the server is no longer there.
    """
    with suppress(RunError, RecursionError), connected(host) as client:
        # The client's own call fails where an old server leaves a field out.
        return mapping(client._request_raw("POST", "/api/show", json={"model": name}).json())
    return {}


def _is_somebodys(model: InstalledModel) -> bool:
    """Whether it is a model that a person put there, under a name that can be one."""
    return _NAME.fullmatch(model.name) is not None and not model.name.startswith(REHEARSAL_PREFIX)


def _architecture(info: Mapping[str, Any]) -> dict[str, str]:
    """The header's numbers; one that differs by layer is not shown, so that it stays open."""
    name = text(info.get("general.architecture"))
    if not re.fullmatch("[a-z0-9_.-]+", name):
        return {}
    found = {column: count(info.get(f"{name}.{key}")) for column, key in _COLUMNS.items()}
    return {"architecture": name} | {column: str(number) for column, number in found.items() if number}


def _repository(name: str) -> str:
    """The Hub's repository that a name stands for, owner/name; "" for other names."""
    found = _HUB.fullmatch(name)
    return repository(found[1]) if found else ""


def _parent(told: Mapping[str, Any], own: str) -> tuple[str, ...]:
    """The model that this one was made from on the server."""
    name = text(told.get("parent_model"))
    return (name,) if name != own and _NAME.fullmatch(name) else ()


def _owner(name: str) -> str:
    if name.startswith(_MADE_HERE):
        return ""
    return name.rsplit("/", 1)[0].split("/")[-1] if "/" in name else OllamaSource.id


def _url(name: str, repo: str) -> str:
    if repo:
        return f"https://huggingface.co/{repo}"
    if name.startswith(_MADE_HERE) or name.count("/") > 1:
        return ""
    return f"https://ollama.com/{name}" if "/" in name else f"https://ollama.com/library/{name}"


def _license(info: Mapping[str, Any], said: object) -> str:
    """The licence's id, as the header has it, else as its text begins."""
    named = text(info.get("general.license")).lower()
    if re.fullmatch("[a-z0-9][a-z0-9.-]+", named) and named != "other":
        return named
    beginning = " ".join(said[:2000].lower().split()) if isinstance(said, str) else ""
    for words, license_id in _LICENSES:
        if found := words.search(beginning):
            return license_id + (found[1] if words.groups else "")
    return ""


def _pipeline(able: set[str]) -> str:
    if "embedding" in able:
        return "feature-extraction"
    return "image-text-to-text" if "vision" in able else "text-generation" if "completion" in able else ""


def _tool_calling(able: set[str], template: object) -> str:
    return "yes" if "tools" in able else "no" if _has_turns(template) and able else ""


def _thinking(able: set[str], template: object) -> str:
    """yes, no or hybrid, where the template asks whether to think; "" where the server does not tell."""
    if "thinking" in able:
        return "hybrid" if isinstance(template, str) and "IsThinkSet" in template else "yes"
    return "no" if _has_turns(template) and able else ""


def _has_turns(template: object) -> bool:
    """Whether it is a chat's template. Without one the server cannot tell what a model could do."""
    return isinstance(template, str) and ".Messages" in template
