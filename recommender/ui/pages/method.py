"""Method: where each number comes from, and how far it can be trusted."""

from __future__ import annotations

import csv

import streamlit as st

from recommender import paths
from recommender.engine.words import count
from recommender.ui.resources import administers, catalog, hosted, server_name
from recommender.ui.words import badge

_ORIGINS = {
    "measured here": f"run on {server_name()}, median of at least three repeats, kept in the history",
    "measured on the same hardware": "run elsewhere on hardware with the same processor, GPU and memory",
    "estimated": "computed from the model's architecture and the device's figures; speeds carry a range that held "
    "four of five measured runs the model had not seen",
    "rough estimate": "the architecture's numbers are not complete, so bytes come from parameters × bits",
    "published": "read from a source that is named with its date",
}

st.header("Where the numbers come from", anchor=False)
st.table(
    {"Mark": [badge(name) for name in _ORIGINS], "Meaning": list(_ORIGINS.values())},
    hide_index=True,
)
st.markdown(
    """
**File and weights.** The tensors that llama.cpp's file would have are listed from the architecture's numbers, each
gets its ggml type by the file type's own mixing rule, and block bytes are summed. Where a published file's exact size
is known, that is shown.

**Memory.** Weights, KV cache by attention kind (full, sliding window, recurrent state) at the context asked for, the
compute buffer as the runtime reserves it, and the runtime itself; set against *free* memory, never the total.

**Speed.** Decode time per token is an overhead per layer plus the bytes read (weights and cache at that depth) over
effective bandwidth; prefill is bound by compute or bandwidth, whichever is slower. The coefficients are fitted from
published runs by a script in the repository and stand in a table with their errors. A run on the same device
corrects them, and so do medians that others shared of the same hardware, where sharing is on.

**Your device.** Where the app runs on your own computer, it looks there: memory, processor and GPU as the operating
system names them. Where it runs elsewhere, your browser is asked: logical cores, operating system, GPU, and memory as a
lower bound, because browsers round it and stop at a limit. The GPU's name is looked up in the list of machines; what
stays unknown is assumed and marked so. It proposes, you confirm; what you confirm stands in the page's address, and the
server keeps none of it. A server's own measurements never correct the numbers of your device.

**Quality.** Benchmark scores of many evaluators are put on one scale per capability, gaps are filled from size, age and
kind, and each figure carries its standard error and the number of scores behind it. What quantization costs depends on
the type and on the model's size, from published divergence and perplexity tables.

**Score.** Quality, speed, memory and runtime, each 0–100, weighted by what counts most to you; the parts add up and are
shown on the card.
"""
)
if hosted():
    st.caption("Hosted: this page runs on another computer than yours. Runs are in your browser or on this server.")
else:
    st.caption("Local: this page runs on your own computer, and runs are on it.")
st.subheader("How well speeds are predicted", anchor=False)
with (paths.catalog_dir() / "speed_coefficients.csv").open(encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
if rows:
    st.dataframe({name: [row[name] for row in rows] for name in rows[0]}, hide_index=True, alt="Fitted coefficients")
st.subheader("The catalog", anchor=False)
tables = ("models", "variants", "candidates", "gguf_files", "benchmarks", "devices", "runtimes")
st.table({"Table": list(tables), "Rows": [count(catalog().count(name)) for name in tables]}, hide_index=True)
st.caption(
    f"Catalog of {catalog().date}. "
    + (
        f"Databases and downloads live in {paths.data_dir()}; {paths.HOME_VARIABLE} moves them. "
        if administers()
        else ""
    )
    + "The same answers for scripts: `recommender recommend --json`."
)
