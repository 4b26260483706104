"""The small methods, their bytes read with the field reader that is tested by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from salver import __version__
from salver.server.extensions import EXTENSIONS
from salver.server.grpc import fields
from salver.server.grpc.control import ControlMethods
from salver.server.grpc.ports import Code


class Caller:
    """Calls control methods by name, as a front would."""

    def __init__(self, front: Any, catalog: Any) -> None:
        self.front = front
        self.refused: list[tuple[str, str]] = []
        control = ControlMethods(front, catalog, on_refused=lambda *what: self.refused.append(what))
        self.handlers = control.methods("")

    def __call__(self, method: str, payload: bytes = b"") -> Any:
        async def main() -> None:
            self.handlers[method](1, payload, None, ())
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)

        asyncio.run(main())
        if 1 in self.front.failures:
            return self.front.failures.pop(1)
        return list(fields.read_fields(self.front.responses.pop(1)))


@pytest.fixture
def call(front: Any, catalog: Any) -> Caller:
    return Caller(front, catalog)


def test_the_server_is_live_always_and_ready_when_its_models_are(
    call: Caller, catalog: Any
) -> None:
    assert call("ServerLive") == [(1, 1)]
    assert call("ServerReady") == [(1, 1)]
    catalog.is_ready = False
    assert call("ServerReady") == []
    assert call("ServerLive") == [(1, 1)]


def test_server_metadata_names_salver_and_its_version(call: Caller) -> None:
    assert call("ServerMetadata")[:2] == [(1, b"salver"), (2, __version__.encode())]


def test_server_metadata_lists_the_extensions_that_rest_lists(call: Caller) -> None:
    told = [value.decode() for number, value in call("ServerMetadata") if number == 3]
    assert told == list(EXTENSIONS)


def test_model_readiness_is_false_for_a_model_that_failed(call: Caller) -> None:
    assert call("ModelReady", fields.text_field(1, "iris")) == [(1, 1)]
    assert call("ModelReady", fields.text_field(1, "broken")) == []


def test_an_unknown_model_is_not_found(call: Caller) -> None:
    for method in ("ModelReady", "ModelMetadata"):
        code, message, _ = call(method, fields.text_field(1, "nope"))
        assert code is Code.NOT_FOUND
        assert "nope" in message
    assert call.refused == [("grpc", "model_not_found")] * 2


def test_model_metadata_lists_versions_inputs_and_outputs(call: Caller) -> None:
    answer = call("ModelMetadata", fields.text_field(1, "iris"))
    assert answer[:4] == [(1, b"iris"), (2, b"1"), (2, b"2"), (3, b"sklearn")]
    assert [number for number, _ in answer[4:]] == [4, 5, 5]
    x = list(fields.read_fields(answer[4][1]))
    assert x == [(1, b"x"), (2, b"FP64"), (3, fields.varint(-1) + b"\x04")]
    assert list(fields.read_fields(answer[6][1])) == [(1, b"s"), (2, b"FP32")]


def test_metadata_of_a_model_that_never_loaded_is_unavailable(call: Caller) -> None:
    code, message, _ = call("ModelMetadata", fields.text_field(1, "broken"))
    assert code is Code.UNAVAILABLE
    assert "file is gone" in message


def test_the_index_lists_all_models_or_only_the_ready_ones(call: Caller) -> None:
    everything = [list(fields.read_fields(entry)) for _, entry in call("RepositoryIndex")]
    assert everything[0] == [
        (1, b"broken"),
        (2, b"1"),
        (3, b"UNAVAILABLE"),
        (4, b"file is gone"),
    ]
    assert len(everything) == 3
    assert len(call("RepositoryIndex", fields.number_field(2, 1))) == 2


@pytest.mark.parametrize(
    "payload",
    [fields.text_field(1, "iris"), fields.text_field(1, "repo") + fields.text_field(2, "iris")],
    ids=["kserve", "triton"],
)
def test_load_and_unload_take_the_name_where_either_dialect_puts_it(
    call: Caller, catalog: Any, payload: bytes
) -> None:
    assert call("RepositoryModelLoad", payload) == [(1, b"iris"), (2, 1)]
    assert call("RepositoryModelUnload", payload) == [(1, b"iris"), (2, 1)]
    assert catalog.changes == [("load", "iris"), ("unload", "iris")]


def test_a_failed_load_tells_its_reason(call: Caller) -> None:
    code, message, _ = call("RepositoryModelLoad", fields.text_field(2, "broken"))
    assert code is Code.INTERNAL
    assert "file is gone" in message
    code, _, _ = call("RepositoryModelUnload", fields.text_field(2, "nope"))
    assert code is Code.NOT_FOUND


@pytest.mark.parametrize("name", ["config", "file:1/model.py"])
def test_what_a_model_is_made_of_is_not_taken_from_callers(
    call: Caller, catalog: Any, name: str
) -> None:
    entry = fields.bytes_field(3, fields.text_field(1, name) + fields.bytes_field(2, b""))
    code, message, _ = call("RepositoryModelLoad", fields.text_field(2, "iris") + entry)
    assert code is Code.INVALID_ARGUMENT
    assert name in message
    assert catalog.changes == []


def test_malformed_requests_are_invalid_arguments(call: Caller) -> None:
    for method in ("ModelReady", "ModelMetadata", "RepositoryIndex", "RepositoryModelLoad"):
        code, message, _ = call(method, b"\x0a\xff")
        assert code is Code.INVALID_ARGUMENT
        assert "protobuf" in message


def test_health_follows_readiness_and_knows_its_services(call: Caller, catalog: Any) -> None:
    check = "/grpc.health.v1.Health/Check"
    assert call(check) == [(1, 1)]
    assert call(check, fields.text_field(1, "inference.GRPCInferenceService")) == [(1, 1)]
    catalog.is_draining = True
    assert call(check) == [(1, 2)]
    code, _, _ = call(check, fields.text_field(1, "other.Service"))
    assert code is Code.NOT_FOUND
