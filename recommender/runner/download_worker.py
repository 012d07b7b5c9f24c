"""The process of one download: ``python -m recommender.runner.download_worker``, request on stdin, events on stdout."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from recommender.errors import DownloadError, RecommenderError
from recommender.runner import hub, hub_errors, protocol
from recommender.runner.channel import Channel, open_channel
from recommender.runner.hub import DownloadRequest, FileChoice, RemoteFile
from recommender.types import GIB, MIB

_REPORT_EVERY_S = 0.2
_RETRY_S = 1.0
_RETRIES = 3  # that bring nothing
_PIECE_BYTES = MIB  # written at once; a connection that breaks loses less than one


def main() -> None:
    channel = open_channel()
    try:
        run(protocol.from_dict(DownloadRequest, channel.request), channel)
    except RecommenderError as error:
        channel.send(protocol.Error(type(error).__name__, str(error)))
    channel.close()
    os._exit(0)


def run(request: DownloadRequest, channel: Channel) -> None:
    path = hub.cached(request.repo, request.file)
    if path is None:
        choice = hub.resolve_file(request.repo, file=request.file, revision=request.revision)
        if request.most_bytes is not None and choice.size_bytes > request.most_bytes:
            raise DownloadError(
                f"{choice.file} has {choice.size_bytes / GIB:.1f} GiB on the Hub, more than the "
                f"{request.most_bytes / GIB:.1f} GiB that may be fetched here."
            )
        path = _fetch(choice, channel)
    channel.send(protocol.FileReady(str(path), hub.known_sha256(path)))


def _fetch(choice: FileChoice, channel: Channel) -> Path:
    hub.check_room(choice.missing_bytes)
    progress = _Progress(choice, channel)
    for file in choice.files:
        with hub_errors.explained(choice.repo, file.path):
            _fetch_one(choice, file, progress, channel)
    return hub.local_path(choice.repo, choice.file)


def _fetch_one(choice: FileChoice, file: RemoteFile, progress: _Progress, channel: Channel) -> None:
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    path = hub.local_path(choice.repo, file.path)
    part = hub.part_path(choice.repo, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(part.with_name(part.name + ".lock")):
        if path.is_file() and hub.checksum_note(path).is_file():
            progress.file_done(file)
            return
        with part.open("ab") as stream:
            have = stream.tell()
            if have > file.size_bytes:  # of another version
                stream.truncate(0)
                stream.seek(0)
                have = 0
            progress.start(file, have)
            _receive(choice, file, stream, progress)
        channel.send(protocol.Verifying(file.path))
        found = _sha256(part)
        if file.sha256 and found != file.sha256:
            part.unlink()
            raise DownloadError(
                f"{file.path} arrived damaged: its checksum is {found[:12]}… instead of {file.sha256[:12]}…. "
                "It was removed; fetch it again."
            )
        # The note first: a file without one counts as not there and would be fetched anew.
        hub.checksum_note(path).write_text(f"{found}  {path.name}\n", encoding="utf-8")
        part.replace(path)
        progress.file_done(file)


def _receive(choice: FileChoice, file: RemoteFile, stream: BinaryIO, progress: _Progress) -> None:
    """Append what lacks of a file. A broken transfer is taken up again while attempts bring something."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    constants.DOWNLOAD_CHUNK_SIZE = _PIECE_BYTES  # 10 MiB of its own accord, which some connections never reach
    # The Hub's own address, not the storage's it redirects to: that one expires.
    address = f"{hub.endpoint()}/{choice.repo}/resolve/{choice.revision}/{quote(file.path)}"
    in_vain = 0
    while True:
        have = stream.tell()
        try:
            http_get(
                address,
                stream,
                resume_size=have,
                headers=build_hf_headers(),
                expected_size=file.size_bytes or None,
                displayed_filename=file.path,
                tqdm_class=progress.bar(),
            )
            return
        except (httpx2.ReadError, OSError) as error:
            # http_get tries again after other errors of the network; without errno, OSError is a transfer too short.
            if type(error) not in (httpx2.ReadError, OSError) or getattr(error, "errno", None) is not None:
                raise
            in_vain = 0 if stream.tell() > have else in_vain + 1
            if in_vain > _RETRIES or stream.tell() >= file.size_bytes:
                raise
        time.sleep(_RETRY_S)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Progress:
    """Adds up the parts of a download and reports a few times a second."""

    def __init__(self, choice: FileChoice, channel: Channel) -> None:
        self._channel = channel
        self._total = choice.size_bytes
        self._finished = 0
        self._current = 0
        self._file = choice.file
        self._reported = 0.0
        self._began, self._new_bytes = time.monotonic(), 0

    def start(self, file: RemoteFile, have_bytes: int) -> None:
        self._file = file.path
        self.start_at(have_bytes)

    def start_at(self, have_bytes: int) -> None:
        self._current = have_bytes
        self._report(force=True)

    def add(self, count: int) -> None:
        self._current += count
        self._new_bytes += count
        self._report()

    def file_done(self, file: RemoteFile) -> None:
        self._finished += file.size_bytes
        self._current = 0
        self._report(force=True)

    def _report(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._reported < _REPORT_EVERY_S:
            return
        self._reported = now
        speed = self._new_bytes / (now - self._began) if self._new_bytes and now > self._began else None
        done = float(self._finished + self._current)
        self._channel.send(protocol.Downloading(self._file, done, float(self._total), speed))

    def bar(self) -> type[Any]:
        """A class that ``huggingface_hub`` takes for a tqdm bar."""
        progress = self

        class Bar:
            def __init__(self, initial: int = 0, **options: object) -> None:
                progress.start_at(initial)  # 0 when the server sends the whole file in spite of a part

            def update(self, count: int) -> None:
                progress.add(count)

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *error: object) -> None:
                pass

        return Bar


if __name__ == "__main__":
    main()
