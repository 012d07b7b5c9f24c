"""Fetches model files from the Hugging Face Hub into the user's models folder, and finds those that are there.

A file lies at ``models/<owner>/<repository>/<file>`` once it is complete and its checksum is verified; beside it a
``.sha256`` note says so. Before that it is a ``….part`` file, from which a download goes on after a kill.
``huggingface_hub`` 2.4 does the transfer; its own ``hf_hub_download`` starts anew after an interruption.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommender import paths
from recommender.errors import BadInputError, DownloadError
from recommender.runner import hub_errors
from recommender.types import GIB, MIB

_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_QUANTIZATION = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q[1-8]_[A-Z0-9]+(?:_[A-Z]+)*|TQ[12]_0|I2_S|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))"
    r"(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_NOT_A_MODEL = re.compile(r"mmproj|imatrix|vocab-only|\bdraft\b|\bmtp\b|lora|adapter", re.IGNORECASE)
_SAME = {"FP16": "F16", "FP32": "F32", "MXFP4": "MXFP4_MOE"}
_HUB_TIMEOUT_S = 15.0
DISK_MARGIN_BYTES = 256 * MIB  # left free on the disk whatever is downloaded


@dataclass(frozen=True)
class RemoteFile:
    path: str  # inside the repository
    size_bytes: int
    sha256: str  # "" when the Hub does not say


@dataclass(frozen=True)
class FileChoice:
    """The file of one quantization on the Hub, at one commit. A split model has several parts, in order."""

    repo: str
    quantization: str
    revision: str  # commit
    files: tuple[RemoteFile, ...]
    gated: bool  # its licence must be accepted on the Hub first
    license: str = ""
    base: str = ""  # the repository it says it was made from

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """Of the first part."""
        return self.files[0].sha256

    @property
    def file(self) -> str:
        """The first part, which is the one a runtime is given."""
        return self.files[0].path

    @property
    def missing_bytes(self) -> int:
        """What is still to be fetched; parts of an interrupted download are counted as there."""
        return sum(file.size_bytes - present_bytes(self.repo, file) for file in self.files)


@dataclass(frozen=True)
class DownloadRequest:
    """What the download process is asked for. ``file`` is the first part of a split model."""

    repo: str
    file: str
    revision: str = ""
    most_bytes: float | None = None  # of all parts


# ── on the Hub ───────────────────────────────────────────────────────────────────────────────────────────────


def resolve_file(repo: str, quantization: str = "", file: str = "", revision: str = "") -> FileChoice:
    """Look on the Hub for the file of a quantization, or for a file whose name is known.

    Of several files of one quantization the choice is: one file before a split one, the plain mix before a variant,
    then the shortest name.

    Args:
        repo: "owner/name".
        quantization: a file type of llama.cpp, such as "Q4_K_M"; not needed with ``file``.
        file: the file's path in the repository.
        revision: a commit, branch or tag; "" = the newest commit. The result names the commit.

    Raises:
        BadInputError: ``repo`` is no repository name.
        DownloadError: offline, no network, no such repository, or it has no such file.
    """
    info, remote = _look_up(repo, file, revision)
    chosen = _named(repo, remote, file) if file else _choose(repo, remote, quantization)
    return _choice(repo, info, quantization, chosen, revision)


class NoGgufError(DownloadError):
    """A repository holds no GGUF file that could be run."""


def resolve_first(repo: str, quantizations: Sequence[str]) -> FileChoice:
    """The file of the first of several quantizations that a repository has; otherwise as :func:`resolve_file`."""
    info, remote = _look_up(repo, "", "")
    there = {quantization_in(name).removeprefix("UD-") for name in _models(remote)}
    wanted = next((one for one in quantizations if one in there), quantizations[0])
    return _choice(repo, info, wanted, _choose(repo, remote, wanted), "")


def _look_up(repo: str, file: str, revision: str) -> tuple[Any, dict[str, RemoteFile]]:
    """What the Hub tells of a repository, and its GGUF files by path."""
    _check_names(repo, file)
    from huggingface_hub import HfApi

    with hub_errors.explained(repo):
        hub_errors.refuse_offline(f"look up {repo}")
        api = HfApi(endpoint=endpoint())
        info = api.model_info(repo, revision=revision or None, files_metadata=True, timeout=_HUB_TIMEOUT_S)
    remote = {}
    for sibling in info.siblings or ():
        if sibling.rfilename.lower().endswith(".gguf"):
            sha256 = sibling.lfs.sha256 if sibling.lfs else ""
            remote[sibling.rfilename] = RemoteFile(sibling.rfilename, sibling.size or 0, sha256 or "")
    return info, remote


def _choice(repo: str, info: Any, quantization: str, chosen: tuple[RemoteFile, ...], revision: str) -> FileChoice:
    card = info.card_data
    license_id = card.get("license") if card is not None else ""
    return FileChoice(
        repo=repo,
        quantization=quantization or quantization_in(chosen[0].path),
        revision=info.sha or revision or "main",
        files=chosen,
        gated=bool(info.gated),
        license=license_id if isinstance(license_id, str) else "",
        base=_base(card.get("base_model") if card is not None else None),
    )


def _base(named: object) -> str:
    """The repository that a card names as the one it was made from."""
    first = named[0] if isinstance(named, list) and named else named
    return first if isinstance(first, str) and is_repository(first) else ""


def quantization_in(file: str) -> str:
    """The quantization a file's name tells, such as "Q4_K_M"; "" when it tells none."""
    found = [match.upper() for match in _QUANTIZATION.findall(file)]
    name = found[-1] if found else ""
    return _SAME.get(name, name)


def _models(remote: Iterable[str]) -> list[str]:
    return [name for name in remote if not _NOT_A_MODEL.search(name)]


def _choose(repo: str, remote: dict[str, RemoteFile], quantization: str) -> tuple[RemoteFile, ...]:
    models = _models(remote)
    wanted = quantization.upper()
    fitting = [name for name in models if quantization_in(name) in (wanted, f"UD-{wanted}")]
    first_parts = [name for name in fitting if part_of(name)[0] == 1]
    if not first_parts:
        there = sorted({quantization_in(name) for name in models} - {""})
        if not there:
            raise NoGgufError(f"{repo} has no GGUF file of a known quantization. Choose another repository.")
        raise DownloadError(f"{repo} has no {quantization} file; it has {', '.join(there)}. Choose one of these.")
    best = min(
        first_parts,
        key=lambda name: (_SPLIT.fullmatch(name) is not None, quantization_in(name) != wanted, len(name), name),
    )
    return _with_parts(repo, remote, best)


def _named(repo: str, remote: dict[str, RemoteFile], file: str) -> tuple[RemoteFile, ...]:
    if file not in remote:
        raise DownloadError(f"{repo} has no file {file} (any more). Choose another quantization or repository.")
    return _with_parts(repo, remote, file)


def _with_parts(repo: str, remote: dict[str, RemoteFile], first: str) -> tuple[RemoteFile, ...]:
    names = part_names(first)
    if missing := [name for name in names if name not in remote]:
        raise DownloadError(f"{repo} lacks {missing[0]}, a part of the model. Choose another quantization.")
    return tuple(remote[name] for name in names)


def part_names(file: str) -> tuple[str, ...]:
    """All parts of a split model, given one of them; the file itself when it is not split."""
    split = _SPLIT.fullmatch(file)
    if not split:
        return (file,)
    # The count is five digits of an untrusted name: at most 99,999.
    return tuple(f"{split[1]}-{number:05d}-of-{split[3]}.gguf" for number in range(1, int(split[3]) + 1))


# ── on this disk ─────────────────────────────────────────────────────────────────────────────────────────────


def local_path(repo: str, file: str) -> Path:
    """Where a file of a repository lies, or would lie."""
    _check_names(repo, file)
    return paths.models_dir() / repo / file


def part_path(repo: str, file: RemoteFile) -> Path:
    """Where an interrupted download of it waits; another version of the file has another name."""
    path = local_path(repo, file.path)
    version = file.sha256[:12] or str(file.size_bytes)
    return path.with_name(f"{path.name}.{version}.part")


def checksum_note(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def present_bytes(repo: str, file: RemoteFile) -> int:
    """How much of a file is on this disk already."""
    path = local_path(repo, file.path)
    if path.is_file() and checksum_note(path).is_file():
        return file.size_bytes
    part = part_path(repo, file)
    return min(part.stat().st_size, file.size_bytes) if part.is_file() else 0


def interrupted_bytes(repo: str, file: str) -> float:
    """How much of a file, or of all parts of a split one, interrupted downloads and finished parts have left here."""
    found = 0.0
    for name in part_names(file):
        path = local_path(repo, name)
        here = [path] if path.is_file() else list(path.parent.glob(f"{glob.escape(path.name)}.*.part"))
        found += sum(one.stat().st_size for one in here)
    return found


def at_hand(repo: str, file: str) -> Path | None:
    """Where a file of the catalog lies on this disk: one's own, which has no repository, or a fetched one."""
    if not repo:
        return own if file and (own := Path(file)).is_file() else None
    try:
        return cached(repo, file) if file else None
    except (BadInputError, OSError):  # no name that a file here could have
        return None


def cached(repo: str, file: str) -> Path | None:
    """The complete, verified file on this disk, or None: in our models folder, else in the Hub's own cache.

    For a split model, all parts must be there; the first is returned. No network is used.
    """
    names = part_names(file)
    ours = [local_path(repo, name) for name in names]
    if all(path.is_file() and checksum_note(path).is_file() for path in ours):
        return ours[0]
    from huggingface_hub import try_to_load_from_cache

    theirs = [try_to_load_from_cache(repo, name) for name in names]
    found = [Path(path) for path in theirs if isinstance(path, str)]
    return found[0] if len(found) == len(names) and all(path.is_file() for path in found) else None


def known_sha256(path: Path) -> str:
    """The checksum a cached file was verified with; "" when it is not known without reading the whole file."""
    note = checksum_note(path)
    if note.is_file():
        return note.read_text(encoding="utf-8").split()[0]
    blob = path.resolve().name  # the Hub's cache names large files by their checksum
    return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else ""


def free_disk_bytes() -> int:
    """Free space where models go, whether or not the folder exists yet."""
    folder = paths.models_dir()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(needed_bytes: float) -> None:
    """Raises ``DownloadError`` when the disk lacks room for ``needed_bytes`` more."""
    free = free_disk_bytes()
    if needed_bytes + DISK_MARGIN_BYTES > free:
        short = (needed_bytes + DISK_MARGIN_BYTES - free) / GIB
        raise DownloadError(
            f"The download needs {needed_bytes / GIB:.2f} GiB and {paths.models_dir()} has {free / GIB:.2f} GiB free: "
            f"short by {short:.2f} GiB. Free some space, or set {paths.HOME_VARIABLE} to a folder on another disk."
        )


def room_for(choice: FileChoice) -> str:
    """Whether what is still to be fetched of a file fits on the disk, in one sentence for the page."""
    try:
        check_room(choice.missing_bytes)
    except DownloadError as error:
        return str(error)
    missing, free = choice.missing_bytes / GIB, free_disk_bytes() / GIB
    return f"The download needs {missing:.2f} GiB and fits: {paths.models_dir()} has {free:.2f} GiB free."


def is_repository(name: str) -> bool:
    """Whether it can be a repository's id, owner/name."""
    return _REPOSITORY.fullmatch(name) is not None and ".." not in name


def part_of(file: str) -> tuple[int, int]:
    """(number, count) of a part of a split model by its name; (1, 1) of a whole one."""
    split = _SPLIT.fullmatch(file)
    return (int(split[2]), int(split[3])) if split else (1, 1)


def _check_names(repo: str, file: str) -> None:
    if not is_repository(repo):
        raise BadInputError(f"{repo!r} is no repository on the Hub. Give it as owner/name.")
    if file and (file.startswith(("/", "\\")) or ".." in file or ":" in file or "\\" in file or "\0" in file):
        raise BadInputError(f"{file!r} is no file of a repository.")


def endpoint() -> str:
    """The Hub's address, or that of the mirror that HF_ENDPOINT names now."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def download(
    repo: str,
    file: str,
    revision: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetch a file, or all parts of a split one, in a process of its own, and return the (first) path.

    Args:
        repo: "owner/name".
        file: path in the repository; the first part of a split model.
        revision: a commit; "" = the newest.
        on_progress: called with bytes done and bytes in all. An interrupt (Ctrl-C) ends the download; the next one
            goes on where it stopped.

    Raises:
        DownloadError: no network, gated, missing, no room, or a checksum that does not match.
    """
    from recommender.runner import child, protocol

    if (path := cached(repo, file)) is not None:
        return path
    running = child.start("recommender.runner.download_worker", DownloadRequest(repo, file, revision))
    ready: Path | None = None
    ended = False
    try:
        for event in running.events():
            if isinstance(event, protocol.Error):
                raise protocol.error_from(event)
            if isinstance(event, protocol.Downloading) and on_progress is not None:
                on_progress(int(event.done_bytes), int(event.total_bytes))
            if isinstance(event, protocol.FileReady):
                ready = Path(event.path)
        ended = True
    finally:
        if not ended:
            running.kill()
        died = running.finish()
    if ready is None:
        raise DownloadError(str(died) if died else "The download ended without a file. Try it again.")
    return ready
