"""What every live source gives, and how it is asked: the same for those that ship and for a plug-in.

A source knows one place. It gives :class:`Entry` objects, one per thing published there, in batches; after each batch
comes a cursor from which a later call goes on, so that an interrupted refresh loses at most one batch. A source neither
judges nor merges: which entries are one model is decided in ``catalog/merge.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

RELATIONS = ("original", "quantized", "finetune", "adapter", "merge", "copy", "service", "installed")


@dataclass(frozen=True, slots=True)
class EntryFile:
    """One file of an entry. ``path`` is inside the entry, as the source writes it; it is never a path on this disk."""

    path: str
    bytes: int | None = None  # exact; None where the source does not say
    sha256: str = ""
    quantization: str = ""  # as the file's name or its runtime tells it, such as "Q4_K_M"


@dataclass(frozen=True)
class Score:
    """A benchmark's result as an entry states it."""

    benchmark: str
    value: float
    metric: str = ""
    verified: bool = False  # checked by the place that lists it; otherwise the publisher's own word


@dataclass(frozen=True)
class Entry:
    """One published thing: a repository, a service's model, a runtime's alias, an installed model, a file.

    Everything comes from elsewhere and is shown as text only. "" and ``None`` mean that the source does not say.
    """

    source: str  # the source's id
    entry_id: str  # unique within the source: "owner/name", an asset's id, an alias and variant
    read_at: str  # ISO 8601, UTC
    version: str  # a commit, digest, ETag or version number: unchanged means nothing new
    url: str  # https, for a person to look at
    name: str
    publisher: str
    format: str  # gguf, safetensors, onnx, mlx, litert, managed
    relation: str = ""  # one of RELATIONS, as the source states it; "" where it does not
    bases: tuple[str, ...] = ()  # entry ids or names that it says it was made from
    license_id: str = ""
    gated: bool = False
    downloads: int | None = None
    created: str = ""  # date, 2026-01-31
    modified: str = ""
    pipeline: str = ""  # text-generation, feature-extraction …
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # two-letter codes
    params_total: int | None = None
    context_tokens: int | None = None
    thinking: str = ""  # yes, no or hybrid
    tool_calling: str = ""  # yes or no
    architecture: Mapping[str, str] = field(default_factory=dict)  # columns of models.csv and architectures.csv
    architecture_source: str = ""  # which header they were read from
    files: tuple[EntryFile, ...] = ()
    scores: tuple[Score, ...] = ()
    runtime: str = ""  # id of the runtime whose own catalog this is
    accelerator: str = ""  # cpu, gpu, npu and execution provider, where variants differ by it
    memory_bytes: int | None = None  # as the source states it
    lifecycle: str = ""  # preview, current, deprecated or retired, as the source states it
    details: Mapping[str, str] = field(default_factory=dict)  # what else is worth showing: region, deployment types


@dataclass(frozen=True)
class Batch:
    """Some entries, and from where to go on after them."""

    entries: tuple[Entry, ...]
    cursor: str  # opaque; "" after the last batch of a full round
    gone: tuple[str, ...] = ()  # entry ids that the place says no longer exist
    complete: bool = False  # everything the place has was given in this round: what is missing has gone


@dataclass(frozen=True)
class Progress:
    """How far a source has come. ``total`` is ``None`` while it is not known."""

    source: str
    what: str  # a few words, such as the repository being read
    done: int
    total: int | None = None


OnProgress = Callable[[Progress], None]


class Source(Protocol):
    """One place that publishes models."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str:
        """As people call it."""
        ...

    def unavailable(self) -> str:
        """Why it cannot be asked now, with what to do about it; "" when it can. Uses no network."""
        ...

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        """Everything new since ``cursor``, in batches.

        Args:
            cursor: of the last batch that was kept; "" starts a full round.
            progress: called often; what it raises (:class:`~recommender.errors.Cancelled`) ends the fetch.

        Raises:
            DownloadError: the place cannot be reached or refuses, in one sentence with what to do next.
        """
        ...


def now() -> str:
    """The time an entry was read."""
    return datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
