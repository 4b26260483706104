"""From what tracing found to a manifest of the kind `Graph`.

Owns the names of steps and which of them have to say what branch they belong to: one whose input
is of the branch does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from salver.authoring.blocks import Block, Condition, Group, Record, Ref, ends_of
from salver.errors import GraphError
from salver.graphs.flow import GraphDesire
from salver.graphs.native import compile_graph
from salver.spec.graph import REQUEST
from salver.spec.read import parse_object

if TYPE_CHECKING:
    from salver.authoring.declaring import Graph

API_VERSION, KIND = "salver.dev/v1", "Graph"


def manifest_of(graph: Graph, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The graph as an object of the API. `files`: what to write for the paths of Python files.

    Raises `GraphError`, also for what a `Graph` may not be.
    """
    names = files or {}
    steps = _Writer(names, graph.place)
    root = graph.trace()
    steps.write(root, None)
    output = [steps.end(end, at, "answer") for end, at in _placed_ends(root, None)]
    spec: dict[str, Any] = {"steps": steps.finished(), "output": list(dict.fromkeys(output))}
    if graph.timeout_s:
        spec["timeoutSeconds"] = graph.timeout_s
    metadata = {"name": graph.title}
    found = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    problems = parse_object(found).problems
    if problems:
        text = "; ".join(str(each) for each in problems)
        raise GraphError(f"{graph.place}: graph {graph.title}: {text}")
    return found


def desire_of(graph: Graph) -> GraphDesire:
    """What the graph is served by. Raises `GraphError`."""
    return compile_graph(parse_object(manifest_of(graph)).resource)


def _placed_ends(block: Block, condition: Condition | None) -> list[tuple[Ref, Condition | None]]:
    """The ends of a block, each with the branch that it is in."""
    if block.asked is None:
        return [(end, condition) for end in ends_of(block)]
    return [
        placed
        for outcome, inner in block.branches.items()
        for placed in _placed_ends(inner, Condition(block.asked, outcome))
    ]


class _Written:
    """A step on its way to the manifest."""

    def __init__(self, record: Record, name: str, condition: Condition | None) -> None:
        self.record = record
        self.name = name
        self.condition = condition


class _Writer:
    """Writes steps in the order in which they were called."""

    def __init__(self, files: Mapping[str, str], place: str) -> None:
        self._files = files
        self._place = place
        self._written: list[_Written] = []
        self._by_record: dict[Record, _Written] = {}
        self._names: set[str] = {REQUEST}

    def write(self, block: Block, condition: Condition | None) -> None:
        """All steps of a block, which is in that branch."""
        for item in block.items:
            if isinstance(item, Record):
                self._add(item, condition)
            else:
                self._write_group(item, condition)
        if block.asked is not None:
            for outcome, inner in block.branches.items():
                self.write(inner, Condition(block.asked, outcome))

    def end(self, ref: Ref, condition: Condition | None, title: str) -> str:
        """The step whose answer is that end; a new one where the end is of no step of the branch,
        but, for example, of one before it."""
        written = self._by_record.get(ref.record) if ref.record is not None else None
        if written is not None and written.condition == condition and not ref.tensor:
            return written.name
        if ref.record is None and condition is None and not ref.tensor:
            raise GraphError(
                f"{self._place}: the graph returns its request as it is: give it to a step first"
            )
        return self._add(Record(title, {"combine": "first"}, (ref,)), condition).name

    def finished(self) -> list[dict[str, Any]]:
        """The steps as a manifest has them."""
        self._keep_places()
        return [self._as_object(each) for each in self._written]

    def _write_group(self, group: Group, condition: Condition | None) -> None:
        for own, block in group.parts:
            self.write(block, own or condition)
        if group.join is None:
            return
        ends = [end for own, block in group.parts for end in _placed_ends(block, own or condition)]
        names = [self.end(ref, at, group.join.title) for ref, at in ends]
        records = {each.name: each.record for each in self._written}
        inputs = tuple(Ref(records[name]) for name in dict.fromkeys(names))
        joined = Record(group.join.title, group.join.fragment, inputs)
        self._by_record[group.join] = self._add(joined, condition)

    def _add(self, record: Record, condition: Condition | None) -> _Written:
        written = _Written(record, self._name(record.title), condition)
        self._written.append(written)
        self._by_record[record] = written
        return written

    def _name(self, title: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", title).strip("-_")[:48] or "step"
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}-{number}"
        self._names.add(name)
        return name

    def _keep_places(self) -> None:
        """A function gets answers by name if its parameters are called as their steps are: in
        Python their places count, so steps in the wrong place get a name of no parameter."""
        for each in self._written:
            sources = [self._source(ref) for ref in each.record.inputs]
            names = [source.name if source is not None else REQUEST for source in sources]
            if len(names) < 2 or not set(names) <= set(each.record.parameters):
                continue
            for source, name, place in zip(sources, names, each.record.parameters, strict=False):
                if source is not None and name != place:
                    source.name = self._name(f"{source.record.title}-1")

    def _source(self, ref: Ref) -> _Written | None:
        return self._by_record[ref.record] if ref.record is not None else None

    def _as_object(self, written: _Written) -> dict[str, Any]:
        record = written.record
        found: dict[str, Any] = {"name": written.name, **record.fragment}
        if "python" in found:
            path, _, function = found["python"].rpartition(":")
            found["python"] = f"{self._files.get(path, path)}:{function}"
        inputs = [self._input(ref) for ref in record.inputs]
        if inputs != [REQUEST]:
            found["inputs"] = inputs
        if written.condition is not None and not self._follows(written, written.condition):
            decider = self._by_record[written.condition.decider]
            found["when"] = {"step": decider.name, "branch": written.condition.branch}
        return found

    def _input(self, ref: Ref) -> str:
        source = self._source(ref)
        name = source.name if source is not None else REQUEST
        if ref.tensor:
            name += f".{ref.tensor}"
        return f"{name} as {ref.rename}" if ref.rename and ref.rename != ref.tensor else name

    def _follows(self, written: _Written, condition: Condition) -> bool:
        """Whether it cannot run anyway unless that branch is taken."""
        if _takes_fewer(written.record):
            return False
        sources = [self._source(ref) for ref in written.record.inputs]
        return any(source is not None and source.condition == condition for source in sources)


def _takes_fewer(record: Record) -> bool:
    """Whether it runs although some inputs are absent."""
    fragment = record.fragment
    return bool(fragment.get("quorum")) or fragment.get("combine") in ("first", "fastest")
