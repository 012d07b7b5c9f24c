"""The prompts of the quick check: each can be passed, and none is passed by an answer that is not one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender import paths
from recommender.catalog.build import build
from recommender.catalog.rows import read_csv
from recommender.catalog.store import Catalog
from recommender.errors import CatalogError, UnknownNameError
from recommender.runner.checks import Ask, Check, run_check

TABLE = read_csv(paths.catalog_dir() / "checks.csv")
CHECKS = [
    Check(**{**row, "answer_tokens": int(row["answer_tokens"])})  # type: ignore[arg-type]
    for row in TABLE.records()
]
TASKS = [row["id"] for row in read_csv(paths.catalog_dir() / "tasks.csv").records()]
ANSWERS = ("", "0", "yes", "{}", "[]", "I am sorry, I cannot do that.", "```python\ndef solve():\n    pass\n```")


def saying(*answers: str) -> Ask:
    left = list(answers)
    return lambda prompt, tokens: left.pop(0) if len(left) > 1 else left[0]


def turns(check: Check) -> list[str]:
    return check.example.split("\n\n") if check.kind == "translation" else [check.example]


each_check = pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])


@each_check
def test_a_check_is_passed_by_its_own_example(check: Check) -> None:
    verdict = run_check(check, saying(*turns(check)))
    assert verdict.passed, verdict.detail
    assert verdict.detail == ""


@each_check
def test_a_check_is_failed_by_its_own_prompt_and_by_what_is_no_answer(check: Check) -> None:
    for answer in (*ANSWERS, check.prompt):
        verdict = run_check(check, saying(answer))
        assert not verdict.passed, answer
        assert verdict.detail


@each_check
def test_a_check_is_failed_by_the_answers_to_the_other_checks_of_its_task(check: Check) -> None:
    for other in CHECKS:
        if other.task == check.task and other is not check:
            assert not run_check(check, saying(*turns(other))).passed, other.id


@each_check
def test_no_answer_keeps_the_judge_busy(check: Check) -> None:
    """A pattern that takes more than quadratic time would not come to an end here."""
    for piece in ("\n", " ", "- a,\n", "[", "{", "1,", "a ", "*" * 9 + "\n", "```json\n"):
        assert not run_check(check, saying(piece * (20_000 // len(piece)))).passed


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_four_to_six_checks(catalog: Catalog, task: str) -> None:
    found = catalog.checks(task)
    assert 4 <= len(found) <= 6
    assert [check.id for check in found] == [check.id for check in CHECKS if check.task == task]
    assert all(check.id.startswith(f"{task}-") for check in found)


def test_checks_of_a_task_that_is_not_there_bring_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match=r"There is no task called 'kode'.*code"):
        catalog.checks("kode")


@each_check
def test_an_example_fits_into_its_limit_of_tokens(check: Check) -> None:
    """Three bytes to a token is few for any of these languages and tokenizers."""
    assert max(len(turn.encode()) for turn in turns(check)) / 3 <= check.answer_tokens


@each_check
def test_a_translation_has_the_words_that_should_come_back_in_its_sentence(check: Check) -> None:
    if check.kind == "translation":
        back = turns(check)[1]
        assert len(turns(check)) == 2
        assert run_check(check, saying(turns(check)[0], back.upper())).passed
        assert run_check(check, saying(turns(check)[0], check.prompt.split("\n\n")[1])).passed
        assert not run_check(check, saying(back, back)).passed


def test_a_check_of_an_unknown_task_or_kind_is_refused_with_its_line(
    csv_dir: Path, tmp_path: Path, edit: Callable[[str, int, str, str], None]
) -> None:
    edit("checks", 1, "task", "chatt")
    with pytest.raises(CatalogError, match=r"checks\.csv line 3, column task: 'chatt' is not in tasks\.csv.*chat"):
        build(csv_dir, tmp_path / "catalog.duckdb")
    edit("checks", 1, "task", "chat")
    edit("checks", 0, "kind", "essay")
    with pytest.raises(CatalogError, match=r"checks\.csv line 2, column kind: 'essay' breaks the rule"):
        build(csv_dir, tmp_path / "catalog.duckdb")


def test_the_readme_of_the_catalog_explains_every_column_of_the_checks() -> None:
    text = (paths.catalog_dir() / "README.md").read_text(encoding="utf-8")
    section = text.split("## checks.csv")[1].split("\n## ")[0]
    assert set(TABLE.header) - {"source"} <= set(re.findall(r"`(\w+)`", section))
