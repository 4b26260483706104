"""What errors say of messages: names, datatypes and shapes, or at least the size."""

from __future__ import annotations

import json
from typing import Any

import pytest

from salver.protocol.described import describe
from salver.protocol.messages import Message
from salver.protocol.seldon_pb2 import SeldonMessage
from salver.protocol.wire_codes import Codec

TENSOR = {"name": "a", "shape": [2, 1], "datatype": "INT32", "data": [1, 2]}


def message(codec: Codec, content: Any) -> Message:
    return Message(int(codec), 0, json.dumps(content).encode(), is_request=True)


@pytest.mark.parametrize(
    ("codec", "content", "shown"),
    [
        (Codec.V2_JSON, {"inputs": [TENSOR]}, "a INT32 [2, 1]"),
        (Codec.V1_JSON, {"instances": [1, 2, 3]}, "instances [3]"),
        (Codec.V1_JSON, {"instances": [[1, 2, 3], [4, 5, 6]]}, "instances [2, 3]"),
        (Codec.V1_JSON, {"instances": []}, "instances [0]"),
        (Codec.SELDON_JSON, {"data": {"ndarray": [[1, 2]]}}, "ndarray [1, 2]"),
        (Codec.SELDON_JSON, {"data": {"tensor": {"shape": [4, 2], "values": []}}}, "tensor [4, 2]"),
        (Codec.SELDON_JSON, {"strData": "hello"}, "strData"),
    ],
)
def test_a_message_is_shown_by_its_shapes(codec: Codec, content: Any, shown: str) -> None:
    assert describe([message(codec, content)]) == shown


def test_a_message_of_grpc_is_shown_too() -> None:
    seldon = SeldonMessage()
    seldon.data.ndarray.append([1.0, 2.0])
    body = seldon.SerializeToString()
    assert describe([Message(int(Codec.SELDON_GRPC), 0, body, True)]) == "ndarray [1, 2]"


def test_several_messages_are_shown_one_after_the_other() -> None:
    one = message(Codec.V1_JSON, {"instances": [1]})
    assert describe([one, one]) == "instances [1], instances [1]"
    assert describe([]) == "nothing"


@pytest.mark.parametrize("codec", [*Codec])
def test_nonsense_is_shown_by_its_size(codec: Codec) -> None:
    assert describe([Message(int(codec), 0, b"\x00nonsense", True)])


def test_what_is_long_is_not_read() -> None:
    long = message(Codec.V1_JSON, {"instances": [0] * 50_000})
    assert describe([long]) == f"{len(long.body)} bytes"
