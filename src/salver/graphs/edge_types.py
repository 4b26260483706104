"""Whether what one step gives is what the next one takes, as far as models say of themselves. Pure.

Looked at once the units are ready, since only a loaded model knows its tensors. What nobody says
(a model without metadata, the request itself, a function) fits anything: found are only edges that
cannot work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from salver.graphs.flow import REQUEST, Address, Edge, Flow, Service, Step, Unit
from salver.inference.metadata import ANY_DIMENSION, ModelMetadata, TensorMetadata

MetadataOf = Callable[[Step], ModelMetadata | None]
"""What the one who answers a step says of itself; None if that is not known."""


class Mismatch(msgspec.Struct, frozen=True):
    """One edge that cannot work. `path` is where the step is written, `way` the edge."""

    step: str
    path: str
    way: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or self.step}: {self.way}: {self.message}"


class _Given(msgspec.Struct, frozen=True):
    """One tensor on an edge, as its target will see it. `spec` None: nobody says what it is."""

    name: str
    spec: TensorMetadata | None


def mismatches(flow: Flow, metadata_of: MetadataOf) -> tuple[Mismatch, ...]:
    """All edges whose tensors are not there, or are not what their target takes."""
    known = {
        step.name: found
        for step in flow.steps
        if isinstance(step.action, Service | Unit | Address)
        and (found := metadata_of(step)) is not None
    }
    problems: list[Mismatch] = []
    for step in flow.steps:
        problems += _of_step(step, known)
    for edge in flow.output:
        problems += _missing(edge, "output", "output", known)
    return tuple(dict.fromkeys(problems))


def _of_step(step: Step, known: Mapping[str, ModelMetadata]) -> Iterator[Mismatch]:
    for edge in (*step.inputs, *step.triggers):
        yield from _missing(edge, step.name, step.path, known)
    target = known.get(step.name)
    if target is None or not target.inputs:
        return
    for edge in step.inputs:
        for given in _given(edge, known) or ():
            fault = _fault(given, target)
            if fault:
                way = f"{_name(edge, given)} -> {step.name}"
                yield Mismatch(step.name, step.path, way, fault)
    groups = [step.inputs] if step.join == "inner" else [(edge,) for edge in step.inputs]
    for edges in groups:
        yield from _not_given(step, edges, target, known)


def _missing(
    edge: Edge, step: str, path: str, known: Mapping[str, ModelMetadata]
) -> Iterator[Mismatch]:
    """The tensors that an edge names and its source does not have."""
    source = known.get(edge.source)
    if source is None or edge.source == REQUEST:
        return
    tensors = source.outputs if edge.end == "outputs" else source.inputs
    names = [each.name for each in tensors]
    named = [edge.tensor] if edge.tensor else [name for name, _ in edge.renames]
    for name in named:
        is_free = edge.end == "inputs" and _takes_any_name(source, name)
        if names and name not in names and not is_free:
            kind = "output" if edge.end == "outputs" else "input"
            yield Mismatch(
                step,
                path,
                f"{edge.source} -> {step}",
                f"'{edge.source}' has no {kind} '{name}': it has {_listed(names)}",
            )


def _given(edge: Edge, known: Mapping[str, ModelMetadata]) -> list[_Given] | None:
    """The tensors on an edge; None if nobody knows all of them."""
    source = known.get(edge.source) if edge.source != REQUEST else None
    tensors = () if source is None else source.outputs if edge.end == "outputs" else source.inputs
    specs = {each.name: each for each in tensors}
    if edge.tensor:
        return [_Given(edge.rename or edge.tensor, specs.get(edge.tensor))]
    if source is None or not tensors:
        return None
    renames = dict(edge.renames)
    defaults = source.default_outputs if edge.end == "outputs" else ()
    return [
        _Given(renames.get(name, name), spec)
        for name, spec in specs.items()
        if not defaults or name in defaults
    ]


def _fault(given: _Given, target: ModelMetadata) -> str:
    """Why the target does not take the tensor; empty if it does."""
    if _takes_any_name(target, given.name):
        wanted = target.inputs[0] if len(target.inputs) == 1 else None
    else:
        wanted = next((each for each in target.inputs if each.name == given.name), None)
        if wanted is None:
            names = [each.name for each in target.inputs]
            return f"the step takes {_listed(names)}, not '{given.name}': rename it in tensorMap"
    if wanted is None or given.spec is None or given.name in target.column_names:
        return ""
    datatype = given.spec.datatype
    if datatype != wanted.datatype and datatype not in wanted.accepts:
        takes = ", ".join(dict.fromkeys((wanted.datatype, *wanted.accepts)))
        return f"the tensor is {datatype}, the step takes {takes} as '{wanted.name}'"
    if not _may_fit(given.spec, wanted):
        return (
            f"the tensor has shape {list(given.spec.shape)}, the step takes "
            f"{list(wanted.shape)} as '{wanted.name}'"
        )
    return ""


def _takes_any_name(target: ModelMetadata, name: str) -> bool:
    return (target.positional_input and len(target.inputs) == 1) or name in target.column_names


def _may_fit(given: TensorMetadata, wanted: TensorMetadata) -> bool:
    if given.any_shape or wanted.any_shape:
        return True
    return len(given.shape) == len(wanted.shape) and all(
        ANY_DIMENSION in (one, other) or one == other
        for one, other in zip(given.shape, wanted.shape, strict=True)
    )


def _not_given(
    step: Step, edges: Sequence[Edge], target: ModelMetadata, known: Mapping[str, ModelMetadata]
) -> Iterator[Mismatch]:
    """The inputs that the target needs and none of the edges brings."""
    found = [_given(edge, known) for edge in edges]
    if any(each is None for each in found) or target.column_names:
        return
    names = {given.name for each in found for given in each or ()}
    if target.positional_input and len(target.inputs) == 1 and names:
        return
    for wanted in target.inputs:
        if wanted.name not in names and not wanted.optional:
            way = ", ".join(dict.fromkeys(edge.source or "request" for edge in edges))
            yield Mismatch(
                step.name,
                step.path,
                f"{way} -> {step.name}",
                f"the step takes '{wanted.name}', which nothing gives: it gets {_listed(names)}",
            )


def _name(edge: Edge, given: _Given) -> str:
    tensor = edge.tensor or (given.spec.name if given.spec is not None else given.name)
    return f"{edge.source or 'request'}.{edge.end}.{tensor}"


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(f"'{each}'" for each in sorted(names)) or "nothing"
