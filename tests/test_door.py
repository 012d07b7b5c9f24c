from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.door import comes_from_here, door, limited_as
from recommender.settings import Settings

HERE = [("Host", "localhost:8501"), ("User-Agent", "a browser")]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8501", "127.0.0.1:80", "[::1]:8501", "[::1]", "app.localhost"]
)
@pytest.mark.parametrize("address", [None, "127.0.0.1", "::1", "::ffff:127.0.0.1", "127.3.2.1"])
def test_a_browser_on_this_computer_comes_through_the_local_door(host: str, address: str | None) -> None:
    assert comes_from_here(address, [("host", host)])


@pytest.mark.parametrize("address", ["192.168.1.20", "10.0.0.1", "2001:db8::1", "172.17.0.1", "testclient", ""])
def test_another_computer_does_not(address: str) -> None:
    assert not comes_from_here(address, HERE)


@pytest.mark.parametrize(
    "header",
    [
        ("X-Forwarded-For", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("Forwarded", "for=203.0.113.7"),
        ("Via", "1.1 proxy"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("X-Real-IP", "127.0.0.1"),
    ],
)
def test_a_proxy_on_this_computer_is_told_by_what_it_adds(header: tuple[str, str]) -> None:
    assert not comes_from_here(None, [*HERE, header])


@pytest.mark.parametrize("host", ["rightsize.example", "localhost.example:80", "192.168.1.5:8501", "127.0.0.1.example"])
def test_and_by_the_name_that_the_browser_asked_for(host: str) -> None:
    assert not comes_from_here("127.0.0.1", [("Host", host)])


def test_and_by_the_page_that_it_came_from() -> None:
    assert comes_from_here(None, [*HERE, ("Origin", "http://localhost:8501")])
    assert not comes_from_here(None, [*HERE, ("Origin", "https://rightsize.example")])
    assert not comes_from_here(None, [*HERE, ("Origin", "null")])


@given(st.one_of(st.none(), st.text()), st.lists(st.tuples(st.text(), st.text())))
def test_nothing_a_request_says_opens_a_door_that_the_settings_closed(
    address: str | None, headers: list[tuple[str, str]]
) -> None:
    assert door(replace(Settings(), door="hosted"), address, headers) == "hosted"
    assert door(replace(Settings(), door="local"), address, headers) == "local"
    assert door(Settings(), address, [*headers, ("Host", "rightsize.example")]) == "hosted"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.1", "203.0.113.2", False),
        ("::ffff:203.0.113.1", "203.0.113.1", True),
        ("::ffff:203.0.113.1", "::ffff:203.0.113.2", False),
        ("this computer", "this computer", True),
        ("", "2001:db8::1", False),
    ],
)
def test_to_a_limit_all_addresses_of_one_ipv6_network_are_one(one: str, other: str, same: bool) -> None:
    assert (limited_as(one) == limited_as(other)) is same
