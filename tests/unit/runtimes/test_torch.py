"""The decisions of the PyTorch runtime that need no PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.requests import source

from salver.errors import InvalidInput, LoadFailed, MissingFramework
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.torch import TorchRuntime
from salver.runtimes.torch_arguments import (
    Argument,
    arguments_of_forward,
    arguments_of_types,
    declared_inputs,
)
from salver.runtimes.torch_export_guard import problems_of_program
from salver.runtimes.torch_mar import answer_of, read_manifest, rows_of
from salver.runtimes.torch_probe import learnt
from salver.runtimes.torch_settings import torch_settings
from salver.runtimes.torch_unpack import unpacked


@pytest.mark.skipif("torch" in sys.modules, reason="it is about an environment without torch")
def test_without_pytorch_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    with pytest.raises(MissingFramework, match=r"pip install 'salver\[torch\]'"):
        TorchRuntime().load(source(tmp_path / "m.pt", "torch"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"devise": "cpu"}, "no argument 'devise'; did you mean 'device'"),
        ({"x": 1}, "no argument 'x'; use device, compile"),
        ({"device": "cuda:x"}, "device 'cuda:x' is none"),
        ({"compile": "quick"}, "compile 'quick' is no mode"),
        ({"batchable": "yes"}, r"Expected `bool \| null`"),
    ],
)
def test_arguments_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadFailed, match=message):
        torch_settings("m", given)


def test_arguments_of_a_settings_file_lie_one_deeper() -> None:
    settings = torch_settings(
        "m", {"settings_file": "x", "extra": {"device": "cuda:1", "compile": True}}
    )
    assert (settings.device, settings.compile_mode) == ("cuda:1", "default")
    assert torch_settings("m", {"compile": "max-autotune"}).compile_mode == "max-autotune"
    assert torch_settings("m", {}).compile_mode == ""


def test_forward_is_read_by_its_hints() -> None:
    def forward(
        x: torch.Tensor,  # noqa: F821
        ids: torch.LongTensor,  # noqa: F821
        bare,  # type: ignore[no-untyped-def]
        scale: float = 1.0,
        mask: Optional[Tensor] = None,  # noqa: F821
        hook: Callable[..., int] | None = None,  # noqa: F821
        **rest: int,
    ) -> None: ...

    assert arguments_of_forward(forward) == (
        Argument("x", "tensor"),
        Argument("ids", "tensor", datatype="INT64"),
        Argument("bare", "tensor"),
        Argument("scale", "number", True, "FP64", True),
        Argument("mask", "tensor", True, None, True),
    )


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([("names", "List[str]", False, False)], "'names' of type List"),
        (
            [("x", "Dict[str, Tensor]", False, False), ("y", "Tensor", False, False)],
            "several tensors at once",
        ),
    ],
)
def test_what_no_request_can_carry_is_named(types: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        arguments_of_types(types)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Dict[str, Tensor]", "dict"),
        ("Dict(str, Tensor)", "dict"),
        ("List[Tensor]", "tensors"),
        ("Tensor[]", "tensors"),
        ("Tensor?", "tensor"),
        ("int", "number"),
    ],
)
def test_schemas_are_read_as_hints_are(text: str, kind: str) -> None:
    (argument,) = arguments_of_types([("x", text, False, False)])
    assert argument.kind == kind


def test_declared_inputs_go_by_name_else_by_position() -> None:
    arguments = (Argument("a", "tensor"), Argument("b", "tensor"))
    a, b = TensorMetadata("a", "FP32", (-1,)), TensorMetadata("b", "FP32", (-1,))
    assert [each.name for each, _ in declared_inputs(arguments, (b, a))] == ["b", "a"]
    first, second = TensorMetadata("I0", "FP32", (-1,)), TensorMetadata("I1", "FP32", (-1,))
    pairs = declared_inputs(arguments, (first, second))
    assert [(each.name, tensor.name) for each, tensor in pairs] == [("a", "I0"), ("b", "I1")]
    with pytest.raises(ValueError, match=r"\(I0\) are not those of forward \(a, b\)"):
        declared_inputs(arguments, (first,))


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ({"nodes": [{"target": "torch.ops.aten.linear.default", "name": "linear"}]}, ""),
        ({"nodes": [{"target": "torch.ops.higher_order.cond"}]}, ""),
        ({"nodes": [{"target": "torch.sym_max"}, {"target": "_operator.getitem"}]}, ""),
        ({"expr_str": "Symbol('s77', positive=True, integer=True)"}, ""),
        ({"expr_str": "FloorDiv(2*s77 + 1, 4)"}, ""),
        ({"metadata": {"stack_trace": "File 'x.py'; anything"}}, ""),
        ({"as_string": "bij,bjk->bik"}, ""),
        ({"target": "torch.os.system"}, "calls 'torch.os.system'"),
        ({"target": "torch.ops.load_library"}, "calls"),
        ({"target": "torch.ops.aten.save.default"}, "calls"),
        ({"target": "_operator.methodcaller"}, "calls"),
        ({"target": "math.__class__"}, "calls"),
        ({"expr_str": "().__class__.__bases__"}, "evaluates"),
        ({"expr_str": "eval('1')"}, "evaluates"),
        ({"expr_str": "Symbol('x;y')"}, "evaluates"),
        ({"expr_str": "[i for i in (1,)]"}, "evaluates"),
        ({"expr_str": "1 +"}, "evaluates"),
        ({"name": "x): import os #("}, "has 'x): import os"),
        ({"x'y": 1}, "has the name"),
        ({"in_spec": '[1, {"type": "builtins.tuple", "children_spec": []}]'}, ""),
        ({"in_spec": '[1, {"type": "enum.Enum", "children_spec": []}]'}, "no plain|not a plain"),
        ({"out_spec": "tuple"}, "in no JSON"),
    ],
)
def test_programs_are_read_for_more_than_arithmetic(program: Any, problem: str) -> None:
    found = list(problems_of_program(program))
    assert bool(found) == bool(problem)
    if problem:
        assert any(part in found[0] for part in problem.split("|"))


def test_a_manifest_names_its_handler() -> None:
    text = b'{"runtime": "python", "model": {"modelName": "m", "handler": "h.py", "x": 1}}'
    assert read_manifest(text).model.handler == "h.py"
    with pytest.raises(ValueError, match="runtime is LSP"):
        read_manifest(b'{"runtime": "LSP", "model": {"handler": "h"}}')


def tensor(name: str, values: Any, **parameters: Any) -> Tensor:
    data = np.asarray(values)
    datatype: Any = "BYTES" if data.dtype == object else "INT64"
    return Tensor(name, datatype, data, parameters)


def test_rows_carry_data_body_and_names() -> None:
    assert rows_of([tensor("x", [[1, 2], [3, 4]])]) == [
        {"data": [1, 2], "body": [1, 2]},
        {"data": [3, 4], "body": [3, 4]},
    ]
    assert rows_of([tensor("a", [1]), tensor("b", [2])]) == [
        {"a": 1, "b": 2, "body": {"a": 1, "b": 2}}
    ]
    json_rows = tensor("x", np.array([b'{"k": [1]}'], dtype=object), content_type="json")
    assert rows_of([json_rows])[0]["body"] == {"k": [1]}
    assert rows_of([tensor("x", 5)]) == [{"data": 5, "body": 5}]
    with pytest.raises(InvalidInput, match="different numbers of rows"):
        rows_of([tensor("a", [1]), tensor("b", [2, 3])])


def test_answers_are_arrays_where_they_are_regular() -> None:
    assert answer_of([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert answer_of(["a", bytearray(b"b")]) == ["a", b"b"]
    by_name = answer_of([{"label": "x", "p": 0.5}, {"label": "y", "p": 0.1}])
    assert (by_name["label"], by_name["p"].tolist()) == (["x", "y"], [0.5, 0.1])
    assert answer_of([{"cat": 0.9}, {"dog": 0.8}]) == ['{"cat": 0.9}', '{"dog": 0.8}']
    assert answer_of([[1], [2, 3]]) == ["[1]", "[2, 3]"]


class Summing:
    """Adds to each row the sum of all: rows are not independent unless `apart`."""

    def __init__(self, *, apart: bool) -> None:
        self._apart = apart
        self.calls = 0
        self.metadata = ModelMetadata("fake", (TensorMetadata("x", "FP32", (-1, 3)),), ())

    def predict(self, request: InferRequest) -> InferResponse:
        self.calls += 1
        data = request.inputs[0].data
        other = 0 if self._apart else data.sum()
        return InferResponse((Tensor("y", "FP32", data[:, :1] + other),))

    def unload(self) -> None: ...


@pytest.mark.parametrize("apart", [True, False])
def test_rows_are_tried_together_and_alone(apart: bool) -> None:
    outputs, is_rowwise = learnt(Summing(apart=apart), "m", has_free_rows=True)
    assert is_rowwise is apart
    assert outputs == (TensorMetadata("y", "FP32", (-1, 1)),)


def test_a_model_of_unknown_shapes_is_not_tried() -> None:
    model = Summing(apart=True)
    model.metadata = ModelMetadata("fake", (TensorMetadata("x", "FP32", (), any_shape=True),), ())
    assert learnt(model, "m", has_free_rows=True) == ((), False)
    assert model.calls == 0


def test_a_folder_is_its_own_unpacked_form(tmp_path: Path) -> None:
    assert unpacked("m", tmp_path) == tmp_path
