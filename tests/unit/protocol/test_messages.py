"""Messages moved between steps: whole, and tensor by tensor."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput, ModelFailed, PayloadTooLarge, RequestError
from salver.protocol import inference_pb2 as pb
from salver.protocol import wire_fields
from salver.protocol.described import describe
from salver.protocol.messages import (
    Message,
    as_model,
    as_request,
    as_response,
    assemble,
    find_tensor,
    fitted,
    gathered,
    json_view,
    tensors_of,
    unpacked,
)
from salver.protocol.wire_codes import Codec

V1, V2, GRPC = int(Codec.V1_JSON), int(Codec.V2_JSON), int(Codec.V2_GRPC)


def v1(is_request: bool = False, **fields: Any) -> Message:
    return Message(V1, 0, json.dumps(fields).encode(), is_request)


def v2(is_request: bool = False, **fields: Any) -> Message:
    return Message(V2, 0, json.dumps(fields).encode(), is_request)


def tensor(name: str, *data: int) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "INT32", "data": list(data)}


FIRST = v2(is_request=True, id="42", inputs=[tensor("x", 1)])


def binary_answer() -> Message:
    blob = struct.pack("<2f", 1.5, 2.5)
    head = json.dumps(
        {
            "model_name": "m",
            "outputs": [
                {
                    "name": "y",
                    "shape": [2],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(blob)},
                },
                tensor("z", 7),
            ],
        }
    ).encode()
    return Message(V2, len(head), head + blob, is_request=False)


def test_v2_answers_become_requests_with_the_first_one_s_id() -> None:
    request = as_request(v2(model_name="m", outputs=[tensor("y", 3)]), FIRST, is_mapped=False)
    assert json.loads(request.body) == {"id": "42", "inputs": [tensor("y", 3)]}


def test_raw_tensors_go_on_raw() -> None:
    request = as_request(binary_answer(), FIRST, is_mapped=False, is_binary=True)
    head = json.loads(bytes(request.body[: request.aux]))
    assert head["parameters"] == {"binary_data_output": True}
    assert head["inputs"][0]["parameters"] == {"binary_data_size": 8}
    assert struct.unpack("<2f", request.body[request.aux :]) == (1.5, 2.5)
    plain = as_request(binary_answer(), FIRST, is_mapped=False)
    assert "parameters" not in json.loads(bytes(plain.body[: plain.aux]))


def grpc_answer(*, is_raw: bool) -> Message:
    response = pb.ModelInferResponse(model_name="m", model_version="1", id="no")
    for name, values in (("a", (1, -2)), ("b", (3,))):
        output = response.outputs.add(name=name, datatype="INT64", shape=[len(values)])
        if is_raw:
            response.raw_output_contents.append(struct.pack(f"<{len(values)}q", *values))
        else:
            output.contents.int64_contents.extend(values)
    return Message(GRPC, 0, response.SerializeToString(), is_request=False)


GRPC_FIRST = Message(GRPC, 0, pb.ModelInferRequest(id="42").SerializeToString(), is_request=True)


@pytest.mark.parametrize("is_raw", [True, False])
def test_grpc_answers_become_requests(is_raw: bool) -> None:
    message = as_request(grpc_answer(is_raw=is_raw), GRPC_FIRST, is_mapped=False, names=["p", "q"])
    request = pb.ModelInferRequest.FromString(bytes(message.body))
    assert request.id == "42"
    assert [each.name for each in request.inputs] == ["p", "q"]
    assert [list(each.shape) for each in request.inputs] == [[2], [1]]
    if is_raw:
        assert [len(each) for each in request.raw_input_contents] == [16, 8]
    else:
        assert list(request.inputs[0].contents.int64_contents) == [1, -2]


@pytest.mark.parametrize("is_raw", [True, False])
def test_conditions_see_grpc_as_v2_s_json(is_raw: bool) -> None:
    assert json.loads(json_view(grpc_answer(is_raw=is_raw))) == {
        "outputs": [
            {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, -2]},
            {"name": "b", "shape": [1], "datatype": "INT64", "data": [3]},
        ]
    }


def test_texts_of_grpc_are_texts_in_conditions() -> None:
    response = pb.ModelInferResponse()
    response.outputs.add(name="t", datatype="BYTES", shape=[2])
    raw = b"".join(struct.pack("<I", len(each)) + each for each in (b"ab", b"c"))
    response.raw_output_contents.append(raw)
    message = Message(GRPC, 0, response.SerializeToString(), is_request=False)
    assert json.loads(json_view(message))["outputs"][0]["data"] == ["ab", "c"]


def test_raw_and_typed_tensors_of_grpc_become_raw_together() -> None:
    both = [*tensors_of(grpc_answer(is_raw=True)), *tensors_of(grpc_answer(is_raw=False))]
    message = assemble(both, GRPC_FIRST, is_request=True)
    request = pb.ModelInferRequest.FromString(bytes(message.body))
    raws = [struct.pack("<2q", 1, -2), struct.pack("<q", 3)]
    assert list(request.raw_input_contents) == raws * 2
    assert not any(each.HasField("contents") for each in request.inputs)
    assert [list(each.shape) for each in request.inputs] == [[2], [1]] * 2


@pytest.mark.parametrize(
    ("size", "more", "data", "fact"),
    [(4, b"", [1], "both data and binary_data_size"), (4, b"xx", None, "2 bytes after its last")],
)
def test_binary_tensors_that_do_not_add_up_are_refused(
    size: int, more: bytes, data: Any, fact: str
) -> None:
    written: dict[str, Any] = {
        "name": "x",
        "shape": [1],
        "datatype": "INT32",
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [written | ({} if data is None else {"data": data})]}).encode()
    message = Message(V2, len(head), head + bytes(size) + more, is_request=True)
    with pytest.raises(InvalidInput, match=fact):
        tensors_of(message)


def test_grpc_with_too_few_raw_contents_is_refused() -> None:
    response = pb.ModelInferResponse.FromString(bytes(grpc_answer(is_raw=True).body))
    del response.raw_output_contents[1]
    message = Message(GRPC, 0, response.SerializeToString(), is_request=False)
    with pytest.raises(ModelFailed, match="2 tensors, but 1 raw contents"):
        tensors_of(message)


def test_v1_predictions_become_instances_only_if_mapped() -> None:
    answer = v1(predictions=[1, 2], note="kept")
    mapped = as_request(answer, FIRST, is_mapped=True)
    assert json.loads(mapped.body) == {"instances": [1, 2], "note": "kept"}
    assert as_request(answer, FIRST, is_mapped=False).body == answer.body


def test_v1_rows_that_are_objects_are_tensors_by_key() -> None:
    message = v1(is_request=True, instances=[{"a": 1, "b": [2]}, {"a": 3, "b": [4]}])
    assert [(each.name, each.shape) for each in tensors_of(message)] == [("a", (2,)), ("b", (2,))]
    again = assemble(tensors_of(message), message, is_request=True)
    assert json.loads(again.body) == json.loads(message.body)
    only = assemble(tensors_of(message)[1:], message, is_request=True)
    assert json.loads(only.body) == {"instances": [[2], [4]]}


def test_v1_columns_are_tensors() -> None:
    message = v1(is_request=True, inputs={"a": [1, 2], "b": [3]})
    assert [each.name for each in tensors_of(message)] == ["a", "b"]
    again = assemble(tensors_of(message), message, is_request=True)
    assert json.loads(again.body) == {"inputs": {"a": [1, 2], "b": [3]}}


@pytest.mark.parametrize(
    "rows", [[{"a": 1}, {"b": 2}], "text", {"a": 1}], ids=["uneven", "text", "object"]
)
def test_v1_that_is_no_rows_is_refused(rows: Any) -> None:
    with pytest.raises(InvalidInput, match="no V1 inference request"):
        tensors_of(v1(is_request=True, instances=rows))


def test_a_tensor_is_found_by_name() -> None:
    message = v2(outputs=[tensor("a", 1), tensor("b", 2)])
    found = find_tensor(message, "b")
    assert found is not None and found.datatype == "INT32"
    assert find_tensor(message, "c") is None


def test_tensors_are_renamed_only_if_no_name_is_known_and_there_are_as_many() -> None:
    message = v2(is_request=True, inputs=[tensor("a", 1), tensor("b", 2)])
    renamed = fitted(message, ["x", "y"], FIRST)
    assert [each["name"] for each in json.loads(renamed.body)["inputs"]] == ["x", "y"]
    assert fitted(message, ["b", "y"], FIRST) is message
    assert fitted(message, ["x"], FIRST) is message


def test_what_goes_to_a_model_of_unknown_inputs_stays_as_it_is() -> None:
    failure = Message(V2, 0, b'{"error": "no luck"}', True, status=503)
    assert fitted(failure, [], FIRST) is failure


def test_gathered_json_is_as_it_came() -> None:
    answers = [Message(V1, 0, b' {"predictions": [1.50]} ', False), v2(outputs=[])]
    body = gathered(["a b", "1"], answers, answers[0]).body
    assert body == b'{"a b": {"predictions": [1.50]} ,"1":{"outputs": []}}'


def test_gathered_grpc_has_the_keys_in_the_names() -> None:
    answers = [grpc_answer(is_raw=True), grpc_answer(is_raw=True)]
    message = gathered(["m", "n"], answers, GRPC_FIRST)
    response = pb.ModelInferResponse.FromString(bytes(message.body))
    assert [each.name for each in response.outputs] == ["m.a", "m.b", "n.a", "n.b"]
    assert len(response.raw_output_contents) == 4 and response.id == "42"


@pytest.mark.parametrize("body", [b"[1]", b"3", b"", b"{", b'{"a":}', b"\xff"])
def test_what_is_no_json_object_cannot_be_gathered(body: bytes) -> None:
    with pytest.raises(ModelFailed, match="'k' is no JSON object"):
        gathered(["k"], [Message(V1, 0, body, False)], FIRST)


def test_a_request_can_be_its_own_answer() -> None:
    assert json.loads(as_response(FIRST).body) == {"id": "42", "outputs": [tensor("x", 1)]}
    assert json.loads(as_response(v1(is_request=True, instances=[1])).body) == {"predictions": [1]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model_name":"a\\"b","model_version":"1","outputs":[]}', {"model_version": "1"}),
        (b' { "outputs":[]}', {}),
        (b'{"model_name" : "a","outputs":[]}', {}),
        (b"{}", None),
    ],
)
def test_an_answer_can_be_said_to_be_of_another_model(
    body: bytes, expected: dict[str, Any] | None
) -> None:
    answer = as_model(Message(V2, 0, body, is_request=False), 'g"x')
    rest = {} if expected is None else {**expected, "outputs": []}
    assert json.loads(bytes(answer.body)) == {"model_name": 'g"x', **rest}


def test_raw_tensors_stay_where_they_are_when_the_model_is_another() -> None:
    answer = as_model(binary_answer(), "a-much-longer-name")
    assert json.loads(bytes(answer.body[: answer.aux]))["model_name"] == "a-much-longer-name"
    assert struct.unpack("<2f", answer.body[answer.aux :]) == (1.5, 2.5)


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_grpc_answer_can_be_said_to_be_of_another_model(is_raw: bool) -> None:
    answer = grpc_answer(is_raw=is_raw)
    before = pb.ModelInferResponse.FromString(bytes(answer.body))
    after = pb.ModelInferResponse.FromString(bytes(as_model(answer, "g").body))
    assert after.model_name == "g"
    after.model_name = before.model_name
    assert after == before


def test_packed_bodies_are_unpacked_within_the_limit() -> None:
    message = msgspec.structs.replace(FIRST, body=gzip.compress(bytes(FIRST.body)), coding=1)
    message.parts = None
    with pytest.raises(InvalidInput, match="content-encoding"):
        tensors_of(message)
    assert unpacked(message, 1000).body == FIRST.body
    bare = zlib.compressobj(wbits=-15)
    stream = bare.compress(bytes(FIRST.body)) + bare.flush()
    assert unpacked(Message(V2, 0, stream, True, coding=2), 1000).body == FIRST.body
    with pytest.raises(PayloadTooLarge, match="more than 10 bytes"):
        unpacked(message, 10)
    cut = msgspec.structs.replace(message, body=bytes(message.body)[:-9])
    with pytest.raises(InvalidInput, match="ends too early"):
        unpacked(cut, 1000)


def test_a_raw_tensor_that_runs_past_the_body_is_refused() -> None:
    answer = binary_answer()
    cut = msgspec.structs.replace(answer, body=bytes(answer.body)[:-4])
    with pytest.raises(ModelFailed, match="runs past its end"):
        tensors_of(cut)


@given(st.binary(max_size=200), st.sampled_from(list(Codec)), st.booleans(), st.integers(0, 50))
def test_garbage_raises_nothing_but_request_errors(
    body: bytes, codec: Codec, is_request: bool, aux: int
) -> None:
    message = Message(int(codec), aux, body, is_request)
    for work in (tensors_of, as_response, json_view, lambda m: gathered(["k"], [m], m)):
        with contextlib.suppress(RequestError):
            work(msgspec.structs.replace(message))
    assert describe([message])


@given(st.binary(max_size=64))
def test_fields_of_garbage_raise_nothing_but_value_errors(body: bytes) -> None:
    try:
        list(wire_fields.fields(body))
        pieces = [bytes(body[start:end]) for _, start, end in wire_fields.places(body)]
        assert b"".join(pieces) == body
    except ValueError:
        pass


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.text(max_size=300))
def test_fields_are_those_that_protobuf_writes(shape: list[int], name: str) -> None:
    head = pb.ModelInferRequest.InferInputTensor(name=name, shape=shape)
    found = dict(wire_fields.fields(head.SerializeToString()))
    assert bytes(found.get(1, b"")).decode() == name
    assert wire_fields.varints(found.get(3, b"")) == shape
    own = wire_fields.text_field(1, name.encode())
    assert pb.ModelInferRequest.InferInputTensor.FromString(own).name == name
