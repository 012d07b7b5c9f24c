"""History: every run measured on this computer, and how right the predictions were."""

from __future__ import annotations

import streamlit as st

from recommender.engine.words import count
from recommender.types import GIB
from recommender.ui.charts import predicted_measured
from recommender.ui.resources import measurements, store
from recommender.ui.words import badge, plain

st.header("Measured on this computer", anchor=False)
found = measurements()
for note in store().notes:
    st.info(plain(note))
if not found:
    st.info("Nothing was measured yet. Press Try it on the Find page; the run is kept here.", icon=":material/science:")
    st.stop()

st.markdown(f"{count(len(found))} {'run' if len(found) == 1 else 'runs'}, newest first {badge('measured here')}")
number = st.column_config.NumberColumn
st.dataframe(
    {
        "When": [one.measured_at for one in found],
        "Model": [one.model_id for one in found],
        "Quantization": [one.quantization for one in found],
        "Measured, tok/s": [one.decode_tokens_per_s for one in found],
        "Predicted, tok/s": [one.predicted_decode_tokens_per_s for one in found],
        "Prefill, tok/s": [one.prefill_tokens_per_s for one in found],
        "First token, s": [one.ttft_s for one in found],
        "Memory, GiB": [one.memory.total_bytes / GIB if one.memory else None for one in found],
        "Context": [one.settings.context_tokens for one in found],
        "Threads": [one.settings.threads for one in found],
        "With": [one.binding for one in found],
        "Noisy, so it corrects nothing": [one.noise_reason if one.noisy else "" for one in found],
    },
    column_config={
        "When": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
        "Measured, tok/s": number(format="%.1f"),
        "Predicted, tok/s": number(format="%.1f"),
        "Prefill, tok/s": number(format="%.0f"),
        "First token, s": number(format="%.2f"),
        "Memory, GiB": number(format="%.2f"),
    },
    hide_index=True,
    alt="Every run with its figures",
)
with st.container(horizontal=True):
    st.download_button(
        "JSON", store().export_json(), "measurements.json", "application/json", icon=":material/download:"
    )
    st.download_button(
        "Markdown", store().export_markdown(), "measurements.md", "text/markdown", icon=":material/download:"
    )

runs = [
    (f"{one.model_id} {one.quantization}", one.predicted_decode_tokens_per_s, one.decode_tokens_per_s)
    for one in found
    if one.predicted_decode_tokens_per_s
]
if runs:
    st.subheader("Predicted against measured", anchor=False)
    st.caption("On the line the prediction was right; above it the run was faster.")
    st.plotly_chart(
        predicted_measured(runs),
        key="calibration",
        config={"displayModeBar": False},
        alt=f"{len(runs)} runs: predicted against measured decode speed; on the line the prediction was right",
    )
