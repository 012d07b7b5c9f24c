"""Guide: the field guide's view – tiers, the quantization ladder of a model, and its situations answered today."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from recommender.engine.ladder import Rung, ladder
from recommender.engine.recommend import recommend
from recommender.engine.scenarios import Situation, lesson_choice, situations
from recommender.engine.tiers import tiers
from recommender.engine.words import count, rate, size
from recommender.errors import RecommenderError
from recommender.types import Device, Need
from recommender.ui.inputs import device_input, listed
from recommender.ui.ladder_chart import ladder_chart
from recommender.ui.limits import BOUND, question
from recommender.ui.memory_bar import charged_bytes
from recommender.ui.navigation import page
from recommender.ui.resources import calibration_of, catalog
from recommender.ui.words import badge, plain

_CONTEXT = 4096


@st.cache_data(show_spinner="Answering the 14 situations …")
def _situations(fingerprint: str, whole_catalog: bool) -> tuple[Situation, ...]:
    """``fingerprint`` is the catalog's: another catalog answers anew."""
    return situations(catalog(), whole_catalog)


def _tiers(device: Device) -> None:
    found = tiers(device, catalog())
    st.table(
        {
            "Tier": [f"**{tier.name}**" for tier in found],
            "Parameters": [tier.bounds for tier in found],
            "Models in the catalog": [count(tier.models) for tier in found],
            "For example": [plain(", ".join(tier.examples)) for tier in found],
            "Memory of a typical one": [
                f"{size(tier.typical_bytes)} {badge('estimated')}" if tier.typical_bytes else "–" for tier in found
            ],
        },
        hide_index=True,
    )
    st.caption(
        "Typical: the model of middle size in the tier, at Q4_K_M and a context of 4,096 tokens, run by llama.cpp. "
        "The examples are the newest of the better half of each tier."
    )


def _model() -> str:
    models = {model.model_id: model for model in catalog().models()}
    shown = [model_id for model_id, model in models.items() if model.role not in ("embedding", "diffusion")]
    chosen = st.selectbox(
        "Model",
        shown,
        index=None,
        format_func=lambda one: models[one].name if one in models else str(one),
        placeholder="The pick for this device; or search models",
        key="ladder_model",
        width=360,
        **BOUND,
    )
    return chosen or ""


def _ladder(device: Device) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model_id = _model()
        context = st.number_input(
            "Context, tokens", 1, None, _CONTEXT, step=1024, key="ladder_context", width=160, **BOUND
        )
    if not model_id:
        picks = recommend(device, Need(), catalog(), calibration=calibration_of(device), top=1).picks
        model_id = picks[0].model_id if picks else catalog().models()[0].model_id
    rungs = ladder(model_id, device, int(context or _CONTEXT), catalog(), calibration_of(device))
    name = catalog().model(model_id).name
    st.markdown(f"**{plain(name)}** on {plain(device.name)}, at {count(int(context or _CONTEXT))} tokens of context")
    st.dataframe(
        _ladder_table(rungs),
        hide_index=True,
        column_config=_LADDER_COLUMNS,
        height="content",
        placeholder="–",
        key=f"ladder_{name}",
        alt=f"The quantization ladder of {name}",
    )
    st.plotly_chart(
        ladder_chart(rungs),
        key="ladder_chart",
        config={"displayModeBar": False},
        alt=f"File, memory, decode speed and expected loss of {len(rungs)} quantizations of {name}",
    )
    st.caption(
        "File bytes are exact: those of the published file, or of the tensors such a file has. Memory, speed and loss "
        "are estimated; bars and ranges hold four of five measured runs. The loss is what published perplexity and "
        "divergence tables make of this type and this size of model, of 100 points of ability."
    )
    _lesson(rungs, name)


_NUMBER = st.column_config.NumberColumn
_LADDER_COLUMNS = {
    "Quantization": st.column_config.TextColumn(pinned=True),
    "File, GiB": _NUMBER(format="%.2f"),
    "Saved": _NUMBER(format="percent", help="of the bytes of F16"),
    "Memory, GiB": _NUMBER(format="%.2f", help="what must stay resident at this context, estimated"),
    "Decode, tok/s": _NUMBER(format="%.1f", help="estimated, unless this machine measured it"),
    "Loss, points": _NUMBER(format="%.1f", help="expected, of 100"),
    "Fits": st.column_config.CheckboxColumn(help="into the memory that is free"),
}


def _ladder_table(rungs: Sequence[Rung]) -> dict[str, list[object]]:
    memory = [rung.estimate.memory if rung.estimate else None for rung in rungs]
    decode = [rung.estimate.decode_tokens_per_s if rung.estimate else None for rung in rungs]
    return {
        "Quantization": [rung.quantization for rung in rungs],
        "File, GiB": [rung.file_bytes / 2**30 if rung.file_bytes else None for rung in rungs],
        "Saved": [rung.saved for rung in rungs],
        "Memory, GiB": [charged_bytes(part) / 2**30 if part else None for part in memory],
        "Decode, tok/s": [speed.value if speed else None for speed in decode],
        "Range": [f"{rate(speed.low)} to {rate(speed.high)}" if speed else "" for speed in decode],
        "Loss, points": [rung.loss_points for rung in rungs],
        "Fits": [rung.fits for rung in rungs],
        "Bytes are those of": [rung.file_provenance for rung in rungs],
        "Speed is": [speed.provenance if speed else "" for speed in decode],
        "To know": [rung.reason for rung in rungs],
    }


def _lesson(rungs: Sequence[Rung], name: str) -> None:
    """The lesson's sizes and its rule of thumb for memory, beside the true figures."""
    told = [rung for rung in rungs if rung.lesson_memory and rung.estimate and rung.estimate.memory]
    if not told:
        return
    st.markdown("**Beside the lesson's figures**")
    rows = []
    for rung in told:
        memory, rule, said = rung.estimate.memory, rung.lesson_memory, rung.lesson_size  # type: ignore[union-attr]
        if memory is None or rule is None or rung.file_bytes is None:
            continue
        needed = charged_bytes(memory)
        rows.append(
            (
                rung.quantization,
                f"{said.value:g} GB" if said else "–",
                f"{rung.file_bytes / 1e9:.2f} GB",
                f"{said.value * 1e9 / rung.file_bytes - 1:+.0%}" if said else "–",
                f"{rule.value:g} × file = {rule.value * rung.file_bytes / 1e9:.1f} GB",
                f"{needed / rung.file_bytes:.2f} × file = {needed / 1e9:.1f} GB",
                f"{rule.value * rung.file_bytes / needed - 1:+.0%}",
            )
        )
    heads = ("Quantization", "Its size", "True size", "Off by", "Its rule for memory", "Memory here", "Rule off by")
    st.table({head: [plain(row[place]) for row in rows] for place, head in enumerate(heads)}, hide_index=True)
    note = next((rung.lesson_size.note for rung in told if rung.lesson_size and rung.lesson_size.note), "")
    st.caption(
        "EdgeAI for Beginners, Module 03, lesson 1. A fixed multiple of the file cannot hold: the cache grows with the "
        "context and not with the file, so the rule is high for large files and low for small ones"
        + (f". Of {plain(name)} {plain(note)}." if note else ".")
    )


def _choices(found: Sequence[Situation], whole_catalog: bool) -> None:
    agreed = sum(one.agrees for one in found)
    st.markdown(f"{agreed} of {len(found)} agree with the guide.")
    for one in found:
        scenario, pick = one.scenario, one.pick
        with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(gap="xxsmall", width="stretch"):
                mark = ":green-badge[agrees]" if one.agrees else ":orange-badge[differs]"
                st.markdown(f"**{plain(scenario.title)}** {mark}")
                ours = f"{pick.name}, {pick.quantization or 'managed'}, {pick.runtime}" if pick else "nothing fits"
                st.markdown(f":small[Guide: {plain(lesson_choice(scenario))} · Ours: {plain(ours)}]")
                said = scenario.differs_because if not one.agrees and not whole_catalog else scenario.why
                st.caption(plain(said))
            need = scenario.need
            parameters = {**listed(scenario.device_id, scenario.ram_gib), **question(need)}
            if whole_catalog:
                parameters.pop("models", None)
            st.page_link(page("find"), label="Open", icon=":material/open_in_new:", query_params=parameters)


try:
    st.header("Tiers", anchor=False)
    asked = device_input()
    if asked is None:
        st.stop()
    _tiers(asked.device)
    st.header("The quantization ladder", anchor=False)
    _ladder(asked.device)
    st.header("The guide's situations", anchor=False)
    whole = st.toggle("With the whole catalog instead of the models the guide names", key="whole_catalog", **BOUND)
    _choices(_situations(catalog().fingerprint, whole), whole)
except RecommenderError as error:
    st.error(plain(str(error)), icon=":material/error:")
