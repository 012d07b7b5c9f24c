"""wllama's files for the visitor's browser: fetched once from its npm packages, checked, and served by the app.

``browser_assets.csv`` beside this module pins the version, each package's checksum and each file's. The files are not
part of the sources; a wheel that is built where they lie carries them, with wllama's licence.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from recommender import paths
from recommender.errors import DownloadError, NotWritableError

__all__ = ["Asset", "Fetched", "assets", "fetch", "folder", "stored_as", "version"]

_MOST_BYTES = 64 << 20  # of a package; it has a few MB
_TIMEOUT_S = 120
_GZIP_LEVEL = 6
_REGISTRY = "NPM_CONFIG_REGISTRY"  # npm's own variable; it takes it in either case


@dataclass(frozen=True)
class Asset:
    """One file of a package. Checksums are base64, as npm and browsers write them."""

    package: str
    version: str
    tarball_sha512: str
    member: str  # its path in the package
    file: str  # its name here
    bytes: int
    sha384: str


@dataclass(frozen=True)
class Fetched:
    """Where the files lie now. ``downloaded`` is false when all of them were there already."""

    folder: Path
    version: str
    downloaded: bool
    files: tuple[Asset, ...]


@cache
def assets() -> tuple[Asset, ...]:
    """Every file, as it is pinned."""
    with Path(__file__).with_name("browser_assets.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return tuple(Asset(bytes=int(row.pop("bytes")), **row) for row in rows)


def version() -> str:
    return assets()[0].version


def stored_as(one: Asset) -> str:
    """The file's name on this disk: what the browser loads is kept as it is sent, compressed."""
    return f"{one.file}.gz" if _sent(one) else one.file


def _sent(one: Asset) -> bool:
    return one.file.endswith((".js", ".wasm"))


def folder() -> Path | None:
    """Where all the files lie; ``None`` where they were not fetched. Their checksums are left to the browser."""
    for place in (paths.packaged_browser_assets(), paths.browser_assets()):
        if all((place / stored_as(one)).is_file() for one in assets()):
            return place
    return None


def _whole(place: Path) -> bool:
    """Whether every file there is the one that is pinned."""
    try:
        for one in assets():
            data = (place / stored_as(one)).read_bytes()
            if _digest("sha384", gzip.decompress(data) if _sent(one) else data) != one.sha384:
                return False
    except (OSError, EOFError, zlib.error):
        return False
    return True


def fetch() -> Fetched:
    """Put the files where the app serves them from, unless they are there: in the package, or in the data folder.

    Raises:
        DownloadError: no registry can be asked, or what came is not what is pinned.
        NotWritableError: neither folder can be written.
    """
    there = folder()
    if there is not None and _whole(there):
        return Fetched(there, version(), False, assets())
    contents: dict[str, bytes] = {}
    for (package, number, checksum), members in groupby(
        assets(), lambda one: (one.package, one.version, one.tarball_sha512)
    ):
        contents |= _members(_tarball(package, number, checksum), tuple(members))
    return Fetched(_write(contents), version(), True, assets())


def _digest(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def _tarball(package: str, number: str, checksum: str) -> bytes:
    data = _from_npm(package, number) if shutil.which("npm") else _from_registry(package, number)
    if _digest("sha512", data) != checksum:
        raise DownloadError(
            f"The package {package} {number} that came is not the one that was checked (its sha512 differs), so it is "
            "not used. Ask another registry."
        )
    return data


def _from_npm(package: str, number: str) -> bytes:
    """npm finds the registry, the proxy and the credentials that are configured."""
    with tempfile.TemporaryDirectory() as work:
        command = [str(shutil.which("npm")), "pack", f"{package}@{number}", "--silent", "--pack-destination", work]
        try:
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise DownloadError(f"npm did not bring {package} {number} within {_TIMEOUT_S} s. Try again.") from None
        packed = list(Path(work).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            said = next((line for line in done.stderr.splitlines() if line.strip()), "it gave no reason")
            raise DownloadError(f"npm could not fetch {package} {number}: {said.strip()}")
        return packed[0].read_bytes()


def _from_registry(package: str, number: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """Without npm: from the address that a registry has for the package by convention."""
    registry = environment.get(_REGISTRY) or environment.get(_REGISTRY.lower())
    if not registry:
        raise DownloadError(
            f"There is no npm here to fetch {package} {number} with. Install npm, or say in {_REGISTRY} which registry "
            "to ask."
        )
    url = f"{registry.rstrip('/')}/{package}/-/{package.rpartition('/')[2]}-{number}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read(_MOST_BYTES))
    except (OSError, ValueError) as error:
        raise DownloadError(f"{package} {number} could not be fetched from {_REGISTRY}: {error}.") from error


def _members(tarball: bytes, wanted: tuple[Asset, ...]) -> dict[str, bytes]:
    """The files as they are stored, by name. Nothing else of the package is unpacked."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            for one in wanted:
                member = archive.extractfile(f"package/{one.member}")
                found[one.file] = member.read(_MOST_BYTES) if member else b""
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise DownloadError(
            f"The package {wanted[0].package} {wanted[0].version} has another form: {error}."
        ) from error
    for one in wanted:
        if _digest("sha384", found[one.file]) != one.sha384:
            raise DownloadError(f"{one.member} in {one.package} {one.version} is not the file that was checked.")
    return {
        stored_as(one): gzip.compress(found[one.file], _GZIP_LEVEL, mtime=0) if _sent(one) else found[one.file]
        for one in wanted
    }


def _write(contents: Mapping[str, bytes]) -> Path:
    problem: OSError | None = None
    for place in (paths.packaged_browser_assets(), paths.browser_assets()):
        try:
            place.mkdir(parents=True, exist_ok=True)
            for name, data in contents.items():
                beside = place / f".{name}.{os.getpid()}"
                try:
                    beside.write_bytes(data)
                    os.replace(beside, place / name)
                finally:
                    beside.unlink(missing_ok=True)
            return place
        except OSError as error:
            problem = error
    raise NotWritableError(f"{problem}. Move the data folder with {paths.HOME_VARIABLE}.") from problem


def command(as_json: bool) -> tuple[dict[str, object], str]:
    """``recommender browser-assets``: what to print as JSON, and as text."""
    if not as_json:
        print("Fetching wllama for the browser …", file=sys.stderr)
    got = fetch()
    total = sum(one.bytes for one in got.files)
    value: dict[str, object] = {
        "folder": str(got.folder),
        "version": got.version,
        "downloaded": got.downloaded,
        "files": [{"file": one.file, "bytes": one.bytes, "sha384": one.sha384} for one in got.files],
    }
    how = "fetched" if got.downloaded else "was there already"
    return value, f"wllama {got.version} {how}: {len(got.files)} files, {total / 1e6:.1f} MB, in {got.folder}"
