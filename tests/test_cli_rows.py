"""CSV files of estimates: a strange row is an error of its own and the others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from recommender.cli_rows import requests_from_csv
from recommender.device.presets import preset
from recommender.engine.estimate_rows import EstimateRequest
from recommender.errors import BadInputError, RecommenderError

GOOD = "Qwen/Qwen3-4B,Q4_K_M,4096"


def _read(path: Path, text: str) -> list[EstimateRequest | RecommenderError]:
    path.write_text(text, encoding="utf-8")
    return requests_from_csv(path, preset("rtx-3060"), preset)


def test_a_row_with_more_cells_than_the_header_is_an_error_and_the_next_goes_on(tmp_path: Path) -> None:
    found = _read(tmp_path / "rows.csv", f"model,quant,context\n{GOOD},9,9\n{GOOD}\n")
    assert isinstance(found[0], BadInputError)
    assert "line 2" in str(found[0])
    assert "5 cells" in str(found[0])
    assert isinstance(found[1], EstimateRequest)


def test_a_row_with_fewer_cells_takes_the_defaults_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    found = _read(tmp_path / "rows.csv", "model,quant,context\nQwen/Qwen3-4B,Q4_K_M\n\n\n")
    assert [type(row) for row in found] == [EstimateRequest]


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="'model' twice"):
        _read(tmp_path / "rows.csv", f"model,quant,model\n{GOOD}\n")


def test_the_line_of_an_error_is_the_line_in_the_file(tmp_path: Path) -> None:
    found = _read(tmp_path / "rows.csv", f"model,quant,context\n\n{GOOD}\nQwen/Qwen3-4B,Q4_K_M,many\n")
    assert "line 4" in str(found[1])
