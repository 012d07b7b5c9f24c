"""The link asks the same question again, and the files say what the page says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recommender.catalog.store import Catalog
from recommender.cli import main
from recommender.device import device_key, from_json, preset, presets, this_machine
from recommender.engine.recommend import recommend
from recommender.markdown import cell
from recommender.picture import HEIGHT, WIDTH, Card, png
from recommender.share import answer_markdown, answer_text, catalog_note, limits_in_words, link, specs
from recommender.share_run import run_markdown, run_text
from recommender.types import Device, Gpu, Need
from tests.measured import MEASURED

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
AMOUNTS = st.floats(1.0, 1e15)
GPUS = st.builds(
    Gpu,
    name=TEXTS.filter(bool),
    vendor=TEXTS,
    backend=st.sampled_from(["", "cuda", "metal", "rocm", "vulkan"]),
    memory_bytes=st.none() | AMOUNTS,
    memory_free_bytes=st.none() | st.just(0.0),
    bandwidth_bytes_per_s=st.none() | AMOUNTS,
    unified=st.booleans(),
)
DEVICES = st.builds(
    Device,
    id=st.just("from-file"),
    name=TEXTS,
    kind=st.sampled_from(["laptop", "server", "phone"]),
    os=st.sampled_from(["linux", "macos"]),
    arch=st.sampled_from(["arm64", "x86-64"]),
    cpu_model=TEXTS,
    physical_cores=st.none() | st.integers(1, 512),
    isa=st.lists(TEXTS, max_size=3).map(tuple),
    ram_bytes=st.none() | AMOUNTS,
    ram_free_bytes=st.none() | st.just(0.0),
    gpus=st.lists(GPUS, max_size=2).map(tuple),
    unified_memory=st.booleans(),
    gpu_memory_fraction=st.none() | st.floats(0.0, 1.0),
)


@given(DEVICES)
@settings(deadline=None, max_examples=60)
def test_a_device_comes_out_of_a_link_as_it_went_in(device: Device) -> None:
    address = link("https://host/some/page?old=1#x", {"specs": specs(device)}, "2026-11-20")
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", "host", "/some/page", "")
    assert address.isascii()
    told = parse_qs(parts.query, strict_parsing=True)
    assert told["catalog"] == ["2026-11-20"]
    assert from_json(told["specs"][0]) == device


def test_every_machine_of_the_list_and_this_one_keep_what_an_answer_depends_on() -> None:
    for device in (*(preset(one.id) for one in presets()), this_machine()):
        again = from_json(specs(device))
        assert replace(again, id="", source="", sources={}) == replace(device, id="", source="", sources={})
        assert device_key(again) == device_key(device)


@pytest.mark.parametrize("told", ["", "yesterday", "2026-1-1", "2026-11-20\n", "<b>", "２０２６-11-20"])
def test_a_catalog_date_that_is_none_is_not_repeated(told: str) -> None:
    note = catalog_note(told, "2026-11-27")
    assert "2026-11-27" in note
    assert not told or told not in note


def test_another_catalog_is_said_and_the_same_one_is_not() -> None:
    assert catalog_note("2026-11-27", "2026-11-27") == ""
    note = catalog_note("2026-11-20", "2026-11-27")
    assert note == "Shared with the catalog of 2026-11-20; this is the one of 2026-11-27, so the answer may differ."


def test_the_saved_json_is_the_command_line_s(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--device", "rtx-4060", "--task", "code", "--top", "100000", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    saved = json.loads(answer_text(recommend(preset("rtx-4060"), Need(task="code"), catalog), "https://host/?x=y"))
    assert saved.pop("link") == "https://host/?x=y"
    assert saved == told
    assert saved["need"]["task"] == "code"
    assert saved["catalog_date"] == catalog.date


def test_the_report_stands_alone(catalog: Catalog) -> None:
    need = Need(task="code", commercial=True, min_decode_tokens_per_s=10.0)
    answer = recommend(preset("rtx-4060"), need, catalog)
    report = answer_markdown(answer, "32 GiB memory", "https://host/?x=y")
    pick = answer.picks[0]
    for words in (
        cell(pick.name),
        "RTX 4060",
        "32 GiB memory",
        "min decode tokens per s 10, commercial",
        "| estimated |",
        pick.command,
        answer.catalog_date,
        "<https://host/?x=y>",
        *(cell(other.name) for _, other in answer.alternatives),
    ):
        assert words in report


def test_no_limit_is_forgotten_in_words() -> None:
    assert limits_in_words(Need(task="code", priority="speed")) == ""
    asked = Need(languages=("de", "zh"), users=4, offline=True, memory_reserve_bytes=1.5e9)
    assert limits_in_words(asked) == "languages de zh, memory reserve bytes 1.5e+09, offline, users 4"


def test_a_measured_run_is_saved_with_its_link_but_not_with_an_address_that_was_asked() -> None:
    saved = json.loads(run_text(MEASURED, "https://host/history?measurement=one"))
    assert saved["decode_tokens_per_s"] == MEASURED.decode_tokens_per_s
    assert saved["build"] == MEASURED.build
    assert saved["link"].endswith("=one")
    asked = replace(MEASURED, runtime="openai", build="http://10.0.0.5:8080/v1")
    assert "10.0.0.5" not in run_text(asked, "") + run_markdown(asked, "")
    report = run_markdown(MEASURED, "https://host/")
    assert "measured on A laptop, 2026-11-23" in report
    assert "no prediction" in report


@given(st.builds(Card, about=TEXTS, title=TEXTS, tags=st.tuples(TEXTS, TEXTS), figures=st.tuples(), foot=TEXTS))
@settings(deadline=None, max_examples=10)
def test_a_picture_is_drawn_of_any_text(card: Card) -> None:
    long = "word " * 100
    image = Image.open(io.BytesIO(png(replace(card, figures=((long, long, card.title, long),) * 5))))
    assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    image.load()
