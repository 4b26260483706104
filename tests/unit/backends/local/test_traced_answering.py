"""Traced requests in a worker: stacked and answered as others, with a report in front."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from salver.backends.local.answering import Answerer, Answers
from salver.backends.local.traced_answering import MOST_ELEMENTS, traced_tensor
from salver.errors import ErrorKind
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor, tensor_from_array
from salver.protocol.frame import Item
from salver.protocol.operations import traced
from salver.protocol.trace_report import TraceReport, split_report
from salver.protocol.wire import ModelIdentity
from salver.protocol.wire_codes import Codec

METADATA = ModelMetadata(
    "test", (TensorMetadata("x", "FP64", (-1, 1)),), (TensorMetadata("y", "FP64", (-1,)),)
)
TIMED = traced(Codec.V2_JSON, with_tensors=False)
SEEN = traced(Codec.V2_JSON, with_tensors=True)


class Doubler:
    """Doubles its rows, and fails on 666."""

    metadata = METADATA

    def __init__(self) -> None:
        self.batch_rows: list[int] = []

    def predict(self, request: InferRequest) -> InferResponse:
        data = request.inputs[0].data
        self.batch_rows.append(len(data))
        if (data == 666).any():
            raise RuntimeError("no luck")
        return InferResponse((Tensor("y", "FP64", data[:, 0] * 2),))

    def unload(self) -> None: ...


def answered(model: Any, *items: tuple[int, float]) -> Answers:
    identity = ModelIdentity("double", "1", METADATA)
    answerer = Answerer(model, identity, max_rows=0, max_body_bytes=10_000)
    return answerer.answer([Item(tag, 0, request(value)) for tag, value in items])


def request(value: float) -> bytes:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}
    return json.dumps({"id": f"r{value:g}", "inputs": [tensor]}).encode()


def reported(item: Item) -> tuple[TraceReport, list[float]]:
    assert item.tag == ErrorKind.OK, bytes(item.body)
    report, answer = split_report(bytes(item.body))
    return report, json.loads(answer)["outputs"][0]["data"]


def test_traced_requests_are_stacked_with_their_like_and_timed() -> None:
    model = Doubler()
    found = answered(model, (TIMED, 1), (Codec.V2_JSON, 2), (TIMED, 3))
    assert model.batch_rows == [1, 2]
    (first, one), (third, three) = reported(found.items[0]), reported(found.items[2])
    assert (one, three) == ([2], [6])
    assert json.loads(bytes(found.items[1].body))["outputs"][0]["data"] == [4]
    for report in (first, third):
        moments = [
            report.compute_start_ns,
            report.input_end_ns,
            report.output_start_ns,
            report.compute_end_ns,
        ]
        assert moments == sorted(moments)
        assert report.inputs == report.outputs == ()
    assert (first.request_id, third.request_id) == ("r1", "r3")
    assert (found.rows, found.runs) == (3, 2)
    assert found.compute_ns > 0


def test_tensors_are_those_of_the_one_request() -> None:
    found = answered(Doubler(), (SEEN, 1), (SEEN, 5), (TIMED, 7))
    report, _ = reported(found.items[1])
    (given,), (gave,) = report.inputs, report.outputs
    assert (given.name, given.data, given.shape, given.dtype) == ("x", "5", "1,1", "FP64")
    assert (gave.name, gave.data, gave.shape) == ("y", "10", "1")
    assert reported(found.items[2])[0].inputs == ()


def test_one_that_fails_fails_alone_and_without_a_report() -> None:
    found = answered(Doubler(), (TIMED, 1), (TIMED, 666), (Codec.V2_JSON, 2))
    assert reported(found.items[0])[1] == [2]
    assert found.items[1].tag == ErrorKind.MODEL_FAILED
    assert bytes(found.items[1].body) == b"model 'double' raised RuntimeError: no luck"
    assert json.loads(bytes(found.items[2].body))["outputs"][0]["data"] == [4]


def test_what_is_no_request_is_refused_as_ever() -> None:
    identity = ModelIdentity("double", "1", METADATA)
    answerer = Answerer(Doubler(), identity, max_rows=0, max_body_bytes=10_000)
    (found,) = answerer.answer([Item(TIMED, 0, b"{")]).items
    assert found.tag == ErrorKind.INVALID_INPUT


@pytest.mark.parametrize(
    ("array", "data"),
    [
        (np.array([[1.5, 2.0]], np.float32), "1.5,2"),
        (np.array([True, False]), "1,0"),
        (np.array(["a", 'b"c']), '"a","b\\"c"'),
        (np.array(7, np.int64), "7"),
    ],
)
def test_elements_are_written_as_triton_writes_them(array: Any, data: str) -> None:
    assert traced_tensor(tensor_from_array("t", array)).data == data


def test_a_large_tensor_is_cut_and_says_so() -> None:
    large = traced_tensor(tensor_from_array("t", np.zeros((2, MOST_ELEMENTS), np.int8)))
    assert large.is_cut
    assert large.data.count(",") == MOST_ELEMENTS - 1
    assert large.shape == f"2,{MOST_ELEMENTS}"
