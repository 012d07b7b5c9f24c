"""Where things live: the facts that ship, and the user's own databases and downloads."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "RIGHTSIZE_HOME"


def bundled(name: str) -> Path:
    """A folder or file that ships with the product, such as "catalog" or "app.py".

    In a checkout these lie beside the package; in an installed wheel inside it, under ``_bundled``.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_bundled" / name
    return inside if inside.exists() else package.parent / name


def catalog_dir() -> Path:
    """The folder with the catalog's CSV files and ``schema.sql``."""
    return bundled("catalog")


def data_dir() -> Path:
    """The user's data folder; ``RIGHTSIZE_HOME`` moves it. It is not created here."""
    override = os.environ.get(HOME_VARIABLE)
    return Path(override).expanduser() if override else Path(platformdirs.user_data_dir("rightsize", appauthor=False))


def catalog_database() -> Path:
    return data_dir() / "catalog.duckdb"


def live_dir() -> Path:
    """What refreshes brought: overlays of the catalog, and the entries they were made of."""
    return data_dir() / "live"


def measurements_database() -> Path:
    return data_dir() / "measurements.duckdb"


def community_database() -> Path:
    """Shared measurements, where they are kept on this computer."""
    return data_dir() / "community.duckdb"


def contributor_file() -> Path:
    """This installation's random number; made when a run is first to be shared."""
    return data_dir() / "contributor"


def models_dir() -> Path:
    """Downloaded model files."""
    return data_dir() / "models"


def scratch_dir() -> Path:
    """Weightless files and other things that may be removed at any time."""
    return data_dir() / "scratch"


def packaged_browser_assets() -> Path:
    """wllama's files for the visitor's browser, inside the package; a wheel carries them from there."""
    return Path(__file__).resolve().parent / "ui" / "components" / "run" / "wllama"


def browser_assets() -> Path:
    """The same files, where the package cannot be written."""
    return data_dir() / "browser"


def probe_file() -> Path:
    """What was measured of this machine's memory, by hardware."""
    return data_dir() / "probe.json"


def audit_file() -> Path:
    """Who ran and refreshed what on a hosted instance."""
    return data_dir() / "audit.jsonl"


def all_paths() -> dict[str, Path]:
    """Every place by name, as ``recommender paths`` prints it."""
    return {
        "catalog_csv": catalog_dir(),
        "data": data_dir(),
        "catalog_database": catalog_database(),
        "live": live_dir(),
        "measurements_database": measurements_database(),
        "community_database": community_database(),
        "contributor": contributor_file(),
        "probe": probe_file(),
        "audit": audit_file(),
        "models": models_dir(),
        "scratch": scratch_dir(),
        "browser_assets": browser_assets(),
    }
