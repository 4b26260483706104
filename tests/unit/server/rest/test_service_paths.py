"""One service's pages by path and by Host header, over the whole application."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory, ServiceEntry
from salver.server.rest.app import build_app
from salver.server.rest.service_paths import ServicePaths
from salver.settings import ServeSettings


@pytest.fixture
def directory() -> ModelDirectory:
    made = ModelDirectory(FakeCatalog(FakeModel("wine")))
    for namespace in ("default", "team-a"):
        made.expose(
            ServiceEntry(
                namespace,
                "iris",
                FakeModel("iris", "3" if namespace == "default" else "5"),
                components={"iris-predictor": FakeModel("iris", "9")},
                hosts=(f"iris-{namespace}.example.com",),
            )
        )
    return made


def get(directory: ModelDirectory, path: str, host: str = "localhost:8080") -> httpx.Response:
    app = build_app(directory, ServeSettings(), render_metrics=lambda: b"")

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path, headers={"host": host})

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("path", "host", "version"),
    [
        ("/v2/models/iris", "localhost:8080", "3"),
        ("/serving/default/iris/v2/models/iris", "localhost:8080", "3"),
        ("/serving/team-a/iris/v2/models/iris", "localhost:8080", "5"),
        ("/serving/default/iris-predictor/v2/models/iris", "localhost:8080", "9"),
        ("/v2/models/iris", "iris-team-a.example.com", "5"),
        ("/v2/models/iris", "IRIS-team-a.example.com:80", "5"),
        ("/serving/default/iris/v2/models/iris", "iris-team-a.example.com", "3"),
    ],
)
def test_the_address_says_whose_metadata_it_is(
    directory: ModelDirectory, path: str, host: str, version: str
) -> None:
    answer = get(directory, path, host)
    assert answer.status_code == 200, answer.text
    assert answer.json()["versions"] == [version]


def test_under_a_services_path_there_is_that_service_alone(directory: ModelDirectory) -> None:
    assert get(directory, "/serving/default/iris/v1/models").json() == {"models": ["iris"]}
    assert get(directory, "/serving/default/iris/v2/models/wine").status_code == 404
    assert get(directory, "/v1/models").json() == {"models": ["iris", "wine"]}


@pytest.mark.parametrize("path", ["/serving/default/iris", "/serving/default/iris/"])
def test_a_services_own_path_is_its_first_page(directory: ModelDirectory, path: str) -> None:
    assert get(directory, path).status_code == get(directory, "/").status_code == 200


def test_a_path_of_no_service_is_not_found_and_says_where_to_look(
    directory: ModelDirectory,
) -> None:
    answer = get(directory, "/serving/default/nobody/v1/models")
    assert answer.status_code == 404
    assert "unknown service 'default/nobody'" in answer.json()["error"]
    assert get(directory, "/serving/default").status_code == 404


def test_what_is_not_http_is_handed_on(directory: ModelDirectory) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    asyncio.run(ServicePaths(app, directory)({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]


def test_a_request_without_a_host_is_the_servers_own(directory: ModelDirectory) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "http", "path": "/v1/models", "raw_path": b"/v1/models", "headers": []}
    asyncio.run(ServicePaths(app, directory)(scope, nothing, nothing))
    assert seen == [scope]
