"""History: every run measured on this computer, and how right the predictions were."""

from __future__ import annotations

import streamlit as st

from recommender.engine.words import count
from recommender.ui.charts import predicted_measured
from recommender.ui.resources import measurements, store

st.title("Measured on this computer", anchor=False)
found = measurements()
for note in store().notes:
    st.info(note)
if not found:
    st.info("Nothing was measured yet. Press Try it on the Find page; the run is kept here.", icon=":material/science:")
    st.stop()

pairs = [
    (f"{one.model_id} {one.quantization}", one.predicted_decode_tokens_per_s, one.decode_tokens_per_s)
    for one in found
    if one.predicted_decode_tokens_per_s
]
if pairs:
    st.subheader("Predicted against measured", anchor=False)
    st.plotly_chart(
        predicted_measured(pairs),
        key="calibration",
        config={"displayModeBar": False},
        alt=f"{len(pairs)} runs: predicted against measured decode speed; on the line the prediction was right",
    )
st.subheader(f"{count(len(found))} runs", anchor=False)
st.dataframe(
    {
        "When": [one.measured_at for one in found],
        "Model": [one.model_id for one in found],
        "Quantization": [one.quantization for one in found],
        "Decode tok/s": [round(one.decode_tokens_per_s, 2) for one in found],
        "Prefill tok/s": [round(one.prefill_tokens_per_s, 1) for one in found],
        "First token s": [round(one.ttft_s, 3) for one in found],
        "Memory GiB": [round(one.memory.total_bytes / 2**30, 2) if one.memory else None for one in found],
        "Context": [one.settings.context_tokens for one in found],
        "Threads": [one.settings.threads for one in found],
        "With": [one.binding for one in found],
        "Noisy": [one.noise_reason if one.noisy else "" for one in found],
    },
    hide_index=True,
    alt="Every run with its figures",
)
left, right = st.columns(2)
left.download_button(
    "Download as JSON", store().export_json(), "measurements.json", "application/json", width="stretch"
)
right.download_button(
    "Download as Markdown", store().export_markdown(), "measurements.md", "text/markdown", width="stretch"
)
