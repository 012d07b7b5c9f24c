"""How fast one model is on the chosen device: estimated with its range, and what was measured here."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from recommender.catalog.model_detail import ModelDetail
from recommender.catalog.queries import variant_columns
from recommender.engine.estimate_rows import EstimateRequest, estimate_rows
from recommender.engine.ladder import ladder
from recommender.engine.tiers import CONTEXT_TOKENS
from recommender.engine.words import count, rate
from recommender.errors import RecommenderError
from recommender.estimate.calibrate import Calibration
from recommender.types import GIB, Device, Estimate
from recommender.ui import community_view
from recommender.ui.resources import calibration_of, catalog, measurements
from recommender.ui.words import plain

_NUMBER = st.column_config.NumberColumn
_PER_RUNTIME = 3  # quantizations of a runtime, where the model has no ladder


@dataclass(frozen=True)
class _Speed:
    quantization: str
    runtime: str
    file_bytes: float | None
    file_from: str
    estimate: Estimate | None
    fits: str  # yes, or why not


def show(found: ModelDetail, device: Device | None) -> None:
    """The table of estimates and, below it, what others shared of this model, and every run measured with this app."""
    if device is None:
        st.markdown("Choose a device above: its speeds follow.")
    else:
        _estimated(found, device)
        community_view.shared_on(device, found.model.model_id)
    _measured(found.model.model_id)


def _estimated(found: ModelDetail, device: Device) -> None:
    context_tokens = min(CONTEXT_TOKENS, found.row.context_tokens or CONTEXT_TOKENS)
    rows = _speeds(found, device, context_tokens)
    if not rows:
        st.markdown(f"Nothing is known of its speed on {plain(device.name)}: no runtime there takes it.")
        return
    decode = [one.estimate.decode_tokens_per_s if one.estimate else None for one in rows]
    memory = [one.estimate.memory if one.estimate else None for one in rows]
    st.dataframe(
        {
            "Quantization": [one.quantization for one in rows],
            "Runtime": [one.runtime for one in rows],
            "tok/s": [speed.value if speed else None for speed in decode],
            "Range": [f"{_bare(speed.low)} to {_bare(speed.high)}" if speed else None for speed in decode],
            "Speed is": [speed.provenance if speed else None for speed in decode],
            "Memory": [part.charged_bytes / GIB if part else None for part in memory],
            "File": [one.file_bytes / GIB if one.file_bytes else None for one in rows],
            "File is": [one.file_from or None for one in rows],
            "Fits": [one.fits for one in rows],
        },
        hide_index=True,
        height="content",
        column_config={
            "Quantization": st.column_config.TextColumn(pinned=True),
            "tok/s": _NUMBER(format="%.1f", help="decode"),
            "Range": st.column_config.TextColumn(help="of the decode speed: four of five measured runs"),
            "Memory": _NUMBER("Memory, GiB", format="%.2f", help="what must stay resident, estimated"),
            "File": _NUMBER("File, GiB", format="%.2f"),
        },
        placeholder="–",
        alt=f"Speed and memory of {found.model.name} on {device.name}",
    )
    st.caption(
        f"On {plain(device.name)}, at a context of {count(context_tokens)} tokens. Speed and memory are estimated "
        "unless “Speed is” says otherwise."
    )


def _speeds(found: ModelDetail, device: Device, context_tokens: int) -> list[_Speed]:
    """The model's ladder where it has one, else a few quantizations of each runtime that takes it."""
    model_id, calibration = found.model.model_id, calibration_of(device)
    rungs = ladder(model_id, device, context_tokens, catalog(), calibration)
    known = [rung for rung in rungs if rung.file_bytes is not None]
    if known:
        return [
            _Speed(
                rung.quantization,
                rung.runtime,
                rung.file_bytes,
                rung.file_provenance,
                rung.estimate,
                "yes" if rung.fits else f"no: {rung.against}",
            )
            for rung in known
        ]
    return _elsewhere(found, device, context_tokens, calibration)


def _elsewhere(
    found: ModelDetail, device: Device, context_tokens: int, calibration: Calibration | None
) -> list[_Speed]:
    requests = [
        EstimateRequest(
            found.model.model_id, str(row["quantization"]), device, runtime=taken.runtime, context_tokens=context_tokens
        )
        for taken in found.runtimes
        for row in variant_columns(catalog(), found.model.model_id, taken.runtime)[:_PER_RUNTIME]
        if row["format"] != "managed"
    ]
    answers = estimate_rows(requests, catalog(), calibration)
    return [
        _Speed(
            answer.quantization,
            answer.runtime,
            answer.estimate.file_bytes,
            answer.estimate.file_provenance,
            answer.estimate,
            "not judged here: ask Find",
        )
        for answer in answers
        if not isinstance(answer, RecommenderError)
    ]


def _measured(model_id: str) -> None:
    runs = [run for run in measurements() if run.model_id == model_id]
    if not runs:
        return
    st.markdown("**Measured with this app**")
    st.dataframe(
        {
            "Quantization": [run.quantization for run in runs],
            "tok/s": [run.decode_tokens_per_s for run in runs],
            "Slowest to fastest": [f"{_bare(run.decode_low)} to {_bare(run.decode_high)}" for run in runs],
            "First token, s": [run.ttft_s for run in runs],
            "On": [run.device_name for run in runs],
            "By": [run.binding or run.runtime for run in runs],
            "When": [run.measured_at for run in runs],
            "Kind": [_kind(run.rehearsal, run.noisy) for run in runs],
        },
        hide_index=True,
        height="content",
        column_config={"tok/s": _NUMBER(format="%.1f"), "First token, s": _NUMBER(format="%.2f")},
        alt="Runs of this model that were measured",
    )


def _kind(rehearsal: bool, noisy: bool) -> str:
    return ("rehearsal" if rehearsal else "run") + (", noisy" if noisy else "")


def _bare(tokens_per_s: float) -> str:
    return rate(tokens_per_s).removesuffix(" tok/s")
