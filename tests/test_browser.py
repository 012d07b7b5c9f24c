"""The app in a real Chromium, served by a process of its own, with a loopback stand-in for the Hub."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recommender.catalog.queries import variant_columns
from recommender.catalog.store import Catalog
from tests.runner.hub_server import HubServer, Repo
from tests.served import CHROMIUM, PATIENCE_S, served, settled
from tests.tiny_gguf import write_tiny_gguf

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]
METRICS_ARE_DRAWN = """() => {
    const values = [...document.querySelectorAll('.st-key-answer [data-testid="stMetricValue"]')];
    return values.length >= 4 && values.every(value => value.innerText.trim());
}"""
MODEL, NAME, QUANTIZATION = "Qwen/Qwen3-0.6B", "Qwen3-0.6B", "Q8_0"


@pytest.fixture(scope="module")
def hub(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """The Hub with one repository: a tiny model under the name of a real one."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("hub") / "tiny.gguf", context_tokens=40_960)
    rows = variant_columns(catalog, MODEL, "llama.cpp")
    row = next(row for row in rows if row["quantization"] == QUANTIZATION)
    server = HubServer()
    server.repos[str(row["repo"])] = Repo({str(row["file"] or f"{NAME}-{QUANTIZATION}.gguf"): path.read_bytes()})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.resume.set()
    server.shutdown()


@pytest.fixture(scope="module")
def address(catalog: Catalog, hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, served from an empty folder of its own; its catalog is the one that was built for the tests."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    with served(tmp_path_factory.mktemp("served"), catalog, variables) as found:
        yield found


def _answer(page: Any) -> str:
    settled(page)
    page.locator(".st-key-answer code").first.wait_for()  # coloured by code that is loaded after the rest
    page.wait_for_function(METRICS_ARE_DRAWN)  # one by one on a busy machine
    return str(page.locator(".st-key-answer").inner_text())


def _choose_file(page: Any, path: Path) -> None:
    field = page.get_by_label("Path of the GGUF file")
    field.wait_for()
    settled(page)
    field.fill(str(path))
    field.press("Enter")


def _run(page: Any) -> Any:
    return page.locator(".st-key-run")


def test_a_recommendation_is_there_before_anything_is_pressed(page: Any) -> None:
    page.goto("/")
    shown = _answer(page)
    for words in (
        "The pick for chat on this computer",
        "Speed",
        "tok/s",
        "Memory",
        "GiB",
        "estimated",
        "Why this one?",
    ):
        assert words in shown
    assert page.title() == "Rightsize"


def test_a_machine_from_the_list_changes_the_answer_and_a_link_repeats_it(page: Any, browser: Any) -> None:
    page.goto("/")
    before = _answer(page)
    page.get_by_text("From the list").click()
    machine = page.locator(".st-key-preset input")
    machine.fill("MacBook Air")
    page.get_by_role("option").first.click()
    page.locator(".st-key-answer").get_by_text("on MacBook Air").wait_for()
    page.locator(".st-key-priority").get_by_text("Smallest").click()
    page.wait_for_url(re.compile("priority=Smallest"))
    after = _answer(page)
    assert after.splitlines()[1:] != before.splitlines()[1:]
    fresh = browser.new_context()
    again = fresh.new_page()
    again.goto(page.url)
    again.locator(".st-key-answer").wait_for(timeout=PATIENCE_S * 1000)
    assert _answer(again) == after

    # Who opens a link and turns to another page at once still has the question there, and when they come back.
    again.get_by_role("link", name="Guide").click()
    again.get_by_text(re.compile("MacBook Air.*GiB memory")).wait_for()
    again.wait_for_url(re.compile("/guide.*preset=MacBook"))
    again.get_by_role("link", name="Find").click()
    again.locator(".st-key-answer").get_by_text("on MacBook Air").wait_for()
    assert _answer(again) == after
    fresh.close()


def test_a_shared_link_gives_the_same_answer_in_another_browser_and_files_are_made_on_a_click(
    page: Any, browser: Any, tmp_path: Path
) -> None:
    page.goto("/?task=Code")
    _answer(page)
    page.locator(".st-key-share button").click()
    page.get_by_text("Link to this answer").wait_for()
    link = page.locator("[data-testid=stPopoverBody] code").first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture").click()
    download.value.save_as(tmp_path / "answer.png")
    assert (tmp_path / "answer.png").read_bytes().startswith(b"\x89PNG")
    fresh = browser.new_context()
    again = fresh.new_page()
    again.goto(link)
    again.get_by_text("Shared specs").wait_for(timeout=PATIENCE_S * 1000)
    expected = _answer(page).replace("Try it ·", "Try it here ·").replace("expand_less", "expand_more")
    assert _answer(again).splitlines()[1:] == expected.splitlines()[1:]
    fresh.close()


def test_a_limit_nothing_meets_is_relaxed_in_one_press(page: Any) -> None:
    page.goto("/?min_decode=10000")
    page.get_by_text("Nothing fits all of this").wait_for()
    page.locator(".st-key-nothing button").first.click()
    assert "tok/s" in _answer(page)


def test_text_from_outside_makes_neither_links_nor_headings(page: Any) -> None:
    page.goto("/?device=Paste+specs")
    field = page.get_by_label("The device as JSON")
    field.fill(r"""{"https://evil.example/x www.evil.example/y me@evil.example :material/check: <b>x</b>\n---": 1}""")
    field.press("Control+Enter")
    alert = page.get_by_test_id("stAlert").first
    alert.get_by_text("has no field called").wait_for()
    assert ":material/check:" in alert.inner_text().replace("\u2060", "")
    assert alert.locator("a, b, h1, h2, h3").count() == 0


def test_a_file_here_runs_to_the_end_with_predicted_beside_measured(page: Any, tmp_path: Path) -> None:
    page.goto("/try-it?source=A+GGUF+file+on+this+computer")
    _choose_file(page, write_tiny_gguf(tmp_path / "tiny.gguf"))
    page.locator(".st-key-start button").first.click()
    _run(page).get_by_text("predicted beside measured").wait_for()
    _run(page).get_by_text("Prefill").wait_for()
    shown = _run(page).inner_text()
    for words in ("Predicted", "Measured", "Decode", "Prefill", "First token", "Memory", "measured here"):
        assert words in shown
    page.reload()
    _run(page).get_by_role("link", name="Its own page").click()
    page.wait_for_url(re.compile("history.measurement="))
    page.locator(".st-key-measurement").get_by_text("Link to this run").wait_for()
    page.reload()
    page.get_by_role("button", name="All runs").click()
    page.get_by_text("newest first").wait_for()
    assert "measurement" not in page.url


def test_a_chat_follows_the_measurement_and_gives_the_memory_back(page: Any, tmp_path: Path) -> None:
    page.goto("/try-it?source=A+GGUF+file+on+this+computer&threads=1")
    _choose_file(page, write_tiny_gguf(tmp_path / "tiny.gguf"))
    page.locator(".st-key-start button").first.click()
    question = _run(page).get_by_placeholder("Ask it something")
    question.wait_for()
    settled(page)
    question.fill("And at night?")
    question.press("Enter")
    _run(page).get_by_text("And at night?").wait_for()
    _run(page).get_by_text(re.compile("tokens, the first after")).nth(1).wait_for()
    settled(page)
    _run(page).get_by_role("button", name="End the chat").click()
    question.wait_for(state="detached")
    assert "And at night?" in _run(page).inner_text()


def test_a_run_whose_tab_was_closed_is_found_again_by_its_address(page: Any, browser: Any, tmp_path: Path) -> None:
    slow = write_tiny_gguf(tmp_path / "slow.gguf", n_embd=1024, layers=16, block_count=16)
    page.goto("/try-it?source=A+GGUF+file+on+this+computer&threads=1")
    _choose_file(page, slow)
    page.locator(".st-key-start button").first.click()
    _run(page).get_by_role("button", name="Stop").wait_for()
    address = page.url
    assert "run=" in address
    context = page.context
    page.close()
    again = context.new_page()
    again.goto(address)
    _run(again).get_by_role("button", name="Stop").click()
    _run(again).get_by_text("Its process is gone").wait_for()


def test_a_model_of_the_catalog_is_fetched_and_run(page: Any, hub: HubServer) -> None:
    page.goto(f"/try-it?model={NAME}&quant={QUANTIZATION}")
    button = page.locator(".st-key-start button").first
    assert "download" in button.inner_text()
    hub.pause_after = 20_000
    hub.resume.clear()
    button.click()
    _run(page).get_by_text("Downloading").wait_for()
    page.get_by_text("Run another").wait_for()

    # A second run waits for its turn, and says so.
    page.locator(".st-key-start button").first.click()
    _run(page).get_by_text("number 1 in the queue").wait_for()
    _run(page).get_by_role("button", name="Stop").click()
    _run(page).get_by_text("Its process is gone").wait_for()

    # The first goes on where it was.
    page.get_by_text(re.compile("Downloading: ")).click()
    _run(page).get_by_text("Downloading").wait_for()
    hub.pause_after = None
    hub.resume.set()
    _run(page).get_by_text("predicted beside measured").wait_for()


def test_stop_ends_a_run_in_its_middle(page: Any, tmp_path: Path) -> None:
    # Wide enough that its answer takes a while.
    slow = write_tiny_gguf(tmp_path / "slow.gguf", n_embd=1024, layers=16, block_count=16)
    page.goto("/try-it?source=A+GGUF+file+on+this+computer&threads=1")
    _choose_file(page, slow)
    page.locator(".st-key-start button").first.click()
    _run(page).get_by_role("button", name="Stop").click()
    _run(page).get_by_text("Its process is gone").wait_for()
    assert "predicted beside measured" not in _run(page).inner_text()


def test_a_phone_sees_the_answer_without_scrolling_sideways(browser: Any, address: str) -> None:
    context = browser.new_context(base_url=address, viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone = context.new_page()
    phone.goto("/")
    phone.locator(".st-key-answer").wait_for(timeout=PATIENCE_S * 1000)
    settled(phone)
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert phone.locator(".st-key-answer h2").bounding_box()["y"] < 844
    context.close()
