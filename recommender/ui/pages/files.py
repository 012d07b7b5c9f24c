"""Files: which model files lie on this disk, how large they are, and removing them."""

from __future__ import annotations

import streamlit as st

from recommender import paths
from recommender.engine.words import count, size
from recommender.errors import RecommenderError
from recommender.runner.disk import StoredFile, remove, stored_files
from recommender.runner.hub import free_disk_bytes
from recommender.runner.ollama_server import InstalledModel, find_server, installed_models, remove_model
from recommender.types import GIB
from recommender.ui.resources import audited
from recommender.ui.words import plain

_FOUND_SECONDS = 30  # looking for a server that does not answer takes seconds
_SAID, _PROBLEM = "files_said", "files_problem"


@st.cache_data(ttl=_FOUND_SECONDS, show_spinner=False)
def _in_ollama() -> tuple[InstalledModel, ...]:
    """What an Ollama server has; nothing when none answers."""
    try:
        return installed_models(find_server())
    except (RecommenderError, ValueError):  # ValueError: OLLAMA_HOST is no address
        return ()


def _state(stored: StoredFile) -> str:
    if not stored.complete:
        return f"not complete: {size(stored.size_bytes)} came so far"
    return "complete, checksum verified" if stored.verified else "complete"


def _label(one: StoredFile | InstalledModel) -> str:
    where = [one.repo, one.place] if isinstance(one, StoredFile) else ["Ollama"]
    return " · ".join([one.name, *filter(None, where), size(one.size_bytes)])


def _cost(one: StoredFile | InstalledModel) -> str:
    """What removing it frees and what it costs."""
    freed = f"Removing **{plain(one.name)}** frees"
    if isinstance(one, InstalledModel):
        return f"{freed} up to {size(one.size_bytes)} where Ollama keeps its models: layers that others share stay."
    if not one.complete:
        return f"{freed} {size(one.size_bytes)}. A download of it then starts from the beginning."
    others = "" if one.place == "Rightsize" else " Other programs that use this cache lose it too."
    return f"{freed} {size(one.size_bytes)}. To run it again, it must be downloaded again.{others}"


def _remove(one: StoredFile | InstalledModel) -> None:
    audited("file removed", file=one.name)
    try:
        if isinstance(one, StoredFile):
            freed = f"{size(remove(one))} freed."
        else:
            remove_model(one.name)
            _in_ollama.clear()
            freed = "removed from Ollama."
    except RecommenderError as error:
        st.session_state[_PROBLEM] = str(error)
    else:
        st.session_state[_SAID] = f"{one.name}: {freed}"


def _removal(choices: list[StoredFile | InstalledModel]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        one = st.selectbox(
            "Remove",
            choices,
            index=None,
            format_func=_label,
            placeholder="Choose a model",
            key="file_to_remove",
            width=560,
        )
        if one is not None:
            with st.popover("Remove", icon=":material/delete:", key="confirm_removal"):
                st.markdown(_cost(one))
                st.button(
                    f"Remove {size(one.size_bytes)}", type="primary", key="remove_file", on_click=_remove, args=(one,)
                )


st.header("Model files on this disk", anchor=False)
if said := st.session_state.pop(_SAID, ""):
    st.success(plain(said), icon=":material/check:")
if problem := st.session_state.pop(_PROBLEM, ""):
    st.error(plain(problem), icon=":material/error:")

stored = stored_files()
free = f"{size(free_disk_bytes())} free on the disk that downloads go to"
total = sum(one.size_bytes for one in stored)
number = st.column_config.NumberColumn
if stored:
    st.markdown(f"{count(len(stored))} model {'file' if len(stored) == 1 else 'files'}, **{size(total)}** · {free}")
    st.dataframe(
        {
            "Model": [one.name for one in stored],
            "Repository": [one.repo for one in stored],
            "Place": [one.place for one in stored],
            "Size, GiB": [one.size_bytes / GIB for one in stored],
            "State": [_state(one) for one in stored],
            "When": [one.modified_at for one in stored],
        },
        column_config={
            "Size, GiB": number(format="%.2f"),
            "When": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
        },
        hide_index=True,
        alt="Every model file with its size",
    )
else:
    st.info(
        "No model file is on this disk yet. Press Try it on the Find page; what it downloads is listed here.",
        icon=":material/folder_open:",
    )
    st.caption(free)

installed = _in_ollama()
if installed:
    st.subheader("In Ollama", anchor=False)
    st.dataframe(
        {
            "Model": [one.name for one in installed],
            "Quantization": [one.quantization for one in installed],
            "Size, GiB": [one.size_bytes / GIB for one in installed],
        },
        column_config={"Size, GiB": number(format="%.2f")},
        hide_index=True,
        alt="Every model of the Ollama server with its size",
    )
if stored or installed:
    _removal([*stored, *installed])
st.caption(
    f"Downloads lie in {plain(str(paths.models_dir()))}. To keep them on another disk, stop the app, move "
    f"{plain(str(paths.data_dir()))} there and set {plain(paths.HOME_VARIABLE)} to its new place; an interrupted "
    "download goes on from there too. The Hugging Face cache is moved by HF\\_HUB\\_CACHE."
)
