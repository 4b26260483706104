"""Who is on this machine, by address."""

from __future__ import annotations

import pytest

from salver.server.local_callers import binds_locally, is_local


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("127.0.0.1:4711", True),
        ("[::1]:4711", True),
        ("ipv4:127.0.0.1:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("10.0.0.7", False),
        ("ipv4:10.0.0.7:80", False),
        ("[2001:db8::1]:80", False),
        ("::ffff:10.0.0.7", False),
        ("0.0.0.0", False),
        ("", False),
        ("unix:", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_loopback_addresses_are_local(address: str, wanted: bool) -> None:
    assert is_local(address) is wanted


@pytest.mark.parametrize(
    ("host", "wanted"), [("localhost", True), ("127.0.0.1", True), ("::1", True), ("", False)]
)
def test_a_listener_on_the_loopback_hears_this_machine_only(host: str, wanted: bool) -> None:
    assert binds_locally(host) is wanted
    assert not binds_locally("0.0.0.0")
