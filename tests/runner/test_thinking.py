"""Thinking told apart from the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.runner.thinking import ThinkingSplitter


def split(pieces: list[str]) -> tuple[str, str]:
    """What was thought, and what was said."""
    splitter = ThinkingSplitter()
    found = [part for piece in pieces for part in splitter.feed(piece)] + splitter.finish()
    return tuple("".join(text for text, thinking in found if thinking is wanted) for wanted in (True, False))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("Just an answer.", "", "Just an answer."),
        ("<think>why</think>\n\nBecause.", "why", "Because."),
        ("\n<think>\nwhy\n</think>Because.", "\nwhy\n", "Because."),
        ("<think>never ends", "never ends", ""),
        ("Tags <think>inside</think> stay.", "", "Tags <think>inside</think> stay."),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("<thin", "", "<thin"),
        ("<think>a</thi", "a</thi", ""),
        ("", "", ""),
    ],
)
def test_what_stands_between_the_marks_at_the_start_is_thinking(text: str, thought: str, said: str) -> None:
    assert split([text]) == (thought, said)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", "\n", "a", " b", "</"]), max_size=12),
    st.lists(st.integers(1, 5), max_size=40),
)
def test_how_a_text_is_cut_into_pieces_makes_no_difference(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    pieces, place = [], 0
    for cut in [*cuts, len(text)]:
        pieces.append(text[place : place + cut])
        place += cut
    assert split(pieces) == split([text])


@given(st.text())
def test_a_text_without_marks_comes_back_unchanged(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert split(list(text)) == ("", text)
