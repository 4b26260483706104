"""The quick way must agree with the ordinary one, or step aside."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput
from salver.protocol.elements import array_of_values, flattened
from salver.protocol.number_arrays import numbers_of_request
from salver.protocol.wire import WireRequest


def raw_numbers(text: bytes, datatype: str, shape: tuple[int, ...]) -> memoryview | None:
    """The one input's bytes, of a request whose data is this text."""
    head = b'{"id":"7","inputs":[{"name":"x","shape":%b,"datatype":"%b","data":' % (
        json.dumps(shape).encode(),
        datatype.encode(),
    )
    found = numbers_of_request(head + text + b"}]}")
    if found is None:
        return None
    fields, blobs = found
    assert fields == {
        "id": "7",
        "inputs": [{"name": "x", "shape": list(shape), "datatype": datatype}],
    }
    assert len(blobs) == 1
    return blobs[0]


TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1e-320, 3.5e38, 2**53 + 1, 1e22, 0.1]),
)


@given(st.lists(NUMBERS, max_size=30), st.sampled_from(sorted(TYPES)))
def test_a_flat_list_becomes_what_the_ordinary_way_makes_of_it(
    values: list[float], datatype: str
) -> None:
    raw = raw_numbers(json.dumps(values).encode(), datatype, (len(values),))
    if raw is not None:
        expected = array_of_values(values, datatype, "input")
        assert bytes(raw) == expected.tobytes()


@given(st.integers(0, 5), st.integers(1, 5), st.sampled_from(["FP32", "FP64"]))
def test_rows_are_read_in_their_order(rows: int, width: int, datatype: str) -> None:
    values = (np.arange(rows * width, dtype=TYPES[datatype]) / 7).reshape(rows, width)
    raw = raw_numbers(json.dumps(values.tolist()).encode(), datatype, (rows, width))
    assert raw is not None or rows == 0
    if raw is not None:
        assert bytes(raw) == values.tobytes()


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (b"[1,true]", (2,)),
        (b'[1,"2"]', (2,)),
        (b"[1,null]", (2,)),
        (b"[1,[2]]", (2,)),
        (b"[[1,2],[3]]", (2, 2)),
        (b"[[1],[2,3]]", (2, 2)),
        (b"[[1,2],[[3],4]]", (2, 2)),
        (b"[[1,2],3,[4]]", (2, 2)),
        (b"[1,2,3]", (2,)),
        (b"[1e39]", (1,)),
        (b"[1e400]", (1,)),
        (b"[NaN]", (1,)),
        (b'{"a":1}', (1,)),
        (b"3", (1,)),
        (b"[1,2", (2,)),
        (b"", (0,)),
    ],
)
def test_all_that_is_irregular_is_left_to_the_ordinary_way(
    text: bytes, shape: tuple[int, ...]
) -> None:
    assert raw_numbers(text, "FP32", shape) is None


def test_a_fraction_is_no_integer() -> None:
    assert raw_numbers(b"[1, 2.5]", "INT64", (2,)) is None
    assert raw_numbers(b"[1, 2]", "INT8", (2,)) is None


@given(st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=4), max_leaves=12))
def test_whatever_is_taken_has_the_shape_it_claims(data: object) -> None:
    shape = np.shape(data) if _is_regular(data) else (2, 2)
    raw = raw_numbers(json.dumps(data).encode(), "FP64", shape)
    if raw is not None:
        assert isinstance(data, list)
        flat = flattened(data, shape, "input")
        try:
            expected = array_of_values(flat, "FP64", "input")
        except InvalidInput:
            pytest.fail(f"{data} was taken as {shape}")
        assert bytes(raw) == expected.tobytes()


def _is_regular(data: object) -> bool:
    try:
        np.array(data, dtype=np.float64)
    except (ValueError, OverflowError):
        return False
    return True


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"parameters":{}}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"outputs":[]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}',
        b'{"inputs":[{"name":"[","shape":[1],"datatype":"FP32","data":[1]}]}',
        b'{"inputs":[[1]]}',
        b'{"inputs":{}}',
        b"[]",
        b"{}",
    ],
)
def test_requests_with_more_to_them_are_left_to_the_ordinary_way(body: bytes) -> None:
    assert numbers_of_request(body) is None


BODIES = [
    b'{"id":"a","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,-3e2,4]}]}',
    b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP64","data":[[1,2.5],[-3e2,4]]},'
    b'{"name":"y","datatype":"INT64","shape":[3],"data":[1,-2,3]}],"parameters":null}',
]


@given(st.data())
def test_a_mutated_request_is_read_as_the_ordinary_way_reads_it_or_left_to_it(
    data: st.DataObject,
) -> None:
    body = bytearray(data.draw(st.sampled_from(BODIES)))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[position] = data.draw(st.sampled_from(b'[]{},:"0123456789.eE-+ntfalsxy '))
        else:
            del body[position]
    found = numbers_of_request(bytes(body))
    if found is None:
        return
    fields, blobs = found
    try:
        request = msgspec.convert(fields, WireRequest)
    except msgspec.ValidationError:
        return
    ordinary = msgspec.json.decode(bytes(body), type=WireRequest)
    for quick, plain, blob in zip(request.inputs, ordinary.inputs, blobs, strict=True):
        assert (quick.name, quick.shape, quick.datatype) == (
            plain.name,
            plain.shape,
            plain.datatype,
        )
        flat = flattened(plain.data, plain.shape, "input")
        assert bytes(blob) == array_of_values(flat, plain.datatype, "input").tobytes()
    assert (request.id, request.parameters, request.outputs) == (
        ordinary.id,
        ordinary.parameters,
        ordinary.outputs,
    )
