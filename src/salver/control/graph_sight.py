"""What is to be seen of a graph's parts: its units, the services that it asks, their tensors.

Looks at the machine and the store through their ports, and decides nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from salver.control.graph_compiling import GRAPHS
from salver.control.graph_names import SUFFIXES
from salver.control.graph_status import Missing, UnitView
from salver.control.graph_units import revisions_of
from salver.control.ports import Machine, Phase
from salver.control.resources import ObjectRef, ResourceStore
from salver.errors import ResourceNotFound
from salver.graphs.flow import GraphDesire, Service
from salver.spec.kinds import KSERVE

SERVICES = (KSERVE, "inferenceservices")

Answers = Callable[[str, str], bool]
"""Whether a service of that namespace and name answers here now."""
Mismatch = Callable[[GraphDesire, Mapping[str, str]], str]
"""What of the edges cannot work, now that the models have said what they take; or nothing.
`GraphDesire`'s units are these revisions."""


class GraphSight:
    """Looks at graphs' parts."""

    def __init__(
        self, store: ResourceStore, machine: Machine, answers: Answers, mismatch: Mismatch
    ) -> None:
        self._store = store
        self._machine = machine
        self._answers = answers
        self._mismatch = mismatch

    def units(self, desire: GraphDesire | None) -> list[UnitView]:
        """Its units, each as it is now."""
        if desire is None:
            return []
        return [
            UnitView(name, revision, self._machine.observe(desire.namespace, revision))
            for name, revision in revisions_of(desire).items()
        ]

    def missing(self, desire: GraphDesire | None) -> list[Missing]:
        """The services that it asks and that do not answer."""
        if desire is None:
            return []
        return [
            Missing(each, self._is_declared(each))
            for each in desire.references
            if not self._answers(each.namespace, each.name)
        ]

    def is_ready(self, desire: GraphDesire) -> bool:
        """All that it is made of is there."""
        return are_ready(self.units(desire)) and not self.missing(desire)

    def misfit(self, desire: GraphDesire, units: Sequence[UnitView]) -> tuple[str, str] | None:
        """What of its edges cannot work; all units are ready."""
        text = self._mismatch(desire, {each.name: each.revision for each in units})
        return ("TypeMismatch", text) if text else None

    def _is_declared(self, service: Service) -> bool:
        plain = service.name
        for suffix in SUFFIXES.values():
            plain = plain.removesuffix(suffix)
        for type in (SERVICES, *GRAPHS):
            with contextlib.suppress(ResourceNotFound):
                self._store.get(ObjectRef(*type, service.namespace, plain))
                return True
        return False


def are_ready(units: Sequence[UnitView]) -> bool:
    """Whether every one of them can answer."""
    return all(each.seen.phase is Phase.READY for each in units)
