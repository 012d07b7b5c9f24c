"""What the catalog's file and the measurements' file have in common: attaching, locks and unwritable places."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from recommender import paths
from recommender.errors import CatalogError, DatabaseLockedError, NotWritableError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Written by DuckDB 2.0 in the format that 1.5 reads too; without it the file could not be opened by an older client.
STORAGE_VERSION = "v1.5.0"
WRITE = f"STORAGE_VERSION '{STORAGE_VERSION}'"
# Small blocks for a file that is made anew each time: forty small tables take a third of the room, and open faster.
CREATE = f"{WRITE}, BLOCK_SIZE 16384"

# What a read-only folder or a full disk raises: when the file is opened, or when what was written is committed.
WRITE_ERRORS = (OSError, duckdb.IOException, duckdb.TransactionException, duckdb.FatalException)
_RETRY_EVERY_S = 0.05


def connect() -> DuckDBPyConnection:
    """An empty instance to attach a file to. A name that is no table is an error, never a Python variable."""
    return duckdb.connect(":memory:", config={"python_enable_replacements": "false"})


def attach(connection: DuckDBPyConnection, path: str | Path, options: str) -> None:
    """Attach a database file (or ":memory:") under the name ``catalog`` and make it the current one.

    Attached, not connected to: DuckDB shares one instance among a process's connections to the same path, so a
    process that holds a replaced file would go on seeing the old one.
    """
    name = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{name}' AS catalog ({options})")
    connection.execute("USE catalog")


def detach(connection: DuckDBPyConnection) -> None:
    """Write everything out and give the file back."""
    connection.execute("USE memory")
    connection.execute("DETACH catalog")


@contextmanager
def attached(path: Path, options: str) -> Iterator[DuckDBPyConnection]:
    """A connection of its own to one file, which is given back afterwards."""
    with closing(connect()) as connection:
        attach(connection, path, options)
        yield connection
        detach(connection)


@contextmanager
def attached_in_turn(path: Path, options: str, patience_s: float) -> Iterator[DuckDBPyConnection]:
    """As :func:`attached`, waiting a while when another process has the file.

    Raises:
        DatabaseLockedError: another process had it all the while; the message names both.
        CatalogError: it is no database.
    """
    until = time.monotonic() + patience_s
    while True:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(attached(path, options))
            except duckdb.IOException as error:
                if is_lock(error) and time.monotonic() < until:
                    time.sleep(_RETRY_EVERY_S)
                    continue
                if is_lock(error):
                    raise locked(path, error) from error
                if "not a valid DuckDB database" in str(error):
                    raise CatalogError(f"{path} is not a database. Move it away to start anew.") from error
                raise
            yield connection
            return


def keep_copy(path: Path, place: Path) -> None:
    """Copy a database where that can be done; a copy that cannot be made whole is not left behind."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    except OSError:
        with suppress(OSError):
            place.unlink(missing_ok=True)


def is_lock(error: Exception) -> bool:
    """Whether DuckDB refused a file because another process has it."""
    text = str(error)
    return "Could not set lock" in text or "being used by another process" in text


def locked(path: Path, error: Exception) -> DatabaseLockedError:
    """The error for a file that another process holds; DuckDB's own text has the program and its PID."""
    text = str(error)
    start = text.find("held in ")
    holder = text[start + len("held in ") :].split(". ")[0].splitlines()[0] if start >= 0 else "another program"
    return DatabaseLockedError(
        f"{path} is held by {holder}. Close that program, or set {paths.HOME_VARIABLE} to another folder."
    )


def not_writable(what: str, path: Path, error: Exception) -> NotWritableError:
    """The error for a read-only folder or a full disk."""
    return NotWritableError(
        f"{what} cannot be written to {path}: {first_line(error)}. "
        f"Free some room there, or set {paths.HOME_VARIABLE} to a folder you can write in."
    )


def first_line(error: Exception) -> str:
    """An error's first sentence, without its full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
