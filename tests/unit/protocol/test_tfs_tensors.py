"""TensorProto in all its encodings."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.tensor import NUMPY_TYPES, Tensor
from salver.protocol.elements import array_of_raw, array_of_values
from salver.protocol.tfs_pb2 import TensorProto
from salver.protocol.tfs_signatures import DTYPES
from salver.protocol.tfs_tensors import MOST_REPEATED, tensor_proto, wire_tensor


def proto(dtype: str, sizes: list[int], **fields: Any) -> TensorProto:
    dims = [{"size": size} for size in sizes]
    return TensorProto(dtype=dtype, tensor_shape={"dim": dims}, **fields)


def values_of(message: TensorProto) -> list[Any]:
    tensor = wire_tensor("x", message, "input 'x'")
    if isinstance(tensor.data, list):
        found = array_of_values(tensor.data, tensor.datatype, "x")
    else:
        found = array_of_raw([tensor.data], tensor.datatype, "x")
    values: list[Any] = found.tolist()
    return values


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_a_tensor_comes_back_as_it_was(datatype: str) -> None:
    if datatype == "BYTES":
        data = np.array([[b"", b"\xff"], [b"abc", b"0"]], dtype=np.object_)
    else:
        data = np.array([[0, 1], [1, 0]]).astype(NUMPY_TYPES[datatype])
    message = tensor_proto(Tensor("x", datatype, data))  # type: ignore[arg-type]
    again = TensorProto.FromString(message.SerializeToString())
    tensor = wire_tensor("x", again, "x")
    assert (tensor.datatype, tensor.shape) == (datatype, (2, 2))
    assert values_of(again) == data.ravel().tolist()


def test_an_empty_tensor_has_no_values() -> None:
    message = tensor_proto(Tensor("x", "FP32", np.zeros((0, 3), np.float32)))
    assert wire_tensor("x", message, "x").shape == (0, 3)
    assert values_of(message) == []


@pytest.mark.parametrize(
    ("message", "values"),
    [
        (proto("DT_FLOAT", [3], float_val=[1.5]), [1.5, 1.5, 1.5]),
        (proto("DT_FLOAT", [3], float_val=[1.0, 2.0]), [1.0, 2.0, 2.0]),
        (proto("DT_DOUBLE", [2]), [0.0, 0.0]),
        (proto("DT_INT8", [3], int_val=[-1]), [-1, -1, -1]),
        (proto("DT_BOOL", [2], bool_val=[True]), [True, True]),
        (proto("DT_HALF", [2], half_val=[0x3C00]), [1.0, 1.0]),
        (proto("DT_BFLOAT16", [2], half_val=[0x3F80]), [1.0, 1.0]),
        (proto("DT_STRING", [2], string_val=[b"a"]), [b"a", b"a"]),
        (proto("DT_STRING", [1]), [b""]),
        (proto("DT_INT64", [], int64_val=[7]), [7]),
        (proto("DT_FLOAT", [2], tensor_content=struct.pack("<2f", 1, 2)), [1.0, 2.0]),
        (proto("DT_STRING", [3], tensor_content=b"\1\0\2abc"), [b"a", b"", b"bc"]),
    ],
)
def test_elements_may_be_written_in_many_ways(message: TensorProto, values: list[Any]) -> None:
    assert values_of(message) == values


def test_long_strings_have_lengths_of_several_bytes() -> None:
    message = proto("DT_STRING", [2], tensor_content=b"\xac\x02\x01" + b"x" * 300 + b"y")
    assert values_of(message) == [b"x" * 300, b"y"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (proto("DT_COMPLEX64", [1]), "dtype DT_COMPLEX64, which no model takes"),
        (proto("DT_INVALID", [1]), "DT_INVALID"),
        (proto("DT_FLOAT", [-1], float_val=[1.0]), "unknown shape"),
        (TensorProto(dtype="DT_FLOAT", tensor_shape={"unknown_rank": True}), "unknown shape"),
        (proto("DT_FLOAT", [1] * 40), "40 dimensions"),
        (proto("DT_FLOAT", [2], double_val=[1.0]), "put them in float_val"),
        (proto("DT_FLOAT", [1], float_val=[1.0], tensor_content=b"0000"), "values twice"),
        (proto("DT_FLOAT", [MOST_REPEATED + 1], float_val=[1.0]), "may be shortened"),
        (proto("DT_INT8", [2], int_val=[300]), "outside the range of INT8"),
        (proto("DT_HALF", [1], half_val=[-1]), "no 16-bit number"),
        (proto("DT_STRING", [2], tensor_content=b"\1"), "not 2 strings"),
        (proto("DT_STRING", [1], tensor_content=b"\5abc"), "not 1 strings"),
        (proto("DT_STRING", [1], tensor_content=b"\xff" * 9), "not 1 strings"),
    ],
)
def test_what_is_no_tensor_is_refused_with_the_reason(message: TensorProto, words: str) -> None:
    with pytest.raises(InvalidInput, match="input 'x'") as raised:
        wire_tensor("x", message, "input 'x'")
    assert words in str(raised.value)


def test_dtypes_have_the_names_and_numbers_of_the_messages() -> None:
    from salver.protocol.tfs_pb2 import DataType

    assert all(DataType.Value(name) == number for name, number in DTYPES.values())
