"""What requests say of their scheduling, in each form that V2 has."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput
from salver.protocol.inference_pb2 import ModelInferRequest
from salver.protocol.operations import Operation, marked
from salver.protocol.schedule_parameters import UNSAID, Schedule, schedule_of
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec

JSON, GRPC = int(Codec.V2_JSON), int(Codec.V2_GRPC)


def document(**parameters: Any) -> bytes:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    return json.dumps({"inputs": [tensor], "parameters": parameters}).encode()


def message(**parameters: Any) -> ModelInferRequest:
    found = ModelInferRequest(model_name="m", raw_input_contents=[b"priority"])
    for name, value in parameters.items():
        if isinstance(value, str):
            found.parameters[name].string_param = value
        elif name == "priority":
            found.parameters[name].uint64_param = value
        else:
            found.parameters[name].int64_param = value
    return found


@given(st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))
def test_all_forms_say_the_same(priority: int, timeout: int) -> None:
    said = {"priority": priority, "timeout": timeout}
    text = document(**said)
    wanted = Schedule(priority, timeout)
    assert schedule_of(JSON, 0, text) == wanted
    assert schedule_of(JSON, len(text), text + b'\x00"priority": 7') == wanted
    assert schedule_of(JSON | 1 << 8, 0, gzip.compress(text)) == wanted
    assert schedule_of(JSON | 2 << 8, len(text), zlib.compress(text + b"tensor")) == wanted
    assert schedule_of(GRPC, 0, message(**said).SerializeToString()) == wanted
    assert schedule_of(marked(GRPC, Operation.STREAM), 0, message(**said).SerializeToString())


@pytest.mark.parametrize(
    ("tag", "aux", "body"),
    [
        (JSON, 0, document()),
        (JSON, 0, document(other="priority")),
        (JSON, 0, b'{"inputs": [], "priority": 7}'),
        (JSON, 0, b'{"inputs": [], "parameters": null, "id": "\\"priority\\""}'),
        (JSON, 0, b'{"parameters": {"priority": 7'),
        (JSON, 0, b'{"parameters": ["priority"]}'),
        (JSON, 0, b""),
        (JSON, 5, document(priority=7)),
        (JSON, RAW_BODY_AUX, document(priority=7)),
        (JSON | 1 << 8, 0, b"no gzip"),
        (JSON | 1 << 8, 0, gzip.compress(b" " * (2 << 20) + document(priority=7))),
        (JSON | 1 << 8, 10**12 - 1, gzip.compress(b" " * (2 << 20) + document(priority=7))),
        (JSON, 0, b'{"parameters": {"priority": 7}, "inputs": [NaN' + b" " * (1 << 20) + b"]}"),
        (GRPC, 0, message().SerializeToString()),
        (GRPC, 0, message(other="priority").SerializeToString()),
        (GRPC, 0, b"\xff\xff\xff"),
        (GRPC, 0, message(priority=7).SerializeToString()[:-3]),
        (int(Codec.V1_JSON), 0, document(priority=7)),
        (marked(JSON, Operation.PREPROCESS), 0, document(priority=7)),
    ],
)
def test_what_says_nothing_or_cannot_be_read_says_nothing(tag: int, aux: int, body: bytes) -> None:
    assert schedule_of(tag, aux, body) == UNSAID


def test_numbers_that_json_does_not_have_are_no_hindrance() -> None:
    body = b'{"inputs": [{"data": [NaN, -Infinity]}], "parameters": {"priority": 7}}'
    assert schedule_of(JSON, 0, body) == Schedule(7)
    assert schedule_of(JSON, 0, body[:-1]) == UNSAID


@pytest.mark.parametrize("value", ["1", 1.0, -1, True, None, [1], 1 << 64])
@pytest.mark.parametrize("name", ["priority", "timeout"])
def test_what_is_no_whole_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"the parameter '{name}' must be a whole number"):
        schedule_of(JSON, 0, document(**{name: value}))


def test_parameters_of_another_type_are_refused_in_messages_too() -> None:
    for parameters in ({"priority": "1"}, {"timeout": -1}):
        with pytest.raises(InvalidInput, match="must be a whole number of 0 or more, found"):
            schedule_of(GRPC, 0, message(**parameters).SerializeToString())


@given(st.binary(max_size=200))
def test_no_bytes_at_all_are_a_fault(body: bytes) -> None:
    for tag in (JSON, GRPC, JSON | 1 << 8):
        try:
            schedule_of(tag, 0, body)
        except InvalidInput:
            continue
