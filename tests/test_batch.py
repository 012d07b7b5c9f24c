from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from recommender.batch import plan_batch, rerank
from recommender.catalog.store import Catalog
from recommender.engine.recommend import recommend
from recommender.types import Device, Need, Recommendation


def asked(catalog: Catalog, device: Device) -> Recommendation:
    return recommend(device, Need(), catalog)


def test_the_first_picks_are_planned_in_their_order_or_say_why_not(catalog: Catalog, laptop: Device) -> None:
    answer = asked(catalog, laptop)
    planned = plan_batch(answer, catalog, first=4)
    assert [one.pick for one in planned] == list(answer.picks[:4])
    assert [one.rank for one in planned] == [1, 2, 3, 4]
    for one in planned:
        assert (one.plan is None) is bool(one.problem)
    assert any(one.plan for one in planned)


def test_what_another_runtime_runs_is_not_rehearsed(catalog: Catalog, laptop: Device) -> None:
    answer = asked(catalog, laptop)
    other = replace(answer, picks=(replace(answer.picks[0], runtime="vllm"),))
    [planned] = plan_batch(other, catalog)
    assert planned.problem == "vllm cannot be rehearsed here."


def test_the_order_after_is_that_of_the_new_answer(catalog: Catalog, laptop: Device) -> None:
    answer = asked(catalog, laptop)
    before = answer.picks[:3]
    rows = rerank(before, {}, replace(answer, picks=tuple(reversed(before))))
    assert [row.before for row in rows] == [3, 2, 1]
    assert [row.after for row in rows] == [1, 2, 3]
    assert all(row.measurement is None for row in rows)


def test_what_does_not_fit_any_more_comes_last(catalog: Catalog, laptop: Device) -> None:
    answer = asked(catalog, laptop)
    rows = rerank(answer.picks[:3], {}, replace(answer, picks=answer.picks[1:3]))
    assert [(row.before, row.after) for row in rows] == [(2, 1), (3, 2), (1, None)]


def test_no_pick_is_lost_and_ranks_rise(catalog: Catalog, laptop: Device) -> None:
    answer = asked(catalog, laptop)

    @given(order=st.permutations(range(5)))
    def check(order: list[int]) -> None:
        rows = rerank(answer.picks[:5], {}, replace(answer, picks=tuple(answer.picks[place] for place in order)))
        assert sorted(row.before for row in rows) == [1, 2, 3, 4, 5]
        ranks = [row.after or 0 for row in rows]
        assert ranks == sorted(ranks)

    check()
