"""What is asked of both servers, as values: an inference request, and its forms on the wire.

`Infer` is a request that may be wrong in any way that can be written down: nothing here checks it.
Pure; the same request always has the same bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

NUMPY = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@dataclass(frozen=True)
class Given:
    """A tensor of a request; `data` is flat, or nested where a request is to be so."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Infer:
    """An inference request, right or wrong."""

    model: str
    inputs: tuple[Given, ...]
    version: str = ""
    id: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Wanted, ...] | None = None


@dataclass(frozen=True)
class HttpCase:
    """One HTTP request. `label` is `http/WHAT/MODEL/HOW`, by which differences are known."""

    label: str
    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GrpcCase:
    """One gRPC call with the bytes of its message, or of several on a stream."""

    label: str
    call: str
    messages: tuple[bytes, ...]
    is_stream: bool = False


Case = HttpCase | GrpcCase


def infer_path(infer: Infer) -> str:
    version = f"/versions/{infer.version}" if infer.version else ""
    return f"/v2/models/{infer.model}{version}/infer"


def json_fields(infer: Infer) -> dict[str, Any]:
    """The request as JSON, with its data in it."""
    fields: dict[str, Any] = {} if infer.id is None else {"id": infer.id}
    if infer.parameters:
        fields["parameters"] = dict(infer.parameters)
    fields["inputs"] = [_json_input(each) for each in infer.inputs]
    if infer.outputs is not None:
        fields["outputs"] = [
            {"name": each.name} | ({"parameters": dict(each.parameters)} if each.parameters else {})
            for each in infer.outputs
        ]
    return fields


def _json_input(given: Given) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": given.name,
        "shape": list(given.shape),
        "datatype": given.datatype,
    }
    if given.parameters:
        fields["parameters"] = dict(given.parameters)
    return {**fields, "data": _json_data(given.data)}


def _json_data(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return [_json_data(each) for each in data]
    return data.decode("latin-1") if isinstance(data, bytes) else data


def json_case(label: str, infer: Infer) -> HttpCase:
    """Data in the JSON."""
    body = json.dumps(json_fields(infer), ensure_ascii=False).encode()
    return HttpCase(label, "POST", infer_path(infer), body, {"Content-Type": "application/json"})


def binary_case(label: str, infer: Infer) -> HttpCase:
    """Data in bytes behind the JSON; answers in bytes too."""
    fields, blobs = json_fields(infer), [raw_bytes(each) for each in infer.inputs]
    for each, blob in zip(fields["inputs"], blobs, strict=True):
        del each["data"]
        each["parameters"] = each.get("parameters", {}) | {"binary_data_size": len(blob)}
    if infer.outputs is None:
        fields["parameters"] = fields.get("parameters", {}) | {"binary_data_output": True}
    for wanted in fields.get("outputs", []):
        wanted["parameters"] = {"binary_data": True} | wanted.get("parameters", {})
    head = json.dumps(fields, ensure_ascii=False).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return HttpCase(label, "POST", infer_path(infer), head + b"".join(blobs), headers)


def raw_bytes(given: Given) -> bytes:
    """The tensor's elements as bytes, as far as its data can be elements of its datatype."""
    flat = list(_flat(given.data))
    if given.datatype == "BYTES":
        texts = [each if isinstance(each, bytes) else str(each).encode() for each in flat]
        return b"".join(struct.pack("<I", len(each)) + each for each in texts)
    kind = NUMPY.get(given.datatype, np.float32)
    numbers = [each if isinstance(each, int | float) else 0 for each in flat]
    with np.errstate(all="ignore"):
        if kind in (np.float16, np.float32, np.float64):
            return np.array(numbers, np.float64).astype(kind).tobytes()
        wide = np.array([int(each) & (1 << 64) - 1 for each in numbers], np.uint64)
        return wide.astype(kind).tobytes()


def _flat(data: Any) -> Any:
    for each in data if isinstance(data, list | tuple) else [data]:
        if isinstance(each, list | tuple):
            yield from _flat(each)
        else:
            yield each


def grpc_message(infer: Infer, *, raw: bool) -> service_pb2.ModelInferRequest:
    """The request as a message, its data in `raw_input_contents` or in typed contents."""
    message = service_pb2.ModelInferRequest(
        model_name=infer.model,
        model_version=infer.version,
        id="" if infer.id is None else str(infer.id),
        parameters=_grpc_parameters(infer.parameters),
    )
    for given in infer.inputs:
        tensor = message.inputs.add(
            name=given.name,
            datatype=given.datatype,
            shape=given.shape,
            parameters=_grpc_parameters(given.parameters),
        )
        if raw or given.datatype not in _CONTENTS:
            message.raw_input_contents.append(raw_bytes(given))
        else:
            _set_contents(tensor, given)
    for wanted in infer.outputs or ():
        parameters = _grpc_parameters(wanted.parameters)
        message.outputs.add(name=wanted.name, parameters=parameters)
    return message


def _set_contents(tensor: Any, given: Given) -> None:
    values = list(_flat(given.data))
    if given.datatype == "BYTES":
        values = [each if isinstance(each, bytes) else str(each).encode() for each in values]
    elif given.datatype not in ("FP32", "FP64"):
        values = np.frombuffer(raw_bytes(given), NUMPY[given.datatype]).tolist()
    getattr(tensor.contents, _CONTENTS[given.datatype]).extend(values)


def _grpc_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _grpc_parameter(value) for name, value in parameters.items()}


def _grpc_parameter(value: Any) -> Any:
    if isinstance(value, bool):
        return service_pb2.InferParameter(bool_param=value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return service_pb2.InferParameter(int64_param=value)
    if isinstance(value, float):
        return service_pb2.InferParameter(double_param=value)
    text = value if isinstance(value, str) else json.dumps(value)
    return service_pb2.InferParameter(string_param=text)


def grpc_case(label: str, infer: Infer, *, raw: bool) -> GrpcCase:
    message = grpc_message(infer, raw=raw).SerializeToString(deterministic=True)
    return GrpcCase(label, "ModelInfer", (message,))


def stream_case(label: str, infers: Sequence[Infer]) -> GrpcCase:
    messages = [grpc_message(each, raw=True) for each in infers]
    texts = tuple(each.SerializeToString(deterministic=True) for each in messages)
    return GrpcCase(label, "ModelStreamInfer", texts, is_stream=True)
