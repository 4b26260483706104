"""JSON Schemas of requests and responses, for the OpenAPI document. Pure.

The general ones are components by name; those of a model follow from its metadata. A schema
is never stricter than the server, or a client that validates would refuse right answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.inference.metadata import (
    ANY_DIMENSION,
    DATATYPES,
    Datatype,
    ModelMetadata,
    TensorMetadata,
)

Schema = dict[str, Any]

_MAYBE_OBJECT: Schema = {"type": ["object", "null"]}
_VALUES: dict[str, Schema] = {"BOOL": {"type": "boolean"}, "BYTES": {"type": "string"}}
_VALUES |= {name: {"type": "number"} for name in ("FP16", "BF16", "FP32", "FP64")}


def component_schemas() -> dict[str, Schema]:
    """The schemas that are the same for all models."""
    text, flag, anything = {"type": "string"}, {"type": "boolean"}, {"type": "object"}
    shape = {"type": "array", "items": {"type": "integer"}}
    tensor = {"name": text, "datatype": _datatypes(), "shape": shape, "parameters": anything}
    tensors = {"type": "array", "items": reference("TensorMetadata")}
    texts = {"type": "array", "items": text}
    return {
        "Error": obj({"error": text}, required=["error"]),
        "Live": obj({"live": flag}, required=["live"]),
        "Ready": obj({"ready": flag}, required=["ready"]),
        "NotReady": obj({"ready": flag, "error": text}, required=["ready", "error"]),
        "ModelReady": obj({"name": text, "ready": flag}, required=["name", "ready"]),
        "ModelNames": obj({"models": texts}, required=["models"]),
        "Server": obj(
            {"name": text, "version": text, "extensions": texts},
            required=["name", "version", "extensions"],
        ),
        "TensorMetadata": obj(tensor, required=["name", "datatype", "shape"]),
        "ModelMetadata": obj(
            {
                "name": text,
                "versions": texts,
                "platform": text,
                "inputs": tensors,
                "outputs": tensors,
                "parameters": anything,
            },
            required=["name", "versions", "platform", "inputs", "outputs"],
        ),
        "ModelStatus": obj(
            {
                "name": text,
                "version": text,
                "state": {"enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]},
                "reason": text,
            },
            required=["name", "version", "state"],
        ),
        "TensorData": {
            "description": "values in row-major order, nested like the shape or flat",
            "type": "array",
        },
        "InferTensor": obj(
            {**tensor, "data": reference("TensorData")}, required=["name", "datatype", "shape"]
        ),
        "InferRequest": infer_request_schema({"type": "array", "items": _ref_tensor()}),
        "InferResponse": infer_response_schema(),
    }


def obj(properties: dict[str, Schema], *, required: Sequence[str] = ()) -> Schema:
    """An object that may have more members than these."""
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


def reference(name: str) -> Schema:
    """A reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def infer_request_schema(inputs: Schema) -> Schema:
    """A V2 request with these inputs."""
    output = obj({"name": {"type": "string"}, "parameters": _MAYBE_OBJECT}, required=["name"])
    return obj(
        {
            "id": {"type": ["string", "null"]},
            "parameters": _MAYBE_OBJECT,
            "inputs": inputs,
            "outputs": {
                "type": ["array", "null"],
                "items": output,
                "description": "the outputs wanted; without it, the model's default ones",
            },
        },
        required=["inputs"],
    )


def infer_response_schema(name: str = "") -> Schema:
    """A V2 response, of the model if one is named."""
    return obj(
        {
            "model_name": {"const": name} if name else {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": _ref_tensor()},
        },
        required=["model_name", "outputs"],
    )


def model_inputs_schema(metadata: ModelMetadata) -> Schema:
    """The `inputs` a model takes: its own, or one tensor per column if it is tabular."""
    own = _inputs_schema(metadata.inputs, is_positional=metadata.positional_input)
    if not metadata.column_names:
        return own
    any_datatype: Datatype = "FP64"
    datatypes = metadata.column_datatypes or (any_datatype,) * len(metadata.column_names)
    columns = [
        TensorMetadata(name, datatype, (), any_shape=True)
        for name, datatype in zip(metadata.column_names, datatypes, strict=True)
    ]
    by_column = _inputs_schema(columns, is_positional=False, accepts_all=True)
    return {"anyOf": [own, {**by_column, "description": "one tensor per column"}]}


def predict_request_schema() -> Schema:
    """A V1 request."""
    return {
        **obj(
            {
                "instances": {"type": "array", "description": "one element per row"},
                "inputs": {"description": "all rows at once, column by column"},
                "parameters": {"type": "object"},
            }
        ),
        "anyOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    }


def predict_response_schema() -> Schema:
    """A V1 response."""
    predictions: Schema = {"description": "one element per row"}
    outputs: Schema = {"description": "the same by column, where the request had `inputs`"}
    return {
        **obj({"predictions": predictions, "outputs": outputs}),
        "anyOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
    }


def _inputs_schema(
    tensors: Sequence[TensorMetadata], *, is_positional: bool, accepts_all: bool = False
) -> Schema:
    if not tensors:
        return {"type": "array", "items": _ref_tensor(), "minItems": 1}
    schemas = [_tensor_schema(t, is_positional, accepts_all) for t in tensors]
    least = sum(not tensor.optional for tensor in tensors)
    return {
        "type": "array",
        "items": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
        "minItems": least,
        "maxItems": len(schemas),
    }


def _tensor_schema(tensor: TensorMetadata, is_positional: bool, accepts_all: bool) -> Schema:
    name: Schema = {"type": "string", "examples": [tensor.name]}
    datatypes = _datatypes() if accepts_all else {"enum": [tensor.datatype, *tensor.accepts]}
    return obj(
        {
            "name": name if is_positional else {"const": tensor.name},
            "datatype": datatypes,
            "shape": _shape_schema(tensor),
            "parameters": _MAYBE_OBJECT,
            "data": _data_schema((tensor.datatype, *tensor.accepts), accepts_all),
        },
        required=["name", "datatype", "shape", "data"],
    )


def _shape_schema(tensor: TensorMetadata) -> Schema:
    size: Schema = {"type": "integer", "minimum": 0}
    if tensor.any_shape:
        return {"type": "array", "items": size}
    return {
        "type": "array",
        "prefixItems": [size if n == ANY_DIMENSION else {"const": n} for n in tensor.shape],
        "items": size,
        "minItems": len(tensor.shape),
        "maxItems": len(tensor.shape),
    }


def _data_schema(datatypes: Sequence[Datatype], accepts_all: bool) -> Schema:
    schema: Schema = {"type": "array", "description": "nested like the shape, or flat"}
    values = [_VALUES.get(datatype, {"type": "integer"}) for datatype in datatypes]
    if not accepts_all and all(value == values[0] for value in values):
        schema["items"] = {"anyOf": [values[0], {"type": "array"}]}
    return schema


def _datatypes() -> Schema:
    return {"enum": sorted(DATATYPES)}


def _ref_tensor() -> Schema:
    return reference("InferTensor")
