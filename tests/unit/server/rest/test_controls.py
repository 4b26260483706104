"""Trace and log settings over REST, as Triton's clients ask for them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory
from salver.engine.tracing import RequestTracing
from salver.server.controls import ServerControls
from salver.server.rest.app import build_app
from salver.settings import ServeSettings
from salver.telemetry.log_settings import LogControl, LogSettings
from salver.telemetry.trace_file import TraceFiles
from salver.telemetry.trace_settings import TraceBook

GLOBAL, OF_IRIS, LOGGING = "/v2/trace/setting", "/v2/models/iris/trace/setting", "/v2/logging"


@pytest.fixture
def ask(tmp_path: Any) -> Iterator[Any]:
    yield asker(tmp_path)


def asker(tmp_path: Any, key: str = "") -> Any:
    logger, handler = (
        logging.getLogger("salver.test-controls"),
        logging.StreamHandler(io.StringIO()),
    )
    logs = LogControl(handler, logger, LogSettings(), logging.Formatter())
    files = TraceFiles(tmp_path / "t.json")
    tracing = RequestTracing(TraceBook("t.json"), files, lambda: 0)
    app = build_app(
        ModelDirectory(FakeCatalog(FakeModel("iris"), FakeModel("wine"))),
        ServeSettings(),
        render_metrics=lambda: b"",
        controls=ServerControls(tracing, logs, key),
    )

    def asked(
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        caller: str = "127.0.0.1",
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app, client=(caller, 1))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                content = content if body else b""
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(send())

    return asked


def test_settings_are_told_as_triton_tells_them(ask: Any) -> None:
    assert ask("GET", GLOBAL).json() == {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "t.json",
        "trace_mode": "triton",
    }
    assert ask("GET", LOGGING).json() == {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }


def test_a_model_s_settings_are_its_own_until_they_are_cleared(ask: Any) -> None:
    assert ask("POST", OF_IRIS, {"trace_rate": "4"}).json()["trace_rate"] == "4"
    assert ask("GET", GLOBAL).json()["trace_rate"] == "1000"
    assert ask("GET", "/v2/models/wine/trace/setting").json()["trace_rate"] == "1000"
    assert ask("POST", OF_IRIS, {"trace_rate": None}).json()["trace_rate"] == "1000"
    found = ask("POST", GLOBAL, {"trace_level": ["TENSORS", "TIMESTAMPS"]}).json()
    assert found["trace_level"] == ["TIMESTAMPS", "TENSORS"]
    assert ask("GET", OF_IRIS).json()["trace_level"] == ["TIMESTAMPS", "TENSORS"]


def test_an_unknown_model_has_no_settings(ask: Any) -> None:
    for method in ("GET", "POST"):
        assert ask(method, "/v2/models/nope/trace/setting").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (GLOBAL, {"trace_rate": 5}, 400, "must be a string"),
        (GLOBAL, {"trace_rate": ["5"]}, 400, "must be a string"),
        (GLOBAL, {"trace_level": [5]}, 400, "must be a list of strings"),
        (GLOBAL, {"trace_level": ["LOUD"]}, 400, "LOUD"),
        (GLOBAL, {"trace_file": "/etc/passwd"}, 501, "can not be updated through network"),
        (GLOBAL, {"trace_mode": "opentelemetry"}, 501, "--otlp-endpoint"),
        (GLOBAL, {"nope": "1"}, 400, "no trace setting 'nope'"),
        (GLOBAL, [1], 400, "JSON object"),
        (GLOBAL, b"{", 400, "no JSON"),
        (LOGGING, {"log_file": "/etc/passwd"}, 501, "can not be updated through network"),
        (LOGGING, {"log_info": "yes"}, 400, "true or false"),
        (LOGGING, {"log_verbose_level": -1}, 400, "whole number"),
        (LOGGING, {"nope": 1}, 400, "no log setting 'nope'"),
    ],
)
def test_a_wrong_setting_is_refused(
    ask: Any, path: str, body: Any, status: int, message: str
) -> None:
    before = ask("GET", path).json()
    answer = ask("POST", path, body)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert ask("GET", path).json() == before


def test_log_settings_are_changed_and_told(ask: Any) -> None:
    wanted = {"log_info": False, "log_verbose_level": 2, "log_format": "ISO8601"}
    assert ask("POST", LOGGING, wanted).json().items() >= wanted.items()
    assert ask("GET", LOGGING).json().items() >= wanted.items()
    assert ask("PUT", LOGGING).status_code == 405


CHANGES = [
    (GLOBAL, {"trace_rate": "5"}),
    (OF_IRIS, {"trace_rate": "5"}),
    (LOGGING, {"log_info": False}),
]


@pytest.mark.parametrize(("path", "change"), CHANGES)
def test_only_programs_of_this_machine_may_change_them(ask: Any, path: str, change: Any) -> None:
    before = ask("GET", path, caller="10.0.0.7")
    assert before.status_code == 200
    refused = [
        ask("POST", path, change, caller="10.0.0.7"),
        ask("POST", path, change, {"x-forwarded-for": "127.0.0.1"}),
        ask("POST", path, change, {"x-forwarded-for": "127.0.0.1"}, caller="10.0.0.7"),
        ask("POST", path, change, {"host": "evil.example"}),
        ask("POST", path, change, {"origin": "https://evil.example"}),
    ]
    assert [each.status_code for each in refused] == [403] * len(refused)
    assert all("--admin-key" in each.json()["error"] for each in refused)
    assert ask("GET", path).json() == before.json()
    assert ask("POST", path, change, caller="::1").status_code == 200


@pytest.mark.parametrize(("path", "change"), CHANGES)
def test_who_has_the_key_may_change_them_from_anywhere(
    tmp_path: Any, path: str, change: Any
) -> None:
    ask = asker(tmp_path, "s3cret")
    assert ask("GET", path).status_code == 200
    assert ask("POST", path, change).status_code == 401
    key = {"authorization": "Bearer s3cret"}
    assert ask("POST", path, change, key, caller="10.0.0.7").status_code == 200
