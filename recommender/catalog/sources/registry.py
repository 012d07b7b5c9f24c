"""The sources that ship, by id. A plug-in is one more entry of the same form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recommender.catalog.entries import EntryStore
from recommender.catalog.merge import publishers
from recommender.catalog.refresh import shipped_tables
from recommender.catalog.sources.base import Source
from recommender.errors import unknown

SOURCE_IDS = ("hugging-face", "azure-ai-foundry", "foundry-local", "ollama")


def make_sources(store: EntryStore, ids: Sequence[str] = (), limit: int | None = None) -> list[Source]:
    """The sources of these ids (all without any), each told what is kept of it.

    Args:
        limit: repositories that are read on the Hub at most.

    Raises:
        UnknownNameError: there is no such source.
    """
    makers: dict[str, Callable[[], Source]] = {
        "hugging-face": lambda: _hugging_face(store, limit),
        "azure-ai-foundry": _azure_ai_foundry,
        "foundry-local": _foundry_local,
        "ollama": _ollama,
    }
    for wanted in ids:
        if wanted not in makers:
            raise unknown("source", wanted, list(SOURCE_IDS))
    return [makers[one]() for one in (ids or SOURCE_IDS)]


def _hugging_face(store: EntryStore, limit: int | None) -> Source:
    from recommender.catalog.sources.hugging_face import HuggingFaceSource

    makers, quantizers = publishers(shipped_tables())
    return HuggingFaceSource(makers, quantizers, store.versions("hugging-face"), limit)


def _azure_ai_foundry() -> Source:
    from recommender.catalog.sources.azure_ai_foundry import AzureSource

    return AzureSource()


def _foundry_local() -> Source:
    from recommender.catalog.sources.foundry_local import FoundryLocalSource

    return FoundryLocalSource()


def _ollama() -> Source:
    from recommender.catalog.sources.ollama import OllamaSource

    return OllamaSource()
