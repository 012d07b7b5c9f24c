"""A hosted instance in a real Chromium: what a stranger sees, and who may administer it."""

from __future__ import annotations

import json
import logging
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recommender.catalog.store import Catalog
from tests.served import CHROMIUM, free_port, served, settled

oidc = pytest.importorskip("oidc_provider_mock", reason="oidc-provider-mock is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:oidc_provider_mock.*"),
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]
BOSS, VISITOR, UNVERIFIED = "boss", "visitor", "pretender"
BOSS_EMAIL = "Boss@example.org"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosted")


@pytest.fixture(scope="module")
def address(home: Path, catalog: Catalog) -> Iterator[str]:
    """A hosted instance with a real sign-in service that knows three people."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = free_port()
    people = [
        oidc.User(sub=BOSS, claims={"email": BOSS_EMAIL, "email_verified": True}),
        oidc.User(sub=VISITOR, claims={"email": "visitor@example.org", "email_verified": True}),
        oidc.User(sub=UNVERIFIED, claims={"email": BOSS_EMAIL, "email_verified": False}),
    ]
    with oidc.run_server_in_thread(user_claims=people) as provider:
        secrets = home / ".streamlit" / "secrets.toml"
        secrets.parent.mkdir()
        secrets.write_text(f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "of-this-test-only"
client_id = "rightsize"
client_secret = "hush-hush"
server_metadata_url = "http://127.0.0.1:{provider.server_port}/.well-known/openid-configuration"
""")
        variables = {"RIGHTSIZE_DOOR": "hosted", "RIGHTSIZE_ADMINS": "boss@example.org", "HF_HUB_OFFLINE": "1"}
        with served(home, catalog, variables, port) as found:
            yield found


def _sign_in(page: Any, address: str, who: str) -> None:
    page.goto(f"{address}/explore")
    page.get_by_text("logical cores").first.wait_for()  # the browser's answer draws the page once more
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_role("button", name="Sign in to administer").click()
    page.locator("input[name=sub]").fill(who)
    page.get_by_role("button", name=re.compile("authorize", re.IGNORECASE)).first.click()
    page.wait_for_url(f"{address}/**")
    page.goto(f"{address}/explore")
    page.get_by_text("Signed in as").wait_for()


def test_a_stranger_changes_nothing_and_sees_nothing_of_the_server(page: Any, address: str, home: Path) -> None:
    page.goto(f"{address}/explore")
    page.get_by_text(re.compile(r"^Tick a row")).wait_for()
    assert page.get_by_text("Keep the catalog current").count() == 0
    assert page.get_by_role("link", name="Files").count() == 0
    page.goto(f"{address}/try-it?where=This+server's+llama.cpp")
    page.get_by_text("for all visitors").wait_for()
    seen = page.locator("body").inner_text()
    assert "this computer" not in seen.casefold()
    assert "A GGUF file on" not in seen
    page.goto(f"{address}/files")
    page.get_by_text(re.compile("page.*not.*found", re.IGNORECASE)).first.wait_for()
    page.goto(f"{address}/method")
    page.get_by_text("How well speeds are predicted").wait_for()
    seen = page.locator("body").inner_text()
    assert str(home) not in seen
    assert platform.node() not in seen


@pytest.mark.parametrize("who", [VISITOR, UNVERIFIED])
def test_signing_in_alone_gives_no_power(page: Any, address: str, who: str) -> None:
    _sign_in(page, address, who)
    page.get_by_text("does not administer this instance").wait_for()
    assert page.get_by_text("Keep the catalog current").count() == 0


def test_who_administers_may_refresh_and_that_is_written_down(page: Any, address: str, home: Path) -> None:
    _sign_in(page, address, BOSS)
    page.get_by_text("You administer this instance").wait_for()
    page.get_by_role("link", name="Files").first.wait_for()
    settled(page)
    page.get_by_text("Keep the catalog current").click()
    path = page.get_by_role("textbox", name="Or add a GGUF of your own")
    path.fill("/nowhere/at/all.gguf")
    path.press("Enter")
    page.get_by_role("button", name="Add this GGUF").click()
    page.get_by_text("It did not work").first.wait_for()
    [line] = [json.loads(one) for one in (home / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (line["who"], line["what"], line["about"]) == ("boss@example.org", "catalog: add", "/nowhere/at/all.gguf")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/end_session**")
    page.goto(f"{address}/explore")
    page.get_by_role("button", name="Sign in to administer").wait_for()
    log = (home / "log.txt").read_text()
    assert "hush-hush" not in log
    assert "Traceback" not in log
