import base64
import json

import pytest

from salver.errors import ErrorKind, InvalidInput, Unsupported
from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec
from salver.server.topics.messages import (
    TopicMessage,
    answer_to,
    asked_by,
    dead_letter_headers,
    refusal_of,
)


def message(body: bytes = b"{}", model: str = "iris", **headers: str) -> TopicMessage:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return TopicMessage("in.iris", model, "S:7", named, body)


@pytest.mark.parametrize(
    ("headers", "codec", "aux"),
    [
        ({}, Codec.V2_JSON, 0),
        ({"content_type": "application/json; charset=utf-8"}, Codec.V2_JSON, 0),
        ({"salver_protocol": "V1"}, Codec.V1_JSON, 0),
        ({"inference_header_content_length": "12"}, Codec.V2_JSON, 12),
        ({"inference_header_content_length": "0"}, Codec.V2_JSON, RAW_BODY_AUX),
        ({"content_type": "application/protobuf"}, Codec.V2_GRPC, 0),
        ({"salver_protocol": "mlflow"}, Codec.MLFLOW_JSON, 0),
        ({"salver_protocol": "mlflow", "content_type": "text/csv"}, Codec.MLFLOW_CSV, 0),
    ],
)
def test_headers_say_how_the_body_is_read(headers: dict[str, str], codec: Codec, aux: int) -> None:
    asked = asked_by(message(**headers))
    assert (asked.tag, asked.aux) == (int(codec), aux)


def test_a_packed_body_is_unpacked_by_the_worker() -> None:
    asked = asked_by(message(content_encoding="gzip"))
    assert asked.tag == int(Codec.V2_JSON) | int(ContentCoding.GZIP) << 8
    with pytest.raises(Unsupported, match="use gzip"):
        asked_by(message(content_encoding="br"))


def test_the_topic_names_the_model_and_otherwise_a_header_does() -> None:
    assert asked_by(message(salver_model="other")).model == "iris"
    asked = asked_by(message(model="", mlserver_model="lr", mlserver_version="3"))
    assert (asked.model, asked.version) == ("lr", "3")
    assert asked_by(message(model="", salver_model="a", mlserver_model="b")).model == "a"


def test_the_request_has_its_senders_id_if_that_can_be_echoed() -> None:
    assert asked_by(message(x_request_id="r", ce_specversion="1.0", ce_id="e")).request_id == "r"
    assert asked_by(message(nats_msg_id="n")).request_id == "n"
    assert asked_by(message(x_request_id="a\nb")).request_id == "S:7"
    assert asked_by(message(x_request_id="x" * 5000)).request_id == "S:7"


@pytest.mark.parametrize("mode", ["structured", "base64", "binary"])
def test_an_event_is_answered_in_its_mode(mode: str) -> None:
    event = {"specversion": "1.0", "id": "e", "source": "s", "type": "t"}
    headers = {"content_type": "application/cloudevents+json"}
    if mode == "structured":
        body = json.dumps({**event, "data": {"instances": [1]}}).encode()
    elif mode == "base64":
        data = base64.b64encode(b'{"instances": [1]}').decode()
        body = json.dumps({**event, "data_base64": data}).encode()
    else:
        body, headers = b'{"instances": [1]}', {f"ce_{name}": each for name, each in event.items()}
    asked = asked_by(message(body, salver_protocol="v1", **headers))
    assert json.loads(asked.body) == {"instances": [1]}
    reply = answer_to(asked, b'{"predictions":[2]}', 0, 0)
    if mode == "binary":
        assert reply.body == b'{"predictions":[2]}'
        assert reply.headers["ce-id"] == "e"
        assert reply.headers["ce-type"] == "io.kserve.inference.response"
        assert reply.headers["content-type"] == "application/json"
    else:
        answer = json.loads(reply.body)
        assert answer["data"] == {"predictions": [2]}
        assert answer["source"] == "io.kserve.inference.iris"
    error = refusal_of(message(), asked, ErrorKind.MODEL_FAILED, "no")
    told = error.headers.get("ce-type") or json.loads(error.body)["type"]
    assert told == "io.salver.inference.error"


def test_bytes_in_a_structured_event_are_base64() -> None:
    event = {"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": {}}
    media = "application/cloudevents+json"
    asked = asked_by(message(json.dumps(event).encode(), content_type=media))
    answer = json.loads(answer_to(asked, b"{}\x00\xff", 2, 0).body)
    assert base64.b64decode(answer["data_base64"]) == b"{}\x00\xff"
    assert answer["datacontenttype"] == "application/octet-stream"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"specversion":"1.0","id":"e","source":"s","type":"t"}',
        b'{"specversion":"1.0","id":"","source":"s","type":"t","data":{}}',
        b'{"specversion":"0.3","id":"e","source":"s","type":"t","data":{}}',
        b'{"specversion":"1.0","id":"e","source":"s","type":"t","data_base64":"%%"}',
        b'{"specversion":"1.0","id":1,"source":"s","type":"t","data":{}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="CloudEvent"):
        asked_by(message(body, content_type="application/cloudevents+json"))


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/cloudevents-batch+json"},
        {"content_type": "image/png"},
        {"salver_protocol": "v3"},
        {"salver_protocol": "v1", "content_type": "application/x-protobuf"},
        {"salver_protocol": "mlflow", "content_type": "text/html"},
        {"mlserver_method": "train"},
    ],
)
def test_what_is_not_offered_is_named(headers: dict[str, str]) -> None:
    with pytest.raises(Unsupported):
        asked_by(message(**headers))


@pytest.mark.parametrize("length", ["-1", "1.5", "x", "9" * 13, "٣"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(InvalidInput, match="length"):
        asked_by(message(inference_header_content_length=length))


def test_errors_have_the_form_of_their_protocol() -> None:
    plain = refusal_of(message(), asked_by(message()), ErrorKind.MODEL_NOT_FOUND, "gone")
    assert json.loads(plain.body) == {"error": "gone"}
    assert plain.headers["salver-status"] == "404"
    asked = asked_by(message(salver_protocol="mlflow"))
    scored = refusal_of(message(), asked, ErrorKind.MODEL_NOT_FOUND, "gone")
    assert json.loads(scored.body) == {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "gone",
    }


def test_a_dead_letter_says_why_it_is_one_in_headers_of_one_line() -> None:
    original = message(b"body", nats_msg_id="n", x_tenant="t")
    reply = refusal_of(original, None, ErrorKind.MODEL_FAILED, "raised\r\nNats-Evil: größe" * 99)
    headers = dead_letter_headers(original, reply, 5)
    assert headers["x-tenant"] == "t"
    assert headers["salver-attempts"] == "5"
    assert "nats-msg-id" not in headers
    assert "\n" not in headers["salver-error"]
    assert headers["salver-error"].isascii()
    assert len(headers["salver-error"]) == 500
