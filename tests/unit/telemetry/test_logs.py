"""Log lines as people and as machines read them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.telemetry.logs import (
    ACCESS_LOGGER,
    Echo,
    JsonFormatter,
    TextFormatter,
    accepted_request_id,
    configure,
    log_event,
    log_failure,
    log_request,
)

LOG = logging.getLogger("salver.test")


@pytest.fixture(autouse=True)
def _untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), logging.getLogger("salver").level
    yield
    root.handlers[:] = handlers
    logging.getLogger("salver").setLevel(level)


def test_a_text_line_names_the_event_and_its_fields() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    log_event(LOG, logging.INFO, "model loaded", model="iris", seconds=0.41, path="/a b")
    line = stream.getvalue()
    assert line.endswith('info    model loaded  model=iris seconds=0.41 path="/a b"\n')


def test_a_json_line_holds_time_level_event_and_fields() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    log_event(LOG, logging.WARNING, "worker died", model="iris", exit_code=-9)
    line = json.loads(stream.getvalue())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "worker died",
        "logger": "salver.test",
        "model": "iris",
        "exit_code": -9,
    }


def test_a_field_cannot_replace_what_every_line_has() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    log_event(LOG, logging.INFO, "loaded", level="fatal", event="other")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"]) == ("info", "loaded")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_level_that_is_off_writes_nothing(log_format: str) -> None:
    stream = io.StringIO()
    configure("warning", log_format, stream)
    log_event(LOG, logging.INFO, "quiet")
    assert stream.getvalue() == ""


def test_configuring_twice_writes_each_line_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "text", first)
    configure("info", "text", second)
    log_event(LOG, logging.INFO, "once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


@given(st.text())
def test_no_field_and_no_event_can_start_a_line_of_its_own(text: str) -> None:
    for formatter in (TextFormatter(), JsonFormatter()):
        record = logging.LogRecord("salver", logging.INFO, "", 0, "%s", (text,), None)
        record.salver_fields = {"given": text}
        assert len(formatter.format(record).splitlines()) <= 1


def test_a_failure_carries_its_traceback() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        raise KeyError("lost")
    except KeyError as error:
        log_failure(LOG, "handler failed", error, path="/v2")
    line = json.loads(stream.getvalue())
    assert "KeyError: 'lost'" in line["exception"]
    assert line["path"] == "/v2"


def test_the_access_line_says_who_asked_what_and_how_long_it_took() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    log_request(
        logging.getLogger(ACCESS_LOGGER),
        request_id="r-1",
        protocol="v2",
        target="/v2/models/iris/infer",
        status=200,
        duration_s=0.0012345,
        model="iris",
    )
    line = json.loads(stream.getvalue())
    assert line["event"] == "request"
    assert line["duration_ms"] == 1.234
    assert (line["request_id"], line["model"], line["status"]) == ("r-1", "iris", 200)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("abc-123", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        (None, False),
        ("two\nlines", False),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", False),
    ],
)
def test_a_request_id_is_taken_over_only_if_it_is_short_and_printable(
    header: str | None, accepted: bool
) -> None:
    assert accepted_request_id(header) == (header if accepted else None)


def test_what_models_print_is_copied_as_it_is_or_as_json() -> None:
    for log_format, expected in (("text", "hello"), ("json", '"event": "hello"')):
        stream = io.StringIO()
        echo = Echo(log_format, stream)
        echo("iris-00001", "hello")
        echo("iris-00001", '{"ts": "now", "event": "own"}')
        echo.close(5.0)
        first, second = stream.getvalue().splitlines()
        assert expected in first
        assert second == '{"ts": "now", "event": "own"}'


def test_a_stderr_that_nobody_reads_drops_lines_and_holds_nobody_up() -> None:
    class Stuck(io.StringIO):
        may_write = threading.Event()

        def write(self, text: str) -> int:
            self.may_write.wait(10)
            return len(text)

    stream = Stuck()
    echo = Echo("text", stream)
    for _ in range(10_500):
        echo("flood", "x")
    assert echo.dropped >= 400
    stream.may_write.set()
    echo.close(5.0)
