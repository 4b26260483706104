"""Triton's generate extension: a JSON object of inputs by name, and one of outputs by name.

    {"text_input": "hello", "parameters": {"temperature": 0.5}, "id": "7"}
    {"id":"7","model_name":"m","model_version":"1","text_output":"hello, world"}

A member that is called as an input is that input, also within `parameters`; any other is a
parameter of the request. A value is a tensor of one element, a list one of as many; what the model
declares to have further dimensions in front gets ones there. Answers have an output of one element
as the value alone, and any other as a flat list. `aux` has no meaning here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.json_text import check_rows, nested_values
from salver.protocol.rows import row_slices
from salver.protocol.v1_values import column_tensor, free_tensor, typed_tensor
from salver.protocol.v2_json import MALFORMED, malformed, parse_leniently
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest, WireTensor

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_PARAMETERS = "parameters"
_ID = "id"
_TEXT = "text_input"
"""What Triton calls the input of a model of language."""


class GenerateJsonCodec:
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        members = _members(body, model)
        request_id = members.pop(_ID, None)
        nested = members.pop(_PARAMETERS, None)
        if nested is None:
            nested = {}
        elif not isinstance(nested, dict):
            raise _wrong(model, "'parameters' is no object", "send names with their values")
        twice = members.keys() & nested.keys()
        if twice:
            raise _wrong(model, f"it has {min(twice)[:64]!r} twice", "send each name once")
        inputs: list[WireTensor] = []
        parameters: dict[str, Any] = {}
        names = _input_names(members, model.metadata)
        for name, value in (members | nested).items():
            if name in names:
                inputs.append(_tensor(name, value, model))
            else:
                parameters[name] = _parameter(name, value, model)
        text = None if request_id is None else str(request_id)
        return WireRequest(inputs, text, parameters or None)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        fields: dict[str, Any] = {} if request.id is None else {_ID: request.id}
        fields |= {"model_name": model.name, "model_version": model.version}
        fields |= response.parameters
        fields |= {tensor.name: _value(tensor) for tensor in response.outputs}
        return EncodedResponse(orjson.dumps(fields))

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        for tensor in response.outputs:
            check_rows(tensor, sum(rows), model.name)
        return [
            self.encode(part, request, model)
            for part, request in zip(row_slices(response, rows), requests, strict=True)
        ]


def _members(body: bytes | memoryview, model: ModelIdentity) -> dict[str, Any]:
    try:
        return _decode(body)
    except MALFORMED as error:
        try:
            return msgspec.convert(parse_leniently(body), dict[str, Any])
        except MALFORMED:
            raise malformed(error, "generate request", model) from error


def _input_names(members: Mapping[str, Any], metadata: ModelMetadata) -> frozenset[str]:
    """Which members are inputs: those the model names; without such, all outside `parameters`."""
    named = frozenset(each.name for each in metadata.inputs)
    known = named | frozenset(metadata.column_names)
    if metadata.positional_input and known.isdisjoint(members):
        # The model's input has a name that was made up: any other will do.
        return known | ({_TEXT} if _TEXT in members else _only(members))
    return known if known else frozenset(members)


def _only(members: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(members) if len(members) == 1 else frozenset()


def _tensor(name: str, value: Any, model: ModelIdentity) -> WireTensor:
    metadata = model.metadata
    spec = next((each for each in metadata.inputs if each.name == name), None)
    if spec is None and metadata.positional_input and name not in metadata.column_names:
        spec = metadata.inputs[0]
    values = value if isinstance(value, list) else [value]
    if spec is None and name in metadata.column_names:
        return column_tensor(name, values, model)
    if spec is None:
        return free_tensor(name, values, model)
    if spec.any_shape and not spec.shape:
        return free_tensor(spec.name, values, model, (spec.datatype, *spec.accepts))
    return _deepened(typed_tensor(spec, values, model), spec)


def _deepened(tensor: WireTensor, spec: TensorMetadata) -> WireTensor:
    """The tensor with the dimensions of size one in front that the model's input has besides."""
    missing = len(spec.shape) - len(tensor.shape)
    if missing > 0:
        tensor.shape = (1,) * missing + tensor.shape
    return tensor


def _parameter(name: str, value: Any, model: ModelIdentity) -> Any:
    if isinstance(value, str | int | float | bool):
        return value
    inputs = ", ".join(repr(each.name) for each in model.metadata.inputs)
    raise _wrong(
        model,
        f"{name[:64]!r} is no input of the model, and no value that a parameter may have",
        f"send the inputs {inputs[:400]}; parameters are strings, numbers, true or false",
    )


def _value(tensor: Tensor) -> Any:
    flat = Tensor(tensor.name, tensor.datatype, tensor.data.reshape(-1), tensor.parameters)
    values = nested_values(flat)
    return values[0] if len(values) == 1 else values


def _wrong(model: ModelIdentity, fact: str, next_step: str) -> InvalidInput:
    return InvalidInput(f"the generate request to model {model.name!r}: {fact}; {next_step}")
