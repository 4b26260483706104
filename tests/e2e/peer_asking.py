"""Asks one server all requests, one after the other, and says what it answered as plain values.

An answer is a JSON-like value: status or code, and the body in a form in which two servers' bodies
mean the same if they are equal. Tensors are datatype, shape and the bytes of their elements.
"""

from __future__ import annotations

import http.client
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2

from tests.e2e.peer_requests import Case, Given, GrpcCase, HttpCase, raw_bytes

SERVICE = "/inference.GRPCInferenceService/"
DEADLINE_S = 10.0
_KEPT_HEADERS = ("content-encoding",)


class Asker:
    """The connections to one server. Close it when done."""

    def __init__(self, http_address: str, grpc_address: str) -> None:
        self._address = http_address
        self._connection = http.client.HTTPConnection(http_address, timeout=DEADLINE_S)
        self._channel = grpc.insecure_channel(grpc_address)

    def close(self) -> None:
        self._connection.close()
        self._channel.close()

    def answers(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [self.answer(case) for case in cases]

    def answer(self, case: Case) -> dict[str, Any]:
        return self._http(case) if isinstance(case, HttpCase) else self._grpc(case)

    def _http(self, case: HttpCase) -> dict[str, Any]:
        try:
            self._connection.request(case.method, case.path, case.body, dict(case.headers))
            got = self._connection.getresponse()
            body = got.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return {"status": 0, "failure": f"{type(error).__name__}: {error}"}
        headers = {name.lower(): value for name, value in got.getheaders()}
        kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        return {"status": got.status, "headers": kept, **_body(body, headers)}

    def _grpc(self, case: GrpcCase) -> dict[str, Any]:
        try:
            if case.is_stream:
                return {"code": "OK", "stream": self._streamed(case)}
            ask = self._channel.unary_unary(SERVICE + case.call)
            raw = ask(case.messages[0], timeout=DEADLINE_S)
        except grpc.RpcError as error:
            return {"code": error.code().name, "error": error.details()}
        kind = getattr(service_pb2, f"{case.call}Response")
        return {"code": "OK", "answer": message_value(kind.FromString(raw))}

    def _streamed(self, case: GrpcCase) -> list[Any]:
        ask = self._channel.stream_stream(SERVICE + case.call)
        parts = []
        for raw in ask(iter(case.messages), timeout=DEADLINE_S):
            message = service_pb2.ModelStreamInferResponse.FromString(raw)
            answer = message_value(message.infer_response)
            parts.append({"error": message.error_message} if message.error_message else answer)
        return parts


def _body(body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """What an HTTP body says; nothing where there is none."""
    if headers.get("content-encoding") in ("gzip", "deflate"):
        body = zlib.decompress(body, wbits=47)
    if not body:
        return {}
    size = headers.get("inference-header-content-length")
    head, blob = (body[: int(size)], body[int(size) :]) if size else (body, b"")
    try:
        value = json.loads(head)
    except ValueError:
        return {"text": body.decode("latin-1")[:300]}
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return {"error": value["error"], **{k: v for k, v in value.items() if k != "error"}}
    if isinstance(value, dict) and "outputs" in value and "model_name" in value:
        value["outputs"] = list(_outputs(value["outputs"], blob))
    return {"answer": value}


def _outputs(outputs: list[dict[str, Any]], blob: bytes) -> Iterator[dict[str, Any]]:
    for output in outputs:
        parameters = dict(output.get("parameters", {}))
        size = parameters.pop("binary_data_size", None)
        fields = {k: output[k] for k in ("name", "datatype", "shape")}
        if parameters:
            fields["parameters"] = parameters
        if size is None:
            yield {**fields, "form": "json", "data": element_text(output)}
        else:
            yield {**fields, "form": "binary", "data": blob[:size].hex()}
            blob = blob[size:]


def element_text(output: dict[str, Any]) -> str:
    """The elements of JSON data as the bytes that they mean; other data as it is."""
    shape = tuple(output["shape"])
    flat, data = output["data"], output["data"]
    if not isinstance(data, list) or len(flat) != math.prod(shape):
        return json.dumps(data)
    if any(each is None for each in flat):
        return json.dumps(data)
    return raw_bytes(Given("", output["datatype"], shape, flat)).hex()


def message_value(message: Any) -> dict[str, Any]:
    """A message as a value, its raw contents within its outputs."""
    value: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    raws = value.pop("raw_output_contents", None) and message.raw_output_contents
    if raws:
        for output, raw in zip(value["outputs"], raws, strict=True):
            output["raw"] = raw.hex()
    return value
