"""The admin API on a store in memory, asked without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.resources import JsonObject
from salver.errors import ResourceNotFound
from salver.server.apis.ports import Clock
from salver.server.apis.routes import build_api_routes
from salver.server.apis.watching import WatchCounters
from salver.spec.kinds import KSERVE, RESOURCE_TYPES
from salver.spec.problems import Problem, manifest_error
from salver.telemetry.registry import Registry

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"


class FakeAdmission:
    """Refuses a predictor with `bad` members, warns of `odd` ones, keeps services as v1beta1."""

    def admit(self, obj: JsonObject, old: JsonObject | None) -> tuple[JsonObject, Sequence[str]]:
        if obj["kind"] != "InferenceService":
            return obj, ()
        predictor = (obj.get("spec") or {}).get("predictor") or {}
        problems = [
            Problem("", 0, 0, f"spec.predictor.{name}", "is bad")
            for name in predictor
            if "bad" in name
        ]
        if problems:
            raise manifest_error(problems)
        warnings = [f'"{name}" is odd' for name in predictor if "odd" in name]
        return {**obj, "apiVersion": f"{KSERVE}/v1beta1"}, warnings


async def read_logs(
    namespace: str, pod: str, *, follow: bool, tail: int | None
) -> AsyncIterator[bytes]:
    if pod == "unknown":
        raise ResourceNotFound('pods "unknown" not found')
    lines = [b"one\n", b"two\n"]
    for line in lines[-tail:] if tail else lines:
        yield line


class Api:
    """The API of one test; `ask` sends a request and gives the answer."""

    def __init__(self, store: SqliteResourceStore) -> None:
        self.store = store
        self.counters = WatchCounters(Registry())
        self.hooks: dict[str, Any] = {}
        self.now = NOW

    def app(self) -> Starlette:
        suffixes = count(1)
        return Starlette(
            routes=build_api_routes(
                self.store,
                FakeAdmission(),
                RESOURCE_TYPES,
                clock=Clock(lambda: self.now, lambda: f"rand{next(suffixes)}"),
                counters=self.counters,
                **{"read_logs": read_logs, **self.hooks},
            )
        )

    def ask(self, method: str, path: str, body: Any = None, **extra: Any) -> httpx.Response:
        if body is not None:
            extra["content"] = body if isinstance(body, bytes) else json.dumps(body).encode()
        media = extra.pop("media", "application/json" if body is not None else None)
        headers = {"user-agent": "tests/1.0", **extra.pop("headers", {})}
        if media:
            headers["content-type"] = media

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app())
            async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
                return await client.request(method, path, headers=headers, **extra)

        return asyncio.run(send())

    def create(self, name: str = "iris", **spec: Any) -> JsonObject:
        answer = self.ask("POST", SERVICES, service(name, **spec))
        assert answer.status_code == 201, answer.text
        created: JsonObject = answer.json()
        return created


def service(name: str, **predictor: Any) -> JsonObject:
    return {
        "apiVersion": f"{KSERVE}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor},
    }


@pytest.fixture
def make_service() -> Callable[..., JsonObject]:
    return service


@pytest.fixture
def api() -> Iterator[Api]:
    uids = count(1)
    store = SqliteResourceStore(None, now=lambda: NOW, new_uid=lambda: f"uid-{next(uids)}")
    yield Api(store)
    store.close()
