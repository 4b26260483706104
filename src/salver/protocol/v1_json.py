"""The V1 REST messages of KServe and TensorFlow Serving: instances in, predictions out.

    {"instances": [...]}   rows, or records {column or input: value} -> {"predictions": [...]}
    {"inputs": ...}        TensorFlow Serving's columnar form        -> {"outputs": ...}

V1 names no datatypes, so the model's metadata gives them; for a column, and for an input of
any shape, the values do. A model that names no inputs gets one for each field of records
that are alike. Values that are no regular numbers or strings reach a model that takes any
shape as one JSON text each: BYTES with the content_type `json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import InferResponse
from salver.protocol.json_text import check_rows, nested_rows, nested_values
from salver.protocol.rows import row_slices
from salver.protocol.tfs_signatures import SIGNATURE_PARAMETER, narrowed_to
from salver.protocol.v1_values import column_tensor, free_tensor, typed_tensor
from salver.protocol.v2_json import MALFORMED, malformed, parse_leniently
from salver.protocol.wire import (
    EncodedResponse,
    ModelIdentity,
    WireOutput,
    WireRequest,
    WireTensor,
)

_DEFAULT_SIGNATURES = frozenset({"", "serving_default", "predict"})


class _Body(msgspec.Struct):
    instances: Any = msgspec.UNSET
    inputs: Any = msgspec.UNSET
    signature_name: str | None = None
    outputs: list[str] | None = None
    parameters: dict[str, Any] | None = None


class ColumnarRequest(WireRequest):
    """A request in the columnar form, which is answered in it."""


_decode_body = msgspec.json.Decoder(_Body).decode


class V1JsonCodec:
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        parsed = _parsed(body, model)
        if parsed.signature_name and model.metadata.signatures:
            model = narrowed_to(parsed.signature_name, model)
            signature = {SIGNATURE_PARAMETER: parsed.signature_name}
            parsed.parameters = {**(parsed.parameters or {}), **signature}
            parsed.signature_name = None
        outputs = _outputs(parsed, model)
        if parsed.inputs is not msgspec.UNSET:
            tensors = _columnar_tensors(parsed.inputs, model)
            return ColumnarRequest(tensors, None, parsed.parameters, outputs)
        tensors = _instance_tensors(_checked_instances(parsed, model), model)
        return WireRequest(tensors, None, parsed.parameters, outputs)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        if isinstance(request, ColumnarRequest):
            return EncodedResponse(_columnar_body(response))
        if len(response.outputs) == 1:
            return EncodedResponse(_body(orjson.dumps(_values(response)[0])))
        return EncodedResponse(_body(orjson.dumps(_records(response))))

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
        if len(response.outputs) == 1 and not any(
            isinstance(request, ColumnarRequest) for request in requests
        ):
            texts = nested_rows(response.outputs[0], rows)
            return [EncodedResponse(_body(text)) for text in texts]
        return [
            self.encode(part, request, model)
            for part, request in zip(row_slices(response, rows), requests, strict=True)
        ]


def _body(predictions: bytes) -> bytes:
    return b'{"predictions":' + predictions + b"}"


def _values(response: InferResponse) -> list[Any]:
    return [nested_values(tensor) for tensor in response.outputs]


def _records(response: InferResponse) -> Any:
    """One object a row, if the outputs agree on the rows; else one object for all."""
    names = [tensor.name for tensor in response.outputs]
    values = _values(response)
    counts = {tensor.data.shape[:1] for tensor in response.outputs}
    if len(counts) == 1 and () not in counts:
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return dict(zip(names, values, strict=True))


def _columnar_body(response: InferResponse) -> bytes:
    values = _values(response)
    if len(values) == 1:
        return b'{"outputs":' + orjson.dumps(values[0]) + b"}"
    names = [tensor.name for tensor in response.outputs]
    return b'{"outputs":' + orjson.dumps(dict(zip(names, values, strict=True))) + b"}"


def _parsed(body: bytes | memoryview, model: ModelIdentity) -> _Body:
    try:
        return _decode_body(body)
    except MALFORMED as error:
        try:
            return msgspec.convert(parse_leniently(body), _Body)
        except MALFORMED:
            raise malformed(error, "V1 inference request", model) from error


def _outputs(parsed: _Body, model: ModelIdentity) -> list[WireOutput] | None:
    if parsed.outputs:
        return [WireOutput(name) for name in parsed.outputs]
    signature = parsed.signature_name or ""
    known = [output.name for output in model.metadata.outputs]
    if signature in known:
        return [WireOutput(signature)]
    if signature in _DEFAULT_SIGNATURES:
        return None
    raise InvalidInput(
        f"model {model.name!r} has no signature {signature[:64]!r}: leave signature_name out, "
        f"or name an output: {', '.join(known)[:400]}"
    )


def _checked_instances(parsed: _Body, model: ModelIdentity) -> list[Any]:
    instances = parsed.instances
    if isinstance(instances, list) and instances:
        return instances
    fact = {True: "is an empty list"}.get(instances == [], "is no list")
    if instances is msgspec.UNSET:
        fact = "is missing"
    raise InvalidInput(
        f"'instances' of the request to model {model.name!r} {fact}: "
        f'send {{"instances": [...]}} with one entry a row'
    )


def _instance_tensors(instances: list[Any], model: ModelIdentity) -> list[WireTensor]:
    metadata = model.metadata
    if isinstance(instances[0], dict):
        names = list(instances[0])
        if metadata.column_names and not set(names) & {spec.name for spec in metadata.inputs}:
            return [
                column_tensor(name, _column(instances, name, names, model), model) for name in names
            ]
        if _are_inputs(names, instances, model):
            return [
                _named_tensor(name, _column(instances, name, names, model), model) for name in names
            ]
    if len(metadata.inputs) == 1:
        return [_input_tensor(metadata.inputs[0], instances, model)]
    if metadata.inputs:
        wanted = ", ".join(repr(spec.name) for spec in metadata.inputs)
        raise InvalidInput(
            f"instance 0 of the request to model {model.name!r} is no object, the model has "
            f"{len(metadata.inputs)} inputs: send objects with {wanted[:400]}"
        )
    return [free_tensor("instances", instances, model)]


def _are_inputs(names: list[str], instances: list[Any], model: ModelIdentity) -> bool:
    """Whether instances that are objects name inputs, instead of being values themselves."""
    inputs = model.metadata.inputs
    if not inputs:
        return all(isinstance(each, dict) and each.keys() == set(names) for each in instances)
    if len(inputs) > 1 or names == [inputs[0].name]:
        return True
    return not inputs[0].any_shape and names != ["b64"]


def _column(instances: list[Any], name: str, names: list[str], model: ModelIdentity) -> list[Any]:
    values = []
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict) or name not in instance or len(instance) != len(names):
            raise InvalidInput(
                f"instance {index} of the request to model {model.name!r} is no object with "
                f"{', '.join(map(repr, names))[:200]} as instance 0 is: make all alike"
            )
        values.append(instance[name])
    return values


def _named_tensor(name: str, values: list[Any], model: ModelIdentity) -> WireTensor:
    if not model.metadata.inputs:
        return free_tensor(name, values, model)
    for spec in model.metadata.inputs:
        if spec.name == name:
            return _input_tensor(spec, values, model)
    # The name is wrong, and `materialise` refuses it with the names that are right.
    return WireTensor(name, (len(values),), "BYTES", values)


def _input_tensor(spec: TensorMetadata, values: list[Any], model: ModelIdentity) -> WireTensor:
    if spec.any_shape and not spec.shape:
        return free_tensor(spec.name, values, model, (spec.datatype, *spec.accepts))
    return typed_tensor(spec, values, model)


def _columnar_tensors(inputs: Any, model: ModelIdentity) -> list[WireTensor]:
    metadata = model.metadata
    if isinstance(inputs, Mapping):
        names = {spec.name for spec in metadata.inputs}
        is_columns = bool(metadata.column_names) and names.isdisjoint(inputs)
        return [
            column_tensor(name, _listed(name, values, model), model)
            if is_columns
            else _named_tensor(name, _listed(name, values, model), model)
            for name, values in inputs.items()
        ]
    if len(metadata.inputs) > 1:
        raise InvalidInput(
            f"'inputs' of the request to model {model.name!r} is no object, the model has "
            f"{len(metadata.inputs)} inputs: send {{input: values}}"
        )
    values = _listed("inputs", inputs, model)
    if metadata.inputs:
        return [_input_tensor(metadata.inputs[0], values, model)]
    return [free_tensor("inputs", values, model)]


def _listed(name: str, values: Any, model: ModelIdentity) -> list[Any]:
    if isinstance(values, list):
        return values
    raise InvalidInput(
        f"{name[:64]!r} in 'inputs' of the request to model {model.name!r} is no list: "
        f"send a list with one entry a row"
    )
