"""The visitor's device through the hosted door, in a real Chromium that plays other people's machines."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from recommender.catalog.store import Catalog
from recommender.device import this_machine
from recommender.engine.words import size
from tests.served import PATIENCE_S, served, settled
from tests.test_browser import _answer, pytestmark

__all__ = ["pytestmark"]

WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Mobile Safari/537.36"
)
LAPTOP_GPU = "ANGLE (NVIDIA, NVIDIA GeForce RTX 4060 Laptop GPU (0x000028E0) Direct3D11 vs_5_0 ps_5_0, D3D11)"
PLAYED = """([cores, memory, hints, renderer]) => {
    const told = {hardwareConcurrency: cores, deviceMemory: memory, userAgentData: {getHighEntropyValues: () => hints}};
    for (const [name, value] of Object.entries(told))
        Object.defineProperty(Navigator.prototype, name, {get: () => value});
    HTMLCanvasElement.prototype.getContext = () => ({getExtension: () => null, getParameter: () => renderer});
}"""


@pytest.fixture(scope="module")
def address(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    variables = {"RIGHTSIZE_DOOR": "hosted", "HF_HUB_OFFLINE": "1"}
    with served(tmp_path_factory.mktemp("hosted"), catalog, variables) as found:
        yield found


def _visitor(browser: Any, address: str, agent: str, *told: Any, **options: Any) -> Any:
    context = browser.new_context(base_url=address, user_agent=agent, **options)
    context.set_default_timeout(PATIENCE_S * 1000)
    context.add_init_script(f"({PLAYED})({json.dumps(told)})")
    return context.new_page()


def test_a_visitors_own_device_is_proposed_confirmed_and_kept(browser: Any, address: str) -> None:
    page = _visitor(browser, address, WINDOWS, 16, 32, {"platform": "Windows", "architecture": "x86"}, LAPTOP_GPU)
    page.goto("/")
    page.get_by_text("at least 32.0 GiB memory").wait_for()
    page.locator(".st-key-answer").get_by_text("on a Windows computer").wait_for()
    page.get_by_role("button", name="Measure memory bandwidth").click()
    page.get_by_role("button", name="Measuring").wait_for()
    page.get_by_role("button", name="Measuring").wait_for(state="detached")
    assert page.get_by_text("could not measure").count() == 0
    before = _answer(page)

    shown = page.locator("body").inner_text()
    host = this_machine()
    assert "Hosted: this page runs on another computer" in shown
    assert "this computer" not in shown.casefold()
    for own in (host.cpu_model, socket.gethostname(), size(host.ram_bytes) if host.ram_bytes else ""):
        assert not own or own not in shown, own

    page.get_by_role("button", name="That's my device").click()
    page.wait_for_url(re.compile("my_os=Windows"))
    page.get_by_role("button", name="That's my device").wait_for(state="detached")
    assert _answer(page) == before
    link = page.url
    assert "total=32" in link
    assert "bandwidth=" in link

    page.get_by_role("link", name="Guide").click()
    page.get_by_text(re.compile("A Windows computer.*32.0 GiB memory.*RTX 4060")).wait_for()
    assert "my_os=Windows" in page.url
    page.context.close()

    elsewhere = browser.new_context()
    other = elsewhere.new_page()
    other.set_default_timeout(PATIENCE_S * 1000)
    other.goto(link)
    other.locator(".st-key-answer").get_by_text("on a Windows computer").wait_for()
    assert _answer(other) == before
    elsewhere.close()


def test_a_phone_is_proposed_as_the_phone_that_it_is(browser: Any, address: str) -> None:
    hints = {"platform": "Android", "model": "Pixel 8", "mobile": True}
    page = _visitor(browser, address, ANDROID, 9, 8, hints, "Mali-G715", viewport={"width": 390, "height": 844})
    page.goto("/")
    page.locator(".st-key-answer").get_by_text("on Pixel 8").wait_for()
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("button", name="That's my device").click()
    page.wait_for_url(re.compile("my_machine=Pixel"))
    page.context.close()
