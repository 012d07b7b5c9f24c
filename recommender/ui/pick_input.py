"""Which picks are compared: a list that holds any combination by name, and a small form that adds one."""

from __future__ import annotations

import streamlit as st

from recommender.catalog.queries import runtimes_for, variant_columns
from recommender.engine.compare_picks import MANAGED, MOST, Choice, choice_of
from recommender.types import Recommendation
from recommender.ui.limits import BOUND
from recommender.ui.resources import catalog, preset_names

KEY = "pick"
_SAME = "The device above"


def choose(texts: list[str]) -> None:
    """Compare these. For a button's callback."""
    st.session_state[KEY] = texts


def picks_input(answer: Recommendation) -> list[str]:
    """The picks' texts, in order; each as ``parse_choice`` reads it."""
    offered = [choice_of(pick).text for pick in answer.picks]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = st.multiselect(
            "Picks to compare",
            list(dict.fromkeys([*st.session_state.get(KEY, st.query_params.get_all(KEY)), *offered])),
            key=KEY,
            accept_new_options=True,
            placeholder="Choose from what fits, or write: model quantization runtime @ device",
            help="Model, quantization and runtime; “@ preset id” after them puts one on another device.",
            **BOUND,
        )
        with st.popover("Add any other", icon=":material/add:", disabled=len(chosen) >= MOST):
            _form(chosen)
    return list(chosen)


def _form(chosen: list[str]) -> None:
    models = {model.model_id: model.name for model in catalog().models()}
    model = st.selectbox(
        "Model", list(models), index=None, format_func=lambda one: models.get(one, one), key="add_model"
    )
    runtime = st.selectbox("Runtime", runtimes_for(catalog(), model) if model else (), key="add_runtime")
    rows = variant_columns(catalog(), model, runtime) if model and runtime else []
    quantizations = list(dict.fromkeys(str(row["quantization"]) or MANAGED for row in rows))
    quantization = st.selectbox("Quantization", quantizations, key="add_quantization")
    names = {"": _SAME, **preset_names()}
    device = st.selectbox("Device", list(names), format_func=lambda one: names.get(one, one), key="add_device")
    ready = bool(model and runtime and quantization)
    text = Choice(model or "", quantization or "", runtime or "", device or "").text
    st.button("Add", type="primary", key="add_pick", disabled=not ready, on_click=choose, args=([*chosen, text],))
