"""Try, in the visitor's browser: what to run, the component that runs it, and predicted beside measured."""

from __future__ import annotations

import hashlib
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st

from recommender import browser_assets
from recommender.browser_routes import REHEARSED_BYTES, served_models
from recommender.catalog.queries import runtimes
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_one
from recommender.engine.recommend import recommend
from recommender.engine.words import rate, seconds, size
from recommender.errors import RecommenderError
from recommender.runner.gguf_header import read_header
from recommender.runner.hub import endpoint, part_names
from recommender.settings import current
from recommender.share_run import beside
from recommender.trial import Source, found_on_hub
from recommender.types import Device, Need, Pick
from recommender.ui import sources
from recommender.ui.browser_outcome import Outcome, checked
from recommender.ui.inputs import ADJUSTED, device_input
from recommender.ui.limits import BOUND
from recommender.ui.navigation import page
from recommender.ui.resources import catalog, hosted, this_device, told
from recommender.ui.start import PROMPT
from recommender.ui.visitor_input import CONFIRMED
from recommender.ui.words import badge, plain

__all__ = ["IN_BROWSER", "among", "form", "offer"]

IN_BROWSER = "In your browser"
_RUNTIME = "wllama"
_COMPONENT = "recommender.run"
_CONTEXT_TOKENS = 2048  # a page's memory ends at 4 GiB
_LONGEST_PROMPT = 4000  # characters: about half the context
_CATALOG, _SERVED = "A model of the catalog", "A file of this server"
_CDN = "https://cdn.jsdelivr.net/npm"
_KINDS = {".js": "text/javascript", ".wasm": "application/wasm"}
_HUB_SECONDS = 3600
_PROPOSED = 3
_SAME_FILE = ("llama.cpp", "ollama", _RUNTIME)  # runtimes of the same GGUF file
_DEVICE = ("device", "preset", "ram", "specs", *ADJUSTED, *CONFIRMED)  # parameters of the question's device
_NOISY = 1.25  # fastest over slowest repeat


@dataclass(frozen=True)
class _Asked:
    """One thing to run. ``url`` is whole, or below the app's root."""

    model_id: str
    quantization: str
    url: str
    files: tuple[str, ...]
    file_bytes: float
    license: str = ""
    rehearsal: bool = False
    known: bool = True  # to the catalog, so that it can be predicted

    @property
    def token(self) -> str:
        """What the browser's answer names it by."""
        return hashlib.sha256(f"{self.model_id}\n{self.quantization}\n{self.url}".encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        return f"{self.model_id} {self.quantization}".strip()


def among(places: list[str]) -> list[str]:
    """Where a model can be run, the first one proposed: a visitor's own browser before the server they are at."""
    return [IN_BROWSER, *places] if hosted() else [*places, IN_BROWSER]


def form() -> None:
    """The whole part of the Try page."""
    device = _device()
    of_server = served_models(current())
    kind = _CATALOG
    if of_server:
        kind = st.segmented_control(
            "What to run in the browser",
            [_CATALOG, _SERVED],
            default=_CATALOG,
            key="browser_source",
            required=True,
            label_visibility="collapsed",
            **BOUND,
        )
    asked = _served(of_server) if kind == _SERVED else _of_catalog(device)
    if asked is not None:
        prompt = st.text_area(
            "Prompt", PROMPT, key="browser_prompt", persist_state="session", max_chars=_LONGEST_PROMPT, height=90
        )
        _run(asked, prompt)
        st.caption(
            "The model runs on your own computer, inside this page. Its file stays here until you remove it. "
            "Only the times are sent to the server."
        )
    if "browser_outcome" in st.session_state:
        ran, outcome = st.session_state["browser_outcome"]
        _measured(ran, outcome, device)


def offer(pick: Pick) -> None:
    """A link that runs a pick in the browser of whoever looks at a hosted page, if its file fits there."""
    if not hosted() or pick.runtime not in _SAME_FILE or not 0 < (pick.estimate.file_bytes or 0.0) <= _largest():
        return
    device = {name: st.query_params.get_all(name) for name in _DEVICE if name in st.query_params}
    st.page_link(
        page("try_it"),
        label="Run it in this browser",
        icon=":material/web_asset:",
        query_params={**device, "where": IN_BROWSER, "model": pick.name, "quant": pick.quantization or ""},
    )


def _largest() -> float:
    """Bytes of the largest file that a browser takes."""
    return float(next(row for row in runtimes(catalog()) if row.id == _RUNTIME).max_file_bytes or 0)


def _propose(device: Device | None) -> None:
    """What the engine would run in a browser on the visitor's device, one press each."""
    if device is None:
        return
    picks = recommend(device, Need(runtimes=(_RUNTIME,)), catalog(), top=_PROPOSED).picks
    if not picks:
        return
    st.caption(f"The best for chat in a browser on {plain(device.name)}:")
    with st.container(horizontal=True):
        for place, pick in enumerate(picks):
            cost = f" · {size(pick.estimate.file_bytes)}" if pick.estimate.file_bytes else ""
            st.button(
                plain(f"{pick.name} {pick.quantization}{cost}"),
                key=f"browser_pick_{place}",
                on_click=st.session_state.update,
                args=({"model": pick.model_id, "quant": pick.quantization},),
            )


def _device() -> Device | None:
    """The visitor's device: through the local door it is this computer; else what they say it is."""
    if not hosted():
        return this_device()
    asked = device_input()
    return None if asked is None or asked.here else asked.device


def _of_catalog(device: Device | None) -> tuple[_Asked, ...] | None:
    """The chosen model's file, and its rehearsal, as far as a browser takes them."""
    chosen = sources.from_catalog(runtime=_RUNTIME, largest_bytes=_largest())
    if chosen is None:
        _propose(device)
        st.caption(
            f"A browser takes a file of up to {size(_largest())}. The smaller the model, the sooner it answers: "
            "below 1 GiB is a good start."
        )
        return None
    source = chosen.source
    found: list[_Asked] = []
    try:
        there = _looked_up(source)
        license_name = catalog().model(source.model_id).license or "licence not recorded"
        address = f"{endpoint()}/{there.repo}/resolve/{there.revision or 'main'}/{quote(there.file)}"
        found.append(
            _Asked(
                source.model_id,
                source.quantization,
                address,
                tuple(Path(one).name for one in part_names(there.file)),
                source.file_bytes or 0.0,
                license_name,
            )
        )
    except RecommenderError as error:
        st.info(told(error), icon=":material/cloud_off:")
    if (source.file_bytes or 0.0) <= REHEARSED_BYTES:
        query = urlencode({"model": source.model_id, "quant": source.quantization})
        found.append(
            _Asked(
                source.model_id,
                source.quantization,
                f"browser/weightless?{query}",
                (),
                source.file_bytes or 0.0,
                rehearsal=True,
            )
        )
    return tuple(found)


@st.cache_data(ttl=_HUB_SECONDS, show_spinner="Looking the file up …")
def _looked_up(source: Source) -> Source:
    return found_on_hub(source)


def _served(files: dict[str, Path]) -> tuple[_Asked, ...] | None:
    """One of the instance's own files."""
    name = st.selectbox("File", list(files), key="browser_file", width=360, **BOUND)
    if name not in files:
        return None
    try:
        header = read_header(files[name])
    except RecommenderError as error:
        st.error(told(error), icon=":material/error:")
        return None
    return (
        _Asked(
            header.name or name,
            header.quantization,
            f"browser/models/{quote(name)}",
            (name,),
            header.file_bytes,
            known=False,
        ),
    )


def _run(asked: tuple[_Asked, ...], prompt: str) -> None:
    """Draw the component, and keep what it measured for this session."""
    known: dict[str, _Asked] = st.session_state.setdefault("browser_asked", {})
    known |= {one.token: one for one in asked}
    data = {
        "engine": _engine(),
        "model": next((_wanted(one) for one in asked if not one.rehearsal), None),
        "rehearsal": next((_wanted(one) for one in asked if one.rehearsal), None),
        "prompt": prompt,
        "context_tokens": _CONTEXT_TOKENS,
    }
    try:
        answer = _component()(data=data, key="browser_run", on_outcome_change=lambda: None)
    except st.errors.StreamlitAPIException:
        st.error(
            "The part of the page that runs models was not found in the installed package. Install it again: "
            "`pip install .`",
            icon=":material/error:",
        )
        return
    if answer.outcome is None:
        return
    try:
        outcome = checked(answer.outcome)
    except RecommenderError as error:
        st.error(told(error), icon=":material/error:")
        return
    if outcome.token in known:
        st.session_state["browser_outcome"] = (known[outcome.token], outcome)


@cache
def _component() -> Any:
    return st.components.v2.component(_COMPONENT, js="run.js", css="run.css")


@cache
def _engine() -> dict[str, Any]:
    """wllama's files: where a checked copy may come from if the app has none, and what each must be."""
    files = [
        {
            "name": one.file,
            "cdn": f"{_CDN}/{one.package}@{one.version}/{one.member}",
            "integrity": f"sha384-{one.sha384}",
            "type": _KINDS[Path(one.file).suffix],
        }
        for one in browser_assets.assets()
        if Path(one.file).suffix in _KINDS
    ]
    return {"version": browser_assets.version(), "files": files}


def _wanted(asked: _Asked) -> dict[str, Any]:
    cost = f"downloads {size(asked.file_bytes)}"
    terms = f" · {asked.license}" if asked.license else ""
    label = f"Run in this browser · {cost}{terms}"
    if asked.rehearsal:
        label = "Rehearse in this browser · downloads nothing"
    return {
        "token": asked.token,
        "url": asked.url,
        "files": asked.files,
        "bytes": asked.file_bytes,
        "label": label,
        "held_label": f"Run in this browser · {size(asked.file_bytes)}, already here{terms}",
        "rehearsal": asked.rehearsal,
    }


def _predicted(asked: _Asked, outcome: Outcome, device: Device) -> EstimateAnswer | None:
    request = EstimateRequest(
        asked.model_id,
        asked.quantization,
        device,
        runtime=_RUNTIME,
        context_tokens=_CONTEXT_TOKENS,
        threads=outcome.threads,
        gpu_layers=0 if outcome.backend == "cpu" else -1,
        prompt_tokens=outcome.prompt_tokens,
        gen_tokens=outcome.gen_tokens,
    )
    try:
        return estimate_one(request, catalog())
    except RecommenderError as error:
        st.caption(f"No prediction: {told(error)}")
        return None


def _measured(asked: _Asked, outcome: Outcome, device: Device | None) -> None:
    """Predicted beside measured, in words that nobody takes for a native number."""
    forecast = _predicted(asked, outcome, device) if device is not None and asked.known else None
    estimate = forecast.estimate if forecast else None
    origin = f"{'rehearsed' if asked.rehearsal else 'measured'} in your browser"
    rows = []
    for name, figure, values, words in (
        ("Decode", estimate.decode_tokens_per_s if estimate else None, outcome.decode, rate),
        ("Prefill", estimate.prefill_tokens_per_s if estimate else None, outcome.prefill, rate),
        ("First token", estimate.ttft_s if estimate else None, outcome.ttft_s, seconds),
    ):
        rows.append(beside(name, figure.value if figure else None, statistics.median(values), words))
    with st.container(border=True, key="browser_result"):
        st.markdown(
            f"**{plain(asked.name)}** · {outcome.runtime} · {outcome.prompt_tokens} prompt and {outcome.gen_tokens} "
            "generated tokens"
        )
        heads = ("Figure", f"Predicted {badge('estimated')}", badge(origin), "Difference")
        st.table({head: [row[place] for row in rows] for place, head in enumerate(heads)}, hide_index=True)
        spread = f"{rate(min(outcome.decode))} to {rate(max(outcome.decode))}"
        threads = f"{outcome.threads} thread{'s' if outcome.threads > 1 else ''}"
        where = f"on {outcome.gpu or 'the GPU'}" if outcome.backend == "webgpu" else threads
        fetched = f" · {size(outcome.fetched_bytes)} fetched" if outcome.fetched_bytes else ""
        st.caption(
            f"Medians of {len(outcome.decode)} repeats ({spread}) · loaded in {seconds(outcome.load_s)}{fetched} · "
            f"{plain(outcome.browser or 'a browser')}, {plain(where)}"
        )
        if max(outcome.decode) > _NOISY * min(outcome.decode):
            st.warning(
                "The repeats differ much: something else was running. Run it again.", icon=":material/graphic_eq:"
            )
        if not asked.known:
            st.caption("No prediction: the catalog does not know this file.")
        elif device is None:
            st.caption('No prediction: say above under "You have" which device yours is.')
        elif forecast:
            st.caption(
                f"Predicted for {plain(device.name)} from llama.cpp's speed outside a browser, with a wider range."
            )
        st.caption("A browser's number: it corrects no estimate, and is kept for this visit only.")
