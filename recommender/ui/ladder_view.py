"""A quantization ladder on the page: the table, what to know of its steps, the chart, and the lesson beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from recommender.engine.ladder import Rung
from recommender.engine.words import count, rate
from recommender.types import GIB
from recommender.ui.ladder_chart import chart_words, ladder_chart
from recommender.ui.words import plain

_GB = 1e9  # as the lesson counts
_NUMBER = st.column_config.NumberColumn
_COLUMNS = {
    "Quantization": st.column_config.TextColumn(pinned=True),
    "Fits": st.column_config.TextColumn(help="into the memory that is free, in a runtime that runs there"),
    "File, GiB": _NUMBER(format="%.2f"),
    "Saved": _NUMBER(format="%.0f%%", help="of the bytes of F16"),
    "Memory, GiB": _NUMBER(format="%.2f", help="what must stay resident at this context, estimated"),
    "tok/s": _NUMBER(format="%.1f", help="decode"),
    "Range": st.column_config.TextColumn(help="of the decode speed: four of five measured runs"),
    "Loss": _NUMBER(format="%.1f", help="points of 100 that the quantization is expected to cost"),
    "Bytes are of": st.column_config.TextColumn(width="small"),
    "Speed is": st.column_config.TextColumn(width="small"),
}


def show(rungs: Sequence[Rung], name: str, context_tokens: int) -> None:
    """Everything of one ladder; ``name`` is the model's."""
    st.dataframe(
        _table(rungs),
        hide_index=True,
        column_config=_COLUMNS,
        height="content",
        placeholder="–",
        key=f"ladder_{name}",
        alt=f"The quantization ladder of {name}",
    )
    _to_know(rungs)
    if any(rung.file_bytes is not None for rung in rungs):
        st.plotly_chart(
            ladder_chart(rungs), key="ladder_chart", config={"displayModeBar": False}, alt=chart_words(rungs, name)
        )
        _lesson(rungs, name, context_tokens)


def _table(rungs: Sequence[Rung]) -> dict[str, list[object]]:
    memory = [rung.estimate.memory if rung.estimate else None for rung in rungs]
    decode = [rung.estimate.decode_tokens_per_s if rung.estimate else None for rung in rungs]
    return {
        "Quantization": [rung.quantization for rung in rungs],
        "Fits": ["yes" if rung.fits else "no" for rung in rungs],
        "File, GiB": [rung.file_bytes / GIB if rung.file_bytes else None for rung in rungs],
        "Saved": [100.0 * rung.saved if rung.saved is not None else None for rung in rungs],
        "Memory, GiB": [part.charged_bytes / GIB if part else None for part in memory],
        "tok/s": [speed.value if speed else None for speed in decode],
        "Range": [f"{_bare(speed.low)} to {_bare(speed.high)}" if speed else None for speed in decode],
        "Loss": [rung.loss_points for rung in rungs],
        "Bytes are of": [rung.file_provenance or None for rung in rungs],
        "Speed is": [speed.provenance if speed else None for speed in decode],
    }


def _bare(tokens_per_s: float) -> str:
    return rate(tokens_per_s).removesuffix(" tok/s")


def _to_know(rungs: Sequence[Rung]) -> None:
    """What stands against a step and what to know of it, each sentence once with the steps it holds for."""
    lines = [
        f"- {said}"
        for said in (
            *_grouped(rungs, lambda rung: [rung.against] if rung.against else []),
            *_grouped(rungs, lambda rung: list(rung.notes)),
        )
    ]
    if lines:
        st.markdown("\n".join(lines))
    from_what = "; ".join(_grouped(rungs, lambda rung: [rung.loss_basis] if rung.loss_basis else []))
    st.caption(
        "File bytes are those of a published file where one is known, else of the exact list of tensors that such a "
        "file has. Memory, speed and loss are estimated unless “Speed is” says otherwise. The loss is fitted over "
        f"published scores, perplexities and divergences by type and model size. {from_what}."
    )


def _grouped(rungs: Sequence[Rung], sentences: Callable[[Rung], list[str]]) -> list[str]:
    holds: dict[str, list[str]] = {}
    for rung in rungs:
        for sentence in sentences(rung):
            holds.setdefault(sentence, []).append(rung.quantization)
    return [
        f"**{'Every step' if len(names) == len(rungs) else ', '.join(names)}**: {plain(sentence)}"
        for sentence, names in holds.items()
    ]


def _lesson(rungs: Sequence[Rung], name: str, context_tokens: int) -> None:
    """The lesson's sizes and its rule of thumb for memory, beside the true figures."""
    told = [rung for rung in rungs if rung.lesson_memory and rung.file_bytes and rung.estimate and rung.estimate.memory]
    if not told:
        return
    st.markdown("**Beside the lesson's figures**")
    sized = any(rung.lesson_size for rung in told)
    st.table(
        {
            "Type": [rung.quantization for rung in told],
            **({"Lesson's size": [_said_size(rung, rungs) for rung in told]} if sized else {}),
            "True size": [_true_size(rung) for rung in told],
            "Lesson's memory": [_said_memory(rung) for rung in told],
            "Memory here": [_true_memory(rung) for rung in told],
        },
        hide_index=True,
        alt=f"The lesson's sizes and its rule of thumb for memory beside those of {name}",
    )
    off = [_rule_off(rung) for rung in told]
    note = next((rung.lesson_size.note for rung in told if rung.lesson_size and rung.lesson_size.note), "")
    source = next(rung.lesson_memory.source for rung in told if rung.lesson_memory)
    st.caption(
        f"{plain(source)}. At {count(context_tokens)} tokens its rule of thumb for memory is off by {min(off):+.0%} to "
        f"{max(off):+.0%} for this model. No multiple of the file can hold: the cache and the buffers grow with the "
        "context and not with the file."
        + (f" Of {plain(told[0].lesson_size.name)}: {plain(note)}." if note and told[0].lesson_size else "")
    )


def _needed(rung: Rung) -> float:
    memory = rung.estimate.memory if rung.estimate else None
    return memory.charged_bytes if memory else 0.0


def _said_size(rung: Rung, rungs: Sequence[Rung]) -> str:
    """The lesson's size with what it saves against its own F16, and how far off it is."""
    if rung.lesson_size is None or not rung.file_bytes:
        return "–"
    said = rung.lesson_size.value
    full = next((one.lesson_size.value for one in rungs if one.quantization == "F16" and one.lesson_size), said)
    saves = f", {1 - said / full:.0%} saved" if said < full else ""
    return f"{said:g} GB{saves}: {_off(said * _GB / rung.file_bytes - 1)}"


def _true_size(rung: Rung) -> str:
    saves = f", {rung.saved:.0%} saved" if rung.saved else ""
    return f"{(rung.file_bytes or 0.0) / _GB:.2f} GB{saves}"


def _said_memory(rung: Rung) -> str:
    times = rung.lesson_memory.value if rung.lesson_memory else 0.0
    return f"{times:g} × file = {times * (rung.file_bytes or 0.0) / _GB:.1f} GB: {_off(_rule_off(rung))}"


def _true_memory(rung: Rung) -> str:
    return f"{_needed(rung) / (rung.file_bytes or 1.0):.2f} × file = {_needed(rung) / _GB:.1f} GB"


def _rule_off(rung: Rung) -> float:
    times = rung.lesson_memory.value if rung.lesson_memory else 0.0
    return times * (rung.file_bytes or 0.0) / _needed(rung) - 1


def _off(share: float) -> str:
    return f"**{share:+.0%}**"
