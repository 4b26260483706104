"""Typed contents of gRPC tensors as raw ones."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from salver.errors import InvalidInput
from salver.protocol.grpc_contents import as_raw
from salver.protocol.inference_pb2 import ModelInferRequest

Tensor = ModelInferRequest.InferInputTensor


def tensor(datatype: str, field: str, values: list[Any]) -> bytes:
    made = Tensor(name="x", datatype=datatype, shape=[len(values)])
    getattr(made.contents, field).extend(values)
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("datatype", "field", "values", "raw"),
    [
        ("INT8", "int_contents", [-1, 2], b"\xff\x02"),
        ("UINT64", "uint64_contents", [1 << 63], struct.pack("<Q", 1 << 63)),
        ("BOOL", "bool_contents", [True, False], b"\x01\x00"),
        ("FP32", "fp32_contents", [1.5], struct.pack("<f", 1.5)),
        ("FP64", "fp64_contents", [0.1], struct.pack("<d", 0.1)),
        ("BYTES", "bytes_contents", [b"ab", b""], b"\x02\0\0\0ab\0\0\0\0"),
    ],
)
def test_elements_are_as_raw_contents_have_them(
    datatype: str, field: str, values: list[Any], raw: bytes
) -> None:
    head, found = as_raw(tensor(datatype, field, values))
    assert found == raw
    assert Tensor.FromString(head) == Tensor(name="x", datatype=datatype, shape=[len(values)])


def test_a_tensor_without_elements_has_empty_contents() -> None:
    assert as_raw(Tensor(name="x", datatype="FP32", shape=[0]).SerializeToString())[1] == b""


@pytest.mark.parametrize(
    "wrong",
    [
        tensor("INT8", "int_contents", [300]),
        tensor("FP12", "fp32_contents", [1.0]),
        tensor("BYTES", "int_contents", [1]),
        tensor("INT32", "fp32_contents", [1.5]),
        b"\xff\xff",
    ],
)
def test_elements_that_the_datatype_has_not_are_refused(wrong: bytes) -> None:
    with pytest.raises(InvalidInput):
        as_raw(wrong)
