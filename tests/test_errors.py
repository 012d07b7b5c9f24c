"""Errors: one root, each also a builtin, exit codes, and the nearest names."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import errors
from recommender.errors import BadInputError, RecommenderError, UnknownNameError, nearest, unknown

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, RecommenderError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_the_one_root_and_says_who_sees_it(kind: type[RecommenderError]) -> None:
    assert kind.__doc__
    assert kind("a sentence").args == ("a sentence",)
    assert str(kind("a sentence")) == "a sentence"
    assert kind.exit_code in (1, 2)


def test_what_a_person_typed_wrong_exits_with_2() -> None:
    assert {kind for kind in CLASSES if kind.exit_code == 2} == {BadInputError, UnknownNameError}
    assert issubclass(BadInputError, ValueError)
    assert issubclass(UnknownNameError, LookupError)


def test_the_nearest_names_come_first() -> None:
    known = ["rtx-4060", "rtx-4060-ti", "rtx-4090", "macbook-air-m3", "galaxy-s24"]
    assert nearest("rtx-40600", known)[0] == "rtx-4060"
    assert nearest("RTX-4060", known)[0] == "rtx-4060"
    assert nearest("air", known) == ["macbook-air-m3"]
    assert nearest("zzzz", known) == []


def test_an_unknown_name_without_a_neighbour_says_where_to_look() -> None:
    assert "recommender models" in str(unknown("model", "zzzz", ["a", "b"])) or "catalog models" in str(
        unknown("model", "zzzz", ["a", "b"])
    )


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=20), max_size=20))
def test_nearest_only_ever_returns_known_names(name: str, known: list[str]) -> None:
    found = nearest(name, known)
    assert len(found) <= 3
    assert set(found) <= set(known)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20, unique_by=str.casefold))
def test_a_name_that_is_known_is_its_own_nearest(known: list[str]) -> None:
    assert nearest(known[0], known)
    assert known[0] in nearest(known[0], known, count=len(known) + 1)
