"""Share on Find, and a measured run by its address."""

from __future__ import annotations

import dataclasses
import getpass
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from recommender import paths
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.store import Catalog
from recommender.device import preset, to_json
from recommender.share import specs
from recommender.types import Memory
from recommender.ui import resources
from tests.measured import MEASURED
from tests.ui.conftest import Open

LISTED = {"device": "From the list", "preset": "NVIDIA GeForce RTX 4060"}
EVERY_LIMIT = {
    "task": "Code",
    "priority": "Speed",
    "context": "16384",
    "min_decode": "2.5",
    "max_ttft": "30.0",
    "max_answer": "500.0",
    "reserve_memory": "0.5",
    "reserve_disk": "1.5",
    "users": "2",
    "languages": "en,de",
    "placement": "Either",
    "accelerator": "gpu",
    "platform": "windows",
    "form_factor": "desktop",
    "commercial": "true",
    "offline": "true",
    "experimental": "true",
    "all_quants": "true",
    "quants": ["Q4_K_M", "Q8_0"],
    "runtimes": ["llama.cpp"],
}
RUN = dataclasses.replace(
    MEASURED,
    id="3f2504e04f8911d39a0c0305e82c3301",
    memory=Memory(1e6, 1e5, 1e5, 1e5, 1.3e6),
    predicted_decode_tokens_per_s=30.0,
    predicted_ttft_s=2.0,
)


def shared(app: AppTest) -> dict[str, list[str]]:
    """What the link asks, once Share is open."""
    app.session_state["share"] = True
    app.run()
    assert not app.exception, app.exception
    address = next(code.value for code in app.code if "catalog=" in code.value)
    return parse_qs(urlsplit(address).query, strict_parsing=True)


def opened(open_page: Open, link: dict[str, list[str]], **more: Any) -> AppTest:
    return open_page(**{name: value if len(value) > 1 else value[0] for name, value in {**link, **more}.items()})


def answer(app: AppTest) -> tuple[str, str, list[str]]:
    return app.header[0].value, app.code[0].value, [metric.value for metric in app.metric]


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


@pytest.mark.parametrize(
    "params",
    [LISTED, {**LISTED, **EVERY_LIMIT}, {**LISTED, "ram": "16 GB memory", "free": "9.5", "bandwidth": "40"}],
    ids=["a listed machine", "every limit", "corrected numbers"],
)
def test_a_link_asks_the_same_question_wherever_it_is_opened(open_page: Open, params: dict[str, Any]) -> None:
    first = open_page(**params)
    found, link = answer(first), shared(first)
    again = opened(open_page, link)
    assert answer(again) == found
    assert shared(again) == link
    assert set(params) <= set(link)


def test_this_computer_goes_along_as_specs_and_not_by_that_name(open_page: Open, catalog: Catalog) -> None:
    first = open_page(total="12", free="8")
    found, link = answer(first), shared(first)
    assert link["device"] == ["Paste specs"]
    assert not {"total", "free"} & set(link)
    again = opened(open_page, link)
    assert answer(again) == found
    assert "Shared specs" in captions(again)
    assert "may differ" not in captions(again)
    older = opened(open_page, link, catalog=["2025-01-02"])
    assert f"Shared with the catalog of 2025-01-02; this is the one of {catalog.date}" in captions(older)


def test_a_link_says_neither_who_nor_where(open_page: Open) -> None:
    link = shared(open_page())
    told = " ".join(value for values in link.values() for value in values)
    assert socket.gethostname() not in told
    assert f"/{getpass.getuser()}" not in told
    assert str(paths.data_dir()) not in told


def test_what_a_person_writes_instead_of_shared_specs_is_asked(open_page: Open) -> None:
    app = open_page(device="Paste specs", specs=specs(preset("rtx-4060")), catalog="2026-11-20")
    assert app.header
    app.text_area(key="device_json").set_value(to_json(preset("raspberry-pi-5"))).run()
    assert not app.exception
    assert "specs" not in app.query_params
    assert any("Raspberry Pi 5" in caption.value for caption in app.caption)


def test_a_badge_is_offered_for_a_machine_as_it_is_listed(open_page: Open) -> None:
    def badges(**params: str) -> list[str]:
        app = open_page(**params)
        shared(app)
        return [code.value for code in app.code if "badge.svg" in code.value]

    assert len(badges(**LISTED)) == 1
    assert badges(**LISTED)[0].startswith("[![")
    assert not badges(**LISTED, free="4")
    assert not badges()


@given(
    st.fixed_dictionaries(
        {}, optional={name: st.text(max_size=30) for name in ("specs", "catalog", "device", "share", "measurement")}
    )
)
@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
def test_nonsense_in_a_link_is_no_fault(open_page: Open, params: dict[str, str]) -> None:
    app = open_page(**{"device": "Paste specs", "specs": "{", **params})
    assert app.error or app.header or app.info
    assert not any("Traceback" in str(error.value) for error in app.error)


@pytest.fixture
def one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(paths, "measurements_database", lambda: tmp_path / "measurements.duckdb")
    resources.store.clear()
    MeasurementStore().add(RUN)
    yield
    resources.store.clear()


def history(open_page: Open, run_id: str) -> AppTest:
    """The page with the address's parameter: a switch of pages would drop it."""
    app = open_page("history")
    app.query_params["measurement"] = run_id
    app.run()
    assert not app.exception, app.exception
    return app


def test_a_measured_run_has_an_address_of_its_own(open_page: Open, one_run: None) -> None:
    app = history(open_page, RUN.id)
    assert app.subheader[0].value == r"maker/model Q4\_K\_M"
    assert any("measured on A laptop, 2026-11-23" in text.value for text in app.markdown)
    rows = app.table[0].value
    assert next(iter(rows["Difference"])) == "+5%"
    assert app.code[0].value.endswith(f"?measurement={RUN.id}")
    assert not app.dataframe
    app.button(key="all_runs").click().run()
    assert not app.exception
    assert "measurement" not in app.query_params
    assert app.dataframe


@pytest.mark.parametrize("near", [RUN.id[:-1], RUN.id.upper(), "", "<b>", RUN.id + "0"])
def test_an_address_that_is_nearly_right_tells_nothing(open_page: Open, one_run: None, near: str) -> None:
    app = history(open_page, near)
    assert "no measured run" in app.info[0].value
    said = " ".join(str(one.value) for kind in ("markdown", "caption", "info", "error") for one in app.get(kind))
    assert RUN.id not in said
    assert not app.table
