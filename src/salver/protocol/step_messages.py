"""Requests and responses of every wire format, both read and written: what steps work on.

A codec reads requests and writes responses. A step before a model also writes requests, one
after it reads responses. A message is seen as a *document* (the JSON of its protocol; for
gRPC that of REST) or as tensors, whichever the step wants; a Seldon message may hold text, bytes
or JSON values in place of tensors (`content`). Runs in workers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.codecs import codec_for
from salver.protocol.elements import raw_of_array
from salver.protocol.grpc_messages import read_response, write_request
from salver.protocol.json_text import flat_text
from salver.protocol.materialise import assemble
from salver.protocol.seldon_messages import (
    SELDON,
    content_of,
    document_of,
    kind_of,
    message_of_document,
    message_of_tensors,
    meta_document,
    names_of,
)
from salver.protocol.v1_json import ColumnarRequest
from salver.protocol.v2_json import MALFORMED, malformed, parse_leniently, take_blobs
from salver.protocol.wire import (
    EncodedResponse,
    ModelIdentity,
    WireOutput,
    WireRequest,
    WireTensor,
)
from salver.protocol.wire_codes import Codec

Document = dict[str, Any]
_ANYTHING = ModelMetadata(platform="", inputs=(), outputs=(), batchable=False)
"""Not batchable: the tensors of a message need not have rows, nor equally many."""
_BINARY: Mapping[str, Any] = {"binary_data_output": True}


class WireResponse(msgspec.Struct):
    """A V2 response of any encoding."""

    outputs: list[WireTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    model_name: str = ""
    model_version: str = ""


class StepMessage:
    """One message as a step gets it. `is_request`: else it is a response.

    `aux` is the codec's number of the body, as in a frame. Reading raises `InvalidInput` for
    a request and `ModelFailed` for a response that is none.
    """

    def __init__(
        self, codec: Codec, aux: int, body: bytes | memoryview, name: str, *, is_request: bool
    ) -> None:
        self.codec = codec
        self.aux = aux
        self.body = body
        self.is_request = is_request
        self._identity = _identity_of(name)
        self._wire: WireRequest | None = None

    @property
    def is_v1(self) -> bool:
        """The message is V1's JSON."""
        return self.codec is Codec.V1_JSON

    @property
    def is_seldon(self) -> bool:
        """The message is Seldon's, in JSON or in gRPC; else, if not V1's, it is V2's."""
        return self.codec in SELDON

    @property
    def id(self) -> str:
        """The caller's id of the request; V1 has none."""
        return "" if self.is_v1 else self._read().id or ""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the whole message."""
        return self._read().parameters or {}

    # Reading.

    @property
    def wire(self) -> WireRequest:
        """The message with its tensors, be they inputs or outputs, as `inputs`."""
        return self._read()

    def document(self) -> Document:
        """The message as JSON values. V2 tensors have their elements in flat lists."""
        if self.codec is Codec.SELDON_GRPC:
            return self._seldon(document_of)
        if self.codec is Codec.V2_GRPC or self.aux != 0:
            return self._document_of_tensors()
        try:
            document = orjson.loads(self.body)
        except ValueError as error:
            try:
                document = parse_leniently(self.body)
            except MALFORMED:
                raise self._malformed(error) from error
        if not isinstance(document, dict):
            raise self._malformed(ValueError("it is no JSON object"))
        return document

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the message, whatever their names, datatypes and shapes."""
        try:
            request, _ = assemble([self._read()], self._identity)
        except InvalidInput as error:
            if self.is_request:
                raise
            raise ModelFailed(f"its answer cannot be read: {error}") from error
        return request.inputs

    # Seldon's, which are empty for other messages.

    def content(self) -> Any:
        """Text, bytes or JSON values that the message carries in place of tensors; else UNSET."""
        return content_of(self._read()) if self.is_seldon else msgspec.UNSET

    def columns(self) -> list[str]:
        """What the message calls the columns of its one tensor."""
        return names_of(self._read()) if self.is_seldon else []

    def meta(self) -> dict[str, Any]:
        """The message's `meta`."""
        return self._seldon(meta_document) if self.is_seldon else {}

    @property
    def kind(self) -> str:
        """The field that the data stands in: `tensor`, `ndarray`, `strData`, ..."""
        return kind_of(self._read())

    def _seldon(self, read: Callable[[Codec, bytes | memoryview], Document]) -> Document:
        try:
            return read(self.codec, self.body)
        except InvalidInput as error:
            if self.is_request:
                raise
            raise ModelFailed(f"its answer cannot be read: {error}") from error

    def _read(self) -> WireRequest:
        """The message with its tensors as `inputs`, be it a request or a response."""
        if self._wire is None:
            if self.is_request:
                self._wire = codec_for(self.codec).decode(self.body, self.aux, self._identity)
            else:
                self._wire = self._read_response()
        return self._wire

    def _read_response(self) -> WireRequest:
        try:
            if self.is_v1:
                return self._read_v1_response()
            if self.is_seldon:
                return codec_for(self.codec).decode(self.body, 0, self._identity)
            response = self._v2_response()
        except MALFORMED as error:
            raise self._malformed(error) from error
        except InvalidInput as error:
            raise ModelFailed(f"its answer cannot be read: {error}") from error
        return WireRequest(response.outputs, response.id, response.parameters)

    def _v2_response(self) -> WireResponse:
        if self.codec is Codec.V2_GRPC:
            tensors, message_id, parameters = read_response(self.body, self._identity)
            return WireResponse(tensors, message_id, parameters)
        view = memoryview(self.body)
        text = view[: self.aux] if self.aux > 0 else view
        response = msgspec.json.decode(text, type=WireResponse)
        take_blobs(response.outputs, view, len(text), self._identity)
        return response

    def _read_v1_response(self) -> WireRequest:
        document = self.document()
        if "predictions" in document:
            as_request = {"instances": document["predictions"]}
        elif "outputs" in document:
            as_request = {"inputs": document["outputs"]}
        else:
            raise ModelFailed("its answer has neither 'predictions' nor 'outputs'")
        body = orjson.dumps(as_request)
        return codec_for(Codec.V1_JSON).decode(body, 0, self._identity)

    def _document_of_tensors(self) -> Document:
        wire = self._read()
        document: Document = {}
        if wire.id:
            document["id"] = wire.id
        if wire.parameters:
            document["parameters"] = dict(wire.parameters)
        listed = [_tensor_document(tensor) for tensor in self.tensors()]
        if not self.is_request:
            return {"model_name": self._identity.name, **document, "outputs": listed}
        document["inputs"] = listed
        if wire.outputs:
            document["outputs"] = msgspec.to_builtins(wire.outputs)
        return document

    def _malformed(self, error: Exception) -> InvalidInput | ModelFailed:
        protocol = "V1" if self.is_v1 else "Seldon" if self.is_seldon else "V2"
        if self.is_request:
            return malformed(error, f"{protocol} inference request", self._identity)
        return ModelFailed(f"its answer is no {protocol} inference response: {error}")

    # Writing.

    def unchanged(self) -> EncodedResponse:
        """The message as it came."""
        return EncodedResponse(bytes(self.body), self.aux)

    def request_of_document(self, document: Document) -> EncodedResponse:
        """A request of the same wire format. Raises `ModelFailed` if it cannot be one."""
        if self.is_v1:
            return EncodedResponse(json_text(document))
        if self.is_seldon:
            return message_of_document(self.codec, document)
        _require(document, "inputs")
        if self.codec is Codec.V2_JSON:
            return EncodedResponse(json_text(document))
        wire = _converted(document, WireRequest)
        tensors, _ = assemble([wire], self._identity)
        return EncodedResponse(self._grpc_request(tensors.inputs, wire))

    def request_of_tensors(self, tensors: tuple[Tensor, ...]) -> EncodedResponse:
        """A request of the same wire format, with the id and the outputs asked for kept."""
        if self.is_v1:
            return EncodedResponse(_v1_request(tensors, self._identity))
        wire = self._read()
        if self.is_seldon:
            meta = {"puid": wire.id} if wire.id else None
            return message_of_tensors(self.codec, tensors, kind_of(wire), meta=meta)
        if self.codec is Codec.V2_GRPC:
            return EncodedResponse(self._grpc_request(tensors, wire))
        return _v2_request(tensors, wire, is_binary=self.aux != 0)

    def response_of_document(self, document: Document) -> EncodedResponse:
        """A response to, or in place of, the message. Raises `ModelFailed`."""
        if self.is_v1:
            return EncodedResponse(json_text(document))
        if self.is_seldon:
            return message_of_document(self.codec, document)
        _require(document, "outputs")
        if self.codec is Codec.V2_JSON:
            named = {"model_name": self._identity.name, **document}
            return EncodedResponse(json_text(named))
        wire = _converted(document, WireResponse)
        asked = WireRequest(wire.outputs, wire.id, wire.parameters)
        tensors, _ = assemble([asked], self._identity)
        return self._response(tensors.inputs, asked)

    def response_of_tensors(self, tensors: tuple[Tensor, ...]) -> EncodedResponse:
        """A response to, or in place of, the message, in binary if the message has binary."""
        if self.is_v1:
            return self._response(tensors, WireRequest([]))
        wire = self._read()
        if self.is_seldon:
            return self._response(tensors, wire)
        is_binary = self.codec is Codec.V2_JSON and self.aux != 0
        asked = WireRequest([], wire.id, dict(_BINARY) if is_binary else None)
        return self._response(tensors, asked)

    def _response(self, tensors: tuple[Tensor, ...], asked: WireRequest) -> EncodedResponse:
        return codec_for(self.codec).encode(InferResponse(tensors), asked, self._identity)

    def _grpc_request(self, tensors: tuple[Tensor, ...], wire: WireRequest) -> bytes:
        return write_request(tensors, wire, self._identity.name)


@lru_cache(maxsize=64)
def _identity_of(name: str) -> ModelIdentity:
    """One object for each name: layouts and the heads of answers are kept by it."""
    return ModelIdentity(name, "1", _ANYTHING)


def json_text(document: Any) -> bytes:
    """The document as JSON, NumPy's values included. Raises `ModelFailed` for other things."""
    try:
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(document, default=_plain, option=options)
    except (TypeError, RecursionError) as error:
        raise ModelFailed(
            f"it returned a dict that is no JSON: {error}; return numbers, strings, lists, dicts"
        ) from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _tensor_document(tensor: Tensor) -> Document:
    document: Document = {
        "name": tensor.name,
        "shape": list(tensor.data.shape),
        "datatype": tensor.datatype,
    }
    if tensor.parameters:
        document["parameters"] = dict(tensor.parameters)
    document["data"] = orjson.loads(flat_text(tensor))
    return document


def _require(document: Document, key: str) -> None:
    if not isinstance(document.get(key), list):
        had = ", ".join(map(repr, list(document)[:5])) or "nothing"
        raise ModelFailed(
            f"it returned a dict with {had} for a V2 message: return one with a list of '{key}'"
        )


def _converted(document: Document, kind: Any) -> Any:
    try:
        return msgspec.json.decode(json_text(document), type=kind)
    except MALFORMED as error:
        raise ModelFailed(f"it returned a dict that is no V2 message: {error}") from error


def _v1_request(tensors: tuple[Tensor, ...], identity: ModelIdentity) -> bytes:
    counts = {tensor.data.shape[:1] for tensor in tensors}
    codec = codec_for(Codec.V1_JSON)
    if len(tensors) > 1 and (len(counts) > 1 or () in counts):
        columnar = codec.encode(InferResponse(tensors), ColumnarRequest([]), identity).body
        return b'{"inputs":' + columnar.removeprefix(b'{"outputs":')
    rows = codec.encode(InferResponse(tensors), WireRequest([]), identity).body
    return b'{"instances":' + rows.removeprefix(b'{"predictions":')


def _v2_request(
    tensors: tuple[Tensor, ...], wire: WireRequest, *, is_binary: bool
) -> EncodedResponse:
    fields: Document = {}
    if wire.id is not None:
        fields["id"] = wire.id
    if wire.parameters:
        fields["parameters"] = wire.parameters
    blobs: list[bytes] = []
    inputs = []
    for tensor in tensors:
        entry: Document = {
            "name": tensor.name,
            "shape": list(tensor.data.shape),
            "datatype": tensor.datatype,
        }
        parameters = dict(tensor.parameters)
        if is_binary:
            blobs.append(raw_of_array(tensor.data, tensor.datatype))
            parameters["binary_data_size"] = len(blobs[-1])
        else:
            entry["data"] = orjson.Fragment(flat_text(tensor))
        if parameters:
            entry["parameters"] = parameters
        inputs.append(entry)
    fields["inputs"] = inputs
    if wire.outputs is not None:
        fields["outputs"] = [_output(output) for output in wire.outputs]
    head = orjson.dumps(fields)
    return EncodedResponse(b"".join((head, *blobs)), len(head) if is_binary else 0)


def _output(output: WireOutput) -> Document:
    return {"name": output.name, **({"parameters": output.parameters} if output.parameters else {})}


__all__ = ["Document", "StepMessage", "json_text"]
