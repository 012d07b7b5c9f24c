from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.clean_entries import cleaned, line
from tests.catalog.entries_made import new_maker_model

ORIGINAL, FILES = new_maker_model()


@given(st.text(st.characters(), max_size=800))
def test_any_text_becomes_one_line_that_a_csv_file_gives_back(text: str) -> None:
    found = line(text)
    assert found == found.strip()
    assert len(found) <= 300
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow([found, "x"])
    file.seek(0)
    assert list(csv.reader(file)) == [[found, "x"]]
    found.encode()


@given(st.text(max_size=12), st.dates())
def test_a_day_is_one_of_a_calendar_and_not_after_the_reading(text: str, day: date) -> None:
    for told in (text, day.isoformat()):
        found = cleaned(replace(ORIGINAL, created=told, read_at="2026-11-27T10:00:00Z")).created
        assert found in ("", told)
        if found:
            assert date(2000, 1, 1) <= date.fromisoformat(found) <= date(2026, 11, 28)


def test_what_is_fine_stays_as_it_is() -> None:
    assert cleaned(ORIGINAL) == ORIGINAL
    assert cleaned(FILES) == FILES


def test_one_number_that_no_model_has_leaves_the_whole_shape_open() -> None:
    for name, value in (("n_layer", "513"), ("n_embd", str(2**31)), ("vocab_size", "9" * 5000)):
        assert cleaned(replace(FILES, architecture={**FILES.architecture, name: value})).architecture == {}
