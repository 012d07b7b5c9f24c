from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.cli import main
from recommender.device import preset, to_json
from recommender.plain import plain


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    shown = plain(text)
    assert not any((ord(letter) < 32 and letter not in "\n\t") or 127 <= ord(letter) < 160 for letter in shown)


@pytest.mark.parametrize("text", ["Qwen3 4B · Q4_K_M — 1.5 GiB\n", "日本語 é ±", ""])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_a_device_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "device.json"
    path.write_text(json.dumps(json.loads(to_json(preset("rtx-3060"))) | {"name": "\x1b[31mred\x07"}), encoding="utf-8")
    assert main(["device", "--device", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["measure", "--file", str(tmp_path / "\x1b[31m.gguf")]) == 2
    assert "\x1b" not in capsys.readouterr().err
