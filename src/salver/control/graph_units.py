"""The units of a graph as revisions: what they are called, and which graph served last.

What served is kept in the store, so that a manifest that cannot be carried out changes nothing,
not even after a restart. Decides nothing about who serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from salver.control.ports import RevisionOrder
from salver.control.resources import JsonObject, ObjectRef, ResourceStore
from salver.errors import AlreadyExists, ResourceNotFound
from salver.graphs.flow import GraphDesire, GraphUnit
from salver.spec.kinds import SALVER

SERVED = (SALVER, "servedgraphs")
"""Kept beside the resources that people see: of no kind that can be declared or listed."""
_DIGITS = 8


class ServedGraph(msgspec.Struct, frozen=True):
    """What a graph served last: its plan, and the numbers of the revisions it ever had."""

    desire: GraphDesire
    numbers: Mapping[str, int] = {}


def service_of(desire: GraphDesire, unit: str) -> str:
    """Whose revisions a unit's are: models call themselves so in their answers."""
    return desire.name if unit == desire.exposes_unit else f"{desire.name}-{unit}"


def revision_of(desire: GraphDesire, unit: GraphUnit) -> str:
    """The name of the revision that a unit is: the same as long as its plan stays."""
    return f"{service_of(desire, unit.name)}-{unit.plan.digest[:_DIGITS]}"


def revisions_of(desire: GraphDesire) -> dict[str, str]:
    """All of a graph's units, and the revisions that they are."""
    return {unit.name: revision_of(desire, unit) for unit in desire.units}


def numbered(desires: Iterable[GraphDesire], known: Mapping[str, int]) -> dict[str, int]:
    """The numbers of all revisions: those known keep theirs, new ones of a unit go on."""
    numbers = dict(known)
    for desire in desires:
        for unit in desire.units:
            name = revision_of(desire, unit)
            if name not in numbers:
                stem = name[: -_DIGITS - 1]
                own = [n for each, n in numbers.items() if each[: -_DIGITS - 1] == stem]
                numbers[name] = max(own, default=0) + 1
    return numbers


def orders_of(
    desire: GraphDesire, numbers: Mapping[str, int], *, are_proven: bool
) -> list[RevisionOrder]:
    """What the machine is told of a graph's units."""
    return [
        RevisionOrder(
            name=(name := revision_of(desire, unit)),
            namespace=desire.namespace,
            service=service_of(desire, unit.name),
            number=numbers[name],
            plan=unit.plan,
            is_proven=are_proven,
            graph=desire.name,
        )
        for unit in desire.units
    ]


class ServedGraphs:
    """What graphs served last, in the store."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store

    def get(self, ref: ObjectRef) -> ServedGraph | None:
        """Nothing if the graph never served, or if another version of Salver wrote it."""
        try:
            obj = self._store.get(_kept_as(ref))
            return msgspec.convert(obj["spec"], ServedGraph)
        except (ResourceNotFound, msgspec.ValidationError):
            return None

    def put(self, owner: JsonObject, ref: ObjectRef, served: ServedGraph) -> None:
        """Keeps it for as long as its owner is there."""
        kept = _kept_as(ref)
        obj = _object(owner, kept, served)
        try:
            self._store.create(kept, obj)
        except AlreadyExists:
            self._store.update(kept, obj)


def _kept_as(ref: ObjectRef) -> ObjectRef:
    return ObjectRef(*SERVED, ref.namespace, f"{ref.plural}.{ref.name}")


def _object(owner: JsonObject, kept: ObjectRef, served: ServedGraph) -> JsonObject:
    metadata = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": f"{SALVER}/v1",
        "kind": "ServedGraph",
        "metadata": {
            "name": kept.name,
            "namespace": kept.namespace,
            "ownerReferences": [reference],
        },
        "spec": msgspec.to_builtins(served),
    }
