"""Guide: the field guide's view – tiers, the quantization ladder of a model, and its situations answered today."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from recommender.engine.ladder import ladder, usual_model
from recommender.engine.scenarios import Situation, lesson_choice, situations
from recommender.engine.tiers import CONTEXT_TOKENS, QUANTIZATION, tiers
from recommender.engine.words import count, size
from recommender.errors import RecommenderError
from recommender.types import Device
from recommender.ui import ladder_view
from recommender.ui.inputs import address, device_input
from recommender.ui.limits import BOUND
from recommender.ui.resources import calibration_of, catalog, told
from recommender.ui.words import plain


@st.cache_data(show_spinner="Answering the guide's situations …")
def _situations(fingerprint: str, whole_catalog: bool) -> tuple[Situation, ...]:
    """``fingerprint`` is the catalog's: another catalog answers anew."""
    return situations(catalog(), whole_catalog)


def _tiers(device: Device) -> None:
    found = tiers(device, catalog())
    st.table(
        {
            "Tier": [f"**{tier.name}** {tier.bounds}" for tier in found],
            "Models": [count(tier.models) for tier in found],
            "For example": [plain(", ".join(tier.examples)) for tier in found],
            "A typical one takes": [size(tier.typical_bytes) if tier.typical_bytes else "–" for tier in found],
        },
        hide_index=True,
        alt="The tiers, how many models each has, examples, and what a typical one takes in memory",
    )
    st.caption(
        f"Typical: the model of middle size, at {QUANTIZATION} and a context of {count(CONTEXT_TOKENS)} tokens in "
        f"llama.cpp on {plain(device.name)}; memory estimated. The examples are the newest of each tier's better half."
    )


def _model(device: Device) -> str:
    models = {model.model_id: model.name for model in catalog().models()}
    chosen = st.selectbox(
        "Model",
        list(models),
        index=None,
        format_func=lambda one: models.get(one, one),
        placeholder="The pick for this device; or search",
        key="ladder_model",
        width=360,
        **BOUND,
    )
    return chosen or usual_model(device, catalog(), calibration_of(device))


def _ladder(device: Device) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model_id = _model(device)
        context = st.number_input(
            "Context, tokens", 1, None, CONTEXT_TOKENS, step=1024, key="ladder_context", width=160, **BOUND
        )
    context_tokens = int(context or CONTEXT_TOKENS)
    try:
        rungs = ladder(model_id, device, context_tokens, catalog(), calibration_of(device))
    except RecommenderError as error:
        st.error(told(error), icon=":material/error:")
        return
    name = catalog().model(model_id).name
    st.markdown(f"**{plain(name)}** on {plain(device.name)}, at {count(context_tokens)} tokens of context")
    ladder_view.show(rungs, name, context_tokens)


def _choices(found: tuple[Situation, ...], whole_catalog: bool) -> None:
    agreed = sum(one.agrees for one in found)
    among = "all models of the catalog" if whole_catalog else "the models the guide names"
    st.markdown(f"{agreed} of {len(found)} agree with the guide, among {among}.")
    for one in found:
        scenario, pick = one.scenario, one.pick
        with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(gap="xxsmall", width="stretch"):
                mark = ":green-badge[agrees]" if one.agrees else ":orange-badge[differs]"
                st.markdown(f"**{plain(scenario.title)}** {mark}")
                ours = f"{pick.name}, {pick.quantization or 'managed'}, {pick.runtime}" if pick else "nothing fits"
                st.markdown(f":small[Guide: {plain(lesson_choice(scenario))} · Ours: {plain(ours)}]")
                st.caption(plain(_said(one, whole_catalog)))
            need = replace(scenario.need, models=()) if whole_catalog else scenario.need
            st.link_button(
                "Open",
                address(scenario.device_id, scenario.ram_gib, need),
                icon=":material/open_in_new:",
                type="tertiary",
            )


def _said(one: Situation, whole_catalog: bool) -> str:
    """How the situation was read; where the answers differ, the reason and today's numbers."""
    if one.agrees:
        return one.scenario.why
    return f"{one.compared}." if whole_catalog else f"{one.scenario.differs_because} {one.compared}.".strip()


try:
    asked = device_input()
    if asked is not None:
        st.header("Tiers", anchor=False)
        _tiers(asked.device)
        st.header("The quantization ladder", anchor=False)
        _ladder(asked.device)
    st.header("The guide's situations", anchor=False)
    st.caption("Each has a device and a need of its own, and Open asks Find exactly that. Figures are estimated.")
    whole = st.toggle("With the whole catalog instead of the models the guide names", key="whole_catalog", **BOUND)
    _choices(_situations(catalog().fingerprint, whole), whole)
except RecommenderError as error:
    st.error(told(error), icon=":material/error:")
