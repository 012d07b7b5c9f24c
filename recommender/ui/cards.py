"""The answer as cards: one verdict, its numbers, its reason, one button."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from recommender.engine.words import count, rate, seconds, size
from recommender.types import Figure, NearMiss, Pick, Recommendation
from recommender.ui.charts import figure_words, memory_bar

_BADGES = {
    "measured here": ":green-badge[measured here]",
    "measured on the same hardware": ":green-badge[measured on the same hardware]",
    "estimated": ":blue-badge[estimated]",
    "rough estimate": ":orange-badge[rough estimate]",
    "published": ":gray-badge[published]",
}


def badge(provenance: str) -> str:
    """Where a number comes from, as a coloured badge."""
    return _BADGES.get(provenance, f":gray-badge[{provenance}]")


def headline(pick: Pick) -> str:
    return " · ".join(part for part in (pick.name, pick.quantization or "managed", pick.runtime) if part)


def answer_card(answer: Recommendation, try_it: Callable[[Pick], None]) -> None:
    """The pick: what it is, how fast, how much memory, why, and the command that runs it."""
    pick = answer.picks[0]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.subheader(headline(pick), anchor=False)
            if pick.runtime in ("llama.cpp", "ollama"):
                st.button(
                    "Try it",
                    icon=":material/play_arrow:",
                    type="primary",
                    key="try_pick",
                    on_click=lambda: try_it(pick),
                )
        st.caption(
            f"{pick.tier} tier · {pick.family} · {pick.license or 'licence not recorded'} · "
            f"score {pick.score:.0f} of 100"
        )
        metrics(answer, pick)
        if pick.estimate.memory:
            free = _free_bytes(answer)
            st.plotly_chart(
                memory_bar(pick.estimate.memory, free),
                key="memory_bar",
                config={"displayModeBar": False},
                alt=f"{headline(pick)} takes {size(pick.estimate.memory.total_bytes)}"
                + (f" of {size(free)} free" if free else ""),
            )
        for reason in pick.reasons:
            st.markdown(f"- {reason}")
        st.code(pick.command, language="bash", wrap_lines=True)
        _settings(pick)


def metrics(answer: Recommendation, pick: Pick) -> None:
    """Speed, first token, answer time, memory and quality, each with its range and origin."""
    estimate = pick.estimate
    cells: list[tuple[str, str, str, str]] = [
        ("Speed", figure_words(estimate.decode_tokens_per_s, "rate"), *_range(estimate.decode_tokens_per_s, rate)),
        ("First token", figure_words(estimate.ttft_s, "time"), *_range(estimate.ttft_s, seconds)),
        ("Answer", figure_words(estimate.answer_time_s, "time"), *_range(estimate.answer_time_s, seconds)),
    ]
    if estimate.memory:
        needed = estimate.memory.total_bytes - estimate.memory.reclaimable_bytes
        free = _free_bytes(answer)
        cells.append(("Memory", size(needed), f"of {size(free)} free" if free else "", estimate.memory.provenance))
    if estimate.file_bytes:
        cells.append(("File", size(estimate.file_bytes), "", estimate.file_provenance))
    cells.append(
        (
            "Quality",
            f"{pick.quality:.0f} of 100",
            f"± {pick.quality_se:.0f}, {count(pick.quality_evidence)} scores",
            "estimated",
        )
    )
    with st.container(horizontal=True):
        for label, value, note, origin in cells:
            with st.container(border=True, width=170, gap="xxsmall"):
                st.metric(label, value)
                if note:
                    st.caption(note)
                st.markdown(badge(origin))


def _range(figure: Figure | None, words: Callable[[float], str]) -> tuple[str, str]:
    if figure is None:
        return "", "unknown"
    return f"{words(figure.low)} to {words(figure.high)}", figure.provenance


def _free_bytes(answer: Recommendation) -> float | None:
    """What a pick may take: GPU memory of its own comes on top of main memory."""
    if answer.memory_budget_bytes is None:
        return None
    own_gpu = any(not gpu.unified for gpu in answer.device.gpus)
    return answer.memory_budget_bytes + ((answer.gpu_budget_bytes or 0.0) if own_gpu else 0.0)


def _settings(pick: Pick) -> None:
    with st.expander("Why this score, and the settings behind the numbers", icon=":material/calculate:"):
        st.table(
            {
                "Part": [part.name.capitalize() for part in pick.score_parts] + ["**Score**"],
                "Value": [f"{part.value:.0f}" for part in pick.score_parts] + [""],
                "Weight": [f"{part.weight:.0%}" for part in pick.score_parts] + [""],
                "Points": [f"{part.points:.1f}" for part in pick.score_parts] + [f"**{pick.score:.1f}**"],
                "Why": [part.why for part in pick.score_parts] + ["the sum of the parts"],
            },
            hide_index=True,
        )
        settings = pick.settings
        if settings:
            st.caption(
                f"Context {count(settings.context_tokens)} tokens · KV cache {settings.kv_type} · "
                f"{settings.threads} threads · {settings.gpu_layers} layers on the GPU · batch "
                f"{count(settings.batch_tokens)}/{count(settings.ubatch_tokens)} · {settings.parallel} at once · "
                f"flash attention {'on' if settings.flash_attn else 'off'}"
            )


def alternative_card(trade: str, pick: Pick, place: int, try_it: Callable[[Pick], None], fits: bool) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{trade}**")
        st.markdown(headline(pick))
        estimate = pick.estimate
        facts = []
        if estimate.decode_tokens_per_s:
            facts.append(rate(estimate.decode_tokens_per_s.value))
        if estimate.memory:
            facts.append(size(estimate.memory.total_bytes - estimate.memory.reclaimable_bytes))
        facts.append(f"quality {pick.quality:.0f}")
        st.caption(f"{' · '.join(facts)} {badge('estimated')}")
        if fits and pick.runtime in ("llama.cpp", "ollama"):
            st.button("Try it", key=f"try_alternative_{place}", on_click=lambda: try_it(pick))


def near_miss_rows(misses: tuple[NearMiss, ...]) -> dict[str, list[str]]:
    """The table of what just missed, column by column."""
    return {
        "Model": [f"{miss.pick.name} {miss.pick.quantization or ''}" for miss in misses],
        "Kept out by": [miss.rule for miss in misses],
        "Why": [miss.reason for miss in misses],
        "What would admit it": [miss.change for miss in misses],
        "Quality": [f"{miss.pick.quality:.0f}" for miss in misses],
    }


def nothing_fits(answer: Recommendation) -> None:
    """The empty answer: which limit to relax, and what that would bring."""
    st.warning("Nothing in the catalog meets all of this.", icon=":material/filter_alt_off:")
    if answer.near_misses:
        first = answer.near_misses[0]
        st.markdown(
            f"**The smallest way out:** {first.change}. Then **{headline(first.pick)}** would fit (it {first.reason})."
        )
        st.table(near_miss_rows(answer.near_misses), hide_index=True)
    else:
        worst = max(answer.rejected.items(), key=lambda item: item[1], default=("", 0))
        st.markdown(
            f"The limit that keeps out most is **{worst[0]}** ({count(worst[1])} combinations). Relax it first; no "
            "single change would admit anything as things stand."
        )


def picks_table(answer: Recommendation) -> dict[str, list[object]]:
    """Everything that fits, column by column, best first."""
    picks = answer.picks
    columns: dict[str, list[object]] = {
        "Model": [pick.name for pick in picks],
        "Quantization": [pick.quantization or "managed" for pick in picks],
        "Runtime": [pick.runtime for pick in picks],
        "Score": [round(pick.score, 1) for pick in picks],
        "Quality": [round(pick.quality, 1) for pick in picks],
        "Decode tok/s": [_value(pick.estimate.decode_tokens_per_s) for pick in picks],
        "First token s": [_value(pick.estimate.ttft_s) for pick in picks],
        "Answer s": [_value(pick.estimate.answer_time_s) for pick in picks],
        "Memory GiB": [
            round((pick.estimate.memory.total_bytes - pick.estimate.memory.reclaimable_bytes) / 2**30, 2)
            if pick.estimate.memory
            else None
            for pick in picks
        ],
        "File GiB": [
            round(pick.estimate.file_bytes / 2**30, 2) if pick.estimate.file_bytes else None for pick in picks
        ],
        "Licence": [pick.license for pick in picks],
        "Tier": [pick.tier for pick in picks],
        "Speed is": [
            pick.estimate.decode_tokens_per_s.provenance if pick.estimate.decode_tokens_per_s else "" for pick in picks
        ],
    }
    return columns


def _value(figure: Figure | None) -> float | None:
    return round(figure.value, 2) if figure else None
