"""Tensors: an array with the name and the datatype that it carries on the wire.

BYTES tensors are object arrays of `bytes`; BF16 tensors are float32 arrays whose low 16
mantissa bits are zero, as NumPy has no bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from salver.inference.metadata import Datatype

Array = NDArray[Any]
Parameters = Mapping[str, Any]
NO_PARAMETERS: Parameters = MappingProxyType({})

NUMPY_TYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype(np.uint8),
        "UINT16": np.dtype(np.uint16),
        "UINT32": np.dtype(np.uint32),
        "UINT64": np.dtype(np.uint64),
        "INT8": np.dtype(np.int8),
        "INT16": np.dtype(np.int16),
        "INT32": np.dtype(np.int32),
        "INT64": np.dtype(np.int64),
        "FP16": np.dtype(np.float16),
        "BF16": np.dtype(np.float32),
        "FP32": np.dtype(np.float32),
        "FP64": np.dtype(np.float64),
        "BYTES": np.dtype(np.object_),
    }
)
_DATATYPES: dict[np.dtype[Any], Datatype] = {
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.uint16): "UINT16",
    np.dtype(np.uint32): "UINT32",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.int8): "INT8",
    np.dtype(np.int16): "INT16",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float16): "FP16",
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
}


def datatype_of(dtype: np.dtype[Any]) -> Datatype:
    """The wire datatype of an array's dtype; strings and objects are BYTES."""
    return _DATATYPES.get(dtype.newbyteorder("="), "BYTES")


class Tensor(msgspec.Struct, frozen=True):
    """`data` has the shape of the tensor and the dtype of `NUMPY_TYPES[datatype]`."""

    name: str
    datatype: Datatype
    data: Array
    parameters: Parameters = NO_PARAMETERS


class InferRequest(msgspec.Struct, frozen=True):
    """Inputs to predict on, possibly the rows of several callers stacked on axis 0.

    `outputs` names the outputs wanted; empty means the model's defaults.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Parameters = NO_PARAMETERS


class InferResponse(msgspec.Struct, frozen=True):
    """The outputs asked for, in the order asked for."""

    outputs: tuple[Tensor, ...]
    parameters: Parameters = NO_PARAMETERS


def tensor_from_array(name: str, array: Array) -> Tensor:
    """A tensor for any array: strings and objects become BYTES (UTF-8)."""
    datatype = datatype_of(array.dtype)
    if datatype == "BYTES":
        return Tensor(name, datatype, _as_bytes(array))
    return Tensor(name, datatype, array)


def _as_bytes(array: Array) -> Array:
    encoded = np.empty(array.size, dtype=np.object_)
    for index, value in enumerate(array.ravel().tolist()):
        encoded[index] = value if isinstance(value, bytes) else str(value).encode()
    return encoded.reshape(array.shape)
