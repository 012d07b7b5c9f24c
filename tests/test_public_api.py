"""What ``import recommender`` offers."""

from __future__ import annotations

import subprocess
import sys

import recommender


def test_every_name_of_the_public_api_can_be_had_and_is_documented() -> None:
    for name in recommender.__all__:
        assert getattr(recommender, name).__doc__, name


def test_importing_the_package_loads_neither_numpy_nor_duckdb_nor_streamlit() -> None:
    code = "import recommender, sys; print(sorted({'numpy', 'duckdb', 'streamlit'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
