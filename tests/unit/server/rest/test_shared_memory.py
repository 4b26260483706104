"""Shared memory over REST: who may register it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.fakes import FakeCatalog, FakeModel
from tests.unit.server.grpc.test_shared_memory import Regions

from salver.engine.directory import ModelDirectory
from salver.server.rest.app import build_app
from salver.settings import ServeSettings

REGISTER = "/v2/systemsharedmemory/region/r/register"


def register(regions: Regions, caller: str, headers: dict[str, str]) -> httpx.Response:
    app = build_app(
        ModelDirectory(FakeCatalog(FakeModel("iris"))),
        ServeSettings(),
        render_metrics=lambda: b"",
        regions=regions,
    )

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(caller, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"key": "/k", "offset": 0, "byte_size": 8}
            return await client.post(REGISTER, json=body, headers=headers)

    return asyncio.run(send())


@pytest.mark.parametrize("caller", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_programs_of_this_machine_may(caller: str) -> None:
    regions = Regions()
    assert register(regions, caller, {}).status_code == 200
    assert [each.key for each in regions.regions()] == ["/k"]


@pytest.mark.parametrize(
    ("caller", "headers"),
    [
        ("10.0.0.7", {}),
        ("10.0.0.7", {"x-forwarded-for": "127.0.0.1"}),
        ("::ffff:10.0.0.7", {}),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", {"origin": "https://evil.example"}),
        ("127.0.0.1", {"host": "evil.example"}),
    ],
)
def test_callers_from_elsewhere_proxies_and_pages_may_not(
    caller: str, headers: dict[str, str]
) -> None:
    regions = Regions()
    refused = register(regions, caller, headers)
    assert refused.status_code == 501
    assert "loopback" in refused.json()["error"]
    assert not regions.regions()
