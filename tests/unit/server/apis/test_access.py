"""Who gets at the admin API."""

from __future__ import annotations

import pytest

from salver.server.apis.access import is_loopback, why_refused

HERE = {"host": "127.0.0.1:8080"}


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:1", "[::1]:8080"])
def test_programs_of_this_machine_need_no_key(host: str) -> None:
    assert why_refused("127.0.0.1", {"host": host}, "") == ""
    assert why_refused("::1", {"host": host}, "") == ""


def test_another_machine_needs_a_key() -> None:
    assert "not from 10.0.0.7" in why_refused("10.0.0.7", HERE, "")
    assert "--admin-key" in why_refused("10.0.0.7", HERE, "")


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip"])
def test_a_caller_behind_a_proxy_of_this_machine_needs_a_key(header: str) -> None:
    assert "behind a proxy" in why_refused("127.0.0.1", {**HERE, header: "10.0.0.7"}, "")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "", "[::1"])
def test_a_name_that_a_page_could_have_given_to_this_machine_is_refused(host: str) -> None:
    assert "is asked for as" in why_refused("127.0.0.1", {"host": host}, "")


def test_a_page_of_another_site_is_refused() -> None:
    headers = {**HERE, "origin": "https://evil.example"}
    assert "pages of https://evil.example" in why_refused("127.0.0.1", headers, "")
    assert why_refused("127.0.0.1", {**HERE, "origin": "null"}, "")
    assert why_refused("127.0.0.1", {**HERE, "origin": "http://127.0.0.1:8080"}, "") == ""


def test_a_key_lets_anybody_in_who_has_it() -> None:
    headers = {"host": "models.example", "authorization": "Bearer s3cret"}
    assert why_refused("10.0.0.7", headers, "s3cret") == ""


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic s3cret", "s3cret"])
def test_a_key_keeps_out_those_without_it_even_on_this_machine(given: str) -> None:
    assert "needs its key" in why_refused("127.0.0.1", {**HERE, "authorization": given}, "s3cret")


def test_loopback_is_an_address_or_localhost() -> None:
    assert is_loopback("127.8.9.1") and is_loopback("::1") and is_loopback("LOCALHOST")
    assert not is_loopback("") and not is_loopback("8.8.8.8") and not is_loopback("local")
