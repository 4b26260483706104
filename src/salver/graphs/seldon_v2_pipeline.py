"""From a Seldon Core v2 Pipeline to a graph of steps and edges. Pure.

Edges carry whole messages or single tensors, under new names where `tensorMap` says so. A step
that no data comes to is absent, and with it what waits for it: that is how Pipelines route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from salver.graphs.flow import (
    REQUEST,
    Edge,
    Feed,
    FeedJoin,
    Flow,
    GraphDesire,
    Pass,
    Service,
    Step,
    Variant,
)
from salver.graphs.selection import PlanError
from salver.spec.kinds import MLOPS
from salver.spec.seldon_v2_pipeline import (
    Pipeline,
    PipelineBatch,
    PipelineInput,
    PipelineStep,
    Source,
    read_external,
    read_source,
)

DEFAULT_REVISITS = 100
"""How often data may come to a step again, unless the manifest says."""
DEFAULT_BATCH_S = 1.0
"""How long a step with a batch waits for others, unless the manifest says."""
_OUTPUT = "outputs of the pipeline"
"""The step that joins the output where a window is given; no Model can be called that."""


def compile_pipeline(pipeline: Pipeline) -> GraphDesire:
    """What a Pipeline wants. Raises `PlanError`."""
    compiler = _Compiler(pipeline)
    name, namespace = pipeline.metadata.name, pipeline.metadata.namespace or "default"
    given = pipeline.spec.input
    return GraphDesire(
        resource=(MLOPS, "pipelines"),
        namespace=namespace,
        name=name,
        variants=(Variant(f"{name}.pipeline", compiler.flow()),),
        tells_route=True,
        addresses=(f"model:{name}.pipeline",),
        feeds=tuple(_feeds(given, namespace)) if given is not None else (),
        feeds_join=_feeds_join(given) if given is not None else FeedJoin(),
        default_protocol="v2",
        notes=tuple(dict.fromkeys(_notes(pipeline))),
    )


class _Compiler:
    """One Pipeline's compilation."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._spec = pipeline.spec
        self._name = pipeline.metadata.name
        self._namespace = pipeline.metadata.namespace or "default"
        self._names = tuple(step.name for step in pipeline.spec.steps)

    def flow(self) -> Flow:
        """The Pipeline's steps, sources before targets, and its output."""
        steps = {
            step.name: self._step(step, f"spec.steps[{number}]")
            for number, step in enumerate(self._spec.steps)
        }
        again = repeated({name: _sources(step) for name, step in steps.items()})
        if self._spec.allow_cycles:
            revisits = self._spec.max_step_revisits
            visits = 1 + (DEFAULT_REVISITS if revisits is None else revisits)
            steps = {
                name: _visited(step, visits) if name in again else step
                for name, step in steps.items()
            }
        ordered = [steps[name] for name in in_order(steps)]
        output = self._spec.output
        if output is None:
            return Flow(self._name, tuple(ordered), ())
        edges = self._edges(output.steps, output.tensor_map, "spec.output.steps")
        join = output.steps_join or "inner"
        merges = len(edges) > 1 and join != "any"
        if output.join_window_ms and join == "outer":
            window_s = output.join_window_ms / 1000
            joined = Step(_OUTPUT, Pass(merges), edges, join, window_s=window_s, path="spec.output")
            return Flow(self._name, (*ordered, joined), (Edge(_OUTPUT),))
        return Flow(self._name, tuple(ordered), edges, join, merges)

    def _step(self, step: PipelineStep, path: str) -> Step:
        inputs = step.inputs or (f"{self._name}.inputs",)
        join = step.inputs_join_type or "inner"
        return Step(
            step.name,
            Service(self._namespace, step.name),
            inputs=self._edges(inputs, step.tensor_map, f"{path}.inputs"),
            join=join,
            triggers=self._edges(step.triggers, {}, f"{path}.triggers"),
            triggers_join=step.triggers_join_type or "inner",
            window_s=(step.join_window_ms or 0) / 1000 if join == "outer" else 0.0,
            batch_size=(step.batch.size or 0) if step.batch is not None else 0,
            batch_window_s=_batch_window_s(step.batch),
            path=path,
        )

    def _edges(self, texts: Sequence[str], names: Mapping[str, str], path: str) -> tuple[Edge, ...]:
        return tuple(
            self._edge(text, names, f"{path}[{number}]") for number, text in enumerate(texts)
        )

    def _edge(self, text: str, names: Mapping[str, str], path: str) -> Edge:
        source = read_source(text, self._name, self._names)
        if not isinstance(source, Source):
            raise PlanError("InvalidPipelineSpec", f"{path}: {source}")
        end = source.end if source.step else "outputs"
        return _named(Edge(source.step, end, tensor=source.tensor), source.text, names)


def _named(edge: Edge, text: str, names: Mapping[str, str]) -> Edge:
    """The edge with the names that a `tensorMap` gives its tensors."""
    if edge.tensor:
        return msgspec.structs.replace(edge, rename=names.get(f"{text}.{edge.tensor}", ""))
    prefix = f"{text}."
    renames = [
        (key.removeprefix(prefix), name) for key, name in names.items() if key.startswith(prefix)
    ]
    return msgspec.structs.replace(edge, renames=tuple(sorted(renames)))


def _batch_window_s(batch: PipelineBatch | None) -> float:
    """How long a step waits for other requests; 0: it does not."""
    if batch is None:
        return 0.0
    return DEFAULT_BATCH_S if batch.window_ms is None else batch.window_ms / 1000


def _visited(step: Step, visits: int) -> Step:
    return msgspec.structs.replace(step, max_visits=visits)


def _sources(step: Step) -> tuple[str, ...]:
    found = (edge.source for edge in (*step.inputs, *step.triggers) if edge.source != REQUEST)
    return tuple(dict.fromkeys(found))


def repeated(sources: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The steps that data may come to several times: those of cycles, and all after them."""
    reached = {name: _reached_from(name, sources) for name in sources}
    in_cycles = {name for name, back in reached.items() if name in back}
    return frozenset(name for name, back in reached.items() if back & in_cycles)


def _reached_from(name: str, sources: Mapping[str, Sequence[str]]) -> set[str]:
    """All that a step waits for, directly or not; itself, if it is in a cycle."""
    found: set[str] = set()
    todo = list(sources[name])
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += sources[each]
    return found


def in_order(steps: Mapping[str, Step]) -> Iterator[str]:
    """The steps' names, sources before targets but for cycles, else as they are written."""
    done: set[str] = set()
    for start in steps:
        todo: list[tuple[str, bool]] = [(start, False)]
        open_: set[str] = set()
        while todo:
            name, has_sources = todo.pop()
            if has_sources:
                if name not in done:
                    done.add(name)
                    yield name
            elif name not in done and name not in open_:
                open_.add(name)
                todo.append((name, True))
                todo += [(each, False) for each in reversed(_sources(steps[name]))]


def _feeds(given: PipelineInput, namespace: str) -> Iterator[Feed]:
    texts = [(text, False) for text in given.external_inputs]
    texts += [(text, True) for text in given.external_triggers]
    for text, is_trigger in texts:
        source = read_external(text)
        if isinstance(source, str):
            raise PlanError("InvalidPipelineSpec", f"spec.input: {source}")
        edge = Edge(source.step, source.end, tensor=source.tensor)
        yield Feed(namespace, source.graph, _named(edge, source.text, given.tensor_map), is_trigger)


def _feeds_join(given: PipelineInput) -> FeedJoin:
    return FeedJoin(
        given.join_type or "inner",
        given.triggers_join_type or "inner",
        (given.join_window_ms or 0) / 1000,
    )


def _notes(pipeline: Pipeline) -> Iterator[str]:
    spec = pipeline.spec
    if spec.output is None:
        yield (
            "spec.output is absent: the pipeline runs on requests and on other pipelines' data, "
            "and answers nobody"
        )
    if spec.max_step_revisits is not None and not spec.allow_cycles:
        yield "spec.maxStepRevisits has no effect without spec.allowCycles"
    for number, step in enumerate(spec.steps):
        if step.batch is not None and step.batch.rolling:
            yield f"spec.steps[{number}].batch.rolling has no meaning here: each request goes once"
        if step.join_window_ms is not None and (step.inputs_join_type or "inner") != "outer":
            yield (
                f"spec.steps[{number}].joinWindowMs has no effect without inputsJoinType outer: "
                "what belongs to one request is never joined with another's"
            )
