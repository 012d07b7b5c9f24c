"""Every error a caller may see. The message says what happened and what to do next; page and CLI print it as it is."""

from __future__ import annotations


class RecommenderError(Exception):
    """The root. ``exit_code`` is what the command line returns."""

    exit_code = 1


class UnknownNameError(RecommenderError, LookupError):
    """A model, device, task or other name that the catalog does not have; the nearest real ones are in the message."""

    exit_code = 2


class BadInputError(RecommenderError, ValueError):
    """A number or choice that makes no sense, such as negative memory or a context of 0."""

    exit_code = 2


class CatalogError(RecommenderError, ValueError):
    """The catalog could not be built or read: file, line, column and reason are in the message."""


class DatabaseLockedError(RecommenderError, OSError):
    """Another process holds the database file; the message names it."""


class NotWritableError(RecommenderError, OSError):
    """A folder is read-only or a disk is full; the message names the place."""


class CommunityError(RecommenderError, OSError):
    """Where measurements are shared cannot be reached or refuses; the message holds no part of a connection string."""


class RunError(RecommenderError, RuntimeError):
    """A model could not be loaded or run. The server lives on; only the run's own process ended."""


class OutOfMemoryError(RunError):
    """Memory ran out while a model was loaded or run: something smaller may work."""


class DownloadError(RecommenderError, OSError):
    """A file could not be fetched: no network, gated, missing, no room, or a checksum that does not match."""


class RuntimeMissingError(RecommenderError, ImportError):
    """The runtime that should run the model is not installed; the message says how to add it."""


class Cancelled(RecommenderError):
    """The person pressed Stop."""


def nearest(name: str, known: list[str], count: int = 3) -> list[str]:
    """The ``count`` names in ``known`` most like ``name``, best first."""
    import difflib

    folded = {candidate.casefold(): candidate for candidate in known}
    hits = difflib.get_close_matches(name.casefold(), list(folded), n=count, cutoff=0.3)
    inside = [candidate for candidate in folded if name.casefold() in candidate and candidate not in hits]
    return [folded[hit] for hit in (inside + hits)[:count]]


def unknown(kind: str, name: str, known: list[str]) -> UnknownNameError:
    """Build the error for a name that is not in ``known``."""
    close = nearest(name, known)
    command = "devices" if kind == "device" else f"catalog {kind}s"
    hint = f" Did you mean {', '.join(close)}?" if close else f" `recommender {command}` lists what there is."
    return UnknownNameError(f"There is no {kind} called {name!r}.{hint}")
