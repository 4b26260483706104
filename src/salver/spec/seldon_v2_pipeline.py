"""Seldon Core v2's Pipeline, `mlops.seldon.io/v1alpha1`, and the names of data in it.

Types, and how `<step|pipeline>.<inputs|outputs>.<tensor>` is read; what contradicts what is
`pipeline_checks.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal

import msgspec

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.problems import did_you_mean, quoted
from salver.spec.seldon_v2 import API_VERSION
from salver.spec.steps import known_text

JoinType = Literal["inner", "outer", "any"]
End = Literal["inputs", "outputs"]
_JOINS = "inner: all of them; outer: those that come within joinWindowMs; any: the first"
SYNTAX = "<step|pipeline>.<inputs|outputs>.<tensor>"
EXTERNAL_SYNTAX = "<pipeline>[.step.<step>].<inputs|outputs>[.<tensor>]"
_EXTERNAL = re.compile(
    r"(?P<graph>[^.]+(?:\.[^.]+)*?)(?:\.step\.(?P<step>.+?))?\.(?P<end>inputs|outputs)"
    r"(?:\.(?P<tensor>.+))?"
)


class PipelineBatch(Fields, frozen=True):
    """How many requests go to the Model together. Each gets its own answer."""

    size: Annotated[int | None, about("how many requests", least=1)] = None
    window_ms: Annotated[
        int | None, about("how long to wait for them; 1000 unless told", least=0)
    ] = None
    rolling: Annotated[bool, about("each request goes out with those before it")] = False


class PipelineStep(Fields, frozen=True):
    """A Model, and where its data comes from."""

    name: Annotated[str, about("the Model's name")]
    inputs: Annotated[
        tuple[str, ...],
        about(f"its data: {SYNTAX}; a bare step means its outputs; the pipeline's unless told"),
    ] = ()
    join_window_ms: Annotated[
        int | None, about("how long an outer join waits for further inputs", least=0)
    ] = None
    tensor_map: Annotated[
        dict[str, str], about("new names of tensors, e.g. step.outputs.OUTPUT0: INPUT0")
    ] = {}
    triggers: Annotated[
        tuple[str, ...], about("what must be there for it to run, without being given to it")
    ] = ()
    inputs_join_type: Annotated[JoinType | None, about(f"{_JOINS}; inner unless told")] = None
    triggers_join_type: Annotated[JoinType | None, about(f"{_JOINS}; inner unless told")] = None
    batch: Annotated[
        PipelineBatch | None,
        about("waits for several requests, so that the Model gets them as one batch"),
    ] = None


class PipelineInput(Fields, frozen=True):
    """Other pipelines whose data is this one's input, besides its own requests."""

    external_inputs: Annotated[tuple[str, ...], about(f"the data: {EXTERNAL_SYNTAX}")] = ()
    external_triggers: Annotated[
        tuple[str, ...], about("what must be there, without being given to the pipeline")
    ] = ()
    join_window_ms: Annotated[
        int | None, about("how long an outer join waits for further inputs", least=0)
    ] = None
    join_type: Annotated[JoinType | None, about(f"{_JOINS}; inner unless told")] = None
    triggers_join_type: Annotated[JoinType | None, about(f"{_JOINS}; inner unless told")] = None
    tensor_map: Annotated[
        dict[str, str], about("new names of tensors, e.g. other.outputs.OUTPUT0: INPUT0")
    ] = {}


class PipelineOutput(Fields, frozen=True):
    """What the caller gets."""

    steps: Annotated[tuple[str, ...], about("the data: step, or step.outputs.tensor")] = ()
    join_window_ms: Annotated[
        int | None, about("how long an outer join waits for further steps", least=0)
    ] = None
    steps_join: Annotated[JoinType | None, about(f"{_JOINS}; inner unless told")] = None
    tensor_map: Annotated[
        dict[str, str], about("new names of tensors, e.g. step.outputs.OUTPUT0: score")
    ] = {}


class PipelineSpec(Fields, frozen=True):
    """Steps, and how data goes from one to the other."""

    steps: Annotated[tuple[PipelineStep, ...], about("the Models that it is made of")]
    input: Annotated[PipelineInput | None, about("other pipelines whose data it takes")] = None
    output: Annotated[
        PipelineOutput | None, about("what the caller gets; without it nobody can ask it")
    ] = None
    allow_cycles: Annotated[bool, about("whether data may come to a step again")] = False
    max_step_revisits: Annotated[
        int | None, about("how often data may come to a step again; 100 unless told", least=0)
    ] = None
    dataflow: Annotated[
        Any, about("what becomes of Kafka topics; there are none here", inert=True)
    ] = None


class Pipeline(Fields, frozen=True):
    """Models that work together on a request."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[PipelineSpec, about("the steps")]
    api_version: Annotated[str, about("group and version of the type")] = API_VERSION
    kind: Annotated[str, about("name of the type")] = "Pipeline"
    status: Annotated[Any, about("set by the server")] = None


class Source(msgspec.Struct, frozen=True):
    """Data of a pipeline: what a step, or the pipeline itself, was given or gave.

    `step` is empty for the pipeline itself. `text` names the data without the tensor, as keys of
    `tensorMap` begin.
    """

    step: str
    end: End
    tensor: str
    text: str


class ExternalSource(msgspec.Struct, frozen=True):
    """Data of another pipeline: of the whole if `step` is empty."""

    graph: str
    step: str
    end: End
    tensor: str
    text: str


def read_source(text: str, pipeline: str, steps: Collection[str]) -> Source | str:
    """What a text like `step.outputs.tensor` means, or what is wrong with it."""
    name = next((each for each in _beginnings(text) if each in steps or each == pipeline), "")
    if not name:
        return _unknown(text, pipeline, steps)
    is_pipeline = name == pipeline and name not in steps
    end, dot, tensor = text[len(name) + 1 :].partition(".")
    if text == name:
        end = "outputs"
    if end not in ("inputs", "outputs") or (dot and not tensor):
        return f"{quoted(text)} cannot be read: write {SYNTAX}"
    if is_pipeline and end == "outputs":
        return (
            f"{quoted(text)} is what the pipeline answers, which no step can wait for: name a "
            f"step, or '{pipeline}.inputs'"
        )
    place: End = "inputs" if end == "inputs" else "outputs"
    return Source("" if is_pipeline else name, place, tensor, f"{name}.{place}")


def _beginnings(text: str) -> Iterator[str]:
    """The text, and what of it is before each of its dots: the longest first."""
    while text:
        yield text
        text = text.rpartition(".")[0]


def _unknown(text: str, pipeline: str, steps: Collection[str]) -> str:
    if not text.strip():
        return f"must not be empty: write {SYNTAX}"
    name = re.split(r"\.(?:inputs|outputs)(?:\.|$)", text)[0]
    known = [each for each in dict.fromkeys([*steps, pipeline]) if each]
    return f"there is no step {quoted(name)}" + (
        did_you_mean(name, known) or f"; there are {known_text(known)}"
    )


def read_external(text: str) -> ExternalSource | str:
    """What a text like `pipeline.outputs.tensor` means, or what is wrong with it."""
    match = _EXTERNAL.fullmatch(text)
    if match is None:
        return f"{quoted(text)} cannot be read: write {EXTERNAL_SYNTAX}"
    graph, step, end, tensor = match.group("graph", "step", "end", "tensor")
    place: End = "inputs" if end == "inputs" else "outputs"
    whole = text[: -len(tensor) - 1] if tensor else text
    return ExternalSource(graph, step or "", place, tensor or "", whole)
