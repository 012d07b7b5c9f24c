"""Where shared measurements are kept. The setting ``community`` chooses among three places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recommender import paths
from recommender.errors import BadInputError, RuntimeMissingError

__all__ = ["LONGEST_CHARACTERS", "MOST_ROWS", "CommunityStore", "Row", "open_store"]

# Rows that are read at most; more would only cost time. They are taken in the order of their keys, which are hashes:
# a random part of what is there.
MOST_ROWS = 5_000
LONGEST_CHARACTERS = 16_384  # of a record; a real one has some 2,000


@dataclass(frozen=True)
class Row:
    """One stored record, unread: whoever can write to the store can write anything."""

    id: str
    device_key: str
    record: str  # JSON, as ``recommender.community.record`` makes it


class CommunityStore(Protocol):
    """One place. Several processes may add and read at once."""

    @property
    def place(self) -> str:
        """Where it is, in words that hold no secret: "a folder", "a PostgreSQL database"."""

    def add(self, row: Row) -> None:
        """Keep a row for good before returning; one whose id is there already changes nothing.

        Raises:
            RecommenderError: it could not be kept; the message holds no secret.
        """

    def rows(self, device_key: str | None = None) -> list[Row]:
        """What is there, of one kind of hardware when a key is given: at most :data:`MOST_ROWS`, none of them
        twice, and none longer than :data:`LONGEST_CHARACTERS`.

        Raises:
            RecommenderError: it cannot be read; the message holds no secret.
        """


def open_store(setting: str) -> CommunityStore:
    """The place that the setting names.

    Raises:
        BadInputError: it is empty or names no place. What it is set to is not repeated: it may hold a password.
        RuntimeMissingError: the driver for PostgreSQL is not installed.
    """
    kind, _, rest = setting.strip().partition(":")
    if setting.strip() == "local":
        from recommender.community.local import LocalStore

        return LocalStore(paths.community_database())
    if kind == "folder" and rest:
        from recommender.community.folder import FolderStore

        return FolderStore(Path(rest).expanduser())
    if kind in ("postgresql", "postgres") and rest.startswith("//"):
        try:
            from recommender.community.postgres import PostgresStore
        except ImportError as error:
            raise RuntimeMissingError(
                "Sharing over PostgreSQL needs its driver: install the extra `postgres` "
                '(`pip install "psycopg[binary]>=3.2,<4"`).'
            ) from error
        return PostgresStore(setting.strip())
    if not setting.strip():
        raise BadInputError(
            "Sharing is off. The setting `community` turns it on: local, folder:PATH or postgresql://USER@HOST/DATABASE."
        )
    raise BadInputError("The setting `community` must be local, folder:PATH or postgresql://USER@HOST/DATABASE.")
