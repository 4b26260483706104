"""The Open Inference Protocol's REST messages, with Triton's binary tensor extension.

`aux` of a request is the length of the JSON that binary tensors follow; 0: there are none;
`RAW_BODY_AUX`: the whole body is the one input's bytes. Knows no metadata but that of the
single raw input, and makes no arrays: that is `materialise.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from salver.errors import InvalidInput
from salver.inference.tensor import InferResponse, Parameters, Tensor
from salver.protocol.classification import classified, wants_classes
from salver.protocol.content import settle_texts
from salver.protocol.elements import ELEMENT_SIZES, raw_of_array, shown
from salver.protocol.json_text import check_rows, flat_rows, flat_text
from salver.protocol.number_arrays import WORTHWHILE_BYTES, numbers_of_request
from salver.protocol.rows import row_slices
from salver.protocol.wire import (
    RAW_BODY_AUX,
    EncodedResponse,
    ModelIdentity,
    WireRequest,
    WireTensor,
)

_decode_request = msgspec.json.Decoder(WireRequest).decode
_END = b"]}]}"
_Shape = tuple[int, ...]
MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


class V2JsonCodec:
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        if aux == 0:
            try:
                request = (
                    _decode_request(body) if len(body) < WORTHWHILE_BYTES else _decode_large(body)
                )
            except MALFORMED as error:
                request = _decode_leniently(body, error, model)
            for tensor in request.inputs:
                if tensor.datatype == "BYTES":
                    settle_texts(tensor)
            return request
        if aux == RAW_BODY_AUX:
            return _raw_request(body, model)
        return _decode_binary(body, aux, model)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        if request.outputs is not None and wants_classes(request):
            response = classified(response, request, model)
        binary = _binary_outputs(request, response)
        if binary:
            return _encode_binary(response, request, model, binary)
        shapes = tuple([tensor.data.shape for tensor in response.outputs])
        heads = _heads(response, shapes, model)
        if not response.outputs:
            return EncodedResponse(_with_id(heads[0] + b"]}", request.id))
        texts = [
            head + flat_text(tensor)[1:-1]
            for head, tensor in zip(heads, response.outputs, strict=True)
        ]
        return EncodedResponse(_with_id(b"]},".join(texts) + _END, request.id))

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        if len(requests) == 1:
            return [self.encode(response, requests[0], model)]
        total = sum(rows)
        for tensor in response.outputs:
            check_rows(tensor, total, model.name)
        special = [r for r in requests if r.parameters is not None or r.outputs is not None]
        if special and any(
            wants_classes(request) or _binary_outputs(request, response) for request in special
        ):
            return self._encode_each(response, requests, rows, model)
        return _encode_rows(response, requests, rows, model)

    def _encode_each(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        parts = row_slices(response, rows)
        return [
            self.encode(part, request, model) for part, request in zip(parts, requests, strict=True)
        ]


def parse_leniently(body: bytes | memoryview) -> Any:
    """JSON with the NaN and Infinity that Python's own `json` module writes.

    Raises one of `MALFORMED` for a body that is not even that.
    """
    text = bytes(body).decode()
    if "NaN" not in text and "Infinity" not in text:
        raise ValueError("no such literals")
    parsed = json.loads(text)
    if "\\u" in text:
        # Unlike msgspec, `json` lets half of a surrogate pair through, which is no text.
        json.dumps(parsed, ensure_ascii=False).encode()
    return parsed


def _decode_large(body: bytes | memoryview) -> WireRequest:
    found = numbers_of_request(bytes(body))
    if found is not None:
        fields, blobs = found
        try:
            request = msgspec.convert(fields, WireRequest)
        except msgspec.ValidationError:
            return _decode_request(body)
        for tensor, blob in zip(request.inputs, blobs, strict=True):
            tensor.data = blob
        return request
    return _decode_request(body)


def _decode_leniently(
    body: bytes | memoryview, error: Exception, model: ModelIdentity
) -> WireRequest:
    try:
        return msgspec.convert(parse_leniently(body), WireRequest)
    except MALFORMED:
        raise malformed(error, "V2 inference request", model) from error


def malformed(error: Exception, kind: str, model: ModelIdentity) -> InvalidInput:
    """The refusal of a body that does not parse."""
    if isinstance(error, RecursionError):
        fact = "it is nested too deeply"
    else:
        fact = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return InvalidInput(
        f"the body for model {model.name!r} is not a {kind}: {fact}; correct the JSON"
    )


def _decode_binary(body: bytes | memoryview, json_length: int, model: ModelIdentity) -> WireRequest:
    if not 0 < json_length <= len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length says {json_length}, the body for model "
            f"{model.name!r} has {len(body)} bytes: send the length of the JSON part"
        )
    view = memoryview(body)
    try:
        request = _decode_request(view[:json_length])
    except MALFORMED as error:
        request = _decode_leniently(view[:json_length], error, model)
    take_blobs(request.inputs, view, json_length, model)
    return request


def take_blobs(
    tensors: list[WireTensor], view: memoryview, position: int, model: ModelIdentity
) -> None:
    """Gives binary tensors their bytes, which begin at `position` and end with the body."""
    for tensor in tensors:
        position = _take_blob(tensor, view, position, model)
    if position != len(view):
        raise InvalidInput(
            f"the body for model {model.name!r} has {len(view) - position} bytes after its last "
            f"binary tensor: make the binary_data_size of the inputs add up to what follows "
            f"the JSON"
        )


def _take_blob(tensor: WireTensor, view: memoryview, position: int, model: ModelIdentity) -> int:
    parameters = tensor.parameters
    if parameters is None or "binary_data_size" not in parameters:
        return position
    size = parameters["binary_data_size"]
    left = len(view) - position
    if type(size) is not int or not 0 <= size <= left:
        shown_size = str(size)[:20] if type(size) is not int or size < 1 << 64 else "too much"
        raise InvalidInput(
            f"input {tensor.name[:64]!r} of model {model.name!r} has binary_data_size "
            f"{shown_size}, {left} bytes are left of the body: send the size of its blob"
        )
    if tensor.data is not None:
        raise InvalidInput(
            f"input {tensor.name[:64]!r} of model {model.name!r} has both data and "
            f"binary_data_size: send one of them"
        )
    kept = {k: v for k, v in parameters.items() if k != "binary_data_size"}
    tensor.parameters = kept or None
    tensor.data = view[position : position + size]
    return position + size


def _raw_request(body: bytes | memoryview, model: ModelIdentity) -> WireRequest:
    inputs = model.metadata.inputs
    if len(inputs) != 1:
        raise InvalidInput(
            f"model {model.name!r} has {len(inputs)} inputs, a raw body fits a model with one: "
            f"send JSON, or binary tensors with their JSON"
        )
    spec = inputs[0]
    # Triton's rule: a raw BYTES body is one string, without its length in front.
    data: Any = [bytes(body)] if spec.datatype == "BYTES" else body
    count = 1 if spec.datatype == "BYTES" else len(body) // ELEMENT_SIZES[spec.datatype]
    shape = _inferred_shape(spec.shape, count, model)
    tensor = WireTensor(spec.name, shape, spec.datatype, data)
    return WireRequest([tensor], parameters={"binary_data_output": True})


def _inferred_shape(wanted: _Shape, count: int, model: ModelIdentity) -> _Shape:
    known = 1
    for size in wanted:
        known *= size if size >= 0 else 1
    unknown = sum(size < 0 for size in wanted)
    if unknown > 1 or not wanted:
        raise InvalidInput(
            f"the input of model {model.name!r} has shape {shown(wanted)}, which a raw body "
            f"does not settle: send the shape in JSON"
        )
    if unknown and known:
        return tuple([count // known if size < 0 else size for size in wanted])
    return wanted


def _binary_outputs(request: WireRequest, response: InferResponse) -> frozenset[str]:
    """The names of the outputs that the request wants as binary data."""
    default = bool(request.parameters and request.parameters.get("binary_data_output") is True)
    if not request.outputs:
        return frozenset(t.name for t in response.outputs) if default else frozenset()
    return frozenset(
        output.name
        for output in request.outputs
        if ((output.parameters or {}).get("binary_data", default)) is True
    )


def _encode_rows(
    response: InferResponse,
    requests: list[WireRequest],
    rows: list[int],
    model: ModelIdentity,
) -> list[EncodedResponse]:
    if not response.outputs:
        body = _heads(response, (), model)[0] + b"]}"
        return [EncodedResponse(_with_id(body, request.id)) for request in requests]
    texts = [flat_rows(tensor, rows) for tensor in response.outputs]
    heads_by_rows = {
        count: _heads(
            response, tuple([(count, *t.data.shape[1:]) for t in response.outputs]), model
        )
        for count in set(rows)
    }
    if len(texts) == 1:
        bodies = [
            heads_by_rows[count][0] + text + _END
            for count, text in zip(rows, texts[0], strict=True)
        ]
    else:
        bodies = [
            b"]},".join([h + t for h, t in zip(heads_by_rows[count], row, strict=True)]) + _END
            for count, row in zip(rows, zip(*texts, strict=True), strict=True)
        ]
    return [
        EncodedResponse(body if request.id is None else _with_id(body, request.id))
        for body, request in zip(bodies, requests, strict=True)
    ]


def _with_id(body: bytes, request_id: str | None) -> bytes:
    return body if request_id is None else b'{"id":' + orjson.dumps(request_id) + b"," + body[1:]


def _heads(
    response: InferResponse, shapes: tuple[_Shape, ...], model: ModelIdentity
) -> tuple[bytes, ...]:
    """The text in front of each output's elements, the response's own in the first."""
    names = tuple([(tensor.name, tensor.datatype) for tensor in response.outputs])
    parameters = [tensor.parameters for tensor in response.outputs]
    if response.parameters or any(parameters):
        start = _start(model.name, model.version, response.parameters)
        return _written_heads(start, names, shapes, parameters)
    return _cached_heads(model.name, model.version, names, shapes)


@lru_cache(maxsize=512)
def _cached_heads(
    name: str, version: str, names: tuple[tuple[str, str], ...], shapes: tuple[_Shape, ...]
) -> tuple[bytes, ...]:
    return _written_heads(_start(name, version, {}), names, shapes, [{}] * len(names))


def _start(name: str, version: str, parameters: Parameters) -> bytes:
    fields: dict[str, Any] = {"model_name": name, "model_version": version}
    if parameters:
        fields["parameters"] = dict(parameters)
    return orjson.dumps(fields)[:-1] + b',"outputs":['


def _written_heads(
    start: bytes,
    names: tuple[tuple[str, str], ...],
    shapes: tuple[_Shape, ...],
    parameters: Sequence[Mapping[str, Any]],
) -> tuple[bytes, ...]:
    if not names:
        return (start,)
    heads = [
        orjson.dumps(_output_fields(name, datatype, shape, extra))[:-1] + b',"data":['
        for (name, datatype), shape, extra in zip(names, shapes, parameters, strict=True)
    ]
    return (start + heads[0], *heads[1:])


def _output_fields(
    name: str, datatype: str, shape: _Shape, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if parameters:
        fields["parameters"] = dict(parameters)
    return fields


def _encode_binary(
    response: InferResponse, request: WireRequest, model: ModelIdentity, binary: frozenset[str]
) -> EncodedResponse:
    outputs = response.outputs
    blobs = {t.name: raw_of_array(t.data, t.datatype) for t in outputs if t.name in binary}
    if len(blobs) == len(outputs) and not (
        response.parameters or any(tensor.parameters for tensor in outputs)
    ):
        looks = tuple([(t.name, t.datatype, t.data.shape, len(blobs[t.name])) for t in outputs])
        head = _cached_binary_head(model.name, model.version, looks)
    else:
        start = _start(model.name, model.version, response.parameters)
        fields = [_mixed_fields(tensor, blobs.get(tensor.name)) for tensor in outputs]
        head = start + orjson.dumps(fields)[1:] + b"}"
    head = _with_id(head, request.id)
    return EncodedResponse(b"".join((head, *blobs.values())), len(head) if blobs else 0)


def encode_placed(
    response: InferResponse, request: WireRequest, model: ModelIdentity, placed: frozenset[str]
) -> EncodedResponse:
    """The answer without the data of the `placed` outputs: their parameters say where it is."""
    binary = _binary_outputs(request, response) - placed
    outputs = response.outputs
    blobs = {t.name: raw_of_array(t.data, t.datatype) for t in outputs if t.name in binary}
    fields = [
        _output_fields(tensor.name, tensor.datatype, tensor.data.shape, tensor.parameters)
        if tensor.name in placed
        else _mixed_fields(tensor, blobs.get(tensor.name))
        for tensor in outputs
    ]
    start = _start(model.name, model.version, response.parameters)
    head = _with_id(start + orjson.dumps(fields)[1:] + b"}", request.id)
    return EncodedResponse(b"".join((head, *blobs.values())), len(head) if blobs else 0)


def _mixed_fields(tensor: Tensor, blob: bytes | None) -> dict[str, Any]:
    parameters = dict(tensor.parameters)
    if blob is not None:
        parameters["binary_data_size"] = len(blob)
    fields = _output_fields(tensor.name, tensor.datatype, tensor.data.shape, parameters)
    if blob is None:
        fields["data"] = orjson.Fragment(flat_text(tensor))
    return fields


@lru_cache(maxsize=512)
def _cached_binary_head(
    name: str, version: str, looks: tuple[tuple[str, str, _Shape, int], ...]
) -> bytes:
    fields = [
        _output_fields(output, datatype, shape, {"binary_data_size": size})
        for output, datatype, shape, size in looks
    ]
    return _start(name, version, {}) + orjson.dumps(fields)[1:] + b"}"
