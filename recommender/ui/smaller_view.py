"""After memory ran out: how much was missing, and the next smaller model in one press."""

from __future__ import annotations

import streamlit as st

from recommender.engine.estimate_rows import EstimateRequest
from recommender.engine.smaller import next_smaller
from recommender.engine.words import size
from recommender.errors import RecommenderError
from recommender.runner.protocol import RunRequest
from recommender.ui.resources import calibration_of, catalog, server_name, this_device, told
from recommender.ui.sources import source_of
from recommender.ui.start import PROMPT, start
from recommender.ui.words import plain


def offer(failed: RunRequest, key: str) -> None:
    """Say what it would have needed and offer what fits instead, where the catalog knows the model."""
    device = this_device()
    if failed.predicted_memory_bytes and device.ram_free_bytes is not None:
        short = failed.predicted_memory_bytes - device.ram_free_bytes
        st.caption(
            f"By estimate it needs {size(failed.predicted_memory_bytes)}; {size(device.ram_free_bytes)} is free "
            f"on {server_name()} now" + (f": short by {size(short)}." if short > 0 else ".")
        )
    request = EstimateRequest(
        failed.model_id,
        failed.quantization,
        device,
        context_tokens=failed.settings.context_tokens,
        threads=failed.settings.threads,
    )
    try:
        smaller = next_smaller(request, catalog(), calibration_of(device))
    except RecommenderError:  # a file that the catalog does not know
        return
    if smaller is None or smaller.estimate.memory is None:
        return
    name = f"{catalog().model(smaller.model_id).name} {smaller.quantization}"
    needs = size(smaller.estimate.memory.charged_bytes)
    if st.button(f"Try {plain(name)} instead · needs {needs}", icon=":material/play_arrow:", key=f"smaller_{key}"):
        try:
            start(source_of(smaller.model_id, smaller.quantization), smaller.settings, PROMPT, device, smaller)
        except RecommenderError as error:
            st.error(told(error), icon=":material/error:")
