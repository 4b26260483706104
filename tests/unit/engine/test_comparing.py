import gzip
import zlib

import orjson
import pytest

from salver.engine.comparing import Answer, close_answers
from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import Codec

IS_SAME = close_answers(relative=1e-3)


def v1(text: bytes) -> Answer:
    return Answer(int(Codec.V1_JSON), text)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (b'{"predictions":[1,2]}', b'{"predictions":[1,2]}', True),
        (b'{"predictions":[1,2]}', b'{"predictions": [1.0, 2]}', True),
        (b'{"predictions":[1.0]}', b'{"predictions":[1.0009]}', True),
        (b'{"predictions":[1.0]}', b'{"predictions":[1.002]}', False),
        (b'{"predictions":[1]}', b'{"predictions":[1,1]}', False),
        (b'{"predictions":["a"]}', b'{"predictions":["b"]}', False),
        (b'{"predictions":[1]}', b'{"predictions":["1"]}', False),
        (b'{"predictions":[1]}', b'{"predictions":[true]}', False),
        (b'{"predictions":[null]}', b'{"predictions":[0]}', False),
        (b'{"predictions":[{"a":1}]}', b'{"predictions":[{"b":1}]}', False),
        (b'{"predictions":[NaN]}', b'{"predictions":[NaN]}', True),
        (b'{"predictions":[NaN]}', b'{"predictions":[1]}', False),
        (b"[1]", b"[1.0]", True),
    ],
)
def test_json_is_compared_by_its_values(left: bytes, right: bytes, expected: bool) -> None:
    assert IS_SAME(v1(left), v1(right)) is expected


def test_who_answered_is_no_part_of_the_answer() -> None:
    def answer(version: str, value: float) -> Answer:
        output = {"name": "y", "datatype": "FP64", "shape": [1], "data": [value]}
        body = {"model_name": "iris", "model_version": version, "id": version, "outputs": [output]}
        return Answer(int(Codec.V2_JSON), orjson.dumps(body))

    assert IS_SAME(answer("1", 0.5), answer("2", 0.50001))
    assert not IS_SAME(answer("1", 0.5), answer("2", 0.6))


def test_raw_tensors_behind_the_json_are_compared_exactly() -> None:
    def answer(raw: bytes, version: bytes) -> Answer:
        head = b'{"model_version":"' + version + b'","outputs":[]}'
        return Answer(int(Codec.V2_JSON), head + raw, len(head))

    assert IS_SAME(answer(b"\x01\x02", b"1"), answer(b"\x01\x02", b"20"))
    assert not IS_SAME(answer(b"\x01\x02", b"1"), answer(b"\x01\x03", b"1"))


def test_compressed_answers_are_compared_by_what_they_hold() -> None:
    text = b'{"predictions":[1]}'
    plain = v1(text)
    for coding, body in (
        (ContentCoding.GZIP, gzip.compress(text)),
        (ContentCoding.DEFLATE, zlib.compress(text)),
    ):
        assert IS_SAME(Answer(int(Codec.V1_JSON), body, 0, int(coding)), plain)


def test_grpc_messages_are_compared_without_name_version_and_id() -> None:
    from salver.protocol import inference_pb2 as pb

    def answer(version: str, value: float, request_id: str = "") -> Answer:
        message = pb.ModelInferResponse(  # type: ignore[attr-defined]
            model_name="iris", model_version=version, id=request_id
        )
        output = message.outputs.add(name="y", datatype="FP64", shape=[1])
        output.contents.fp64_contents.append(value)
        return Answer(int(Codec.V2_GRPC), message.SerializeToString())

    assert IS_SAME(answer("1", 0.5), answer("2", 0.5, "x"))
    assert not IS_SAME(answer("1", 0.5), answer("1", 0.6))
    # A name longer than a short text: then the messages must be equal as they are.
    assert not IS_SAME(answer("1" * 200, 0.5), answer("2" * 200, 0.5))


@pytest.mark.parametrize("value", [b"1", b"0.5", b"true"])
def test_a_long_answer_is_not_taken_apart_however_short_it_is_packed(value: bytes) -> None:
    text = b'{"predictions":[' + b",".join([value] * (1 << 20)) + b"]}"
    packed = Answer(int(Codec.V1_JSON), gzip.compress(text), coding=ContentCoding.GZIP)
    assert IS_SAME(packed, packed) is True
    assert IS_SAME(packed, v1(b'{"predictions":[1]}')) is None
    assert IS_SAME(v1(text), v1(text + b" ")) is None


def test_true_is_no_one_wherever_it_stands() -> None:
    assert not IS_SAME(v1(b'{"a":[[1, 2], [3]]}'), v1(b'{"a":[[true, 2], [3]]}'))
    assert IS_SAME(v1(b'{"a":[[true, 2], [3]]}'), v1(b'{"a": [[true, 2.0], [3]]}'))
