"""A worker's work on a batch, with a model made for the test."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.backends.local.answering import COMPRESS_FROM_BYTES, Answerer, compress, decompress
from salver.errors import ErrorKind, InvalidInput, PayloadTooLarge, WorkerUnfit
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol.frame import ContentCoding, Item
from salver.protocol.wire import ModelIdentity
from salver.protocol.wire_codes import Codec

METADATA = ModelMetadata(
    platform="test",
    inputs=(TensorMetadata("x", "FP64", (-1, 1)),),
    outputs=(TensorMetadata("y", "FP64", (-1,)),),
    default_outputs=("y",),
)


class Doubler:
    """Doubles its rows; what it does with some values is nasty on purpose."""

    metadata = METADATA

    def __init__(self) -> None:
        self.batch_rows: list[int] = []

    def predict(self, request: InferRequest) -> InferResponse:
        data = request.inputs[0].data
        self.batch_rows.append(len(data))
        if (data == 666).any():
            raise RuntimeError("no luck")
        if (data == 667).any():
            raise InvalidInput("model 'double': 667 is not taken")
        if (data == 668).any():
            raise MemoryError
        if (data == 670).any():
            raise WorkerUnfit("Triton at gpu:8000 is not there")
        rows = 1 if (data == 669).any() else len(data)
        return InferResponse((Tensor("y", "FP64", data[:rows, 0] * 2),))

    def unload(self) -> None: ...


def answerer(model: Doubler, max_rows: int = 0) -> Answerer:
    identity = ModelIdentity("double", "1", METADATA)
    return Answerer(model, identity, max_rows=max_rows, max_body_bytes=10_000)


def request(*values: float, **extra: Any) -> bytes:
    body = {
        "inputs": [
            {"name": "x", "shape": [len(values), 1], "datatype": "FP64", "data": list(values)}
        ],
        **extra,
    }
    return json.dumps(body).encode()


def item(body: bytes, tag: int = Codec.V2_JSON) -> Item:
    return Item(tag, 0, body)


def data_of(answer: Item) -> list[float]:
    assert answer.tag & 0xFF == ErrorKind.OK, bytes(answer.body)
    data: list[float] = json.loads(bytes(answer.body))["outputs"][0]["data"]
    return data


def test_requests_that_fit_together_are_predicted_together() -> None:
    model = Doubler()
    answers = answerer(model).answer([item(request(1)), item(request(2, 3)), item(request(4))])
    assert [data_of(answer) for answer in answers.items] == [[2.0], [4.0, 6.0], [8.0]]
    assert model.batch_rows == [4]
    assert (answers.rows, answers.runs) == (4, 1)


def test_a_group_is_cut_where_its_rows_exceed_the_limit() -> None:
    model = Doubler()
    batch = [item(request(1, 2)), item(request(3)), item(request(4, 5)), item(request(*range(9)))]
    answers = answerer(model, max_rows=3).answer(batch)
    assert model.batch_rows == [3, 2, 9]
    assert data_of(answers.items[2]) == [8.0, 10.0]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (666, ErrorKind.MODEL_FAILED, "model 'double' raised RuntimeError: no luck"),
        (667, ErrorKind.INVALID_INPUT, "model 'double': 667 is not taken"),
    ],
)
def test_one_bad_request_of_a_batch_fails_alone(value: int, kind: ErrorKind, text: str) -> None:
    batch = [item(request(1)), item(request(value)), item(request(3))]
    answers = answerer(Doubler()).answer(batch)
    assert [data_of(answers.items[0]), data_of(answers.items[2])] == [[2.0], [6.0]]
    assert (answers.items[1].tag, bytes(answers.items[1].body).decode()) == (kind, text)


def test_bytes_that_are_no_request_fail_alone() -> None:
    batch = [item(b"{"), item(request(3)), item(b"\xff\xfe")]
    answers = answerer(Doubler()).answer(batch)
    assert [answer.tag for answer in answers.items] == [
        ErrorKind.INVALID_INPUT,
        ErrorKind.OK,
        ErrorKind.INVALID_INPUT,
    ]


def test_a_model_that_runs_out_of_memory_is_recycled() -> None:
    answers = answerer(Doubler()).answer([item(request(668))])
    assert answers.must_recycle
    assert answers.items[0].tag == ErrorKind.MODEL_FAILED
    assert b"--worker-memory" in bytes(answers.items[0].body)


def test_a_worker_whose_model_lost_what_it_stands_on_is_recycled() -> None:
    answers = answerer(Doubler()).answer([item(request(670)), item(request(1))])
    assert answers.must_recycle
    assert {each.tag for each in answers.items} == {ErrorKind.UNAVAILABLE}
    text = b"model 'double': Triton at gpu:8000 is not there"
    assert {bytes(each.body) for each in answers.items} == {text}


def test_too_few_rows_in_an_answer_are_the_model_s_failure() -> None:
    answers = answerer(Doubler()).answer([item(request(669)), item(request(1))])
    assert data_of(answers.items[1]) == [2.0]


def test_large_answers_are_compressed_for_those_who_take_it() -> None:
    tag = Codec.V2_JSON | ContentCoding.GZIP << 16
    values = [float(number) for number in range(600)]
    small, large = (
        answerer(Doubler()).answer([item(request(1), tag), item(request(*values), tag)]).items
    )
    assert small.tag == ErrorKind.OK
    assert large.tag == ContentCoding.GZIP << 8
    plain = gzip.decompress(bytes(large.body))
    assert len(plain) >= COMPRESS_FROM_BYTES
    assert json.loads(plain)["outputs"][0]["data"][-1] == 1198.0


def test_a_compressed_request_is_unpacked_first() -> None:
    tag = Codec.V2_JSON | ContentCoding.GZIP << 8
    answers = answerer(Doubler()).answer([item(gzip.compress(request(5)), tag)])
    assert data_of(answers.items[0]) == [10.0]


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    answers = answerer(Doubler()).answer([item(bomb, Codec.V2_JSON | ContentCoding.GZIP << 8)])
    assert answers.items[0].tag == ErrorKind.PAYLOAD_TOO_LARGE
    with pytest.raises(PayloadTooLarge, match="more than 10 bytes"):
        decompress(zlib.compress(b"x" * 11), ContentCoding.DEFLATE, 10)


def test_both_forms_of_deflate_are_taken() -> None:
    raw = zlib.compressobj(wbits=-15)
    bare = raw.compress(b"hello") + raw.flush()
    assert decompress(zlib.compress(b"hello"), ContentCoding.DEFLATE, 99) == b"hello"
    assert decompress(bare, ContentCoding.DEFLATE, 99) == b"hello"


@given(st.binary(max_size=200), st.sampled_from([ContentCoding.GZIP, ContentCoding.DEFLATE]))
def test_what_is_compressed_comes_back(body: bytes, coding: ContentCoding) -> None:
    assert decompress(compress(body, coding), coding, 1000) == body


@given(st.binary(max_size=200), st.sampled_from([ContentCoding.GZIP, ContentCoding.DEFLATE]))
def test_bytes_that_are_not_compressed_are_invalid_input(
    body: bytes, coding: ContentCoding
) -> None:
    with contextlib.suppress(InvalidInput, PayloadTooLarge):
        decompress(body, coding, 1000)
