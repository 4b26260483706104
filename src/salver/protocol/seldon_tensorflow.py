"""TensorFlow's TensorProto, as Seldon's `tftensor` carries it: in JSON and as a message.

Its elements are in `tensor_content`, as bytes, or in a list for their datatype, of which the last
may stand for all that follow.
"""

from __future__ import annotations

import base64
import math
from types import MappingProxyType
from typing import Any

import orjson

from salver.errors import InvalidInput
from salver.inference.tensor import Tensor
from salver.protocol.elements import raw_of_array
from salver.protocol.seldon_pb2 import DataType, TensorProto, TensorShape
from salver.protocol.seldon_values import decoded_base64
from salver.protocol.wire import ModelIdentity

_MOST_REPEATED = 1 << 24
"""Elements that are not sent but stand for the last one: more are no honest tensor."""
_DATATYPES = MappingProxyType(
    {
        "DT_FLOAT": "FP32",
        "DT_DOUBLE": "FP64",
        "DT_INT32": "INT32",
        "DT_UINT8": "UINT8",
        "DT_INT16": "INT16",
        "DT_INT8": "INT8",
        "DT_STRING": "BYTES",
        "DT_INT64": "INT64",
        "DT_BOOL": "BOOL",
        "DT_BFLOAT16": "BF16",
        "DT_UINT16": "UINT16",
        "DT_HALF": "FP16",
        "DT_UINT32": "UINT32",
        "DT_UINT64": "UINT64",
    }
)
_DTYPES = MappingProxyType({name: dtype for dtype, name in _DATATYPES.items()})
_LISTS = MappingProxyType(
    {
        "FP32": "float_val",
        "FP64": "double_val",
        "BYTES": "string_val",
        "INT64": "int64_val",
        "BOOL": "bool_val",
        "BF16": "half_val",
        "FP16": "half_val",
        "UINT32": "uint32_val",
        "UINT64": "uint64_val",
    }
)
"""Where the elements are; of all other datatypes in `int_val`."""
_INTEGERS = ("int_val", "int64_val", "half_val", "uint32_val", "uint64_val")
Elements = list[Any] | bytes


def read_tensor(proto: Any, model: ModelIdentity) -> tuple[tuple[int, ...], str, Elements]:
    """Shape, datatype and elements of a TensorProto. Raises `InvalidInput`."""
    try:
        dtype = DataType.Name(proto.dtype)
    except ValueError:
        dtype = str(proto.dtype)
    datatype = _datatype(dtype, model)
    shape = _checked([dim.size for dim in proto.tensor_shape.dim], model)
    if proto.tensor_content:
        return shape, datatype, proto.tensor_content
    values = list(getattr(proto, _LISTS.get(datatype, "int_val")))
    return shape, datatype, _elements(values, shape, datatype, model)


def read_tensor_json(
    document: dict[str, Any], model: ModelIdentity
) -> tuple[tuple[int, ...], str, Elements]:
    """The same of its JSON, whose names may be as in the .proto, too. Raises `InvalidInput`."""
    dtype = document.get("dtype", "DT_INVALID")
    datatype = _datatype(dtype if isinstance(dtype, str) else _dtype_name(dtype), model)
    dims = _get(_get(document, "tensor_shape") or {}, "dim") or []
    shape = _checked([_size(dim) for dim in dims], model)
    content = _get(document, "tensor_content")
    if content:
        return shape, datatype, decoded_base64(content, model)
    field = _LISTS.get(datatype, "int_val")
    values = _get(document, field) or []
    if not isinstance(values, list):
        raise InvalidInput(f"'{field}' of the tftensor for model {model.name!r} is no list")
    if field == "string_val":
        values = [decoded_base64(value, model) for value in values]
    elif field in _INTEGERS:  # JSON has 64-bit integers as strings
        values = [_integer(value, field, model) for value in values]
    return shape, datatype, _elements(values, shape, datatype, model)


def tensor_message(tensor: Tensor) -> Any:
    """The tensor as a TensorProto."""
    dims = [TensorShape.Dim(size=size) for size in tensor.data.shape]
    proto = TensorProto(dtype=_DTYPES[tensor.datatype], tensor_shape=TensorShape(dim=dims))
    if tensor.datatype == "BYTES":
        proto.string_val.extend(tensor.data.ravel().tolist())
    else:
        proto.tensor_content = raw_of_array(tensor.data, tensor.datatype)
    return proto


def tensor_json(tensor: Tensor) -> bytes:
    """The tensor as the JSON of a TensorProto."""
    document: dict[str, Any] = {
        "dtype": _DTYPES[tensor.datatype],
        "tensorShape": {"dim": [{"size": str(size)} for size in tensor.data.shape]},
    }
    if tensor.datatype == "BYTES":
        document["stringVal"] = [
            base64.b64encode(text).decode() for text in tensor.data.ravel().tolist()
        ]
    else:
        raw = raw_of_array(tensor.data, tensor.datatype)
        document["tensorContent"] = base64.b64encode(raw).decode()
    return orjson.dumps(document)


def _datatype(dtype: str, model: ModelIdentity) -> str:
    found = _DATATYPES.get(dtype)
    if found is None:
        raise InvalidInput(
            f"the tftensor for model {model.name!r} has dtype {dtype[:40]!r}: "
            f"send one of {', '.join(_DATATYPES)}"
        )
    return found


def _dtype_name(dtype: Any) -> str:
    try:
        return DataType.Name(dtype)
    except (ValueError, TypeError):
        return str(dtype)


def _size(dim: Any) -> Any:
    size = dim.get("size", 0) if isinstance(dim, dict) else dim
    return int(size) if isinstance(size, str) and size.isascii() and size.isdigit() else size


def _checked(sizes: list[Any], model: ModelIdentity) -> tuple[int, ...]:
    if all(type(size) is int and size >= 0 for size in sizes):
        return tuple(sizes)
    raise InvalidInput(
        f"the tftensor for model {model.name!r} has a size that is no number from 0: "
        f"send a tensor_shape of known sizes"
    )


def _elements(
    values: list[Any], shape: tuple[int, ...], datatype: str, model: ModelIdentity
) -> Elements:
    count = math.prod(shape)
    if 0 < len(values) < count <= _MOST_REPEATED:
        values = values + [values[-1]] * (count - len(values))
    if datatype not in ("FP16", "BF16"):
        return values
    try:
        return b"".join(value.to_bytes(2, "little") for value in values)
    except (AttributeError, OverflowError) as error:
        raise InvalidInput(
            f"'half_val' of the tftensor for model {model.name!r} has a value that is no "
            f"16-bit number: send its bits"
        ) from error


def _integer(value: Any, field: str, model: ModelIdentity) -> int:
    if type(value) is str and value.lstrip("-").isascii() and value.lstrip("-").isdigit():
        return int(value)
    if type(value) is int:
        return value
    raise InvalidInput(
        f"'{field}' of the tftensor for model {model.name!r} has {str(value)[:40]!r}: "
        f"send whole numbers"
    )


def _get(document: Any, name: str) -> Any:
    """A member by the name in the .proto or by JSON's form of it."""
    if not isinstance(document, dict):
        return None
    if name in document:
        return document[name]
    first, *rest = name.split("_")
    return document.get(first + "".join(word.capitalize() for word in rest))
