"""Whose a graph's name is, and that no graph asks itself.

Graphs of all kinds and InferenceServices answer under one name in a namespace. The first one to
have it keeps it; an InferenceService has it before any graph.
"""

from __future__ import annotations

from collections.abc import Callable

from salver.control.resources import ObjectRef
from salver.graphs.flow import GraphDesire
from salver.graphs.selection import PlanError

SUFFIXES = {"pipelines": ".pipeline", "experiments": ".experiment"}
"""What goes behind a name that is taken, as callers of Seldon say it."""

Place = tuple[str, str]
"""Namespace and name."""


class GraphNames:
    """The names that are taken. `is_service` says whether an InferenceService has one."""

    def __init__(self, is_service: Callable[[str, str], bool]) -> None:
        self._is_service = is_service
        self._holders: dict[Place, ObjectRef] = {}

    def holder(self, namespace: str, name: str) -> ObjectRef | None:
        """The graph that has the name."""
        return self._holders.get((namespace, name))

    def take(self, ref: ObjectRef, name: str) -> str:
        """The name that the graph gets: its own, or a longer one. Raises `PlanError`."""
        suffix = SUFFIXES.get(ref.plural)
        for each in (name, *([name + suffix] if suffix else [])):
            if self._is_free(ref, each):
                return each
        holder = self._holders.get((ref.namespace, name))
        rival = "an InferenceService"
        if holder is not None and holder != ref:
            rival = f"one of the {holder.plural}"
        raise PlanError(
            "NameTaken", f"'{ref.namespace}/{name}' is the name of {rival} already: rename one"
        )

    def _is_free(self, ref: ObjectRef, name: str) -> bool:
        if self._is_service(ref.namespace, name):
            return False
        return self._holders.setdefault((ref.namespace, name), ref) == ref

    def release(self, ref: ObjectRef, name: str) -> None:
        """The graph has the name no more."""
        if self._holders.get((ref.namespace, name)) == ref:
            del self._holders[ref.namespace, name]


def refuse_cycle(desire: GraphDesire, desire_of: Callable[[str, str], GraphDesire | None]) -> None:
    """Raises `PlanError` for a graph that would ask itself, through whichever others."""
    start = (desire.namespace, desire.name)
    paths = [[start, (each.namespace, each.name)] for each in desire.references]
    seen: set[Place] = set()
    while paths:
        path = paths.pop()
        if path[-1] == start:
            names = " -> ".join(f"{namespace}/{name}" for namespace, name in path)
            raise PlanError("GraphCycle", f"the graph would ask itself: {names}")
        if path[-1] in seen:
            continue
        seen.add(path[-1])
        found = desire_of(*path[-1])
        if found is not None:
            paths += [[*path, (each.namespace, each.name)] for each in found.references]
