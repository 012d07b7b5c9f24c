"""Leaving out runtimes that another one equals saves work and changes no answer."""

from __future__ import annotations

import pytest

from recommender.catalog import Catalog
from recommender.device import preset
from recommender.engine import same_engine
from recommender.engine.recommend import recommend
from recommender.types import Need, Recommendation


def _ranking(answer: Recommendation) -> list[tuple[str, str | None, str, float]]:
    return [(pick.model_id, pick.quantization, pick.runtime, round(pick.score, 9)) for pick in answer.picks]


@pytest.mark.parametrize("device", ["rtx-4060", "macbook-air-m3", "steam-deck-oled", "galaxy-s24", "surface-pro-11"])
@pytest.mark.parametrize("need", [Need(), Need(task="code", priority="smallest"), Need(task="summarize", users=4)])
def test_the_picks_are_the_same_with_and_without_the_runtimes_left_out(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, device: str, need: Need
) -> None:
    short = recommend(preset(device), need, catalog)
    monkeypatch.setattr(same_engine, "outdone", lambda *_: ())
    whole = recommend(preset(device), need, catalog)
    assert _ranking(short) == _ranking(whole)
    assert short.considered == whole.considered


def test_a_runtime_that_was_asked_for_is_never_left_out(catalog: Catalog) -> None:
    answer = recommend(preset("rtx-4060"), Need(runtimes=("ollama",)), catalog)
    assert answer.picks
    assert {pick.runtime for pick in answer.picks} == {"ollama"}


@pytest.mark.parametrize("device", ["rx-6600", "rx-7900-xtx", "rtx-4060", "macbook-air-m3", "cpu-intel-core-i7-13700h"])
@pytest.mark.parametrize("users", [1, 2, 4])
def test_a_browser_whose_speed_nobody_measured_is_never_put_before_the_engine_itself(
    catalog: Catalog, device: str, users: int
) -> None:
    for task in ("chat", "code"):
        answer = recommend(preset(device), Need(task=task, users=users), catalog, top=5)
        assert answer.picks
        assert not {pick.runtime for pick in answer.picks} & {"wllama", "webllm"}
