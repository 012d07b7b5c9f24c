"""A model in the visitor's browser, end to end: a real Chromium, the real wllama, a tiny model that the app serves."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from recommender import browser_assets
from recommender.catalog.store import Catalog
from recommender.errors import DownloadError
from recommender.ui.browser_run import IN_BROWSER
from tests.served import CHROMIUM, served
from tests.tiny_gguf import write_tiny_gguf

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]
SERVED, SLOW = "tiny.gguf", "slow.gguf"
# A page that believes in four cores runs two threads.
CORES = "Object.defineProperty(navigator, 'hardwareConcurrency', { get: () => 4 })"
NO_STORAGE = "delete StorageManager.prototype.getDirectory"
NO_JSPI = "delete WebAssembly.Suspending"
NOT_ISOLATED = "Object.defineProperty(globalThis, 'crossOriginIsolated', { get: () => false })"
NO_SIMD = "WebAssembly.validate = () => false"
ENGINE, CDN, HUB = "**/browser/engine/**", "https://cdn.jsdelivr.net/**", "https://huggingface.co/**"


@pytest.fixture(scope="module")
def engine() -> Path:
    """wllama's files, fetched unless they are there."""
    try:
        return browser_assets.fetch().folder
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def address(catalog: Catalog, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hosted instance with two models of its own."""
    home = tmp_path_factory.mktemp("hosted")
    (home / "models").mkdir()
    write_tiny_gguf(home / "models" / SERVED)
    write_tiny_gguf(home / "models" / SLOW, n_embd=512, layers=8, block_count=8)
    variables = {"RIGHTSIZE_DOOR": "hosted", "RIGHTSIZE_BROWSER_MODELS": str(home / "models")}
    with served(home, catalog, variables) as found:
        yield found


def _of_server(file: str) -> str:
    return "/try-it?" + urlencode({"browser_source": "A file of this server", "browser_file": file})


def _of_catalog() -> str:
    return "/try-it?" + urlencode({"where": IN_BROWSER, "model": "SmolLM2-135M-Instruct", "quant": "Q8_0"})


def _says(page: Any, words: str) -> Any:
    """Wait until the component says so."""
    return page.locator("p.state").filter(has_text=re.compile(words)).wait_for()


def test_a_model_answers_and_its_times_arrive_in_python(page: Any) -> None:
    page.goto(_of_server(SERVED))
    page.get_by_role("button", name="Run in this browser · downloads 118 KiB").click()
    _says(page, "Done")
    assert page.locator("pre.answer").inner_text().strip()
    assert page.locator("pre.answer b, pre.answer a").count() == 0
    shown = page.locator(".st-key-browser_result")
    shown.get_by_text("measured in your browser").wait_for()
    said = shown.inner_text()
    for words in ("Tiny Q8_0", "wllama-cpu", "Decode", "Prefill", "First token", "tok/s", "corrects no estimate"):
        assert words in said
    # The file is kept in the browser until it is removed.
    page.get_by_role("button", name=re.compile("118 KiB, already here")).wait_for()
    page.get_by_role("button", name="Remove it from this browser").click()
    page.get_by_role("button", name="Run in this browser · downloads 118 KiB").wait_for()


def test_an_isolated_page_runs_threads_and_stop_ends_them(page: Any) -> None:
    page.add_init_script(CORES)
    page.goto(_of_server(SLOW))
    page.locator("button.start").click()
    _says(page, "2 threads")
    assert page.evaluate("crossOriginIsolated")
    page.get_by_role("button", name="Stop").click()
    _says(page, "Stopped. Its memory is free again.")
    assert page.locator("button.start").is_enabled()
    page.wait_for_function("true")
    assert page.locator(".st-key-browser_result").count() == 0


def test_a_browser_that_lacks_something_says_so_and_takes_the_next_best_way(page: Any) -> None:
    for lacking in (NO_STORAGE, NO_JSPI, NOT_ISOLATED):
        page.add_init_script(lacking)
    page.goto(_of_server(SLOW))
    page.locator("button.start").click()
    _says(page, "processor, 1 thread$|Answering|Measuring")
    notes = page.locator("ul.notes").inner_text()
    for words in ("No WebGPU here", "runs one thread", "compatible build", "keeps no files"):
        assert words in notes
    page.get_by_role("button", name="Stop").click()
    _says(page, "Stopped")

    other = page.context.new_page()
    other.add_init_script(NO_SIMD)
    other.goto(_of_server(SERVED))
    other.locator("button.start").click()
    _says(other, "no WebAssembly with SIMD")


def test_only_one_tab_runs_a_model(page: Any) -> None:
    page.goto(_of_server(SLOW))
    page.locator("button.start").click()
    _says(page, "processor|Answering")
    other = page.context.new_page()
    other.goto(_of_server(SERVED))
    other.locator("button.start").click()
    _says(other, "Another tab runs a model already")
    page.get_by_role("button", name="Stop").click()


def test_a_rehearsal_loads_the_exact_shape_and_downloads_no_weights(page: Any) -> None:
    fetched: list[int] = []
    page.on("response", lambda answer: fetched.append(int(answer.headers.get("content-length", 0))))
    page.route(HUB, lambda route: route.abort())
    page.goto(_of_catalog())
    page.locator("button.rehearse").click()
    _says(page, "Measuring")
    page.get_by_role("button", name="Stop").click()
    _says(page, "Stopped")
    assert max(fetched) < 8e6  # Streamlit's and wllama's own files; the weights have 145 MB


def test_without_the_app_s_own_files_only_checked_ones_are_taken(page: Any, engine: Path) -> None:
    page.route(ENGINE, lambda route: route.fulfill(status=404))
    page.route(CDN, lambda route: route.fulfill(body=b"export const stolen = 1;", headers=_CORS))
    page.goto(_of_server(SERVED))
    page.locator("button.start").click()
    _says(page, "could not be loaded.*browser-assets")

    page.unroute(CDN)
    page.route(CDN, lambda route: route.fulfill(body=_unpacked(engine, route.request.url), headers=_CORS))
    page.locator("button.start").click()
    _says(page, "Loading the model|Answering|Measuring")
    page.get_by_role("button", name="Stop").click()


def test_a_file_that_is_missing_or_none_is_a_sentence(page: Any) -> None:
    answers: list[dict[str, Any]] = [
        {"status": 404},
        {"body": b"<html>Sign in</html>"},
        {"body": b"GGUF" + bytes(range(256)) * 40},
    ]
    page.route(HUB, lambda route: route.fulfill(headers=_CORS, **answers[0]))
    page.goto(_of_catalog())
    for words in ("the server answered 404", "not a GGUF file", "could not load the file"):
        page.locator("button.start").click()
        _says(page, words)
        answers.pop(0)
    assert page.locator("p.state.failed").count() == 1


_CORS = {"access-control-allow-origin": "*", "content-type": "text/javascript"}


def _unpacked(engine: Path, url: str) -> bytes:
    [one] = [one for one in browser_assets.assets() if url.endswith(one.member) and f"/{one.package}@" in url]
    return gzip.decompress((engine / browser_assets.stored_as(one)).read_bytes())
