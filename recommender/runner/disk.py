"""Which model files lie on this disk, in our models folder and in the Hub's own cache, and removing them.

A link is left alone wherever it leads, so nothing outside these two folders is listed or removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recommender import paths
from recommender.errors import NotWritableError, RunError
from recommender.runner import hub
from recommender.types import GIB

if TYPE_CHECKING:
    from huggingface_hub import CachedFileInfo, HFCacheInfo

__all__ = ["StoredFile", "make_room", "mark_used", "remove", "stored_files"]

Place = Literal["Rightsize", "Hugging Face cache"]
_Key = tuple[str, str]  # repository, name of the first part

_OURS = re.compile(r"(.+\.gguf)(?:\.sha256|(?:\.[0-9a-f]+\.part)(?:\.lock)?)?", re.IGNORECASE)
_HOLDS_DATA = (".gguf", ".part")
_LOCK_S = 0.2


@dataclass(frozen=True)
class StoredFile:
    """A model file on this disk; the parts of a split one count as one."""

    name: str  # path in its repository, of the first part
    place: Place
    repo: str  # "owner/name"; "" for a file that lies in no repository's folder
    files: int  # parts that are here
    size_bytes: float  # on this disk
    complete: bool  # False: a download was interrupted, or is going on
    modified_at: datetime  # local time with its zone
    verified: bool  # its checksum was compared with the Hub's after the download


def stored_files() -> tuple[StoredFile, ...]:
    """Every GGUF file in our models folder, interrupted downloads too, and in the Hub's own cache; largest first."""
    found = [_stored_here(key, files) for key, files in _our_groups().items()]
    info = _scan_cache()
    cached = _cache_groups(info).items() if info else ()
    found += [_stored_in_cache(key, files) for key, files in cached]
    return tuple(sorted((one for one in found if one.files), key=lambda one: (-one.size_bytes, one.repo, one.name)))


def remove(stored: StoredFile) -> float:
    """Remove all parts of a model file and what was kept beside it, and return the bytes freed.

    0 when it is gone already. In the Hub's cache, data that another file there still uses stays.

    Raises:
        NotWritableError: a download of it is going on, or the system refuses (on Windows also while a run uses it).
    """
    try:
        return _remove_ours(stored) if stored.place == "Rightsize" else _remove_from_cache(stored)
    except TimeoutError as error:
        raise NotWritableError(
            f"{stored.name} is being downloaded just now. Stop the download or wait for its end, then remove it."
        ) from error
    except OSError as error:
        raise NotWritableError(
            f"{stored.name} could not be removed: {error.strerror or error}. Stop the program that uses it, or see who "
            "may write there, then try again."
        ) from error


def mark_used(path: Path) -> None:
    """Note that a model file is used now: what was not used for longest goes first when room is needed."""
    with contextlib.suppress(OSError):  # it was removed meanwhile, or is another user's
        os.utime(path, (time.time(), path.stat().st_mtime))


def make_room(needed_bytes: float, quota_bytes: float) -> tuple[StoredFile, ...]:
    """Remove what was not used for longest from our models folder until so much more stays within the quota.

    Returns what was removed. A file that is being downloaded stays.

    Raises:
        RunError: it would not fit even alone.
    """
    if needed_bytes > quota_bytes:
        raise RunError(
            f"It would take {needed_bytes / GIB:.1f} GiB on disk, and all model files may take {quota_bytes / GIB:.1f} "
            "GiB here."
        )
    groups = _our_groups()
    oldest_first = sorted(groups, key=lambda key: max(_used_at(status) for status in groups[key].values()))
    held = [_stored_here(key, groups[key]) for key in oldest_first]
    total = sum(one.size_bytes for one in held)
    removed = []
    for one in held:
        if total + needed_bytes <= quota_bytes:
            break
        with contextlib.suppress(NotWritableError):
            remove(one)
            removed.append(one)
            total -= one.size_bytes
    return tuple(removed)


def _used_at(status: os.stat_result) -> float:
    return max(status.st_atime, status.st_mtime)


# ── in our models folder ─────────────────────────────────────────────────────────────────────────────────────


def _our_groups() -> dict[_Key, dict[Path, os.stat_result]]:
    """Everything that belongs to a model file: its parts, interrupted downloads, checksum notes and locks."""
    root = paths.models_dir()
    groups: dict[_Key, dict[Path, os.stat_result]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            match = _OURS.fullmatch(name)
            if not match:
                continue
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # a download was just completed
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    groups.setdefault(_key(path.with_name(match[1]).relative_to(root)), {})[path] = status
    return groups


def _key(inside: Path) -> _Key:
    parts = inside.parts
    owner_and_name = 2 if len(parts) > 2 else 0
    return "/".join(parts[:owner_and_name]), _part_names("/".join(parts[owner_and_name:]))[0]


def _part_names(name: str) -> tuple[str, ...]:
    return hub.part_names(name) or (name,)  # a name may claim to be one of 0 parts


def _stored_here(key: _Key, files: dict[Path, os.stat_result]) -> StoredFile:
    repo, name = key
    data = [status for path, status in files.items() if path.suffix.lower() in _HOLDS_DATA]
    wanted = {Path(part).name for part in _part_names(name)}
    here = {path.name for path in files}
    return StoredFile(
        name=name,
        place="Rightsize",
        repo=repo,
        files=len(data),
        size_bytes=float(sum(status.st_size for status in data)),
        complete=wanted <= here,
        modified_at=_local(max((status.st_mtime for status in data), default=0.0)),
        verified=wanted | {f"{part}.sha256" for part in wanted} <= here,
    )


def _remove_ours(stored: StoredFile) -> float:
    files = _our_groups().get((stored.repo, stored.name), {})
    locks = [path for path in files if path.suffix == ".lock"]
    freed = 0.0
    with _no_download(locks):
        for path, status in files.items():
            if path not in locks:
                path.unlink(missing_ok=True)
                freed += status.st_size if path.suffix.lower() in _HOLDS_DATA else 0
    for lock in locks:
        lock.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        _remove_empty(folder)
    return freed


def _remove_empty(folder: Path) -> None:
    root = paths.models_dir()
    with contextlib.suppress(OSError):  # something else lies in it
        while folder != root:
            folder.rmdir()
            folder = folder.parent


@contextmanager
def _no_download(locks: Iterable[Path]) -> Iterator[None]:
    """Keep downloads out for a moment; raises ``TimeoutError`` when one holds its lock."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    with ExitStack() as held:
        for lock in locks:
            held.enter_context(WeakFileLock(lock, timeout=_LOCK_S))
        yield


# ── in the Hub's own cache ───────────────────────────────────────────────────────────────────────────────────


def _scan_cache() -> HFCacheInfo | None:
    """What is in the Hub's cache; None when there is none that can be read."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir(constants.HF_HUB_CACHE)
    except (CacheNotFound, OSError, ValueError):
        return None


def _cache_groups(info: HFCacheInfo) -> dict[_Key, set[CachedFileInfo]]:
    """Its GGUF files, of all revisions."""
    groups: dict[_Key, set[CachedFileInfo]] = {}
    for repo in info.repos:
        for revision in repo.revisions if repo.repo_type == "model" else ():
            for file in revision.files:
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                folders = (file.file_path.parent.resolve(), file.blob_path.parent.resolve())
                # People link files of their own into it, which are not ours to remove.
                if name.lower().endswith(".gguf") and all(one.is_relative_to(repo.repo_path) for one in folders):
                    groups.setdefault((repo.repo_id, _part_names(name)[0]), set()).add(file)
    return groups


def _stored_in_cache(key: _Key, files: set[CachedFileInfo]) -> StoredFile:
    repo, name = key
    data = {file.blob_path: file for file in files}.values()
    return StoredFile(
        name=name,
        place="Hugging Face cache",
        repo=repo,
        files=len(data),
        size_bytes=float(sum(file.size_on_disk for file in data)),
        complete={Path(part).name for part in _part_names(name)} <= {file.file_name for file in files},
        modified_at=_local(max(file.blob_last_modified for file in data)),
        verified=False,
    )


def _remove_from_cache(stored: StoredFile) -> float:
    info = _scan_cache()
    files = _cache_groups(info).get((stored.repo, stored.name)) if info else None
    if not info or not files or not info.cache_dir:
        return 0.0
    locks = info.cache_dir / ".locks" / f"models--{stored.repo.replace('/', '--')}"
    with _no_download(locks.glob("*.lock")):
        strategy = info.delete_files(*files)
        strategy.execute()
    if any(blob.exists() for blob in strategy.blobs):  # it only logs what it could not remove
        raise PermissionError(errno.EACCES, "permission denied")
    return float(strategy.expected_freed_size)


def _local(timestamp_s: float) -> datetime:
    return datetime.fromtimestamp(timestamp_s).astimezone()
