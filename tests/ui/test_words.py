from __future__ import annotations

from pathlib import Path

import pytest

from recommender.ui.words import without_address, without_paths

_HOME = Path("/srv/of us/data")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/srv/of us/data/runs.duckdb is no database.", "a place there is no database."),
        ("It is in /home/ann/models.", "It is in a place there."),
        (
            "[Errno 17] File exists: '/srv/of us/data/scratch'. Move it.",
            "[Errno 17] File exists: 'a place there'. Move it.",
        ),
        ("File (C:\\Users\\Ann\\a.gguf) is gone", "File (a place there) is gone"),
        ("~/models: full", "a place there: full"),
        (
            "12 tok/s, and/or 3 / 4 of https://huggingface.co/a/b",
            "12 tok/s, and/or 3 / 4 of https://huggingface.co/a/b",
        ),
    ],
)
def test_paths_are_left_out_and_nothing_else(text: str, said: str) -> None:
    assert without_paths(text, _HOME) == said


@pytest.mark.parametrize(
    ("address", "text", "said"),
    [
        (
            "http://10.0.0.9:8000/v1",
            "http://10.0.0.9:8000/v1 cannot be reached.",
            "the model server cannot be reached.",
        ),
        ("http://10.0.0.9:8000", "http://10.0.0.9:8001 is another.", "http://10.0.0.9:8001 is another."),
        (
            "https://me:key@vllm.internal/v1",
            "No model at https://vllm.internal/v1, sorry",
            "No model at the model server, sorry",
        ),
        ("", "https://huggingface.co/a cannot be reached", "https://huggingface.co/a cannot be reached"),
    ],
)
def test_the_address_of_the_model_server_is_left_out_and_no_other(address: str, text: str, said: str) -> None:
    assert without_address(text, address) == said
