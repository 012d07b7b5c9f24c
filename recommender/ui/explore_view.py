"""One model of the catalog on the page: every figure with where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

import streamlit as st

from recommender.catalog.explore import Listed
from recommender.catalog.model_detail import ModelDetail, SightingRow
from recommender.engine.words import count, size
from recommender.types import GIB, Device
from recommender.ui import speeds_view
from recommender.ui.explore_filters import SOURCES
from recommender.ui.inputs import TYPED
from recommender.ui.limits import BOUND
from recommender.ui.navigation import page
from recommender.ui.words import plain

CHOSEN = "chosen"  # the URL's parameter with the model's id
_SPEEDS, _NUMBERS, _FILES, _SCORES, _LISTED, _HISTORY = (
    "On this device",
    "Numbers",
    "Files",
    "Benchmarks",
    "Where it is listed",
    "History",
)
_DEVICE = ("device", "preset", "ram", "total", "free", "vram", "bandwidth")  # parameters that links hand on
_USE = {
    "yes": "allows commercial use",
    "conditions": "allows commercial use under conditions: read it before you rely on it",
    "no": "forbids commercial use",
}
_NUMBER = st.column_config.NumberColumn


def choose(model_id: str) -> None:
    """Show this model; none when it is "". For a callback."""
    if model_id:
        st.query_params[CHOSEN] = model_id
    else:
        st.query_params.pop(CHOSEN, None)


def choose_row(key: str, ids: Sequence[str]) -> None:
    """Show the model of the row that is ticked in the table of this key. For its callback."""
    rows = st.session_state[key]["selection"]["rows"]
    choose(ids[rows[0]] if rows else "")


def show(found: ModelDetail, device: Device | None) -> None:
    """All of it; only the open tab is made. Without a device there are no speeds."""
    model, row = found.model, found.row
    with st.container(border=True, key="model"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.header(plain(model.name), anchor=False, width="content")
            st.button("Close", type="tertiary", icon=":material/close:", key="close", on_click=choose, args=("",))
        tags = " ".join(f":gray-badge[{plain(tag)}]" for tag in (f"{row.tier} tier", row.role, model.family))
        st.markdown(f":primary-badge[{plain(row.state)}] {tags} :small[:gray[{plain(model.model_id)}]]")
        st.markdown(f"{licence_sentence(row)} {plain(row.state_why)}")
        _tiles(found)
        _links(found)
        tabs = st.tabs([_SPEEDS, _NUMBERS, _FILES, _SCORES, _LISTED, _HISTORY], key="about", **BOUND)
        drawn: tuple[Callable[[], None], ...] = (
            lambda: speeds_view.show(found, device),
            lambda: _numbers(found),
            lambda: _files(found),
            lambda: _scores(found),
            lambda: _listed(found),
            lambda: _history(found),
        )
        for tab, draw in zip(tabs, drawn, strict=True):
            if tab.open:
                with tab:
                    draw()


def licence_sentence(row: Listed) -> str:
    """The licence and what it means for a business."""
    if not row.license:
        return "Its licence is not recorded, so commercial use is not assured."
    name = plain(row.license)
    return f"**{name}** {_USE.get(row.commercial_use, 'says nothing that is recorded about commercial use')}."


def _tiles(found: ModelDetail) -> None:
    """Four numbers, each with where it comes from."""
    row, sources = found.row, {one.name: one.source for one in found.numbers}
    active = f"{_params(row.params_active)} active per token · " if row.params_active else ""
    benchmarks = len({score.benchmark for score in found.scores if not score.duplicate})
    tiles = [
        ("Parameters", _params(row.params_total), f"{active}{_brief(sources.get('Parameters', ''))}"),
        (
            "Context, tokens",
            count(row.context_tokens) if row.context_tokens else "–",
            _brief(sources.get("Context, tokens", "not recorded")),
        ),
        (
            "Smallest file",
            size(row.smallest_bytes) if row.smallest_bytes else "–",
            " · ".join(part for part in (row.smallest_quantization, row.smallest_from) if part) or "none is known",
        ),
        ("Benchmark scores", count(row.benchmarks), f"published, benchmarks: {count(benchmarks)}"),
    ]
    with st.grid(len(tiles), min_column_width=150, gap="small"):
        for label, value, note in tiles:
            with st.container(gap="xxsmall"):
                st.metric(label, value)
                st.markdown(f":small[:gray[{plain(note)}]]")


def _params(number: int) -> str:
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"


def _brief(source: str) -> str:
    """The first of several sources without its path, short enough for a tile; the Numbers tab has them whole."""
    first = source.split(" | ")[0].split("; ")[0]
    where = first.split("/")[2] if first.startswith("https://") else first.split(":")[0]
    return f"{where[:59]}…" if len(where) > 60 else where


def _links(found: ModelDetail) -> None:
    """To the pages that answer for this model, with the device of this one."""
    device = {name: st.query_params.get_all(name) for name in _DEVICE if name in st.query_params}
    name = found.model.name
    with st.container(horizontal=True, gap="small"):
        _link("Find with this model", ":material/search:", "find", {**device, "models": found.model.model_id})
        if any(one.runtime == "llama.cpp" for one in found.runtimes):
            _link("Try", ":material/play_circle:", "try_it", {"model": name})
            _link("Its quantization ladder", ":material/stairs:", "guide", {**device, "ladder_model": name})


def _link(label: str, icon: str, name: str, params: Mapping[str, str | list[str]]) -> None:
    """Loads the app anew, as ``inputs.address`` does; pasted specs are in the session only and would be lost."""
    target = page(name)
    if st.query_params.get("device") == TYPED:
        st.page_link(target, label=label, icon=icon, query_params=params)
    else:
        st.link_button(label, f"./{target.url_path}?{urlencode(params, doseq=True)}", icon=icon, type="tertiary")


def _numbers(found: ModelDetail) -> None:
    st.dataframe(
        {
            "Number": [one.name for one in found.numbers],
            "Value": [one.value for one in found.numbers],
            "From": [one.source for one in found.numbers],
        },
        hide_index=True,
        height="content",
        alt=f"Numbers of {found.model.name} with their sources",
    )
    for note in found.notes:
        st.caption(plain(note))
    if found.conflicts:
        st.markdown("**Where sources contradict each other**")
        st.dataframe(
            {
                "Field": [one.field for one in found.conflicts],
                "Taken": [one.chosen for one in found.conflicts],
                "From": [one.chosen_source for one in found.conflicts],
                "Other": [one.other for one in found.conflicts],
                "Other from": [one.other_source for one in found.conflicts],
                "Why": [one.why for one in found.conflicts],
            },
            hide_index=True,
            height="content",
            alt="Figures on which sources differ, and why one was taken",
        )
    st.markdown("**Runtimes that take it**")
    if found.runtimes:
        st.markdown(
            "\n".join(
                f"- {plain(one.name)}: {count(one.quantizations)} "
                f"{'quantization' if one.quantizations == 1 else 'quantizations'}"
                f"{', experimental' if one.experimental else ''}"
                for one in found.runtimes
            )
        )
    else:
        st.markdown("None that is recorded.")


def _files(found: ModelDetail) -> None:
    if found.files:
        st.dataframe(
            {
                "Quantization": [one.quantization or one.quant or None for one in found.files],
                "Bytes": [one.bytes for one in found.files],
                "GiB": [one.bytes / GIB if one.bytes else None for one in found.files],
                "Bytes are": [_BYTES.get(one.bytes_kind, one.bytes_kind) for one in found.files],
                "Repository": [one.gguf_repo or None for one in found.files],
                "File": [one.file for one in found.files],
                "SHA-256": [one.sha256 or None for one in found.files],
                "From": [one.source for one in found.files],
            },
            hide_index=True,
            column_config={
                "Quantization": st.column_config.TextColumn(pinned=True),
                "Bytes": _NUMBER(format="localized"),
                "GiB": _NUMBER(format="%.2f"),
            },
            placeholder="not recorded",
            alt=f"Published GGUF files of {found.model.name}",
        )
        st.caption(f"GGUF files: {count(len(found.files))}, largest first.")
    else:
        st.markdown("No published GGUF file is recorded.")
    if found.other_formats:
        st.markdown("**Other formats**")
        st.dataframe(
            {
                "Format": [one.format for one in found.other_formats],
                "Quantization": [one.quantization or None for one in found.other_formats],
                "GiB": [one.file_bytes / GIB if one.file_bytes else None for one in found.other_formats],
                "Repository": [one.repo or None for one in found.other_formats],
            },
            hide_index=True,
            height="content",
            column_config={"GiB": _NUMBER("GiB, estimated", format="%.2f")},
            placeholder="–",
            alt=f"Other formats of {found.model.name}",
        )


_BYTES = {
    "exact": "of the file, exact",
    "rounded": "rounded by its page",
    "tensor_bytes": "of its tensors",
    "none": "not recorded",
}


def _scores(found: ModelDetail) -> None:
    if not found.scores:
        st.markdown("No published score is recorded: its abilities are guessed from its size, family and date.")
    if found.abilities:
        st.markdown("**Abilities, of 100, estimated from all scores together**")
        st.dataframe(
            {
                "Ability": [_ability(one.capability) for one in found.abilities],
                "Estimate": [one.score for one in found.abilities],
                "±": [one.standard_error for one in found.abilities],
                "Scores behind it": [one.evidence for one in found.abilities],
            },
            hide_index=True,
            column_config={"Estimate": _NUMBER(format="%.0f"), "±": _NUMBER(format="%.0f", help="standard error")},
            alt=f"Abilities of {found.model.name} with the evidence behind each",
        )
    if found.scores:
        st.markdown("**Published scores**")
        st.dataframe(
            {
                "Benchmark": [one.benchmark for one in found.scores],
                "Score": [one.score for one in found.scores],
                "Unit": [one.unit for one in found.scores],
                "Mode": [one.mode or None for one in found.scores],
                "By": [one.evaluator for one in found.scores],
                "How": [one.metric_details or None for one in found.scores],
                "Counts": [f"no: {one.duplicate}" if one.duplicate else "yes" for one in found.scores],
                "From": [one.source for one in found.scores],
            },
            hide_index=True,
            column_config={
                "Benchmark": st.column_config.TextColumn(pinned=True),
                "Score": _NUMBER(format="%.4g"),
                "Unit": st.column_config.TextColumn(help="of a rank, lower is better"),
            },
            placeholder="–",
            alt=f"Benchmark scores of {found.model.name} with their sources",
        )


def _ability(capability: str) -> str:
    """ "lang:de@thinking" in words: "language de, thinking"."""
    return capability.replace("lang:", "language ").replace("_", " ").replace("@", ", ")


def _listed(found: ModelDetail) -> None:
    if found.sightings:
        _sightings(found.sightings, found.sightings_total, "Places that list it")
    else:
        st.markdown("No live source has been asked for it yet: what is here comes from the catalog that ships.")
    if found.made_of_it:
        st.markdown("**Made of it by others**")
        _sightings(
            found.made_of_it, found.made_of_it_total, "Fine-tunes, adapters and merges that name it as their base"
        )


def _sightings(rows: Sequence[SightingRow], total: int, what: str) -> None:
    st.dataframe(
        {
            "Name": [one.name for one in rows],
            "What": [one.relation for one in rows],
            "Source": [SOURCES.get(one.source, one.source) for one in rows],
            "By": [one.publisher or None for one in rows],
            "Published by": [one.trust for one in rows],
            "Format": [one.format for one in rows],
            "Licence": [one.license_id or None for one in rows],
            "Downloads": [one.downloads for one in rows],
            "Changed": [one.modified or None for one in rows],
            "Read": [one.read_at for one in rows],
            "State there": [f"gone since {one.gone_at}" if one.gone_at else one.lifecycle or None for one in rows],
            "Why it is taken for this model": [one.why for one in rows],
            "Details": [one.details or None for one in rows],
            "Address": [one.url or None for one in rows],
        },
        hide_index=True,
        column_config={"Name": st.column_config.TextColumn(pinned=True), "Downloads": _NUMBER(format="localized")},
        placeholder="–",
        alt=f"{what}: {total}",
    )
    most = f" The {count(len(rows))} most downloaded are shown." if len(rows) < total else ""
    st.caption(f"{what}: {count(total)}, in the words of each source.{most}")


def _history(found: ModelDetail) -> None:
    st.caption("Its family and what stands before and after it, newest first. Tick a row to see that model.")
    ids = [one.model_id for one in found.history]
    key = f"history_{found.model.model_id}"
    st.dataframe(
        {
            "Model": [one.name for one in found.history],
            "Released": [one.released or None for one in found.history],
            "Parameters": [one.params_total / 1e9 for one in found.history],
            "State": [one.state for one in found.history],
            "To this model": [one.relation for one in found.history],
            "Says": [one.source or None for one in found.history],
        },
        hide_index=True,
        key=key,
        on_select=lambda: choose_row(key, ids),
        selection_mode="single-row",
        height="content",
        column_config={
            "Model": st.column_config.TextColumn(pinned=True),
            "Parameters": _NUMBER("Parameters, 10⁹", format="%.2f"),
        },
        placeholder="–",
        alt=f"Models before and after {found.model.name}",
    )
