"""What every test may use: one catalog built from the shipped facts, and a few machines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recommender import paths
from recommender.catalog.entries import open_entries
from recommender.catalog.sources.base import Batch
from recommender.catalog.store import Catalog, open_catalog
from recommender.types import GIB, Device, Gpu
from tests.catalog.entries_made import new_maker_model
from tests.served import CHROMIUM, FLAGS, PATIENCE_S


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the person's own data folder."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv(paths.HOME_VARIABLE, str(home))
    yield home
    patch.undo()


@pytest.fixture(scope="session")
def catalog(_own_home: Path) -> Iterator[Catalog]:
    """The shipped catalog."""
    with open_catalog() as opened:
        yield opened


@pytest.fixture
def told_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> Path:
    """A data folder with the shipped catalog built in it, what a refresh was told before, and no network to ask."""
    built = paths.catalog_database()
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copyfile(built, paths.catalog_database())
    with open_entries() as store:
        store.add("hugging-face", Batch(new_maker_model(), "1"))
    return tmp_path


@pytest.fixture
def laptop() -> Device:
    """A machine without a GPU: 16 GiB, 12 of them free."""
    return Device(
        id="laptop",
        name="A laptop",
        kind="laptop",
        os="linux",
        arch="x86-64",
        physical_cores=8,
        usable_threads=8,
        isa=("avx2",),
        ram_bytes=16.0 * GIB,
        ram_free_bytes=12.0 * GIB,
        bandwidth_bytes_per_s=51.2e9,
        disk_free_bytes=200.0 * GIB,
    )


@pytest.fixture
def workstation() -> Device:
    """A machine with a card of 24 GiB."""
    card = Gpu("A card", "nvidia", "cuda", 24.0 * GIB, 23.0 * GIB, 1008e9, 165e12, "8.9")
    return Device(
        id="workstation",
        name="A workstation",
        kind="desktop",
        os="linux",
        arch="x86-64",
        physical_cores=16,
        usable_threads=16,
        isa=("avx2", "avx512f"),
        ram_bytes=64.0 * GIB,
        ram_free_bytes=56.0 * GIB,
        bandwidth_bytes_per_s=83.2e9,
        gpus=(card,),
        disk_free_bytes=500.0 * GIB,
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium. Not for all modules at once: while its driver runs, nothing else here may run an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """An empty page of a visitor of their own; ``address`` is the module's served app."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context.new_page()
    context.close()
