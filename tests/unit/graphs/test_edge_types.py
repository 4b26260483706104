"""Edges whose tensors are not what their target takes, as far as models say."""

from __future__ import annotations

from collections.abc import Mapping

from salver.graphs.edge_types import mismatches
from salver.graphs.flow import Edge, Flow, Pass, Service, Step
from salver.inference.metadata import ModelMetadata, TensorMetadata

INT = TensorMetadata("INPUT0", "INT32", (-1, 16))


def metadata(
    inputs: tuple[TensorMetadata, ...], outputs: tuple[TensorMetadata, ...], **more: bool
) -> ModelMetadata:
    return ModelMetadata(platform="python", inputs=inputs, outputs=outputs, **more)


SIMPLE = metadata(
    (INT, TensorMetadata("INPUT1", "INT32", (-1, 16))),
    (TensorMetadata("OUTPUT0", "INT32", (-1, 16)), TensorMetadata("OUTPUT1", "INT32", (-1, 16))),
)
FLOATS = metadata((TensorMetadata("x", "FP32", (4,)),), (TensorMetadata("y", "FP32", (4,)),))


def step(name: str, *inputs: Edge, **more: object) -> Step:
    return Step(name, Service("default", name), inputs=inputs or (Edge(),), path=f"at {name}")


def found(steps: list[Step], known: Mapping[str, ModelMetadata], *output: Edge) -> list[str]:
    flow = Flow("it", tuple(steps), output)
    return [str(each) for each in mismatches(flow, lambda each: known.get(each.name))]


def test_edges_that_fit_are_not_mentioned() -> None:
    renames = (("OUTPUT0", "INPUT0"), ("OUTPUT1", "INPUT1"))
    steps = [step("a"), step("b", Edge("a", renames=renames))]
    assert found(steps, {"a": SIMPLE, "b": SIMPLE}, Edge("b", tensor="OUTPUT1")) == []


def test_a_tensor_that_the_source_does_not_have_is_named() -> None:
    steps = [step("a"), step("b", Edge("a", tensor="OUT"))]
    assert found(steps, {"a": SIMPLE}, Edge("a", tensor="NO")) == [
        "at b: a -> b: 'a' has no output 'OUT': it has 'OUTPUT0', 'OUTPUT1'",
        "output: a -> output: 'a' has no output 'NO': it has 'OUTPUT0', 'OUTPUT1'",
    ]


def test_a_tensor_under_a_name_that_the_target_does_not_know_is_named() -> None:
    steps = [step("a"), step("b", Edge("a", tensor="OUTPUT0"))]
    first, *missing = found(steps, {"a": SIMPLE, "b": SIMPLE})
    assert first == (
        "at b: a.outputs.OUTPUT0 -> b: the step takes 'INPUT0', 'INPUT1', not 'OUTPUT0': rename "
        "it in tensorMap"
    )
    assert len(missing) == 2


def test_datatypes_and_shapes_must_agree() -> None:
    whole = metadata((), (TensorMetadata("x", "INT64", (4,)),))
    other = metadata((), (TensorMetadata("x", "FP32", (4, 1)),))
    assert found([step("a"), step("b", Edge("a"))], {"a": whole, "b": FLOATS}) == [
        "at b: a.outputs.x -> b: the tensor is INT64, the step takes FP32 as 'x'"
    ]
    assert found([step("a"), step("b", Edge("a"))], {"a": other, "b": FLOATS}) == [
        "at b: a.outputs.x -> b: the tensor has shape [4, 1], the step takes [4] as 'x'"
    ]


def test_an_input_that_nothing_gives_is_named() -> None:
    steps = [step("a"), step("b", Edge("a", tensor="OUTPUT0", rename="INPUT0"))]
    assert found(steps, {"a": SIMPLE, "b": SIMPLE}) == [
        "at b: a -> b: the step takes 'INPUT1', which nothing gives: it gets 'INPUT0'"
    ]


def test_any_name_will_do_for_a_made_up_one() -> None:
    free = metadata((TensorMetadata("input", "FP32", (-1,)),), (), positional_input=True)
    assert found([step("a"), step("b", Edge("a"))], {"a": FLOATS, "b": free}) == []


def test_what_nobody_says_fits() -> None:
    steps = [
        step("a"),
        Step("join", Pass(merges=True), (Edge("a"), Edge())),
        step("b", Edge("join", tensor="what")),
        step("c", Edge("a", end="inputs", tensor="INPUT0", rename="x")),
    ]
    silent = metadata((), ())
    assert found(steps, {"a": silent, "b": silent}) == []
