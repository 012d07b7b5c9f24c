"""A pick's recipe: each text to copy or to download, its check and its measurement."""

from __future__ import annotations

import io
import zipfile

import streamlit as st

from recommender.engine.recipes import recipe_of
from recommender.errors import RecommenderError
from recommender.runtimes import Recipe, Step
from recommender.types import Pick, Recommendation
from recommender.ui.limits import BOUND
from recommender.ui.resources import catalog, told
from recommender.ui.words import plain

# Of a file's date inside an archive: the same recipe gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def offer(answer: Recommendation, pick: Pick, key: str) -> None:
    """The recipe behind a click. ``key`` is of the URL and tells this pick's widgets from another's."""
    opened = st.expander("Set it up: install, run, check, measure", icon=":material/terminal:", key=key, **BOUND)
    if opened.open:
        with opened:
            _show(answer, pick, key)


def _show(answer: Recommendation, pick: Pick, key: str) -> None:
    """Step by step, with other ways in tabs beside it."""
    try:
        recipe = recipe_of(pick, answer.device, answer.need, catalog())
    except RecommenderError as error:
        st.warning(told(error))
        return
    first, *others = st.tabs(["Step by step", *(plain(step.title) for step in recipe.optional)])
    with first:
        for place, step in enumerate((*recipe.steps, recipe.check, recipe.measure), start=1):
            st.markdown(f"**{place}. {plain(step.title)}**")
            _text(step, f"{key}_{place}")
    for place, (tab, step) in enumerate(zip(others, recipe.optional, strict=True)):
        with tab:
            _text(step, f"{key}_other_{place}")
    for note in recipe.notes:
        st.caption(plain(note))
    with st.container(horizontal=True):
        st.download_button(
            "The whole recipe",
            recipe.markdown(),
            "recipe.md",
            "text/markdown",
            icon=":material/download:",
            key=f"{key}_whole",
            on_click="ignore",
        )
        if recipe.files:
            st.download_button(
                f"Its {len(recipe.files)} files" if len(recipe.files) > 1 else "Its file",
                archive(recipe),
                "recipe.zip",
                "application/zip",
                icon=":material/folder_zip:",
                key=f"{key}_files",
                on_click="ignore",
            )


def _text(step: Step, key: str) -> None:
    if step.note:
        st.caption(plain(step.note))
    st.code(step.text, language=step.language, wrap_lines=True)
    if step.file_name:
        st.download_button(
            step.file_name,
            step.text,
            step.file_name.rpartition("/")[2],
            icon=":material/download:",
            key=f"{key}_file",
            on_click="ignore",
        )


def archive(recipe: Recipe) -> bytes:
    """The recipe and its files as a ZIP archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in {"recipe.md": recipe.markdown(), **recipe.files}.items():
            file.writestr(zipfile.ZipInfo(name, _DATE), text)
    return packed.getvalue()
