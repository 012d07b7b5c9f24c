from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog.build import build_in_memory
from recommender.catalog.database import connect
from recommender.catalog.explore import SORTS, Filters, Listed, explore, facets, listed, without_each
from recommender.catalog.model_detail import MOST_SIGHTINGS, detail
from recommender.catalog.store import Catalog
from recommender.errors import BadInputError, UnknownNameError
from recommender.paths import catalog_dir

KNOWN = "Qwen/Qwen3-4B"
_SAME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def seen() -> Iterator[Catalog]:
    """The shipped catalog after some source was read: listed, fine-tuned, contradicted, and one gone."""
    with contextlib.closing(connect()) as connection:
        build_in_memory(connection, catalog_dir())
        put = (
            "INSERT INTO sightings (source, entry_id, model_id, relation, why, name, trust, format, downloads, read_at,"
            " first_seen, gone_at) VALUES (?, ?, ?, ?, 'as its card says', ?, 'other', 'gguf', ?, '2026-11-01', "
            "'2026-10-01', ?)"
        )
        for source, name, relation, downloads, gone in (
            ("hugging-face", KNOWN, "original", 900, None),
            ("ollama", "qwen3:4b", "installed", None, None),
            ("azure-ai-foundry", "gone-4b", "service", None, "2026-10-02"),
            *(("hugging-face", f"someone/tune-{n}", "finetune", n, None) for n in range(MOST_SIGHTINGS + 5)),
        ):
            connection.execute(put, [source, name, KNOWN, relation, f"<b>{name}</b>", downloads, gone])
        connection.execute(
            "INSERT INTO conflicts VALUES (?, 'context_max', '40960', 'its header', '32768', 'its card', 'read')",
            [KNOWN],
        )
        yield Catalog(connection, None)


def _all(catalog: Catalog, filters: Filters | None = None, **order: Any) -> tuple[Listed, ...]:
    return explore(catalog, filters, limit=100_000, **order).rows


def test_without_filters_every_model_is_there_once(catalog: Catalog) -> None:
    page = explore(catalog, limit=100_000)
    assert page.total == len(page.rows) == catalog.count("models")
    assert {row.model_id for row in page.rows} == {model.model_id for model in catalog.models()}


def test_pages_follow_one_another_without_gap_or_repetition(catalog: Catalog) -> None:
    whole = [row.model_id for row in _all(catalog)]
    pages = [explore(catalog, limit=50, offset=start) for start in range(0, len(whole), 50)]
    assert [row.model_id for page in pages for row in page.rows] == whole
    assert {page.total for page in pages} == {len(whole)}


def test_a_page_beyond_the_last_is_empty_and_still_says_how_many_there_are(catalog: Catalog) -> None:
    page = explore(catalog, offset=1_000_000)
    assert page.rows == ()
    assert page.total == catalog.count("models")


@pytest.mark.parametrize("text", ["Qwen3-4B", "qwen3 4b", "QWEN 3_4B", "4b qwen3", "Qwen/Qwen3-4B", "  qwen3-4b  "])
def test_a_model_is_found_however_its_name_is_typed(catalog: Catalog, text: str) -> None:
    assert KNOWN in [row.model_id for row in _all(catalog, Filters(text=text))]


def test_every_model_is_found_by_its_id_its_name_and_its_family(catalog: Catalog) -> None:
    for model in catalog.models():
        for text in (model.model_id, model.name, f"{model.family} {model.name}".upper()):
            assert model.model_id in [row.model_id for row in _all(catalog, Filters(text=text))], text


def test_an_alias_and_the_base_model_find_it_too(catalog: Catalog) -> None:
    alias, model_id = catalog.cursor().execute("SELECT alias, model_id FROM model_aliases LIMIT 1").fetchall()[0]
    assert model_id in [row.model_id for row in _all(catalog, Filters(text=alias))]
    base, made = (
        catalog.cursor().execute("SELECT base_model, model_id FROM models WHERE base_model <> '' LIMIT 1").fetchall()[0]
    )
    assert made in [row.model_id for row in _all(catalog, Filters(text=base))]


@given(st.text(max_size=300))
@_SAME
def test_no_search_text_is_taken_for_sql_or_a_pattern(catalog: Catalog, text: str) -> None:
    found = explore(catalog, Filters(text=text), limit=5)
    assert 0 <= found.total <= catalog.count("models")


@pytest.mark.parametrize("text", ["%", "_%_x", "' OR 1=1 --", ".*", "q$"])
def test_wildcards_and_quotes_match_only_themselves(catalog: Catalog, text: str) -> None:
    assert explore(catalog, Filters(text=text)).total == 0


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        (Filters(tiers=("Micro",)), lambda row: row.tier == "Micro"),
        (Filters(tiers=("Micro", "Large")), lambda row: row.tier in ("Micro", "Large")),
        (Filters(families=("Qwen3",)), lambda row: row.family == "Qwen3"),
        (Filters(roles=("code",)), lambda row: row.role == "code"),
        (Filters(states=("superseded",)), lambda row: row.state == "superseded"),
        (Filters(commercial_use=("yes",)), lambda row: row.commercial_use == "yes"),
        (Filters(commercial_use=("unknown",)), lambda row: row.commercial_use == "unknown"),
        (Filters(licenses=("MIT",)), lambda row: row.license == "MIT"),
        (Filters(context_tokens=131_072), lambda row: (row.context_tokens or 0) >= 131_072),
        (Filters(languages=("de", "zh")), lambda row: {"de", "zh"} <= set(row.languages)),
        (Filters(tool_calling=True), lambda row: row.tool_calling == "yes"),
        (Filters(thinking=("hybrid", "yes")), lambda row: row.thinking in ("hybrid", "yes")),
        (Filters(runtimes=("webllm",)), lambda row: "webllm" in row.runtimes),
        (Filters(file_bytes=1e9), lambda row: row.smallest_bytes is not None and row.smallest_bytes <= 1e9),
        (Filters(released_since="2025-06-01"), lambda row: row.released >= "2025-06"),
        (Filters(with_benchmarks=True), lambda row: row.benchmarks > 0),
        (Filters(sources=("catalog",)), lambda row: row.sources == ("catalog",)),
    ],
)
def test_a_filter_keeps_exactly_what_it_says(catalog: Catalog, filters: Filters, holds: Any) -> None:
    kept = {row.model_id for row in _all(catalog, filters)}
    assert kept == {row.model_id for row in _all(catalog) if holds(row)}
    assert kept
    assert explore(catalog, filters, limit=0).total == len(kept)


_FILTERS = st.builds(
    Filters,
    text=st.sampled_from(["", "qwen", "4b instruct", "zzz"]),
    tiers=st.sampled_from([(), ("Small",), ("Micro", "Medium")]),
    states=st.sampled_from([(), ("current",), ("new", "superseded")]),
    languages=st.sampled_from([(), ("de",), ("de", "zz")]),
    tool_calling=st.booleans(),
    thinking=st.sampled_from([(), ("yes", "hybrid")]),
    file_bytes=st.sampled_from([None, 1.0, 1e9, 5e9]),
    context_tokens=st.sampled_from([None, 8192, 200_000]),
    with_benchmarks=st.booleans(),
)


@given(_FILTERS)
@_SAME
def test_what_is_left_without_one_filter_is_what_the_list_then_has(catalog: Catalog, filters: Filters) -> None:
    nothing = Filters()
    without = without_each(catalog, filters)
    assert set(without) == {
        one.name for one in fields(Filters) if getattr(filters, one.name) != getattr(nothing, one.name)
    }
    for name, number in without.items():
        relaxed = replace(filters, **{name: getattr(nothing, name)})
        assert number == explore(catalog, relaxed, limit=0).total
        assert number >= explore(catalog, filters, limit=0).total


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", list(SORTS))
def test_every_order_loses_no_model_and_puts_the_unknown_last(catalog: Catalog, sort: str, descending: bool) -> None:
    rows = _all(catalog, sort=sort, descending=descending)
    assert len(rows) == catalog.count("models")
    column = {
        "parameters": "params_total",
        "context": "context_tokens",
        "licence": "license",
        "file": "smallest_bytes",
    }.get(sort, sort)
    values = [getattr(row, column) for row in rows]
    known = [value.lower() if isinstance(value, str) else value for value in values if value not in (None, "")]
    assert known == sorted(known, reverse=descending)
    assert all(value in (None, "") for value in values[len(known) :])


def test_an_order_that_does_not_exist_ends_in_a_sentence(catalog: Catalog) -> None:
    with pytest.raises(BadInputError, match=r"cannot be sorted by 'beauty'\. Choose one of released"):
        explore(catalog, sort="beauty")
    with pytest.raises(BadInputError):
        explore(catalog, offset=-1)


def test_the_choices_are_counted_as_the_filters_count_them(catalog: Catalog) -> None:
    known = facets(catalog)
    assert known.models == catalog.count("models")
    for name in ("tiers", "families", "roles", "states", "commercial_use", "licenses", "thinking"):
        for value, number in known.of(name).items():
            assert explore(catalog, Filters(**{name: (value,)}), limit=0).total == number  # type: ignore[arg-type]
    assert sum(known.of("tiers").values()) == known.models


def test_the_smallest_file_is_no_larger_than_any_that_is_published(catalog: Catalog) -> None:
    for row in _all(catalog):
        sizes = [file.bytes for file in catalog.files(row.model_id) if file.bytes]
        if sizes:
            assert row.smallest_bytes is not None
            assert row.smallest_bytes <= min(sizes)
        assert bool(row.smallest_from) == (row.smallest_bytes is not None)


def test_a_model_that_a_source_lists_is_found_by_that_source(seen: Catalog) -> None:
    row = listed(seen, KNOWN)
    assert row is not None
    assert row.sources == ("hugging-face", "ollama")  # not the one that no longer lists it
    assert [one.model_id for one in _all(seen, Filters(sources=("ollama",)))] == [KNOWN]
    assert KNOWN not in [one.model_id for one in _all(seen, Filters(sources=("catalog",)))]


def test_a_model_that_is_not_there_is_not_listed(catalog: Catalog) -> None:
    assert listed(catalog, "no/such") is None
    with pytest.raises(UnknownNameError):
        detail(catalog, "no/such")


def test_the_detail_has_what_was_seen_contradicted_and_made_of_it(seen: Catalog) -> None:
    found = detail(seen, KNOWN)
    assert {one.entry_id for one in found.sightings} == {KNOWN, "qwen3:4b", "gone-4b"}
    assert found.sightings[-1].gone_at == "2026-10-02"  # what is gone comes last
    assert found.made_of_it_total == MOST_SIGHTINGS + 5
    assert len(found.made_of_it) == MOST_SIGHTINGS
    assert found.made_of_it[0].downloads == MOST_SIGHTINGS + 4
    [conflict] = found.conflicts
    assert (conflict.chosen, conflict.other, conflict.why) == ("40960", "32768", "read")


def test_every_number_of_every_model_has_a_source(catalog: Catalog) -> None:
    for model in catalog.models()[::9]:
        found = detail(catalog, model.model_id)
        assert {"Parameters", "Modalities"} <= {one.name for one in found.numbers}
        assert all(one.value and one.source for one in found.numbers)
        assert all(one.source and one.evaluator for one in found.scores)
        assert len([one for one in found.scores if not one.duplicate]) == found.row.benchmarks
        assert len(found.files) == found.row.files
        assert {one.runtime for one in found.runtimes} == set(found.row.runtimes)


def test_the_history_goes_from_the_newest_to_the_oldest_across_families(catalog: Catalog) -> None:
    found = detail(catalog, KNOWN)
    relation = {one.model_id: one.relation for one in found.history}
    assert relation[KNOWN] == "this one"
    assert relation[catalog.model(KNOWN).superseded_by] == "supersedes it"
    dates = [one.released for one in found.history if one.released]
    assert dates == sorted(dates, reverse=True)
    back = detail(catalog, catalog.model(KNOWN).superseded_by)
    assert {one.model_id: one.relation for one in back.history}[KNOWN] == "superseded by it"
