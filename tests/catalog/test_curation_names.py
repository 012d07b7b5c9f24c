from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.catalog.curation_names import named_figures

WORDS = st.sampled_from(["Some", "v2", "instruct", "b1.58", "r7b", "4bit", "4T", "gguf", "2507", "H1", "3.1", "Q4_K_M"])
SIZES = st.decimals("0.1", "999", places=1).map(lambda size: f"{size:f}".removesuffix(".0"))


@given(SIZES, SIZES, WORDS, WORDS, st.sampled_from(["-A", "A", "_a", " a"]), st.sampled_from("-_ "))
def test_total_and_active_size_are_read_from_between_other_words(
    total: str, active: str, before: str, after: str, join: str, dash: str
) -> None:
    named = named_figures(f"9b-maker/{before}{dash}{total}B{join}{active}b{dash}{after}")
    assert [size.params for size in named.sizes] == [float(total) * 1e9]
    assert named.active is not None
    assert named.active.params == float(active) * 1e9


@given(SIZES, WORDS, st.sampled_from("bB"))
def test_a_size_covers_what_it_rounds_and_its_case_does_not_matter(size: str, word: str, unit: str) -> None:
    named = named_figures(f"{word}-{size}{unit}")
    off = 0.05e9 if "." in size else 0.5e9
    assert named.ratio(float(size) * 1e9 + 0.9 * off) == 1
    assert named.ratio(float(size) * 4e9 + 2 * off) > 2
    assert named.active_ratio(1.0) == 1


@given(st.lists(WORDS, max_size=5), st.sampled_from("-_ ."))
def test_words_that_are_no_size_give_none(words: list[str], dash: str) -> None:
    named = named_figures(dash.join(words))
    assert named.sizes == ()
    assert named.ratio(7e9) == 1


@given(st.text())
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    named = named_figures(text)
    assert all(size.params > 0 for size in named.sizes)
    assert named.ratio(1e9) > 0


@pytest.mark.parametrize(
    ("name", "sizes", "active", "context"),
    [
        ("PowerInfer/SmallThinker-21BA3B-Instruct", "21B", 3e9, None),
        ("allenai/OLMoE-1B-7B-0125-Instruct", "1B or 7B", None, None),
        ("stabilityai/stablelm-2-1_6b-chat", "1.6B", None, None),
        ("maker/some_3_4b_v2_45B", "4B or 45B", None, None),
        ("microsoft/bitnet-b1.58-2B-4T", "2B", None, None),
        ("Qwen/Qwen2.5-14B-Instruct-1M", "14B", None, 1_000_000),
        ("ibm-granite/granite-8b-code-instruct-128k", "8B", None, 128_000),
        ("LiquidAI/LFM2-350M", "350M", None, None),
        ("maker/TinyStories-1M", "1M", None, None),
        ("qwen2.5:7b-instruct-q4_0", "7B", None, None),
        ("maker/Some-100B-tokens", "", None, None),
    ],
)
def test_sizes_as_names_really_have_them(name: str, sizes: str, active: float | None, context: int | None) -> None:
    named = named_figures(name)
    assert named.text == sizes
    assert (named.active.params if named.active else None, named.context_tokens) == (active, context)


def test_a_mixture_named_by_its_experts_may_have_any_size_up_to_their_sum() -> None:
    named = named_figures("mistralai/Mixtral-8x7B-v0.1")
    assert named.ratio(46.7e9) == 1
    assert named.ratio(80e9) > 1
