"""Graphs compiled with what the server and the store say, besides their manifests."""

from __future__ import annotations

from typing import Any

from salver.control.graph_compiling import GraphCompiler, compiled_alone
from salver.control.resources import JsonObject


class Nothing:
    """The part of a `ResourceStore` that is asked: it has no resources."""

    def list(self, group: str, plural: str, namespace: str = "") -> tuple[list[JsonObject], int]:
        return [], 0


def graph(kind: str, api_version: str, spec: dict[str, Any]) -> JsonObject:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "g"}, "spec": spec}


INFERENCE_GRAPH = graph(
    "InferenceGraph",
    "serving.kserve.io/v1alpha1",
    {"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "a"}]}}},
)
PIPELINE = graph(
    "Pipeline",
    "mlops.seldon.io/v1alpha1",
    {"steps": [{"name": "a"}], "output": {"steps": ["a"]}},
)


def test_the_server_s_headers_hold_for_all_inference_graphs() -> None:
    compiler = GraphCompiler(Nothing(), ("^X-Team",))  # type: ignore[arg-type]
    alone = compiled_alone(INFERENCE_GRAPH)
    assert alone is not None
    assert set(compiler(INFERENCE_GRAPH).headers) == {*alone.headers, "^X-Team"}
    assert compiler(PIPELINE).headers == ()


def test_what_is_no_graph_is_compiled_to_nothing() -> None:
    assert compiled_alone({"kind": "InferenceService"}) is None
