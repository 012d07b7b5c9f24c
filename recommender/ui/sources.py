"""Choosing what to run: a model of the catalog, a file on this computer, one that Ollama has, or a server's."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from recommender.catalog.queries import variant_columns
from recommender.engine.words import size
from recommender.errors import RecommenderError
from recommender.runner.gguf_header import GgufHeader, read_header
from recommender.runner.hub import at_hand
from recommender.runner.ollama_server import InstalledModel, find_server, installed_models, name_for
from recommender.runner.onnx_folder import folder_bytes
from recommender.runner.runners import Availability, make_runner
from recommender.runtimes import tables
from recommender.settings import current
from recommender.trial import Source
from recommender.ui.limits import BOUND
from recommender.ui.resources import catalog, hosted, told
from recommender.ui.words import plain

HUB, LOCAL, THERE = "A model of the catalog", "A GGUF file on this computer", "One that Ollama has"
HERE, OLLAMA, SERVER, ONNX = "This app's llama.cpp", "Ollama", "Another server", "ONNX Runtime GenAI"
ON_SERVER, SHARED = "This server's llama.cpp", "A model server behind it"
_RUNTIME, _ONNX = "llama.cpp", "onnx-genai"
_PROBE_SECONDS = 10
_KEY_VARIABLE = "RIGHTSIZE_TRY_SERVER_KEY"  # not a setting: a command line can be seen by others


@dataclass(frozen=True)
class Chosen:
    """``header`` is read from a file on this computer."""

    source: Source
    header: GgufHeader | None = None


def choose(where: str) -> Chosen | None:
    """Ask what to run; ``None`` after a hint was shown instead.

    Raises:
        BadInputError: a file that was named cannot be read.
    """
    if where == ON_SERVER:
        return from_catalog()
    if where == SHARED:
        return _at(current().try_server, os.environ.get(_KEY_VARIABLE, ""))
    if where == SERVER:
        return _at_server()
    if where == ONNX:
        return _onnx_folder()
    kinds = [HUB, LOCAL]
    if where == OLLAMA:
        found = ollama()
        if not found.ready:
            st.info(plain(found.advice), icon=":material/extension_off:")
            return None
        st.caption(plain(found.name))
        kinds = [THERE, *kinds] if _installed() else kinds
    kind = st.segmented_control(
        "What to run",
        kinds,
        default=kinds[0],
        key="source",
        required=True,
        label_visibility="collapsed",
        **(BOUND if where == HERE else {}),
    )
    if kind == THERE:
        return _in_ollama()
    chosen = _from_disk() if kind == LOCAL else from_catalog()
    return _for_ollama(chosen) if chosen and where == OLLAMA else chosen


@st.cache_data(ttl=_PROBE_SECONDS, show_spinner=False)
def ollama() -> Availability:
    return make_runner("ollama").probe()


@st.cache_data(ttl=_PROBE_SECONDS, show_spinner=False)
def _installed() -> tuple[InstalledModel, ...]:
    try:
        return installed_models(find_server())
    except RecommenderError:
        return ()


def from_catalog(
    prefix: str = "", quantization: str = "Q4_K_M", runtime: str = _RUNTIME, largest_bytes: float = math.inf
) -> Chosen | None:
    """A model and quantization of the catalog; its file is fetched when it is not here yet.

    Args:
        prefix: of the widgets' keys and URL parameters.
        quantization: what is proposed where the model has it.
        runtime: which must take it.
        largest_bytes: of its file; larger ones are not offered.
    """
    models = {model.model_id: model for model in catalog().models()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model_id = st.selectbox(
            "Model",
            list(models),
            index=None,
            format_func=lambda one: models[one].name if one in models else one,
            placeholder="Search models",
            key=f"{prefix}model",
            width=360,
            **BOUND,
        )
        if model_id is None:
            if not prefix:
                st.caption("Choose a model, here or on the Find page.")
            return None
        taken = variant_columns(catalog(), model_id, runtime)
        rows = {row["quantization"]: row for row in taken if _bytes(row) <= largest_bytes}
        if not rows and taken:
            least = size(min(map(_bytes, taken)))
            st.warning(
                f"The smallest file of {plain(model_id)} has {least}, and {runtime} takes {size(largest_bytes)}."
            )
            return None
        if not rows:
            st.warning(f"{runtime} does not take {plain(model_id)}.")
            return None
        usual = quantization if quantization in rows else next(iter(rows))
        chosen = st.selectbox(
            "Quantization", list(rows), index=list(rows).index(usual), key=f"{prefix}quant", width=160, **BOUND
        )
    return Chosen(source_of(model_id, chosen if chosen in rows else usual))


def _bytes(row: dict[str, Any]) -> float:
    return float(row["published_bytes"] or row["file_bytes"])


def source_of(model_id: str, quantization: str) -> Source:
    """A model of the catalog that llama.cpp takes in this quantization. Raises ``KeyError`` when it does not."""
    rows = variant_columns(catalog(), model_id, _RUNTIME)
    row: dict[str, Any] = {one["quantization"]: one for one in rows}[quantization]
    license_name = catalog().model(model_id).license or "licence not recorded"
    repo, file = row["repo"], row["file"]
    path = at_hand(repo, file)
    file_bytes = _bytes(row)
    if path is not None:
        label = f"Try it · already here · {license_name}"
    elif not repo:
        label = f"Try it · its file is no longer at {file}" if file else "Try it · no published file is known"
    else:
        about = "" if row["published_bytes"] else "about "
        label = f"Try it · {about}{size(file_bytes)} download · {license_name}"
    return Source(
        model_id,
        row["quantization"],
        label,
        path=str(path or ""),
        repo=repo,
        file=file,
        file_bytes=file_bytes,
    )


def _from_disk() -> Chosen | None:
    """A GGUF that is on this computer; its header is read before anything is loaded."""
    path = st.text_input(
        "Path of the GGUF file",
        placeholder="~/models/model-Q4_K_M.gguf",
        key="gguf_path",
        persist_state="session",
    )
    if not path.strip():
        return None
    header = read_header(path.strip())
    known = next((one.model_id for one in catalog().models() if one.name.casefold() == header.name.casefold()), "")
    st.caption(
        f"{plain(header.name or header.path.name)} · {plain(header.architecture)} · "
        f"{plain(header.quantization or 'unknown type')} · {size(header.file_bytes)}"
    )
    label = f"Try it · {size(header.file_bytes)}, already here"
    name = known or header.name or header.path.name
    return Chosen(Source(name, header.quantization, label, path=str(header.path)), header)


def _in_ollama() -> Chosen | None:
    models = {model.name: model for model in _installed()}
    name = st.selectbox("Model in Ollama", list(models), key="ollama_model", width=360)
    if name not in models:
        return None
    model = models[name]
    label = f"Try it · {size(model.size_bytes)}, already in Ollama"
    return Chosen(
        Source(tables.model_called("ollama", name) or name, model.quantization, label, file=name, runtime="ollama")
    )


def _for_ollama(chosen: Chosen) -> Chosen:
    """The same choice as Ollama gets it: by the name it pulls, or as a copy of a file."""
    source = chosen.source
    if source.path:
        label = source.label.replace("already here", "copied into Ollama")
        return replace(
            chosen, source=replace(source, label=label, file=name_for(Path(source.path).name), runtime="ollama")
        )
    own = tables.published("ollama", source.model_id, "gguf", source.quantization)
    name = own.name if own else f"hf.co/{source.repo}:{source.quantization}" if source.repo else ""
    return replace(chosen, source=replace(source, repo="", file=name, runtime="ollama"))


def places() -> list[str]:
    """Where a model can be run. ONNX Runtime GenAI is an extra and offered only where it is installed.

    A visitor of a hosted instance runs models of the catalog, and those of the server that its settings name.
    """
    if hosted():
        offered = ((ON_SERVER, current().max_file_gib > 0), (SHARED, bool(current().try_server)))
        return [place for place, there in offered if there]
    return [HERE, OLLAMA, SERVER, *([ONNX] if make_runner(_ONNX).probe().ready else [])]


def _onnx_folder() -> Chosen | None:
    """A folder that Olive made."""
    path = st.text_input(
        "Folder that Olive made", placeholder="~/models/Qwen3-0_6B-onnx-int4", key="onnx_path", persist_state="session"
    )
    if not path.strip():
        return None
    folder = Path(path.strip()).expanduser()
    held = folder_bytes(str(folder))
    label = f"Try it · {size(held)}, already here"
    return Chosen(Source(folder.name, "", label, path=str(folder), runtime=_ONNX, file_bytes=held))


def _at_server() -> Chosen | None:
    """A model behind an address; what it is called there, and the key, stay in this session."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        endpoint = st.text_input(
            "Address",
            placeholder="http://127.0.0.1:8080/v1",
            key="endpoint",
            width=360,
            help="Of a server that speaks OpenAI's protocol: llama-server, vLLM, LM Studio, Foundry Local, Docker "
            "Model Runner, Azure. It often ends in /v1.",
        )
        key = st.text_input("Key", type="password", key="api_key", width=200, help="Sent to that address only.")
    if not endpoint.strip():
        st.caption("Times at a server are by this computer's clock, the network's included.")
        return None
    return _at(endpoint.strip(), key)


def _at(endpoint: str, key: str) -> Chosen | None:
    """One of the models that a server offers."""
    names = _models_at(endpoint, key)
    if isinstance(names, str):
        st.warning(told(names))
        names = ()
    name = st.selectbox(
        "Model there",
        list(names),
        key="endpoint_model",
        accept_new_options=not hosted(),
        width=360,
        index=0 if names else None,
    )
    if not name:
        return None
    source = Source(name, "", f"Try it · {name}", file=name, runtime="openai", endpoint=endpoint, api_key=key)
    return Chosen(source)


@st.cache_data(ttl=_PROBE_SECONDS, max_entries=100, show_spinner="Asking the server …")
def _models_at(endpoint: str, key: str) -> tuple[str, ...] | str:
    """What the server offers, or why it cannot be asked."""
    from recommender.runner.openai_runner import models_at

    try:
        return models_at(endpoint, key)
    except RecommenderError as error:
        return str(error)
