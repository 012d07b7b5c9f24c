"""The architecture of a model on the Hub, from the header of one of its files, read by range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recommender.catalog.sources.base import Entry, EntryFile
from recommender.errors import RecommenderError

if TYPE_CHECKING:
    from recommender.catalog.sources.remote_header import RemoteHeader

_HEADER_BYTES = 1_000_000


def read_header(entry: Entry, file: EntryFile, endpoint: str) -> RemoteHeader | None:
    """What a file's header tells; None where it cannot be read, which costs the entry nothing else."""
    from huggingface_hub import get_session, hf_hub_url

    from recommender.catalog.sources.remote_header import read_remote_header
    from recommender.catalog.sources.safe_urls import RangeReader

    commit = entry.version if entry.version.isalnum() else None  # where a time stands for it: the newest
    url = hf_hub_url(entry.entry_id, file.path, revision=commit, endpoint=endpoint)
    try:
        reader = RangeReader(url, get_session(), _HEADER_BYTES)
        return read_remote_header(reader.read, file.bytes or 0, file.path, _HEADER_BYTES)
    except RecommenderError:
        return None
