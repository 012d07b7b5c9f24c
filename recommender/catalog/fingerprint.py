"""Whether a built catalog still matches what it was built from: the CSVs, the schema and the code that derives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from recommender import paths


def schema_file(csv_dir: Path) -> Path:
    """The folder's own ``schema.sql``, else the one that ships."""
    own = csv_dir / "schema.sql"
    return own if own.exists() else paths.catalog_dir() / "schema.sql"


def inputs(csv_dir: Path, overlay: Path | None = None) -> list[Path]:
    """Every file the database depends on. Code counts too: derived tables are made by it."""
    package = Path(__file__).resolve().parent.parent
    code = [path for room in ("catalog", "estimate") for path in (package / room).glob("*.py")]
    live = sorted(overlay.glob("*.csv")) if overlay else []
    return [*sorted(csv_dir.glob("*.csv")), *live, schema_file(csv_dir), package / "types.py", *sorted(code)]


def stamp(files: Iterable[Path]) -> str:
    """A digest of names, sizes and modification times: cheap, and enough when it is unchanged."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def fingerprint(files: Iterable[Path], package_version: str) -> str:
    """A digest of names and contents, and of the package's version."""
    digest = hashlib.sha256(package_version.encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
