from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.cli import main
from recommender.errors import BadInputError
from recommender.runner import onnx_folder
from recommender.runner.onnx_folder import Folder
from recommender.runner.protocol import RunRequest
from recommender.runner.runners import make_runner
from tests.runner.conftest import SETTINGS


def folder(path: Path, config: Any = None) -> str:
    path.mkdir(exist_ok=True)
    found = {"model": {"vocab_size": 320}} if config is None else config
    (path / "genai_config.json").write_text(json.dumps(found), encoding="utf-8")
    return str(path)


def request(path: str) -> RunRequest:
    return RunRequest("tiny", "onnx-int4", SETTINGS, model_path=path, runtime="onnx-genai")


def test_vocabulary_and_context_are_read_from_the_folder(tmp_path: Path) -> None:
    assert onnx_folder.read_folder(folder(tmp_path)) == Folder(320, None)
    config = {"model": {"vocab_size": 320, "context_length": 2048}}
    assert onnx_folder.read_folder(folder(tmp_path, config)) == Folder(320, 2048)


def test_a_folder_with_a_program_of_its_own_is_refused(tmp_path: Path) -> None:
    options = {"custom_ops_library": "evil.so"}
    config = {"model": {"vocab_size": 320, "decoder": {"session_options": options}}}
    with pytest.raises(BadInputError, match="program library"):
        onnx_folder.read_folder(folder(tmp_path, config))


def test_only_the_models_own_files_count_as_its_bytes(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for name, size in (("model.onnx", 10), ("model.onnx.data", 200), ("tokenizer.json", 4000)):
        (tmp_path / name).write_bytes(bytes(size))
    assert onnx_folder.folder_bytes(path) == 210


def test_a_folder_of_something_else_is_said_before_anything_starts(tmp_path: Path) -> None:
    plan = make_runner("onnx-genai").plan(request(str(tmp_path)))
    assert "genai_config.json" in plan.problem
    assert make_runner("onnx-genai").plan(request(folder(tmp_path))).problem == ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["model", "vocab_size", "context_length", "x"]), inner)
    ),
    max_leaves=8,
)


@given(config=_JSON)
def test_whatever_a_configuration_says_is_a_size_or_refused(
    config: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = folder(tmp_path_factory.mktemp("made"), config)
    try:
        found = onnx_folder.read_folder(path)
    except BadInputError:
        return
    assert 0 < found.vocabulary_tokens < 10**9
    assert found.context_tokens is None or found.context_tokens > 0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"{}" + b" " * (2 << 20)])
def test_a_configuration_that_is_none_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_bytes(content)
    with pytest.raises(BadInputError, match="again"):
        onnx_folder.read_folder(str(tmp_path))


def test_a_run_needs_a_folder() -> None:
    with pytest.raises(BadInputError, match="folder"):
        request("").check()


def test_a_context_above_the_models_own_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path, {"model": {"vocab_size": 320, "context_length": SETTINGS.context_tokens - 1}})
    with pytest.raises(BadInputError, match="lower it"):
        make_runner("onnx-genai").run(request(path), lambda event: None)


def test_without_the_library_the_command_says_how_to_add_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if onnx_folder.installed():
        pytest.skip("ONNX Runtime GenAI is installed here")
    assert main(("measure", "--onnx", folder(tmp_path), "--json")) == 1
    assert "pip install onnxruntime-genai" in json.loads(capsys.readouterr().out)["error"]


def test_a_folder_and_a_file_are_not_measured_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("measure", "--onnx", str(tmp_path), "--file", "x.gguf", "--json")) == 2
    assert "not both" in json.loads(capsys.readouterr().out)["error"]
