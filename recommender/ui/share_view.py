"""Share: the link that asks again, the answer as files, and a badge to embed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import streamlit as st

from recommender.device import preset
from recommender.picture import Card, png
from recommender.share import LONGEST_SPECS, answer_markdown, answer_text, catalog_note, figures, link, specs
from recommender.types import Device, Pick, Recommendation
from recommender.ui import limits
from recommender.ui.inputs import ADJUSTED, LISTED, TYPED, Asked, device_line, listed
from recommender.ui.resources import calibration_of, catalog
from recommender.ui.words import plain

_ON_CARD = ("Speed", "Answer time", "Memory", "Quality")


def arrived(asked: Asked) -> None:
    """One line for whom a link brought here: whose specs these are, and whether the catalog is another one."""
    told = st.query_params.get("catalog")
    if told is None:
        return
    said = [f"Shared specs: {asked.device.name}."] if st.query_params.get("specs") else []
    said.append(catalog_note(told, catalog().date))
    if words := " ".join(filter(None, said)):
        st.caption(f":material/link: {plain(words)}")


def offer(asked: Asked, answer: Recommendation) -> None:
    """The button; what is behind it is made once it is opened."""
    opened = st.popover("Share", icon=":material/share:", type="tertiary", key="share", on_change="rerun")
    if opened.open:
        with opened:
            _link(asked, answer)


def _link(asked: Asked, answer: Recommendation) -> None:
    address = link(st.context.url or "./", _question(asked.device, answer), answer.catalog_date)
    if len(address) > 2 * LONGEST_SPECS:
        st.caption("This device has too many parts for a link. Save the answer instead.")
    else:
        st.markdown("**Link to this answer**")
        st.code(address, language=None)
        st.caption(_about_link(asked))
    save(
        "answer",
        ("JSON", "json", "application/json", lambda: answer_text(answer, address)),
        ("Markdown", "md", "text/markdown", lambda: answer_markdown(answer, device_line(answer.device), address)),
        ("Picture", "png", "image/png", lambda: png(_card(answer))),
    )
    if _is_listed() and replace(asked.device, sources={}) == replace(preset(asked.device.id), sources={}):
        st.markdown("**Badge**, as Markdown")
        st.code(_badge(asked.device, answer, address), language=None)
        st.caption("Drawn anew from the catalog: this model on this machine, for this task without other limits.")


def save(name: str, *ways: tuple[str, str, str, Any]) -> None:
    """Buttons in a row, each (label, file's ending, MIME type, what makes it); nothing is made before it is pressed."""
    with st.container(horizontal=True):
        for label, ending, mime, made in ways:
            st.download_button(
                label,
                made,
                f"{name}.{ending}",
                mime,
                icon=":material/download:",
                key=f"share_{name}_{ending}",
                on_click="ignore",
            )


def here_only(address: str) -> str:
    """What to know of a link to this very computer; "" for any other."""
    if urlsplit(address).hostname not in ("localhost", "127.0.0.1", "::1"):
        return ""
    return " It opens on this computer only: elsewhere, put the address of the Rightsize that runs there in its place."


def _about_link(asked: Asked) -> str:
    carried = "the machine's name in the list" if _is_listed() else f"the specs of “{asked.device.name}”"
    said = f"It carries the question, {carried} and the catalog's date.{here_only(st.context.url or '')}"
    if calibration_of(asked.device) is not None:
        said += " Speeds here are corrected by what was measured here; elsewhere they are estimates without that."
    return plain(said)


def _is_listed() -> bool:
    return bool(st.session_state.get("device") == LISTED)


def _question(device: Device, answer: Recommendation) -> dict[str, Any]:
    """The URL's parameters. A machine that is not in the list goes along by its specs: "this computer" is another one
    wherever the link is opened."""
    question = limits.question(answer.need)
    if not _is_listed():
        return {"device": TYPED, "specs": specs(device), **question}
    adjusted = {name: value for name in ADJUSTED if (value := st.session_state.get(name)) is not None}
    return {**listed(device.id, st.session_state.get("ram")), **adjusted, **question}


def _badge(device: Device, answer: Recommendation, address: str) -> str:
    pick = answer.picks[0]
    asked = {
        "model": pick.model_id,
        "quantization": pick.quantization or "",
        "device": device.id,
        "runtime": pick.runtime,
        "task": answer.task.id,
    }
    picture = f"{urljoin(st.context.url or './', 'badge.svg')}?{urlencode(asked)}"
    words = f"{pick.name} {pick.quantization} on {device.name}".translate(str.maketrans("[]\\", "() "))
    return f"[![{words}]({picture})]({address})"


def _card(answer: Recommendation) -> Card:
    pick: Pick = answer.picks[0]
    task = f"{answer.task.name[0].lower()}{answer.task.name[1:]}"
    return Card(
        about=f"The pick for {task} on {answer.device.name}",
        title=pick.name,
        tags=(pick.quantization or "managed service", pick.runtime, f"{pick.tier} tier"),
        figures=tuple(row for row in figures(pick) if row[0] in _ON_CARD),
        foot=f"Rightsize · catalog of {answer.catalog_date} · {pick.license or 'licence not recorded'}",
    )
