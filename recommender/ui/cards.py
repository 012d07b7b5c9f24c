"""The answer as cards: one verdict, its numbers, its reason, one button."""

from __future__ import annotations

import math
from collections.abc import Callable

import streamlit as st

from recommender.engine.explain_memory import explain_pick
from recommender.engine.words import count, rate, seconds, size
from recommender.runner.hub import at_hand
from recommender.settings import current
from recommender.share import between, headline
from recommender.types import GIB, Figure, Pick, Recommendation
from recommender.ui import browser_run, recipe_view, share_view
from recommender.ui.inputs import Asked
from recommender.ui.limits import BOUND
from recommender.ui.memory_bar import memory_bar
from recommender.ui.resources import catalog, hosted, server_name
from recommender.ui.words import badge, plain

# Runtimes whose file the built-in llama.cpp can run.
_RUN_HERE = ("llama.cpp", "ollama")

Try = Callable[[Pick], None]


def can_try(pick: Pick) -> bool:
    """Whether it can be run where the app runs; a visitor's run has a largest file."""
    most = current().max_file_gib * GIB if hosted() else math.inf
    return pick.runtime in _RUN_HERE and (pick.estimate.file_bytes or 0.0) <= most and most > 0


def cost(pick: Pick) -> str:
    """What pressing Try it fetches, and under which licence."""
    known = pick.estimate.file_bytes
    if at_hand(pick.file_repo, pick.file_name) is not None:
        download = "already here · "
    elif pick.file_name and not pick.file_repo:
        download = f"its file is no longer at {plain(pick.file_name)} · "
    else:
        download = f"{size(known)} download · " if known else ""
    return f"{download}{pick.license or 'licence not recorded'}"


def answer_card(answer: Recommendation, asked: Asked, try_it: Try) -> None:
    """The pick: what it is, how fast, how much memory, why, and the command that runs it."""
    here = asked.here
    pick = answer.picks[0]
    with st.container(border=True, key="answer"):
        left, right = st.columns([3, 1.15], vertical_alignment="center")
        with left.container(gap="xxsmall"):
            where = f"on {server_name() if here else plain(answer.device.name)}"
            st.caption(f"The pick for {answer.task.name[0].lower()}{answer.task.name[1:]} {where}")
            st.header(plain(pick.name), anchor=False)
            tags = [pick.quantization or "managed service", pick.runtime, f"{pick.tier} tier"]
            if pick.experimental:
                tags.append("experimental")
            st.markdown(" ".join(f":primary-badge[{tag}]" for tag in tags[:2]) + _tags(tags[2:]))
        with right.container(gap="xsmall", horizontal_alignment="right"):
            if can_try(pick):
                _try_button(pick, here, "try_pick", try_it, primary=True)
            browser_run.offer(pick)
            share_view.offer(asked, answer)
        _tiles(pick)
        if pick.estimate.memory:
            st.html(memory_bar(pick.estimate.memory, free_bytes(answer)))
        if pick.reasons:
            st.markdown(f"**Why this one?** {plain(_why(pick))}")
        st.code(pick.command, language="bash", wrap_lines=True)
        recipe_view.offer(answer, pick, "setup")
        numbers = st.expander(
            "All its numbers, and the score taken apart", icon=":material/calculate:", key="numbers", **BOUND
        )
        if numbers.open:  # three tables, which everybody would wait for
            with numbers:
                details(answer, pick)


def _tags(tags: list[str]) -> str:
    return "".join(f" :gray-badge[{tag}]" for tag in tags)


def _why(pick: Pick) -> str:
    """The reasons that its numbers do not say already: how good it is, why this runtime, and what it beat."""
    return " ".join(dict.fromkeys((*pick.reasons[:2], pick.reasons[-1])))


def _try_button(pick: Pick, here: bool, key: str, try_it: Try, primary: bool = False) -> None:
    st.button(
        f"Try it {'' if here else 'on this server ' if hosted() else 'here '}· {plain(cost(pick))}",
        icon=":material/play_arrow:",
        type="primary" if primary else "secondary",
        width="stretch",
        key=key,
        on_click=try_it,
        args=(pick,),
        wrap=True,
        help=f"Fetches the file unless it is here already, runs it on {server_name()} and measures it.",
    )


def _tiles(pick: Pick) -> None:
    """Speed, answer time, memory and quality, each with its range and where it comes from."""
    estimate = pick.estimate
    memory = estimate.memory
    first = f" · first token after {seconds(estimate.ttft_s.value)}" if estimate.ttft_s else ""
    tiles = [
        ("Speed", *_told(estimate.decode_tokens_per_s, rate)),
        ("Answer time", *_told(estimate.answer_time_s, seconds, first)),
    ]
    if memory:
        context = f"at {count(pick.settings.context_tokens)} tokens of context" if pick.settings else ""
        tiles.append(("Memory", size(memory.charged_bytes), context, memory.provenance))
    scores = f"{count(pick.quality_evidence) if pick.quality_evidence else 'no'} benchmark score"
    scores += "" if pick.quality_evidence == 1 else "s"
    tiles.append(
        (
            "Quality",
            f"{pick.quality:.0f} of 100",
            f"± {pick.quality_se:.0f} · {scores}",
            "estimated",
        )
    )
    with st.grid(len(tiles), min_column_width=140, gap="small"):
        for label, value, note, origin in tiles:
            with st.container(gap="xxsmall"):
                st.metric(label, value)
                st.markdown(f":small[{badge(origin)} :gray[{note}]]")


def _told(figure: Figure | None, words: Callable[[float], str], more: str = "") -> tuple[str, str, str]:
    if figure is None:
        return "–", "depends on the service", "unknown"
    return words(figure.value), f"{between(figure, words)}{more}", figure.provenance


def free_bytes(answer: Recommendation) -> float | None:
    """What a pick may take: GPU memory of its own comes on top of main memory."""
    if answer.memory_budget_bytes is None:
        return None
    own_gpu = any(not gpu.unified for gpu in answer.device.gpus)
    return answer.memory_budget_bytes + ((answer.gpu_budget_bytes or 0.0) if own_gpu else 0.0)


def details(answer: Recommendation, pick: Pick) -> None:
    """Every figure with its range and origin, the score's parts and the settings behind them."""
    estimate = pick.estimate
    rows: list[tuple[str, str, str, str]] = []
    for name, figure, words in (
        ("Decode", estimate.decode_tokens_per_s, rate),
        ("Prefill", estimate.prefill_tokens_per_s, rate),
        ("Time to first token", estimate.ttft_s, seconds),
        ("Answer time", estimate.answer_time_s, seconds),
        ("Load time", estimate.load_s, seconds),
    ):
        if figure:
            rows.append((name, words(figure.value), between(figure, words), badge(figure.provenance)))
    if estimate.memory:
        free = free_bytes(answer)
        of_free = f"of {size(free)} free" if free is not None else ""
        rows.append(("Memory", size(estimate.memory.charged_bytes), of_free, badge(estimate.memory.provenance)))
    if estimate.file_bytes:
        rows.append(("File", size(estimate.file_bytes), "", badge(estimate.file_provenance)))
    if rows:
        st.table(
            {name: [row[place] for row in rows] for place, name in enumerate(("Figure", "Value", "Range", "From"))},
            hide_index=True,
        )
    if parts := explain_pick(pick, answer.device, catalog()):
        st.table(
            {
                "Part of memory": [part.name for part in parts],
                "Size": [size(part.value_bytes) for part in parts],
                "How it is made up": [plain(part.how) for part in parts],
            },
            hide_index=True,
        )
    st.table(
        {
            "Part of the score": [part.name.capitalize() for part in pick.score_parts] + ["**Score**"],
            "Points": [f"{part.weight:.0%} × {part.value:.0f} = {part.points:.1f}" for part in pick.score_parts]
            + [f"**{pick.score:.1f}**"],
            "Why": [plain(part.why) for part in pick.score_parts] + ["the sum of the parts"],
        },
        hide_index=True,
    )
    if settings := pick.settings:
        st.caption(
            f"Context {count(settings.context_tokens)} tokens · KV cache {settings.kv_type} · "
            f"{settings.threads} threads · {settings.gpu_layers} layers on the GPU · batch "
            f"{count(settings.batch_tokens)}/{count(settings.ubatch_tokens)} · {settings.parallel} at once · "
            f"flash attention {'on' if settings.flash_attn else 'off'}"
        )


def alternative_card(trade: str, pick: Pick, place: int, try_it: Try, here: bool, fits: bool) -> None:
    """Another pick and what it trades; ``trade`` is "Faster, weaker: 6.8 s instead of 16 s …"."""
    title, _, terms = trade.partition(": ")
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.markdown(f"**{plain(title)}** · {plain(headline(pick))}")
        if terms:
            st.markdown(f":gray[{plain(terms)}]")
        st.markdown(f":small[{_facts(pick)}]")
        if fits:
            st.space("stretch")
            if can_try(pick):
                _try_button(pick, here, f"try_alternative_{place}", try_it)
            browser_run.offer(pick)


def _facts(pick: Pick) -> str:
    """The figures in one line, and where they come from."""
    estimate = pick.estimate
    facts = []
    origin = "estimated"
    if estimate.decode_tokens_per_s:
        facts.append(rate(estimate.decode_tokens_per_s.value))
        origin = estimate.decode_tokens_per_s.provenance
    if estimate.answer_time_s:
        facts.append(f"answer in {seconds(estimate.answer_time_s.value)}")
    if estimate.memory:
        facts.append(size(estimate.memory.charged_bytes))
    facts.append(f"quality {pick.quality:.0f}")
    return f"{' · '.join(facts)} {badge(origin)}"


def picked_card(answer: Recommendation, pick: Pick, here: bool, try_it: Try) -> None:
    """A row of the table, opened."""
    with st.container(border=True):
        left, right = st.columns([3, 1.15], vertical_alignment="center")
        with left:
            st.markdown(f"**{plain(headline(pick))}**")
            st.markdown(f":small[{_facts(pick)}]")
        with right:
            if can_try(pick):
                _try_button(pick, here, "try_row", try_it)
            browser_run.offer(pick)
        st.code(pick.command, language="bash", wrap_lines=True)
        recipe_view.offer(answer, pick, "setup_row")
        details(answer, pick)
