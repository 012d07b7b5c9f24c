"""The badge: the figure that Find shows, as a picture that any page may embed."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from recommender.badge import badge, badge_svg
from recommender.catalog.store import Catalog
from recommender.device import preset
from recommender.engine.recommend import recommend
from recommender.engine.words import rate
from recommender.types import Need

ASKED = {"model": "Qwen/Qwen3-4B", "quantization": "Q4_K_M", "device": "rtx-4060"}
FEW = 3


@pytest.fixture(scope="module")
def client(catalog: Catalog) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=[badge(lambda: catalog, 100_000)]), raise_server_exceptions=False) as made:
        yield made


def words(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_it_says_the_speed_that_find_shows(client: TestClient, catalog: Catalog) -> None:
    need = Need(task="code", models=(ASKED["model"],), quantizations=(ASKED["quantization"],))
    pick = recommend(preset("rtx-4060"), need, catalog).picks[0]
    assert pick.estimate.decode_tokens_per_s
    told = client.get("/badge.svg", params={**ASKED, "task": "code", "runtime": pick.runtime})
    assert told.status_code == 200
    assert told.headers["content-type"] == "image/svg+xml"
    speed = rate(pick.estimate.decode_tokens_per_s.value)
    assert words(told.text) == ["Qwen3-4B Q4_K_M", f"{speed} on NVIDIA GeForce RTX 4060 (estimated)"]


def test_what_does_not_fit_says_why(client: TestClient) -> None:
    told = client.get("/badge.svg", params={**ASKED, "model": "Qwen/Qwen3-32B", "device": "raspberry-pi-5"})
    assert told.status_code == 200
    assert words(told.text)[1].startswith("not on Raspberry Pi 5")


def test_it_may_be_kept_until_the_catalog_changes_and_can_do_nothing(client: TestClient) -> None:
    told = client.get("/badge.svg", params=ASKED)
    assert told.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert told.headers["x-content-type-options"] == "nosniff"
    assert "max-age" in told.headers["cache-control"]
    again = client.get("/badge.svg", params=ASKED, headers={"If-None-Match": told.headers["etag"]})
    assert (again.status_code, again.text) == (304, "")
    other = client.get("/badge.svg", params={**ASKED, "task": "code"}, headers={"If-None-Match": told.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({}, 422, "Which model?"),
        ({**ASKED, "device": ""}, 422, "Which device?"),
        ({**ASKED, "colour": "red"}, 422, "no 'colour'"),
        ({**ASKED, "device": ["rtx-4060", "rtx-4090"]}, 422, "given once"),
        ({**ASKED, "device": "<script>"}, 404, "no device called '<script>'"),
        ({**ASKED, "model": "no/such"}, 404, "no/such"),
        ({**ASKED, "quantization": "Q9"}, 422, "Q9"),
        ({**ASKED, "task": "sing"}, 404, "sing"),
        ({**ASKED, "runtime": "abacus"}, 404, "abacus"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_refusal_is_a_picture_of_a_sentence(
    client: TestClient, params: dict[str, str], status: int, said: str
) -> None:
    told = client.get("/badge.svg", params=params)
    assert told.status_code == status
    assert said in words(told.text)[1]
    assert told.headers["cache-control"] == "no-store"


def test_more_badges_than_allowed_are_a_picture_too(catalog: Catalog) -> None:
    with TestClient(Starlette(routes=[badge(lambda: catalog, FEW)])) as client:
        told = [client.get("/badge.svg") for _ in range(FEW + 1)]
    assert [one.status_code for one in told] == [422] * FEW + [429]
    assert "Wait" in words(told[-1].text)[1]
    assert int(told[-1].headers["Retry-After"]) >= 1


@given(st.text(), st.text())
def test_any_text_makes_a_picture_that_parses(label: str, message: str) -> None:
    drawn = ElementTree.fromstring(badge_svg(label, message))
    assert {one.tag.partition("}")[2] for one in drawn.iter()} <= {"svg", "title", "clipPath", "rect", "g", "text"}


@given(st.dictionaries(st.sampled_from([*ASKED, "task", "runtime", "other"]), st.text(max_size=20), max_size=5))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_may_be_asked_ends_in_a_fault(client: TestClient, asked: dict[str, str]) -> None:
    told = client.get("/badge.svg", params={**ASKED, **asked})
    assert told.status_code in (200, 404, 422)
    assert ElementTree.fromstring(told.text).tag.endswith("svg")
