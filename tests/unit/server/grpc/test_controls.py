"""TraceSetting and LogSettings, their bytes as a field reader sees them."""

from __future__ import annotations

import io
import logging
from logging import Formatter
from typing import Any

import pytest

from salver.engine.tracing import RequestTracing
from salver.errors import InvalidInput, ModelNotFound, Unsupported
from salver.server.controls import ServerControls
from salver.server.grpc import fields
from salver.server.grpc.control import ControlMethods
from salver.server.grpc.controls import control_methods
from salver.server.grpc.ports import Code
from salver.telemetry.log_settings import LogControl, LogSettings
from salver.telemetry.trace_file import TraceFiles
from salver.telemetry.trace_settings import TraceBook

BOOL, UINT32, STRING = 1, 2, 3


@pytest.fixture
def call(catalog: Any, tmp_path: Any) -> Any:
    logger, handler = (
        logging.getLogger("salver.test-controls"),
        logging.StreamHandler(io.StringIO()),
    )
    logs = LogControl(handler, logger, LogSettings(), Formatter())
    tracing = RequestTracing(TraceBook("t.json"), TraceFiles(tmp_path / "t"), lambda: 0)
    methods = control_methods(ServerControls(tracing, logs), catalog)

    def called(method: str, payload: bytes = b"") -> dict[str, list[tuple[int, Any]]]:
        found = {}
        for number, entry in fields.read_fields(methods[method](payload, lambda: None)):
            assert number == 1
            assert isinstance(entry, bytes)
            (_, key), (_, value) = fields.read_fields(entry)
            found[bytes(key).decode()] = list(fields.read_fields(value))  # type: ignore[arg-type]
        return found

    return called


def setting(name: str, value: bytes) -> bytes:
    return fields.bytes_field(1, fields.text_field(1, name) + fields.bytes_field(2, value))


def traced(name: str, *values: str) -> bytes:
    return setting(name, b"".join(fields.text_field(1, value) for value in values))


def of(model: str) -> bytes:
    return fields.text_field(2, model)


def test_trace_settings_are_lists_of_strings(call: Any) -> None:
    found = call("TraceSetting")
    assert found["trace_level"] == [(1, b"OFF")]
    assert found["trace_file"] == [(1, b"t.json")]
    found = call("TraceSetting", traced("trace_level", "TENSORS", "TIMESTAMPS"))
    assert found["trace_level"] == [(1, b"TIMESTAMPS"), (1, b"TENSORS")]


def test_a_setting_without_values_is_cleared(call: Any) -> None:
    assert call("TraceSetting", traced("trace_rate", "5") + of("iris"))["trace_rate"] == [(1, b"5")]
    assert call("TraceSetting")["trace_rate"] == [(1, b"1000")]
    cleared = call("TraceSetting", traced("trace_rate") + of("iris"))
    assert cleared["trace_rate"] == [(1, b"1000")]


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (of("nope"), ModelNotFound),
        (traced("trace_rate", "1", "2"), InvalidInput),
        (traced("trace_rate", "x"), InvalidInput),
        (traced("nope", "x"), InvalidInput),
        (traced("trace_file", "/etc/passwd"), Unsupported),
        (b"\x0a\x05\x0a\x03\xff\xff\xff", fields.MalformedMessageError),
        (b"\x0a\xff", fields.MalformedMessageError),
    ],
)
def test_a_wrong_trace_setting_is_refused(
    call: Any, payload: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        call("TraceSetting", payload)


def test_log_settings_have_their_own_types(call: Any) -> None:
    assert call("LogSettings") == {
        "log_file": [(STRING, b"")],
        "log_info": [(BOOL, 1)],
        "log_warning": [(BOOL, 1)],
        "log_error": [(BOOL, 1)],
        "log_verbose_level": [(UINT32, 0)],
        "log_format": [(STRING, b"default")],
    }
    verbose = setting("log_verbose_level", fields.number_field(UINT32, 2))
    quiet = setting("log_info", fields.varint(BOOL << 3) + b"\0")
    dated = setting("log_format", fields.text_field(STRING, "ISO8601"))
    found = call("LogSettings", verbose + quiet + dated)
    assert found["log_verbose_level"] == [(UINT32, 2)]
    assert found["log_info"] == [(BOOL, 0)]
    assert found["log_format"] == [(STRING, b"ISO8601")]


@pytest.mark.parametrize(
    ("payload", "error", "message"),
    [
        (setting("log_info", b""), InvalidInput, "expect boolean for 'log_info'"),
        (setting("log_info", fields.text_field(STRING, "x")), InvalidInput, "expect boolean"),
        (setting("log_verbose_level", b"\x08\x01"), InvalidInput, "expect uint32"),
        (setting("log_format", b"\x08\x01"), InvalidInput, "expect string"),
        (setting("log_format", b"\x18\x01"), InvalidInput, "expect string"),
        (setting("log_format", fields.text_field(STRING, "bad")), InvalidInput, "ISO8601"),
        (setting("log_file", fields.text_field(STRING, "x")), Unsupported, "log file location"),
        (setting("nope", b"\x08\x01"), InvalidInput, "no log setting 'nope'"),
    ],
)
def test_a_wrong_log_setting_is_refused(
    call: Any, payload: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call("LogSettings", payload)


def handlers(front: Any, catalog: Any, tmp_path: Any, key: str) -> Any:
    logger = logging.getLogger("salver.test-controls")
    logs = LogControl(logging.StreamHandler(io.StringIO()), logger, LogSettings(), Formatter())
    tracing = RequestTracing(TraceBook("t.json"), TraceFiles(tmp_path / "t"), lambda: 0)
    controls = ServerControls(tracing, logs, key)
    methods = ControlMethods(front, catalog, on_refused=lambda *_: None, controls=controls)
    return methods.methods("/")


CHANGES = [
    ("/TraceSetting", traced("trace_rate", "5")),
    ("/LogSettings", setting("log_verbose_level", fields.number_field(UINT32, 2))),
]


@pytest.mark.parametrize(("path", "change"), CHANGES)
def test_only_programs_of_this_machine_may_change_them(
    front: Any, catalog: Any, tmp_path: Any, path: str, change: bytes
) -> None:
    handle = handlers(front, catalog, tmp_path, "")[path]
    front.peer = "ipv4:10.0.0.7:99"
    handle(1, b"", None, ())
    handle(2, change, None, ())
    handle(3, change, None, (("x-forwarded-for", "127.0.0.1"),))
    front.peer = "ipv6:%5B::1%5D:99"
    handle(4, change, None, (("x-forwarded-for", "127.0.0.1"),))
    handle(5, change, None, (("salver-bin", b"x"),))
    assert set(front.responses) == {1, 5}
    assert {front.failures[each][0] for each in (2, 3, 4)} == {Code.PERMISSION_DENIED}
    assert "--admin-key" in front.failures[2][1]
    handle(6, b"", None, ())
    assert front.responses[6] == front.responses[5] != front.responses[1]


@pytest.mark.parametrize(("path", "change"), CHANGES)
def test_who_has_the_key_may_change_them_from_anywhere(
    front: Any, catalog: Any, tmp_path: Any, path: str, change: bytes
) -> None:
    handle = handlers(front, catalog, tmp_path, "s3cret")[path]
    front.peer = "127.0.0.1:99"
    handle(1, change, None, ())
    assert front.failures[1][0] is Code.UNAUTHENTICATED
    front.peer = "10.0.0.7:99"
    handle(2, change, None, (("authorization", "Bearer s3cret"),))
    assert 2 in front.responses
