"""Sample requests: the smallest body a model accepts, and a curl line that sends it.

Derived from metadata alone, all zeros. Pure; the command line prints the same line.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from salver.inference.metadata import ANY_DIMENSION, ModelMetadata, TensorMetadata

_MOST_VALUES_IN_A_LINE = 64
_GUESSED_WIDTH = 4
_ZEROS: dict[str, Any] = {"BOOL": False, "BYTES": "", "FP16": 0.0, "BF16": 0.0}
_ZEROS |= {"FP32": 0.0, "FP64": 0.0}


def infer_path(name: str) -> str:
    """The path of the model's V2 inference route, quoted."""
    return f"/v2/models/{quote(name, safe='')}/infer"


def infer_sample(metadata: ModelMetadata) -> dict[str, Any]:
    """A V2 request of one row: the required inputs, or the columns if those differ in type."""
    if len(set(metadata.column_datatypes)) > 1:
        tensors = [
            TensorMetadata(name, datatype, (ANY_DIMENSION, 1))
            for name, datatype in zip(metadata.column_names, metadata.column_datatypes, strict=True)
        ]
    else:
        tensors = [tensor for tensor in metadata.inputs if not tensor.optional]
    width = len(metadata.column_names)
    return {"inputs": [_tensor(tensor, sample_shape(tensor, width)) for tensor in tensors]}


def predict_sample(metadata: ModelMetadata) -> dict[str, Any]:
    """The same row as a V1 request: a list, or an object if the inputs have several names."""
    inputs = infer_sample(metadata)["inputs"]
    if len(inputs) == 1:
        return {"instances": _nested(inputs[0]["data"], inputs[0]["shape"])}
    rows = {
        tensor["name"]: _unwrapped(_nested(tensor["data"], tensor["shape"])) for tensor in inputs
    }
    return {"instances": [rows]}


def sample_shape(tensor: TensorMetadata, columns: int = 0) -> list[int]:
    """The tensor's shape with every open dimension 1.

    If it does not say, a row: `columns` wide, or of a few numbers, since what takes numbers
    nearly always takes a matrix and fails on less.
    """
    if tensor.any_shape and not tensor.shape:
        if tensor.datatype == "BYTES" and not columns:
            return [1]
        return [1, columns or _GUESSED_WIDTH]
    return [1 if size == ANY_DIMENSION else size for size in tensor.shape]


def sample_size(metadata: ModelMetadata) -> int:
    """How many values the sample holds."""
    inputs = [tensor for tensor in metadata.inputs if not tensor.optional]
    return sum(math.prod(sample_shape(tensor)) for tensor in inputs)


def curl_line(name: str, metadata: ModelMetadata, base_url: str) -> str:
    """A shell line that gets an answer from the model; large tensors the shell writes itself."""
    url = shlex.quote(base_url + infer_path(name))
    body = infer_sample(metadata)
    tensors = body["inputs"]
    if sum(len(tensor["data"]) for tensor in tensors) <= _MOST_VALUES_IN_A_LINE:
        return f"curl {url} -d {shlex.quote(msgspec.json.encode(body).decode())}"
    opening = _in_double_quotes('{"inputs":[')
    parts = ",".join(_shell_tensor(tensor) for tensor in tensors)
    return f'curl {url} -d "{opening}{parts}]}}"'


def seldon_line(metadata: ModelMetadata, url: str) -> str:
    """The same row as a Seldon message, to the address of its predictions."""
    inputs = infer_sample(metadata)["inputs"]
    rows = _nested(inputs[0]["data"], inputs[0]["shape"]) if inputs else [[0.0]]
    body = msgspec.json.encode({"data": {"ndarray": rows}}).decode()
    return f"curl {shlex.quote(url)} -H 'content-type: application/json' -d {shlex.quote(body)}"


def _tensor(tensor: TensorMetadata, shape: list[int]) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": shape,
        "datatype": tensor.datatype,
        "data": [_ZEROS.get(tensor.datatype, 0)] * math.prod(shape),
    }


def _shell_tensor(tensor: dict[str, Any]) -> str:
    head = msgspec.json.encode({key: value for key, value in tensor.items() if key != "data"})
    quoted = _in_double_quotes(head.decode()[:-1] + ',"data":[')
    zero = msgspec.json.encode(tensor["data"][0]).decode()
    return f"{quoted}$(yes {shlex.quote(zero)} | head -n {len(tensor['data'])} | paste -sd, -)]}}"


def _in_double_quotes(text: str) -> str:
    return "".join("\\" + char if char in '\\"$`' else char for char in text)


def _nested(data: Sequence[Any], shape: Sequence[int]) -> Any:
    if len(shape) <= 1:
        return list(data)
    step = len(data) // shape[0] if shape[0] else 0
    return [_nested(data[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def _unwrapped(rows: Any) -> Any:
    first = rows[0] if isinstance(rows, list) and rows else rows
    return first[0] if isinstance(first, list) and len(first) == 1 else first
