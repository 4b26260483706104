"""Revisions as they are kept: immutable, numbered, one for each plan a component ever had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from salver.control.resources import JsonObject
from salver.graphs.plan import Component, ComponentPlan
from salver.spec.kinds import SALVER

SERVICE_LABEL = "salver.dev/service"
COMPONENT_LABEL = "salver.dev/component"

RevisionsKey = tuple[str, str, Component]
"""Namespace, service, component."""


class RevisionRecord(msgspec.Struct, frozen=True):
    """One revision. `created` is RFC 3339."""

    name: str
    number: int
    digest: str
    plan: ComponentPlan
    created: str


def revision_object(record: RevisionRecord, owner: JsonObject) -> JsonObject:
    """The record as a resource that goes when its service goes.

    `template` is the manifest's own text of the component: what an undo puts back.
    """
    metadata = owner["metadata"]
    return {
        "apiVersion": f"{SALVER}/v1",
        "kind": "Revision",
        "metadata": {
            "name": record.name,
            "namespace": metadata["namespace"],
            "labels": {SERVICE_LABEL: metadata["name"], COMPONENT_LABEL: record.plan.component},
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "number": record.number,
            "digest": record.digest,
            "created": record.created,
            "plan": msgspec.to_builtins(record.plan),
            "template": owner["spec"].get(record.plan.component) or {},
        },
    }


def read_revision(obj: JsonObject) -> RevisionRecord:
    """The record of a stored resource. Raises `msgspec.ValidationError` if it is damaged."""
    spec: dict[str, Any] = obj["spec"]
    return RevisionRecord(
        obj["metadata"]["name"],
        spec["number"],
        spec["digest"],
        msgspec.convert(spec["plan"], ComponentPlan),
        spec["created"],
    )


def key_of(obj: JsonObject) -> RevisionsKey:
    """Whose revision a stored resource is."""
    labels = obj["metadata"]["labels"]
    return obj["metadata"]["namespace"], labels[SERVICE_LABEL], labels[COMPONENT_LABEL]


def indexed(objects: Iterable[JsonObject]) -> dict[RevisionsKey, list[RevisionRecord]]:
    """The revisions of each component, oldest first."""
    found: dict[RevisionsKey, list[RevisionRecord]] = {}
    for obj in objects:
        found.setdefault(key_of(obj), []).append(read_revision(obj))
    for records in found.values():
        records.sort(key=lambda record: record.number)
    return found
