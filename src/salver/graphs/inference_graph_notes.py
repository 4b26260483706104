"""What is written in an InferenceGraph and has no effect, as KServe's router works. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from salver.spec.gjson_faults import always_exists
from salver.spec.kserve_graph import InferenceRouter, InferenceStep


def place(node: str, index: int | None = None) -> str:
    """Where a node, or a step of it, is written."""
    where = f"spec.nodes.{node}"
    return where if index is None else f"{where}.steps[{index}]"


def idle_fields(name: str, node: InferenceRouter) -> Iterator[str]:
    """Notes on the steps of a node."""
    for index, step in enumerate(node.steps):
        here = place(name, index)
        if step.weight is not None and node.router_type != "Splitter":
            yield f"{here}.weight has no effect: this is no Splitter"
        yield from _of_condition(step, node.router_type, here)
        if step.data == "$response" and (node.router_type != "Sequence" or not index):
            yield f"{here}.data has no effect: the step gets the node's own request"


def _of_condition(step: InferenceStep, kind: str, here: str) -> Iterator[str]:
    if not step.condition:
        if kind == "Switch":
            yield f"{here} has no condition: KServe never takes such a step; '@this' always holds"
    elif kind in ("Splitter", "Ensemble"):
        yield f"{here}.condition has no effect in a node of type {kind}"
    elif always_exists(step.condition):
        yield (
            f"{here}.condition always holds where there is an array: it finds an empty one where "
            "nothing matches; leave out the last '#' to have it decide"
        )
