"""Shared measurements in a PostgreSQL database: for instances without a common disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from recommender.community.stores import LONGEST_CHARACTERS, MOST_ROWS, Row
from recommender.errors import CommunityError

_TABLE = "rightsize_shared"
_WAIT_S = 5  # for a connection, and for each answer: a database that hangs must not hold up a page
_LOCK = 7_151_201  # any number that no other program takes: two that make the table at once would collide
_CREATE = f"""
CREATE TABLE IF NOT EXISTS {_TABLE} (id text PRIMARY KEY, device_key text NOT NULL, record text NOT NULL);
CREATE INDEX IF NOT EXISTS {_TABLE}_device ON {_TABLE} (device_key);
"""


class PostgresStore:
    """A connection per operation. The table is made with the first row, by an account that may make one.

    Args:
        address: a connection URI as libpq takes it. A password can also be given as libpq takes it: ``PGPASSWORD`` or
            a password file.
    """

    place = "a PostgreSQL database"

    def __init__(self, address: str) -> None:
        self._address = address

    def add(self, row: Row) -> None:
        with _connected(self._address) as connection:
            if not _is_there(connection):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                connection.execute(_CREATE)
            connection.execute(
                f"INSERT INTO {_TABLE} (id, device_key, record) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING",
                [row.id, row.device_key, row.record],
            )

    def rows(self, device_key: str | None = None) -> list[Row]:
        with _connected(self._address) as connection:
            if not _is_there(connection):
                return []
            found = connection.execute(
                f"SELECT id, device_key, record FROM {_TABLE} WHERE device_key = coalesce(%s, device_key) "
                f"AND length(record) <= {LONGEST_CHARACTERS} ORDER BY id LIMIT {MOST_ROWS}",
                [device_key],
            )
            return [Row(*map(str, values)) for values in found.fetchall()]


def _is_there(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    found = connection.execute("SELECT to_regclass(%s)", [_TABLE]).fetchone()
    return found is not None and found[0] is not None


@contextmanager
def _connected(address: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection whose work is committed at the end. The driver's errors become sentences: its own texts may repeat
    the connection string, and with it a password."""
    try:
        with psycopg.connect(address, connect_timeout=_WAIT_S, tcp_user_timeout=1000 * _WAIT_S) as connection:
            connection.execute(f"SET statement_timeout = '{_WAIT_S}s'")
            yield connection
    except psycopg.Error as error:
        text = str(error)
        if error.sqlstate:
            what = f"answered with error {error.sqlstate} ({type(error).__name__})"
        elif "authentication failed" in text or "password" in text:
            what = "refuses the user or the password"
        elif isinstance(error, psycopg.OperationalError):
            what = "cannot be reached"
        else:
            what = "cannot be used: the connection string makes no sense"
        raise CommunityError(
            f"The PostgreSQL database that the setting `community` names {what}. Its own log says more."
        ) from None
