"""Streams of a model made for the test, into a sink made of a list."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from salver.backends.local.answering import Answerer
from salver.backends.local.streaming import first_response
from salver.errors import ErrorKind, InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol.frame import Item
from salver.protocol.inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from salver.protocol.operations import Operation, marked
from salver.protocol.wire import EncodedResponse, ModelIdentity
from salver.protocol.wire_codes import Codec

METADATA = ModelMetadata(
    platform="test",
    inputs=(TensorMetadata("count", "INT64", (-1,)),),
    outputs=(TensorMetadata("n", "INT64", (1,)),),
    default_outputs=("n",),
    batchable=False,
    decoupled=True,
)


class Counter:
    """Counts up to what it is sent; a negative number makes it fail after two responses."""

    metadata = METADATA

    def __init__(self) -> None:
        self.made = 0
        self.is_closed = False

    def predict(self, request: InferRequest) -> InferResponse:
        return InferResponse((Tensor("n", "INT64", np.array([-1])),))

    def stream(self, request: InferRequest) -> Generator[InferResponse]:
        count = int(request.inputs[0].data[0])
        try:
            for number in range(count if count >= 0 else 3):
                if count < 0 and number == 2:
                    raise InvalidInput("2 is too much")
                self.made += 1
                yield InferResponse((Tensor("n", "INT64", np.array([number])),))
        finally:
            self.is_closed = True

    def unload(self) -> None: ...


class Sink:
    """Has room for so many parts."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.parts: list[EncodedResponse] = []

    def wait_room(self, item: int) -> bool:
        return len(self.parts) < self.room

    def send_part(self, item: int, response: EncodedResponse) -> None:
        self.parts.append(response)

    @property
    def numbers(self) -> list[int]:
        return [json.loads(part.body)["n"] for part in self.parts]


def streamed(body: bytes, sink: Sink, model: Counter, codec: Codec = Codec.GENERATE_JSON) -> Item:
    identity = ModelIdentity("count", "1", model.metadata)
    answerer = Answerer(model, identity, max_rows=0, max_body_bytes=10_000)
    answerer.parts = sink
    answers = answerer.answer([Item(marked(int(codec), Operation.STREAM), 0, body)])
    (item,) = answers.items
    return item


@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_every_response_is_a_part_and_the_answer_is_empty(count: int) -> None:
    sink, model = Sink(), Counter()
    item = streamed(b'{"count":%d}' % count, sink, model)
    assert sink.numbers == list(range(count))
    assert item == Item(0, 0, b"")
    assert model.is_closed


def test_a_model_that_fails_fails_after_its_parts() -> None:
    sink = Sink()
    item = streamed(b'{"count":-1}', sink, Counter())
    assert sink.numbers == [0, 1]
    assert item.tag == ErrorKind.INVALID_INPUT
    assert bytes(item.body) == b"model 'count': 2 is too much"


def test_no_response_is_made_for_a_client_who_has_left() -> None:
    sink, model = Sink(room=3), Counter()
    assert streamed(b'{"count":1000}', sink, model) == Item(0, 0, b"")
    assert model.made == 3
    assert model.is_closed


def test_a_bad_request_is_refused_before_the_model_sees_it() -> None:
    model = Counter()
    item = streamed(b'{"count":"x"}', Sink(), model)
    assert item.tag == ErrorKind.INVALID_INPUT
    assert model.made == 0


def test_a_model_that_answers_once_gives_its_answer_as_the_last() -> None:
    class Once(Counter):
        metadata = ModelMetadata("test", METADATA.inputs, METADATA.outputs, ("n",))

    sink = Sink()
    item = streamed(b'{"count":7}', sink, Once())
    assert sink.parts == []
    assert json.loads(bytes(item.body))["n"] == -1


@pytest.mark.parametrize("asks", [True, False])
def test_an_empty_final_response_comes_over_grpc_if_it_is_asked_for(asks: bool) -> None:
    message = ModelInferRequest(id="7")
    message.inputs.add(name="count", datatype="INT64", shape=[1]).contents.int64_contents.append(2)
    parameter = InferParameter(bool_param=asks)
    message.parameters["triton_enable_empty_final_response"].CopyFrom(parameter)
    sink = Sink()
    item = streamed(message.SerializeToString(), sink, Counter(), Codec.V2_GRPC)
    assert len(sink.parts) == 2
    last = ModelInferResponse.FromString(bytes(item.body))
    assert (last.id, len(last.outputs)) == (("7", 0) if asks else ("", 0))
    assert bool(item.body) == asks


def test_trying_a_model_out_takes_one_response_and_lets_it_end() -> None:
    model = Counter()
    request: Any = InferRequest((Tensor("count", "INT64", np.array([9])),))
    response = first_response(model, request)
    assert response is not None
    assert response.outputs[0].data.tolist() == [0]
    assert (model.made, model.is_closed) == (1, True)
