"""History: every run measured on this computer, two of them compared, and how right the predictions were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from recommender.catalog.measurements import export_json, export_markdown
from recommender.compare_runs import compare, comparison_markdown, reading, title
from recommender.engine.words import count, listing, rate
from recommender.types import GIB, Measurement
from recommender.ui import community_view, measurement_view
from recommender.ui.charts import predicted_measured, series, speed_history
from recommender.ui.limits import BOUND
from recommender.ui.resources import measurements, server_name, store, told
from recommender.ui.words import badge, plain


def _compared(runs: list[Measurement]) -> None:
    """Two runs side by side, the earlier one as A."""
    a, b = sorted(runs, key=lambda run: run.measured_at)
    comparison = compare(a, b)
    st.subheader("Compared", anchor=False)
    st.caption(f"**A** {plain(title(a))}")
    st.caption(f"**B** {plain(title(b))}")
    figures = [one.cells() for one in comparison.differences]
    st.table(_columns(("Figure", "A", "B", "A to B", "Verdict"), figures), hide_index=True)
    st.caption(reading(comparison))
    if comparison.conditions:
        st.markdown("Not the same in both, so a difference in speed may come from it:")
        st.table(_columns(("Condition", "A", "B"), comparison.conditions), hide_index=True)
    else:
        st.caption("All conditions were the same.")
    st.download_button(
        "The comparison as Markdown",
        comparison_markdown(comparison),
        "comparison.md",
        "text/markdown",
        icon=":material/download:",
        key="comparison",
    )


def _columns(heads: tuple[str, ...], rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    return {head: [plain(row[place]) for row in rows] for place, head in enumerate(heads)}


def _over_time(runs: tuple[Measurement, ...]) -> None:
    """Decode speed over time of a model and quantization that was run more than once."""
    often = Counter(f"{run.model_id} {run.quantization}" for run in runs)
    names = [name for name, times in often.most_common() if times > 1]
    if not names:
        return
    st.subheader("Over time", anchor=False)
    name = st.selectbox("Model and quantization", names, key="history_of", width=420, **BOUND)
    shown = [run for run in runs if f"{run.model_id} {run.quantization}" == name]
    st.caption(
        "A line per runtime and binding; bars reach from the slowest to the fastest repeat; noisy runs are hollow."
    )
    speeds = [run.decode_tokens_per_s for run in shown]
    st.plotly_chart(
        speed_history(shown),
        key="over_time",
        config={"displayModeBar": False},
        alt=f"Decode speed of {name} in {len(shown)} runs over time: {rate(min(speeds))} to {rate(max(speeds))}, with "
        f"{listing(list(dict.fromkeys(series(run) for run in shown)))}; {sum(run.noisy for run in shown)} noisy",
    )


if measurement_view.opened():
    st.stop()
st.header(f"Measured on {server_name()}", anchor=False)
found = measurements()
for note in store().notes:
    st.info(told(note))
if not found:
    st.info("Nothing was measured yet. A run that is started on Find or Try is kept here.", icon=":material/science:")
    if community_view.sharing():
        community_view.shared_by_all()
    st.stop()

st.markdown(f"{count(len(found))} {'run' if len(found) == 1 else 'runs'}, newest first {badge('measured here')}")
if len(found) > 1:
    shared = " and to share it with everyone" if community_view.sharing() else ""
    st.caption(f"Tick one for its own page, link and files{shared}, two to compare them.")
number = st.column_config.NumberColumn
# A selection is a row's number: after another run it must not point at other rows, so its key is made of what they are.
ticked = st.dataframe(
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
    key=f"runs_{hash(tuple(one.id for one in found))}",
    on_select="rerun",
    selection_mode="multi-row",
    alt="Every run with its figures",
)
with st.container(horizontal=True):
    st.download_button("JSON", export_json(found), "measurements.json", "application/json", icon=":material/download:")
    st.download_button(
        "Markdown", export_markdown(found), "measurements.md", "text/markdown", icon=":material/download:"
    )

chosen = [found[row] for row in ticked["selection"]["rows"]]
if len(chosen) == 1:
    measurement_view.show(chosen[0])
    if community_view.sharing():
        community_view.share_run(chosen[0])
elif len(chosen) == 2:
    _compared(chosen)
elif len(chosen) > 2:
    st.info(f"{len(chosen)} runs are ticked. Leave two of them to compare them.")
_over_time(found)

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

if community_view.sharing():
    community_view.shared_by_all()
