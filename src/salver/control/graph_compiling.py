"""Compiles stored objects of all dialects of graphs, with what else of the store they need.

A table: which compiler takes which kind. Dialects are imported when the first of their objects
is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from salver.control.resources import JsonObject, ResourceStore
from salver.graphs.flow import GraphDesire
from salver.spec.kinds import KSERVE, MLOPS, SALVER, SELDON
from salver.spec.problems import manifest_error
from salver.spec.read import parse_object

GRAPHS = (
    (MLOPS, "models"),
    (KSERVE, "inferencegraphs"),
    (SELDON, "seldondeployments"),
    (SALVER, "graphs"),
    (MLOPS, "pipelines"),
    (MLOPS, "experiments"),
)
"""The types that are graphs: models first, since others ask them."""
SERVERS = ((MLOPS, "servers"), (MLOPS, "serverconfigs"))
"""What a Model's place depends on."""

Declared = Callable[[str, str, str], Sequence[Any]]
"""The resources of a group and plural in a namespace, as far as they can be read."""


class _Around(NamedTuple):
    """What a plan depends on besides its manifest. `headers`: patterns of those that all
    InferenceGraphs hand on."""

    declared: Declared
    headers: Sequence[str] = ()


_Compiler = Callable[[Any, _Around], GraphDesire]


class GraphCompiler:
    """Makes the plan of a graph as it is stored."""

    def __init__(self, store: ResourceStore, headers: Sequence[str] = ()) -> None:
        """`headers`: patterns of the request headers that all InferenceGraphs hand on."""
        self._store = store
        self._headers = tuple(headers)

    def __call__(self, obj: JsonObject) -> GraphDesire:
        """Raises `PlanError` for what cannot be carried out, `ManifestError` for what is wrong."""
        return _compiled(obj, _Around(self._declared, self._headers))

    def _declared(self, group: str, plural: str, namespace: str) -> Sequence[Any]:
        read = (parse_object(obj) for obj in self._store.list(group, plural, namespace)[0])
        return [each.resource for each in read if each.resource is not None]


def compiled_alone(obj: JsonObject) -> GraphDesire | None:
    """The plan of a graph with nothing else declared; None of what is no graph.

    Raises as `GraphCompiler` does.
    """
    if obj.get("kind") not in _COMPILERS:
        return None
    return _compiled(obj, _Around(lambda group, plural, namespace: ()))


def _compiled(obj: JsonObject, around: _Around) -> GraphDesire:
    parsed = parse_object(obj)
    compiler = _COMPILERS.get(str(obj.get("kind")))
    if parsed.resource is None or compiler is None:
        raise manifest_error(parsed.problems)
    desire = compiler(parsed.resource, around)
    notes = [str(note) for note in parsed.notes]
    return msgspec.structs.replace(desire, notes=tuple(dict.fromkeys([*notes, *desire.notes])))


def _inference_graph(resource: Any, around: _Around) -> GraphDesire:
    from salver.graphs.inference_graph import compile_inference_graph

    return compile_inference_graph(resource, around.headers)


def _seldon_deployment(resource: Any, around: _Around) -> GraphDesire:
    from salver.graphs.seldon import compile_seldon_deployment

    return compile_seldon_deployment(resource)


def _model(resource: Any, around: _Around) -> GraphDesire:
    from salver.graphs.seldon_v2 import compile_model

    namespace = resource.metadata.namespace
    servers, configs = (around.declared(*each, namespace) for each in SERVERS)
    return compile_model(resource, servers, configs)


def _pipeline(resource: Any, around: _Around) -> GraphDesire:
    from salver.graphs.seldon_v2_pipeline import compile_pipeline

    return compile_pipeline(resource)


def _experiment(resource: Any, around: _Around) -> GraphDesire:
    from salver.graphs.seldon_v2 import compile_experiment

    return compile_experiment(resource)


def _graph(resource: Any, around: _Around) -> GraphDesire:
    from salver.graphs.native import compile_graph

    return compile_graph(resource)


_COMPILERS: dict[str, _Compiler] = {
    "InferenceGraph": _inference_graph,
    "SeldonDeployment": _seldon_deployment,
    "Model": _model,
    "Pipeline": _pipeline,
    "Experiment": _experiment,
    "Graph": _graph,
}
