"""The judges of the quick check, asked without a model: what passes, what fails, and the sentence that says why."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import RunError
from recommender.runner.checks import LABEL, Check, Verdict, run_check, summary


def check(kind: str, expected: object, prompt: str = "What?", answer_tokens: int = 50) -> Check:
    return Check("one", "chat", kind, prompt, json.dumps(expected), answer_tokens, "", "own")  # type: ignore[arg-type]


def judged(kind: str, expected: object, *answers: str) -> Verdict:
    left = list(answers)
    return run_check(check(kind, expected), lambda prompt, tokens: left.pop(0))


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_prompt_is_asked_once_with_its_limit() -> None:
    asked: list[tuple[str, int]] = []

    def ask(prompt: str, tokens: int) -> str:
        asked.append((prompt, tokens))
        return "7"

    assert run_check(check("number", 7, "How many?", 30), ask) == Verdict("one", True, "")
    assert asked == [("How many?", 30)]


def test_what_goes_wrong_while_asking_is_the_callers() -> None:
    def ask(prompt: str, tokens: int) -> str:
        raise RunError("The run was killed.")

    with pytest.raises(RunError, match="killed"):
        run_check(check("number", 7), ask)


def test_the_summary_says_what_the_count_is_worth() -> None:
    verdicts = [Verdict("a", True, ""), Verdict("b", False, "Answered 1, expected 2."), Verdict("c", True, "")]
    assert summary(verdicts) == "Quick check: a smoke test, not a benchmark. Passed 2 of 3."
    assert "not a benchmark" in LABEL


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("42", 42),
        ("The answer is 42.", 42),
        ("7 × 6 = 42", 42),
        ("**42**", 42),
        ("$42", 42),
        ("42 km", 42),
        ("first 7, then 6, so 42", 42),
        ("1,234", 1234),
        ("1,234,567.5", 1234567.5),
        ("1\u202f234", 1234),
        ("1'234", 1234),
        ("1{,}234", 1234),
        ("1\\,234", 1234),
        ("4.00", 4),
        ("4.0", 4),
        ("0.1", 0.1),
        ("x=-3", -3),
        ("−3", -3),
        ("from 3-5", 5),
        ("1.5e3", 1500),
        ("+8", 8),
        ("1,2,3", 3),
        ("\\boxed{42}", 42),
        ("So \\boxed{42} as 6 · 7 has 2 factors", 42),
        ("\\boxed{1} or rather \\boxed{42\\text{ m}^{}}", 42),
        ("$$\\boxed{ 1{,}234 }$$", 1234),
    ],
)
def test_the_last_number_counts_or_the_one_in_the_box(answer: str, expected: float) -> None:
    assert judged("number", expected, answer) == Verdict("one", True, "")


@pytest.mark.parametrize(
    ("answer", "expected", "detail"),
    [
        ("It is 41.", 42, "Answered 41, expected 42."),
        ("42 and not 41", 42, "Answered 41, expected 42."),
        ("42 \\boxed{41}", 42, "Answered 41, expected 42."),
        ("-42", 42, "Answered -42, expected 42."),
        ("4.2", 42, "Answered 4.2, expected 42."),
        ("1,23", 123, "Answered 23, expected 123."),
        ("1,2345", 12345, "Answered 2345, expected 12345."),
        ("forty-two", 42, 'Answered "forty-two", which has no number in it; expected 42.'),
        ("x42", 42, 'Answered "x42", which has no number in it; expected 42.'),
        ("", 42, "Answered nothing, which has no number in it; expected 42."),
    ],
)
def test_another_number_fails_and_both_are_named(answer: str, expected: float, detail: str) -> None:
    assert judged("number", expected, answer) == Verdict("one", False, detail)


numbers = st.integers(-(10**12), 10**12) | st.decimals(-(10**6), 10**6, places=2).map(float)
words = st.text(string.ascii_letters + " :;!?*=()\n", max_size=40)


@given(numbers, numbers, st.sampled_from(["{}", "{:,}"]), words, words)
def test_a_number_passes_as_itself_in_any_sentence_and_as_no_other(
    said: float, expected: float, form: str, before: str, after: str
) -> None:
    answer = f"{before} {form.format(said)} {after}"
    assert judged("number", said, answer).passed
    assert judged("number", expected, answer).passed == (said == expected)


@given(st.text("0123456789,.'-+eE\u202f٣२\\{}boxed ", max_size=60))
def test_no_string_of_digits_and_marks_breaks_the_judge_of_numbers(answer: str) -> None:
    assert judged("number", 0.5, answer).passed in (True, False)


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────

PERSON = {
    "type": "object",
    "properties": {"name": {"const": "Ada"}, "born": {"type": "object", "required": ["year"]}},
    "required": ["name", "born"],
    "additionalProperties": False,
}
ADA = '{"name": "Ada", "born": {"year": 1815}}'


@pytest.mark.parametrize(
    "answer", [ADA, f" {ADA}\n", f"```json\n{ADA}\n```", f"```\n{ADA}```", f"```JSON\n{ADA}\n  ```"]
)
def test_json_passes_alone_or_in_one_fence(answer: str) -> None:
    assert judged("json", PERSON, answer).passed


@pytest.mark.parametrize(
    "answer",
    [f"Here it is: {ADA}", f"{ADA} That is all.", f"Sure!\n```json\n{ADA}\n```", f"```json\n{ADA}\n```\nDone.",
     f"{ADA}{ADA}", f"```\n{ADA}\n```\n```\n{ADA}\n```", ADA[:-1], "{'name': 'Ada'}", "NaN", "[" * 20_000, ""],
)  # fmt: skip
def test_json_with_words_around_it_or_cut_off_fails(answer: str) -> None:
    verdict = judged("json", PERSON, answer)
    assert not verdict.passed
    assert verdict.detail.endswith("which is not JSON alone.")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ('{"name": "Ada"}', "Missing property 'born'."),
        ('{"name": "Ada", "born": {}}', "Missing property 'year' in born."),
        ('{"name": "Bob", "born": {"year": 1}}', 'name is "Bob", expected "Ada".'),
        ('{"name": true, "born": {"year": 1}}', 'name is true, expected "Ada".'),
        ('{"name": "Ada", "born": 1815}', "born: 1815 is not of type 'object'."),
        ("[]", "The answer: [] is not of type 'object'."),
    ],
)
def test_json_that_does_not_fit_fails_with_the_place(answer: str, detail: str) -> None:
    assert judged("json", PERSON, answer) == Verdict("one", False, detail)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain, plain, st.sampled_from(["{}", "```json\n{}\n```"]))
def test_any_value_passes_as_itself_and_as_no_other(said: Any, expected: Any, form: str) -> None:
    answer = form.replace("{}", json.dumps(said))
    assert judged("json", {"const": said}, answer).passed
    if json.dumps(said, sort_keys=True) != json.dumps(expected, sort_keys=True) and said != expected:
        assert not judged("json", {"const": expected}, answer).passed


@given(st.sampled_from([{"type": "array"}, PERSON, {"const": 1}]), st.text('[]{}":,tfn01e-. \\u\n`', max_size=60))
def test_no_string_of_marks_breaks_the_judge_of_json(schema: object, answer: str) -> None:
    assert judged("json", schema, answer).passed in (True, False)


# ── code ─────────────────────────────────────────────────────────────────────────────────────────────────────

DOUBLE = {"function": "double", "calls": [{"arguments": [2], "returns": 4}, {"arguments": [0.1], "returns": 0.2}]}
RIGHT = "def double(x):\n    return x + x"


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"```python\n{RIGHT}\n```",
        f"Here:\n```\n{RIGHT}",
        f"```sh\npip install x\n```\n```py\n{RIGHT}\n```\nIt adds.",
    ],
)
def test_code_is_found_in_its_block(answer: str) -> None:
    assert judged("code", DOUBLE, answer) == Verdict("one", True, "")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("def double(x): return x * x", "double(0.1) returned 0.010000000000000002, expected 0.2."),
        ("def double(x): return str(x)", "double(2) returned '2', expected 4."),
        ("def double(x): return x * 2 == 4", "double(2) returned True, expected 4."),
        ("def double(x): return [[[[[[[[x]]]]]]]]", "double(2) returned [[[[[[[...]]]]]]], expected 4."),
        ("def double(x): raise ValueError('\\x1b[31m\\u202eno\\n')", "double(2) raised ValueError: [31mno."),
        ("def triple(x): return 4", "The code defines no function double."),
        ("```python\nimport os\ndef double(x): return 4\n```", "The code cannot be run: ImportError: os cannot be"),
    ],
)
def test_code_that_is_wrong_fails_with_its_call(answer: str, detail: str) -> None:
    verdict = judged("code", DOUBLE, answer)
    assert not verdict.passed
    assert verdict.detail.startswith(detail)


@pytest.mark.parametrize(
    ("returned", "wanted", "same"),
    [
        ("2.0", 2, True), ("True", 1, False), ("1", True, False), ("None", None, True), ("(1, 2)", [1, 2], True),
        ("[2, 1]", [1, 2], False), ("[1]", [1, 2], False), ("{'a': 1.0}", {"a": 1}, True), ("{}", [], False),
        ("{'a': 1, 'b': 2}", {"a": 1}, False), ("'1'", 1, False), ("float('nan')", 1, False), ("10 ** 400", 0.5, False),
        ("10 ** 20 + 1", 10**20, False), ("0.1 + 0.2", 0.3, True),
    ],
)  # fmt: skip
def test_what_a_function_returns_is_compared_by_value_and_type(returned: str, wanted: object, same: bool) -> None:
    expected = {"function": "f", "calls": [{"arguments": [], "returns": wanted}]}
    assert judged("code", expected, f"def f(): return {returned}").passed == same


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────

NOTE = {"contains": [["library"], ["19 August", "August 19"]], "without": ["fee"], "most_words": 8}


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("The **Library** opens\non 19  August.", ""),
        ("Library: August 19", ""),
        ("The library opens soon.", "Answered \"The library opens soon.\", without '19 August'."),
        ("Libraryish, 19 August", "Answered \"Libraryish, 19 August\", without 'library'."),
        (
            "Library, August 19, no fee",
            "Answered \"Library, August 19, no fee\", with 'fee', which should not be there.",
        ),
        ("The library is open again from August 19 on", "Answered in 9 words, where 8 were allowed."),
        ("", "Answered nothing, without 'library'."),
    ],
)
def test_text_must_have_its_words_and_not_others(answer: str, detail: str) -> None:
    assert judged("text", NOTE, answer) == Verdict("one", not detail, detail)


def test_words_in_scripts_without_spaces_are_found_inside_a_sentence() -> None:
    assert judged("text", {"contains": [["雨"], ["AI"]]}, "明日はAIで雨です。").passed
    assert judged("text", {"contains": [["1818"]]}, "１８１８年").passed


def test_a_pattern_must_fit_the_whole_answer() -> None:
    assert judged("text", {"pattern": "yes|no"}, " YES\n").passed
    verdict = judged("text", {"pattern": "yes|no"}, "yes and no")
    assert verdict.detail == 'Answered "yes and no", which is not what was asked for or not in that form.'


# ── translation ──────────────────────────────────────────────────────────────────────────────────────────────

WORDS = {
    "language": "German",
    "pattern": r"\b(der|das)\b",
    "back": "Into English, please.",
    "contains": [["dog"], ["sleeps", "asleep"], ["warm"], ["oven", "stove"]],
    "share": 0.75,
}
THERE = "Der Hund schläft am warmen Ofen."


@pytest.mark.parametrize(
    ("there", "back", "detail"),
    [
        (THERE, "The dog sleeps by the warm stove.", ""),
        (THERE, "The dog is asleep by the hot stove.", ""),
        (THERE, "A cat is asleep by the hot stove.",
         "Of 4 words 2 came back from German, where 3 were expected, without dog, warm: "
         '"A cat is asleep by the hot stove.".'),
        (THERE, "",
         "Of 4 words 0 came back from German, where 3 were expected, without dog, sleeps, warm, oven: nothing."),
        ("The dog sleeps by the warm oven.", "The dog sleeps by the warm oven.",
         'Answered "The dog sleeps by the warm oven.": the sentence itself, not translated into German.'),
        ("A hound dozes near some fire.", "The dog sleeps by the warm stove.",
         'Answered "A hound dozes near some fire.", which is not German.'),
        ("", "The dog sleeps by the warm stove.", "Answered nothing, which is not German."),
    ],
)  # fmt: skip
def test_a_translation_must_be_one_and_come_back(there: str, back: str, detail: str) -> None:
    assert judged("translation", WORDS, there, back) == Verdict("one", not detail, detail)


def test_the_way_back_is_asked_with_the_first_answer_alone() -> None:
    asked: list[str] = []

    def ask(prompt: str, tokens: int) -> str:
        asked.append(prompt)
        return THERE

    run_check(check("translation", WORDS, "Into German: The dog sleeps."), ask)
    assert asked == ["Into German: The dog sleeps.", f"Into English, please.\n\n{THERE}"]


# ── every verdict ────────────────────────────────────────────────────────────────────────────────────────────

KINDS = {"number": 42, "json": PERSON, "text": NOTE | {"pattern": "library"}, "translation": WORDS}


@given(st.sampled_from(sorted(KINDS)), st.text() | st.text().map(lambda text: f"der {text}" * 50))
def test_a_verdict_is_one_printable_line_of_bounded_length(kind: str, answer: str) -> None:
    verdict = judged(kind, KINDS[kind], answer, answer)
    assert verdict.detail.isprintable()
    assert len(verdict.detail) <= 240
    assert verdict.passed == (verdict.detail == "")
