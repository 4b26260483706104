"""The numbers that a contextual router sees of a request, in every wire format."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from salver.bandits.policies import ContextSpec
from salver.engine.router_features import read_context
from salver.errors import InvalidInput
from salver.protocol import inference_pb2
from salver.protocol.messages import Message
from salver.protocol.seldon_pb2 import SeldonMessage
from salver.protocol.wire_codes import Codec


def seen(message: Message, *names: str, bias: bool = False, dimension: int = 0) -> list[float]:
    return list(read_context(message, ContextSpec(names, bias, dimension), "d/g/s"))


def message(codec: Codec, body: Any, aux: int = 0) -> Message:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(int(codec), aux, data, is_request=True)


def v2(*tensors: tuple[str, list[int], Any], datatype: str = "FP64") -> Message:
    inputs = [
        {"name": name, "shape": shape, "datatype": datatype, "data": data}
        for name, shape, data in tensors
    ]
    return message(Codec.V2_JSON, {"inputs": inputs})


CASES: list[tuple[str, Message, tuple[str, ...], list[float]]] = [
    ("v1 rows", message(Codec.V1_JSON, {"instances": [[1, 2.5], [3, 4]]}), (), [1, 2.5]),
    ("v1 numbers", message(Codec.V1_JSON, {"instances": [7, 8]}), (), [7]),
    (
        "v1 objects",
        message(Codec.V1_JSON, {"instances": [{"age": 4, "who": {"id": 9}, "on": True}]}),
        ("who.id", "age", "on"),
        [9, 4, 1],
    ),
    (
        "v1 columns",
        message(Codec.V1_JSON, {"inputs": {"a": [[1, 2]], "b": [3]}}),
        ("b", "a"),
        [3, 1, 2],
    ),
    ("v1 bare object", message(Codec.V1_JSON, {"age": 4}), ("age",), [4]),
    ("v2 nested", v2(("x", [2, 3], [[1, 2, 3], [4, 5, 6]])), (), [1, 2, 3]),
    ("v2 flat", v2(("x", [2, 3], [1, 2, 3, 4, 5, 6])), (), [1, 2, 3]),
    ("v2 named", v2(("x", [1, 2], [1, 2]), ("y", [1], [5])), ("y",), [5]),
    (
        "seldon ndarray",
        message(Codec.SELDON_JSON, {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3, 4]]}}),
        ("b", "a"),
        [2, 1],
    ),
    (
        "seldon tensor",
        message(Codec.SELDON_JSON, {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}}),
        (),
        [1, 2],
    ),
    (
        "seldon json",
        message(Codec.SELDON_JSON, {"jsonData": {"age": 4, "more": {"x": [1, 2]}}}),
        ("more.x", "age"),
        [1, 2, 4],
    ),
    (
        "seldon grpc",
        message(
            Codec.SELDON_GRPC,
            ParseDict(
                {"data": {"names": ["a", "b"], "tensor": {"shape": [1, 2], "values": [1.5, 2]}}},
                SeldonMessage(),
            ).SerializeToString(),
        ),
        ("a",),
        [1.5],
    ),
]


@pytest.mark.parametrize(
    ("asked", "names", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_first_row_is_seen_in_every_format(
    asked: Message, names: tuple[str, ...], found: list[float]
) -> None:
    assert seen(asked, *names) == found


@pytest.mark.parametrize(
    ("datatype", "code"),
    [("FP32", "f"), ("FP64", "d"), ("INT8", "b"), ("UINT64", "Q"), ("FP16", "e")],
)
def test_raw_tensors_are_seen_in_json_and_grpc(datatype: str, code: str) -> None:
    blob = struct.pack(f"<4{code}", 1, 2, 3, 4)
    tensor = {"name": "x", "shape": [2, 2], "datatype": datatype}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(blob)}}]})
    assert seen(message(Codec.V2_JSON, head.encode() + blob, len(head))) == [1, 2]
    request = ParseDict({"inputs": [tensor]}, inference_pb2.ModelInferRequest())
    request.raw_input_contents.append(blob)
    assert seen(message(Codec.V2_GRPC, request.SerializeToString())) == [1, 2]


def test_typed_contents_of_grpc_are_seen() -> None:
    tensor = {
        "name": "x",
        "shape": [1, 2],
        "datatype": "FP32",
        "contents": {"fp32Contents": [0.5, 2]},
    }
    request = ParseDict({"inputs": [tensor]}, inference_pb2.ModelInferRequest())
    assert seen(message(Codec.V2_GRPC, request.SerializeToString()), "x") == [0.5, 2]


def test_a_one_is_added_in_the_end_if_asked_for() -> None:
    assert seen(v2(("x", [1, 2], [5, 6])), bias=True) == [5, 6, 1]


WRONG = [
    (
        v2(("x", [1], [1])),
        {"names": ("z",)},
        r"sees 'z', which the request does not have \(it has x\)",
    ),
    (message(Codec.V1_JSON, {"instances": [["a"]]}), {}, "sees 'instances', whose value 'a' is no"),
    (v2(("x", [1, 1], [None])), {}, "whose value 'None' is no number"),
    (v2(("x", [1], ["t"]), datatype="BYTES"), {}, "whose value 't' is no number"),
    (message(Codec.V1_JSON, {"instances": []}), {}, "would see 0 numbers"),
    (message(Codec.V1_JSON, b"["), {}, "cannot read the request"),
    (message(Codec.V1_JSON, [1]), {}, "cannot read the request"),
    (message(Codec.V2_JSON, {"inputs": 5}), {}, "V2"),
    (message(Codec.V2_GRPC, b"\xff\xff"), {}, "gRPC"),
    (message(Codec.SELDON_JSON, {}), {}, "would see 0 numbers"),
    (message(Codec.SELDON_GRPC, b"\xff\xff"), {}, "cannot read the request"),
    (v2(("x", [1, 600], [0.0] * 600)), {}, "would see 600 numbers"),
    (v2(("x", [1, 2], [1, 2])), {"dimension": 3}, "sees 3 numbers, and the request gives 2"),
    (v2(("x", [1], [1e400])), {}, "malformed"),
]


@pytest.mark.parametrize(("asked", "how", "says"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_seen_is_refused(asked: Message, how: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        seen(asked, *how.get("names", ()), dimension=how.get("dimension", 0))


def test_a_packed_body_is_refused() -> None:
    packed = Message(int(Codec.V1_JSON), 0, b"..", is_request=True, coding=1)
    with pytest.raises(InvalidInput, match="without content-encoding"):
        seen(packed)
