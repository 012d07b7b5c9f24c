"""Compare says what Find says, keeps what does not fit, and never praises what is not best."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalog.store import Catalog
from recommender.compare_text import comparison_json, comparison_markdown
from recommender.device import preset
from recommender.engine.compare_picks import Choice, Comparison, choice_of, compare_picks, parse_choice
from recommender.engine.recommend import recommend
from recommender.errors import BadInputError
from recommender.types import Device, Need
from recommender.ui.compare_chart import axes, chart_svg, chart_words

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FOUR_B = "Qwen/Qwen3-4B Q4_K_M llama.cpp"
SMALL = "Qwen/Qwen3-0.6B Q8_0 llama.cpp"
TOO_LARGE = "Qwen/Qwen3-32B Q8_0 llama.cpp"


def _compare(catalog: Catalog, device: Device, *texts: str, need: Need | None = None) -> Comparison:
    choices = [parse_choice(text) for text in texts]
    return compare_picks(choices, device, need or Need(), catalog, preset, lambda _: None)


@given(
    task=st.sampled_from(["chat", "code", "summarize"]),
    priority=st.sampled_from(["quality", "balanced", "speed", "smallest"]),
    users=st.sampled_from([1, 4]),
    every=st.booleans(),
    limited=st.sampled_from([(), ("ollama",), ("llama.cpp", "lm-studio")]),
    start=st.integers(0, 20),
)
@few
def test_find_and_compare_never_disagree(
    catalog: Catalog,
    workstation: Device,
    laptop: Device,
    task: str,
    priority: str,
    users: int,
    every: bool,
    limited: tuple[str, ...],
    start: int,
) -> None:
    for device in (workstation, laptop):
        need = Need(task=task, priority=priority, users=users, all_quantizations=every, runtimes=limited)  # type: ignore[arg-type]
        found = recommend(device, need, catalog).picks[start : start + 4]
        if len(found) < 2:
            continue
        compared = compare_picks([choice_of(pick) for pick in found], device, need, catalog, preset, lambda _: None)
        for pick, column in zip(found, compared.columns, strict=True):
            assert column.fits, column.problem
            assert column.pick is not None
            assert replace(column.pick, reasons=()) == replace(pick, reasons=())


def test_managed_picks_are_compared_too(catalog: Catalog, laptop: Device) -> None:
    need = Need(placement="any")
    managed = recommend(laptop, Need(placement="managed"), catalog).picks[0]
    found = _compare(catalog, laptop, choice_of(managed).text, FOUR_B, need=need)
    assert found.columns[0].fits
    assert next(line for line in found.lines if line.label == "Decode").cells[0].text == "–"


def test_a_pick_that_does_not_fit_keeps_its_column_with_the_reason_and_its_numbers(
    catalog: Catalog, laptop: Device
) -> None:
    found = _compare(catalog, laptop, FOUR_B, TOO_LARGE)
    large = found.columns[1]
    assert not large.fits
    assert "short by" in large.problem
    assert large.change.startswith("free ")
    assert large.pick is not None
    assert large.pick.estimate.file_bytes
    assert large.verdict.startswith("Does not fit")
    assert found.columns[0].verdict == "The only one of these that fits."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Qwen/Qwen3-4B Q4_K_M bitnet.cpp", "cannot load Qwen3-4B; these do: "),
        ("Qwen/Qwen3-4B Q4_K llama.cpp", "llama.cpp has no Q4_K of Qwen3-4B"),
        ("Qwen/Qwen3-4B Q4_K_M lama.cpp", "no runtime called 'lama.cpp'"),
        ("Qwen/Qwen3-4 Q4_K_M llama.cpp", "Qwen/Qwen3-4B"),
        (f"{FOUR_B} @ no-such-box", "no device called 'no-such-box'"),
        ("Qwen/Qwen3-4B mlx-4bit mlx", "mlx"),
    ],
)
def test_what_cannot_be_run_says_why_in_its_own_column(catalog: Catalog, laptop: Device, text: str, words: str) -> None:
    found = _compare(catalog, laptop, SMALL, text)
    assert found.columns[0].fits
    assert not found.columns[1].fits
    assert words.casefold() in found.columns[1].problem.casefold()


def test_a_runtime_that_does_not_run_on_the_device_says_so(catalog: Catalog, laptop: Device) -> None:
    mlx = recommend(preset("macbook-pro-m2-max"), Need(runtimes=("mlx",)), catalog).picks[0]
    found = _compare(catalog, laptop, choice_of(mlx).text, f"{choice_of(mlx).text} @ macbook-pro-m2-max")
    assert not found.columns[0].fits
    assert found.columns[1].fits


def test_each_pick_may_have_a_device_of_its_own(catalog: Catalog, laptop: Device) -> None:
    found = _compare(catalog, laptop, FOUR_B, f"{FOUR_B} @ rtx-4060")
    here, there = (column.pick for column in found.columns)
    alone = recommend(preset("rtx-4060"), Need(models=("Qwen/Qwen3-4B",), quantizations=("Q4_K_M",)), catalog).picks
    assert there is not None
    assert here is not None
    assert there.estimate in [pick.estimate for pick in alone if pick.runtime == "llama.cpp"]
    assert here.estimate != there.estimate


@pytest.mark.parametrize("texts", [[FOUR_B], [FOUR_B, FOUR_B], [f"Qwen/Qwen3-4B {q} ollama" for q in "abcde"]])
def test_fewer_than_two_or_more_than_four_are_refused(catalog: Catalog, laptop: Device, texts: list[str]) -> None:
    with pytest.raises(BadInputError, match="Compare 2 to 4"):
        _compare(catalog, laptop, *texts)


@given(
    model=st.text(st.characters(categories=["L", "N"], include_characters="./- "), min_size=1).filter(str.strip),
    words=st.tuples(*[st.text(st.characters(categories=["L", "N"], include_characters="_.-"), min_size=1)] * 3),
)
def test_a_choice_reads_back_from_its_text(model: str, words: tuple[str, str, str]) -> None:
    choice = Choice(" ".join(model.split()), *words)
    assert parse_choice(choice.text) == choice


@pytest.mark.parametrize("text", ["", "Qwen3-4B", "Qwen3-4B Q4_K_M", " @ rtx-4060"])
def test_what_is_no_pick_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a pick"):
        parse_choice(text)


def test_what_differs_is_marked_and_the_best_is_the_best(catalog: Catalog, laptop: Device) -> None:
    found = _compare(catalog, laptop, FOUR_B, "Qwen/Qwen3-4B Q8_0 llama.cpp", SMALL)
    for line in found.lines:
        assert line.differs == (len({cell.text for cell in line.cells}) > 1)
    by_label = {f"{line.group} {line.label}": line for line in found.lines}
    assert by_label["Memory In all"].best == (2,)
    assert by_label["Speed Decode"].best == (2,)
    assert by_label["Quality and score Quality"].best != (2,)
    assert not by_label["Facts Longest context"].best
    for line in found.lines:
        for cell in line.cells:
            assert cell.value is None or line.group in ("Facts", "Quality and score") or cell.origin


def test_the_verdict_names_only_what_a_pick_wins(catalog: Catalog, laptop: Device) -> None:
    found = _compare(catalog, laptop, FOUR_B, SMALL)
    large, small = (column.verdict for column in found.columns)
    assert "est in quality" in large
    assert "in quality" not in small
    assert "smallest in memory" in small.casefold()
    assert "fastest at writing" in small.casefold()


def test_markdown_and_json_carry_every_line(catalog: Catalog, laptop: Device) -> None:
    found = _compare(catalog, laptop, FOUR_B, TOO_LARGE)
    text, value = comparison_markdown(found), comparison_json(found)
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == len(found.lines) + 2
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert [pick["fits"] for pick in value["picks"]] == [True, False]
    assert value["picks"][0]["pick"]["estimate"]["decode_tokens_per_s"]["low"]
    assert len(value["lines"]) == len(found.lines)


def test_the_picture_is_well_formed_and_its_axes_are_shares_of_the_best(catalog: Catalog, laptop: Device) -> None:
    found = _compare(catalog, laptop, FOUR_B, SMALL, TOO_LARGE)
    for measure, values, shares in axes(found):
        known = [share for share in shares if share is not None]
        assert max(known) == pytest.approx(1.0)
        assert all(0 < share <= 1 for share in known)
        assert shares[2] is None
        assert measure.words(next(value for value in values if value is not None)) in chart_words(found)
    for dark in (False, True):
        root = ElementTree.fromstring(chart_svg(found, dark))
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 2
        assert len(lines[0].attrib["points"].split()) == len(axes(found))


def test_nothing_is_drawn_where_fewer_than_two_fit(catalog: Catalog, laptop: Device) -> None:
    assert chart_svg(_compare(catalog, laptop, FOUR_B, TOO_LARGE)) == ""
