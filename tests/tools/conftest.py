"""The real tools that recipes are checked against. `python scripts/install_tools.py` installs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

HOME = Path(os.environ.get("RIGHTSIZE_TOOLS", Path(__file__).resolve().parents[2] / ".tools"))


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """The folder with a tool's programs; skips the test where it is not installed."""

    def find(name: str) -> Path:
        if not (HOME / name / ".installed").exists():
            pytest.skip(f"{name} is not installed: python scripts/install_tools.py {name}")
        return HOME / name / "bin"

    return find
