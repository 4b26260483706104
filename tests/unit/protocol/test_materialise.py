"""Grouping, checking and stacking: what metadata refuses, and what arrays come out."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.elements import ZERO_COPY_BYTES
from salver.protocol.materialise import assemble, group_key
from salver.protocol.wire import ModelIdentity, WireOutput, WireRequest, WireTensor

FOUR = [1.0, 2.0, 3.0, 4.0]


def tensor(
    data: Any = FOUR, shape: tuple[int, ...] = (1, 4), datatype: str = "FP64", **fields: Any
) -> WireTensor:
    return WireTensor(fields.pop("name", "input-0"), shape, datatype, data, **fields)


def request(*inputs: WireTensor, **fields: Any) -> WireRequest:
    return WireRequest(list(inputs) or [tensor()], **fields)


def stacked(model: ModelIdentity, *requests: WireRequest) -> tuple[Any, list[int]]:
    assert len({group_key(item, model) for item in requests}) == 1
    return assemble(list(requests), model)


def refusal(model: ModelIdentity, wire: WireRequest) -> str:
    with pytest.raises(InvalidInput) as caught:
        group_key(wire, model)
        assemble([wire], model)
    message = str(caught.value)
    assert model.name in message and "\n" not in message
    return message


def test_requests_are_stacked_in_order_and_the_rows_counted(iris: Any) -> None:
    two = request(tensor([[5, 6, 7, 8.5], [9, 10, 11, 12]], (2, 4)))
    infer, rows = stacked(iris, request(), two, request())
    assert rows == [1, 2, 1]
    [result] = infer.inputs
    assert (result.name, result.datatype, result.data.dtype) == ("input-0", "FP64", np.float64)
    assert result.data.tolist() == [FOUR, [5, 6, 7, 8.5], [9, 10, 11, 12], FOUR]


def test_the_models_own_name_is_given_to_a_positional_input(iris: Any) -> None:
    infer, _ = stacked(iris, request(tensor(name="predict")), request())
    assert infer.inputs[0].name == "input-0"


def test_transport_parameters_do_not_part_requests(iris: Any) -> None:
    plain, timed = request(), request(parameters={"timeout": 5, "binary_data_output": True})
    outputs = request(outputs=[WireOutput("predict", {"binary_data": True})])
    assert group_key(plain, iris) == group_key(timed, iris)
    assert group_key(plain, iris) != group_key(outputs, iris)
    infer, _ = stacked(iris, timed, request(parameters={"sequence_id": 1}))
    assert dict(infer.parameters) == {}


def test_parameters_for_the_model_part_requests_and_reach_it(iris: Any) -> None:
    hot, cold = (request(parameters={"temperature": value}) for value in (1, True))
    assert group_key(hot, iris) != group_key(cold, iris)
    infer, _ = stacked(iris, hot, request(parameters={"temperature": 1}))
    assert infer.parameters == {"temperature": 1}


def test_parameters_that_cannot_be_compared_run_alone(iris: Any) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert group_key(request(parameters={"k": deep}), iris) is None
    assert group_key(request(parameters={"k": "x" * 10_000}), iris) is None
    while deep:
        deep = deep[0]


def test_a_model_that_is_not_batchable_runs_requests_alone(echo: Any) -> None:
    wire = request(tensor(5 * [1], (5,), "INT64"))
    assert group_key(wire, echo) is None
    infer, rows = assemble([wire], echo)
    assert rows == [5] and infer.inputs[0].data.tolist() == [1] * 5


def test_a_scalar_keeps_its_empty_shape(echo: Any) -> None:
    infer, rows = assemble([request(tensor([7], ()))], echo)
    assert rows == [1] and infer.inputs[0].data.shape == ()


def test_layouts_are_kept_within_a_bound(iris: Any) -> None:
    for index in range(1500):
        assert group_key(request(tensor(name=f"name-{index}")), iris) is not None
    assert group_key(request(tensor(name="n" * 5000)), iris) is not None
    assert group_key(request(), iris) == group_key(request(), iris)


def test_raw_and_listed_rows_are_stacked_together(iris: Any) -> None:
    raw = np.array([[9, 8, 7, 6]], "<f8").tobytes()
    infer, _ = stacked(iris, request(tensor(raw)), request(), request(tensor(memoryview(raw))))
    assert infer.inputs[0].data.tolist() == [[9, 8, 7, 6], FOUR, [9, 8, 7, 6]]


def test_a_single_large_raw_tensor_is_not_copied(iris: Any) -> None:
    raw = np.zeros((ZERO_COPY_BYTES, 4), "<f8").tobytes()
    infer, _ = stacked(iris, request(tensor(raw, (ZERO_COPY_BYTES, 4))))
    data = infer.inputs[0].data
    assert np.shares_memory(data, np.frombuffer(raw, np.uint8))
    assert not data.flags.writeable


@pytest.mark.parametrize(
    ("wire", "fact"),
    [
        (
            request(tensor([1.0] * 3, (1, 3))),
            "input 'input-0' of model 'iris' has shape [1,3], the model takes [-1,4]: "
            "send 4 values a row",
        ),
        (request(tensor(FOUR, (4,))), "put the number of rows first, e.g. [1,4]"),
        (request(tensor(FOUR, (1, 2, 2))), "send that shape"),
        (request(tensor(["a"] * 4, datatype="BYTES")), "takes FP64, FP32, INT64, INT32"),
        (request(tensor(datatype="FLOAT")), "unknown datatype 'FLOAT'"),
        (request(tensor([1.0, 2.0, 3.0])), "has 3 values, its shape [1,4] needs 4"),
        (request(tensor([1.0] * 5)), "has 5 values"),
        (request(tensor([FOUR, [1.0]], (2, 4))), "has 1 entries on axis 1"),
        (request(tensor([FOUR, FOUR], (1, 4))), "has 2 entries on axis 0"),
        (request(tensor([FOUR, 1.0], (2, 4))), "mixes arrays and values"),
        (request(tensor([1.0, [2.0], 3.0, 4.0])), "has an array as value 1"),
        (request(tensor([[[1.0]] * 4])), "has an array as value 0"),
        (request(tensor([1.0, {}, 3.0, 4.0])), "has an object as value 1"),
        (request(tensor(["1", 2.0, 3.0, 4.0])), "the string '1' as value 0 of a FP64 tensor"),
        (request(tensor([True, 2.0, 3.0, 4.0])), "has true as value 0"),
        (request(tensor([1, 2, 3, 1.5], datatype="INT64")), "the number 1.5 as value 3"),
        (request(tensor([1, 2, 3, None], datatype="INT64")), "has null as value 3"),
        (request(tensor([1, 2, 3, 1 << 63], datatype="INT64")), "outside the range of INT64"),
        (request(tensor([1, 2, 3, 1e39], datatype="FP32")), "outside the range of FP32"),
        (request(tensor([1, 2, 3, 10**400])), "outside the range of FP64"),
        (request(tensor([1.0, None, 3.0, 4.0])), "has NaN at [0,1], which the model does not"),
        (request(tensor([], (0, 4))), "no rows"),
        (request(tensor([], (-1, 4))), "send the real size"),
        (request(tensor([], (1 << 70, 4))), "absurd shape"),
        (request(tensor([], (10**5000, 4))), "absurd shape"),
        (request(tensor([], (1,) * 40)), "absurd shape"),
        (request(tensor(None)), "has no data"),
        (request(tensor(5)), "data that is no array"),
        (request(tensor(b"123")), "has 3 bytes of binary data, FP64 of shape [1,4] takes 32"),
        (WireRequest([]), "lacks the input 'input-0'"),
        (request(tensor(), tensor()), "is given twice"),
        (request(tensor(), tensor(name="b")), "the unknown input 'b'"),
        (request(outputs=[WireOutput("z")]), "output 'z' of model 'iris' does not exist"),
        (
            request(outputs=[WireOutput("predict", {"classification": -3})]),
            "'classification' '-3'",
        ),
        (request(tensor(parameters={"shared_memory_region": "r"})), "shared memory"),
        (request(tensor(parameters={"content_type": "hdf"})), "content_type 'hdf'"),
        (request(parameters={"content_type": ["pd"]}), "content_type"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fact(
    iris: Any, wire: WireRequest, fact: str
) -> None:
    assert fact in refusal(iris, wire)


def test_each_request_of_a_group_must_have_its_own_values(iris: Any) -> None:
    short, long = request(tensor([1.0] * 3)), request(tensor([1.0] * 5))
    with pytest.raises(InvalidInput, match="has 3 values"):
        stacked(iris, short, long)


def test_several_inputs_are_given_in_the_models_order(pair: Any) -> None:
    b = tensor([7], (1,), "INT64", name="b")
    a = tensor([1, 2], (1, 2), "FP32", name="a")
    infer, rows = stacked(pair, request(b, a), request(b, a))
    assert [(t.name, t.data.tolist()) for t in infer.inputs] == [
        ("a", [[1, 2], [1, 2]]),
        ("b", [7, 7]),
    ]
    assert rows == [1, 1]


def test_missing_extra_and_uneven_inputs_are_refused(pair: Any) -> None:
    a = tensor([1, 2], (1, 2), "FP32", name="a")
    b = tensor([7, 8], (2,), "INT64", name="b")
    note = tensor(["x"], (1, 1), "BYTES", name="note")
    assert "lacks the input 'b'" in refusal(pair, request(a, note))
    assert "input 'b' of model 'pair' has 2 rows, input 'a' has 1" in refusal(pair, request(a, b))
    extra = tensor(name="c")
    message = refusal(pair, request(a, extra))
    assert "the unknown input 'c' and lacks the input 'b'" in message


def test_a_model_that_says_nothing_takes_anything_but_nothing() -> None:
    model = ModelIdentity("free", "1", ModelMetadata("python", (), ()))
    infer, _ = stacked(model, request(tensor(name="q"), outputs=[WireOutput("any")]))
    assert infer.inputs[0].name == "q" and infer.outputs == ("any",)
    assert "no inputs" in refusal(model, WireRequest([]))


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("content_type", [None, "pd"])
def test_columns_come_in_the_order_of_training_and_flat(
    housing: Any, shape: tuple[int, ...], content_type: str | None
) -> None:
    town = tensor(["A", "B"], shape, "BYTES", name="town")
    rooms = tensor([3, 4], shape, "INT64", name="rooms")
    parameters = {"content_type": content_type} if content_type else None
    wire = request(town, rooms, parameters=parameters)
    infer, rows = stacked(housing, wire, wire)
    assert rows == [2, 2]
    assert [(t.name, t.data.tolist()) for t in infer.inputs] == [
        ("rooms", [3, 4, 3, 4]),
        ("town", [b"A", b"B", b"A", b"B"]),
    ]
    assert infer.parameters.get("content_type") == content_type


def test_a_model_with_columns_takes_its_matrix_too(housing: Any) -> None:
    infer, _ = stacked(housing, request(tensor([1, 2], (1, 2))))
    assert infer.inputs[0].name == "input-0" and infer.inputs[0].data.shape == (1, 2)


@pytest.mark.parametrize(
    ("inputs", "fact"),
    [
        ([tensor([3], (1,), name="rooms")], "lacks the column 'town'"),
        (
            [tensor([3], (1,), name="rooms"), tensor([3], (1,), name="town")],
            "trained on BYTES in that column: send strings",
        ),
        (
            [tensor(["3"], (1,), "BYTES", name="rooms"), tensor(["3"], (1,), "BYTES", name="town")],
            "trained on FP64 in that column: send numbers",
        ),
        (
            [
                tensor([3, 4], (1, 2), name="rooms"),
                tensor(["3"], (1,), "BYTES", name="town"),
            ],
            "is a column of shape [1,2]: send [n] or [n,1]",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    housing: Any, inputs: list[WireTensor], fact: str
) -> None:
    if len(inputs) == 2 and len(inputs[0].shape) == 2:
        inputs[0].data = [3.0, 4.0]
    assert fact in refusal(housing, request(*inputs))


def test_a_dataframe_for_a_model_without_column_names_becomes_its_matrix(iris: Any) -> None:
    columns = [tensor([i, i + 1], (2,), "INT64", name=f"c{i}") for i in range(4)]
    infer, rows = stacked(iris, request(*columns, parameters={"content_type": "pd"}))
    assert rows == [2]
    assert (infer.inputs[0].name, infer.inputs[0].datatype) == ("input-0", "FP64")
    assert infer.inputs[0].data.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    few = request(*columns[:3], parameters={"content_type": "pd"})
    assert "takes 4 columns, the request has 3" in refusal(iris, few)
    text = [tensor(["a", "b"], (2,), "BYTES", name="c0"), *columns[1:]]
    mixed = request(*text, parameters={"content_type": "pd"})
    assert "has datatype BYTES, the model takes FP64" in refusal(iris, mixed)


def test_a_dataframe_of_floats_is_not_cut_to_integers() -> None:
    metadata = ModelMetadata("x", (TensorMetadata("m", "INT64", (-1, 1)),), ())
    wire = request(tensor([1.5], (1,), name="c"), parameters={"content_type": "pd"})
    assert "takes INT64: convert them" in refusal(ModelIdentity("m", "1", metadata), wire)


def test_a_dataframe_for_a_python_model_keeps_its_columns(echo: Any) -> None:
    columns = [tensor([1], (1,), name="a"), tensor(["b"], (1,), "BYTES", name="b")]
    wire = request(*columns, parameters={"content_type": "pd"})
    infer, _ = assemble([wire], echo)
    assert [t.name for t in infer.inputs] == ["a", "b"]
    assert infer.parameters == {"content_type": "pd"}


@pytest.mark.parametrize(
    ("content_type", "given", "wanted"),
    [
        ("base64", "aGk=", b"hi"),
        ("datetime", "2026-11-21T05:00:00", b"2026-11-21T05:00:00"),
        ("pd_json", '{"a":1}', b'{"a":1}'),
        ("str", "text", b"text"),
    ],
)
def test_content_types_of_elements_are_undone_or_checked(
    echo: Any, content_type: str, given: str, wanted: bytes
) -> None:
    wire = request(tensor([given], (1, 1), "BYTES", parameters={"content_type": content_type}))
    [result] = assemble([wire], echo)[0].inputs
    assert result.data.tolist() == [[wanted]]
    assert result.parameters == {"content_type": content_type}


@pytest.mark.parametrize("content_type", ["base64", "datetime", "pd_json", "json"])
def test_an_element_that_is_not_its_content_type_is_refused(echo: Any, content_type: str) -> None:
    bad = tensor(["1", "\u00e9{"], (2,), "BYTES", parameters={"content_type": content_type})
    assert "is not" in refusal(echo, request(bad))
    number = tensor([1.0], (1,), parameters={"content_type": content_type})
    assert "send BYTES" in refusal(echo, request(number))


@pytest.mark.parametrize(
    ("blob", "fact"),
    [
        (b"\x01\0\0", "a string at byte 0 of its binary data that runs past the end at byte 3"),
        (b"\x05\0\0\0abc", "runs past the end at byte 7"),
        (b"\x01\0\0\0a", "has 1 strings in its binary data, its shape [2] needs 2"),
        (b"\0\0\0\0" * 9, "has more strings"),
    ],
)
def test_broken_binary_strings_are_refused(echo: Any, blob: bytes, fact: str) -> None:
    assert fact in refusal(echo, request(tensor(blob, (2,), "BYTES")))


def test_a_boolean_byte_is_0_or_1(echo: Any) -> None:
    infer, _ = assemble([request(tensor(b"\x01\0", (2,), "BOOL"))], echo)
    assert infer.inputs[0].data.tolist() == [True, False]
    assert "other than 0 and 1" in refusal(echo, request(tensor(b"\x02", (1,), "BOOL")))


def test_booleans_strings_and_bfloat16_are_read_from_lists(echo: Any) -> None:
    def read(data: list[Any], datatype: str) -> Any:
        wire = request(tensor(data, (len(data),), datatype))
        return assemble([wire], echo)[0].inputs[0].data

    assert read([True, False], "BOOL").dtype == np.bool_
    assert read(["\u00e9", b"\xff"], "BYTES").tolist() == [b"\xc3\xa9", b"\xff"]
    assert read([1.0, 3.14159], "BF16").tolist() == [1.0, 3.140625]
    assert np.isnan(read([None, 1.0], "FP16")[0])
    assert read([], "FP32").shape == (0,)
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        read(["\ud800"], "BYTES")


def test_an_identity_is_hashed_once_and_compared_by_value(iris: Any) -> None:
    again = msgspec.structs.replace(iris)
    assert again == iris and hash(again) == hash(iris)
