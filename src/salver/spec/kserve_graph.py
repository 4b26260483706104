"""KServe's InferenceGraph v1alpha1, field by field.

Types only: what contradicts what is in `graph_checks.py`, what a graph means in
`graphs/inference_graph.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import ResourceRequirements

ROOT = "root"
"""The node that every request begins at."""
ROUTER = "salver.dev/router."
"""Begins an annotation: `salver.dev/router.NODE` makes a Splitter learn from feedback."""
HEADERS = "salver.dev/propagate-headers"
"""Annotation: patterns of the request headers that steps are given, as KServe's router has them
in PROPAGATE_HEADERS."""

RouterType = Literal["Sequence", "Splitter", "Ensemble", "Switch"]
Dependency = Literal["Soft", "Hard"]


class InferenceStep(Fields, frozen=True):
    """One step of a node: whom it asks, with what, and when."""

    name: Annotated[
        str, about("unique in its node; an Ensemble's answer has the step's answer under it")
    ] = ""
    node_name: Annotated[str, about("the node of this graph that the step goes on with")] = ""
    service_name: Annotated[
        str, about("the InferenceService or graph of the same namespace that is asked")
    ] = ""
    service_url: Annotated[
        str, about("the address that the request is posted to", format="uri")
    ] = ""
    data: Annotated[
        str, about("what the step is given: $request (unless told), or $response of the one before")
    ] = ""
    map_predictions_to_instances: Annotated[
        bool, about("V1 answers are given to the step with `predictions` renamed to `instances`")
    ] = False
    weight: Annotated[int | None, about("percent of a Splitter's requests", least=0, most=100)] = (
        None
    )
    condition: Annotated[
        str,
        about(
            "GJSON path that has to exist: in the request for a Switch, in the answer before for "
            "a Sequence"
        ),
    ] = ""
    dependency: Annotated[
        Dependency,
        about("Hard: its failure is the node's answer; Soft: the node goes on with what it said"),
    ] = "Soft"


class InferenceRouter(Fields, frozen=True):
    """One node: steps, and how requests go through them."""

    router_type: Annotated[
        RouterType,
        about(
            "Sequence: one after the other; Switch: the first whose condition holds; Ensemble: "
            "all at once; Splitter: one by chance"
        ),
    ]
    steps: Annotated[tuple[InferenceStep, ...], about("in order")] = ()


class RouterTimeouts(Fields, frozen=True):
    """Time limits of KServe's router, in seconds."""

    server_read: Annotated[int | None, about("for reading a request", least=0, inert=True)] = None
    server_write: Annotated[
        int | None, about("from a request to the end of its answer", least=0)
    ] = None
    server_idle: Annotated[int | None, about("for an idle connection", least=0, inert=True)] = None
    service_client: Annotated[int | None, about("for each step's answer", least=0)] = None


class InferenceGraphSpec(Fields, frozen=True):
    """Nodes by name; `root` is where requests begin."""

    nodes: Annotated[dict[str, InferenceRouter], about("nodes by name; one is called root")]
    timeout: Annotated[int | None, about("seconds that a request may take in all", least=0)] = None
    router_timeouts: Annotated[RouterTimeouts | None, about("time limits of the router")] = None
    resources: Annotated[
        ResourceRequirements | None, about("what the router's pod may take", inert=True)
    ] = None
    affinity: Annotated[Any, about("where the router's pods run", inert=True)] = None
    min_replicas: Annotated[
        int | None, about("fewest replicas of the router", least=0, inert=True)
    ] = None
    max_replicas: Annotated[int, about("most replicas of the router", least=0, inert=True)] = 0
    scale_target: Annotated[
        int | None, about("value of scaleMetric per replica of the router", least=0, inert=True)
    ] = None
    scale_metric: Annotated[
        Literal["cpu", "memory", "concurrency", "rps"] | None,
        about("what the router's replicas follow", inert=True),
    ] = None
    tolerations: Annotated[Any, about("taints the router's pods bear", inert=True)] = None
    node_selector: Annotated[
        dict[str, str], about("labels of the machines the router may run on", inert=True)
    ] = {}
    node_name: Annotated[str, about("the machine the router runs on", inert=True)] = ""
    service_account_name: Annotated[str, about("whose credentials the router has", inert=True)] = ""


class InferenceGraph(Fields, frozen=True):
    """A graph of services, answered by this server without a router of its own."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[InferenceGraphSpec, about("the nodes")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "InferenceGraph"
    status: Annotated[Any, about("what is so at present; set by the server")] = None
