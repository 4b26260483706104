"""Requests that a service answers itself, over the whole application."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory, ServiceEntry
from salver.engine.forwarding import SplitForwarder
from salver.engine.ports import ForwardedAnswer, ForwardedRequest
from salver.engine.traffic import Target, TrafficSplit
from salver.errors import ModelNotFound, QueueFull, Unavailable
from salver.server.rest.app import build_app
from salver.settings import ServeSettings


class Echo(FakeModel):
    """A `Forwarder` that answers with what it was asked."""

    error: Exception | None = None
    breaks = False
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @contextlib.asynccontextmanager
    async def forward(self, request: ForwardedRequest) -> AsyncIterator[ForwardedAnswer]:
        if self.error is not None:
            raise self.error
        yield _Answer(self, request)


class _Answer:
    status = 203

    def __init__(self, echo: Echo, request: ForwardedRequest) -> None:
        self.headers = echo.headers
        self._echo = echo
        self._request = request

    async def chunks(self) -> AsyncIterator[bytes]:
        request = self._request
        yield b'{"by": "' + self._echo.version.encode() + b'", "seen": '
        if self._echo.breaks:
            raise Unavailable("it is cut off")
        headers = {str(name, "ascii"): str(value, "latin-1") for name, value in request.headers}
        seen = [request.method, request.target, request.body.decode(), headers]
        yield json.dumps(seen).encode() + b"}"


def send(
    directory: ModelDirectory, method: str, path: str, host: str = "x", **options: Any
) -> httpx.Response:
    app = build_app(directory, ServeSettings(), render_metrics=lambda: b"")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


def exposed(echo: Echo, **more: Any) -> ModelDirectory:
    directory = ModelDirectory(FakeCatalog())
    hosts = ("iris.example.com",)
    directory.expose(ServiceEntry("default", "iris", echo, hosts=hosts, forward=echo, **more))
    return directory


def test_path_query_and_body_go_along_as_they_are() -> None:
    answer = send(exposed(Echo("iris")), "PUT", "/serving/default/iris/a%2Fb?c=%20d", content=b"e")
    assert answer.status_code == 203
    method, target, body, headers = answer.json()["seen"]
    assert (method, target, body) == ("PUT", "/a%2Fb?c=%20d", "e")
    assert headers["x-forwarded-prefix"] == "/serving/default/iris"
    assert send(exposed(Echo("iris")), "GET", "/serving/default/iris").json()["seen"][1] == "/"


def test_at_a_host_the_whole_path_goes_along() -> None:
    headers = {"x-forwarded-for": "1.2.3.4", "x-forwarded-prefix": "kept"}
    answer = send(exposed(Echo("iris")), "GET", "/apis", "iris.example.com", headers=headers)
    _, target, _, seen = answer.json()["seen"]
    assert target == "/apis"
    assert seen["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert (seen["x-forwarded-host"], seen["x-forwarded-prefix"]) == ("iris.example.com", "kept")


def test_headers_about_a_connection_stay_behind_both_ways() -> None:
    echo = Echo("iris")
    echo.headers = (
        (b"connection", b"close, X-Gone"),
        (b"x-gone", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"date", b"today"),
        (b"x-kept", b"2"),
    )
    given = {"connection": "x-mine", "x-mine": "1", "te": "trailers", "expect": "100-continue"}
    answer = send(exposed(echo), "GET", "/serving/default/iris/a", headers=given)
    assert dict(answer.headers) == {"x-kept": "2"}
    seen = answer.json()["seen"][3]
    assert not {"connection", "x-mine", "te", "expect", "host"} & seen.keys()


def test_a_refusal_has_its_status_and_a_cut_is_one() -> None:
    echo = Echo("iris")
    echo.error = QueueFull("model 'iris' has enough to do")
    answer = send(exposed(echo), "GET", "/serving/default/iris/a")
    assert (answer.status_code, answer.json()) == (429, {"error": "model 'iris' has enough to do"})
    echo.error, echo.breaks = None, True
    with pytest.raises(Unavailable):
        send(exposed(echo), "GET", "/serving/default/iris/a")


def test_components_and_tagged_revisions_are_asked_for_themselves() -> None:
    iris, old = Echo("iris", "2"), Echo("iris", "1")
    directory = exposed(
        iris,
        components={"iris-predictor": old},
        tagged={"prev-iris.example.com": old},
        forwards={"iris-predictor": old, "prev-iris.example.com": old},
    )
    assert send(directory, "GET", "/serving/default/iris/a").json()["by"] == "2"
    assert send(directory, "GET", "/serving/default/iris-predictor/a").json()["by"] == "1"
    assert send(directory, "GET", "/a", "prev-iris.example.com").json()["by"] == "1"


def test_only_what_speaks_for_itself_has_no_inference_routes_of_ours() -> None:
    echo = Echo("iris")
    assert exposed(echo).find_in("default/iris", "iris") is echo
    with pytest.raises(ModelNotFound, match="speaks a protocol of its own"):
        exposed(echo, is_opaque=True).find_in("default/iris", "iris")


def test_a_split_sends_requests_to_the_revision_it_picks() -> None:
    one, two, worker = Echo("iris", "1"), Echo("iris", "2"), FakeModel("iris", "3")
    points = iter([0.0, 0.5, 0.95])
    split = TrafficSplit(
        "iris",
        [Target("a", 40, one), Target("b", 50, two, "new"), Target("c", 10, worker)],
        random_number=lambda: next(points),
    )
    directory = ModelDirectory(FakeCatalog())
    forward = SplitForwarder(split, {one: one, two: two})
    directory.expose(ServiceEntry("default", "iris", split, forward=forward))
    path = "/serving/default/iris/a"
    tagged = send(directory, "GET", path, headers={"salver-tag": "new"})
    assert tagged.json()["by"] == "2"
    assert [send(directory, "GET", path).json()["by"] for _ in range(2)] == ["1", "2"]
    answer = send(directory, "GET", path)
    assert (answer.status_code, "answers V1 and V2 only" in answer.text) == (501, True)
