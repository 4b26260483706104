"""Desires out of SeldonDeployments, written in few words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from salver.graphs.flow import GraphDesire
from salver.graphs.seldon import compile_seldon_deployment
from salver.spec.read import parse_object


def desire_of(*predictors: dict[str, Any], **spec: Any) -> GraphDesire:
    parsed = parse_object(
        {
            "apiVersion": "machinelearning.seldon.io/v1",
            "kind": "SeldonDeployment",
            "metadata": {"name": "d", "labels": {"team": "a"}},
            "spec": {"predictors": list(predictors), **spec},
        }
    )
    assert not parsed.problems, [str(each) for each in parsed.problems]
    return compile_seldon_deployment(parsed.resource)


def names_of(graph: dict[str, Any]) -> Iterator[str]:
    yield graph["name"]
    for child in graph.get("children", ()):
        yield from names_of(child)


def predictor(graph: dict[str, Any], name: str = "p", **fields: Any) -> dict[str, Any]:
    """A predictor, all of whose nodes are Python classes."""
    classes = {f"salver.dev/class.{each}": "/srv/c.py:C" for each in names_of(graph)}
    given = {**classes, **fields.pop("annotations", {})}
    return {"name": name, "graph": graph, "annotations": given, **fields}


def node(name: str, type_: str = "MODEL", *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "children": list(children), **more}
