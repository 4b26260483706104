"""Seldon Core's SeldonDeployment, `machinelearning.seldon.io` v1, v1alpha3 and v1alpha2.

Types only: the three versions have the same fields. What contradicts what is in
`seldon_checks.py`; pods, scaling and explainers are in `seldon_parts.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import ResourceRequirements
from salver.spec.problems import Path
from salver.spec.seldon_parts import SSL, Endpoint, Explainer, SeldonPodSpec, SvcOrchSpec

UnitType = Literal[
    "UNKNOWN_TYPE", "ROUTER", "COMBINER", "MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER"
]
UnitMethod = Literal["TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE", "SEND_FEEDBACK"]
ParameterType = Literal["INT", "FLOAT", "DOUBLE", "STRING", "BOOL"]

UNKNOWN_IMPLEMENTATION = "UNKNOWN_IMPLEMENTATION"
BUILTIN_IMPLEMENTATIONS = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
LEARNING_ROUTERS = ("EPSILON_GREEDY", "UCB1", "THOMPSON_SAMPLING", "LIN_UCB", "LIN_TS")
"""Salver's own implementations of a router that learns from feedback."""
SERVERS = (
    "SKLEARN_SERVER",
    "XGBOOST_SERVER",
    "TENSORFLOW_SERVER",
    "MLFLOW_SERVER",
    "TRITON_SERVER",
    "HUGGINGFACE_SERVER",
    "TEMPO_SERVER",
    "LIGHTGBM_SERVER",
    "ONNX_SERVER",
)
"""Packaged servers; the last two are not Seldon's own, but commonly added to it."""


class Parameter(Fields, frozen=True):
    """An argument of a node's class or server."""

    name: Annotated[str, about("name of the argument")]
    value: Annotated[str, about("its value, as a text")]
    type: Annotated[ParameterType, about("what the text is read as")]


class Logger(Fields, frozen=True):
    """Where requests and answers of a node are logged."""

    url: Annotated[
        str | None, about("sink of CloudEvents: http(s)://..., or file:///....jsonl")
    ] = None
    mode: Annotated[Literal["", "all", "request", "response"], about("what is logged")] = ""


class PredictiveUnit(Fields, frozen=True):
    """A node of the graph: a model, router, combiner or transformer, with the nodes behind it."""

    name: Annotated[str, about("name of the node: that of its container, if it has one")]
    children: Annotated[tuple[PredictiveUnit, ...], about("the nodes that it feeds")] = ()
    type: Annotated[
        UnitType | None, about("what the node does; a MODEL if nothing says otherwise")
    ] = None
    implementation: Annotated[
        str,
        about(
            "what implements it without a container: a server such as SKLEARN_SERVER, "
            "RANDOM_ABTEST, AVERAGE_COMBINER, or a router that learns such as EPSILON_GREEDY"
        ),
    ] = UNKNOWN_IMPLEMENTATION
    methods: Annotated[
        tuple[UnitMethod, ...], about("what the node does beyond or instead of its type")
    ] = ()
    endpoint: Annotated[Endpoint | None, about("where it is served, if by no container")] = None
    parameters: Annotated[tuple[Parameter, ...], about("arguments of its class or server")] = ()
    model_uri: Annotated[str, about("where the model is, for packaged servers")] = ""
    service_account_name: Annotated[
        str, about("the ServiceAccount whose Secrets are the credentials for storage")
    ] = ""
    env_secret_ref_name: Annotated[str, about("Secret with the credentials for storage")] = ""
    storage_initializer_image: Annotated[str, about("what fetches the model", inert=True)] = ""
    logger: Annotated[Logger | None, about("where its requests and answers are logged")] = None


class PredictorSpec(Fields, frozen=True):
    """One graph; several share the deployment's requests."""

    name: Annotated[str, about("name of the predictor")]
    graph: Annotated[PredictiveUnit, about("the node that requests begin at")]
    component_specs: Annotated[
        tuple[SeldonPodSpec, ...], about("pods with the containers of the graph's nodes")
    ] = ()
    replicas: Annotated[int | None, about("replicas of each pod; 1 unless told", least=0)] = None
    annotations: Annotated[
        dict[str, str], about("texts that the server reads, e.g. seldon.io/rest-timeout")
    ] = {}
    labels: Annotated[dict[str, str], about("texts by which its pods are selected")] = {}
    engine_resources: Annotated[
        ResourceRequirements | None, about("what the engine's pod may take", inert=True)
    ] = None
    svc_orch_spec: Annotated[SvcOrchSpec, about("the engine's pod")] = SvcOrchSpec()
    traffic: Annotated[
        int | None,
        about("percent of the requests, or of the copies for a shadow", least=0, most=100),
    ] = None
    explainer: Annotated[Explainer | None, about("who explains its answers")] = None
    shadow: Annotated[bool, about("whether it gets copies of requests and never answers")] = False
    ssl: Annotated[SSL | None, about("TLS within the deployment", inert=True)] = None
    progress_deadline_seconds: Annotated[
        int | None, about("time a rollout may take", inert=True)
    ] = None


class SeldonDeploymentSpec(Fields, frozen=True):
    """The predictors, and how clients speak to them."""

    predictors: Annotated[tuple[PredictorSpec, ...], about("graphs that share the requests")]
    name: Annotated[str, about("a former name of the deployment; metadata.name counts")] = ""
    annotations: Annotated[
        dict[str, str], about("texts that the server reads, e.g. seldon.io/rest-timeout")
    ] = {}
    protocol: Annotated[
        Literal["", "seldon", "tensorflow", "kfserving", "v2"],
        about("what nodes speak, and clients unless the path says otherwise; seldon unless told"),
    ] = ""
    transport: Annotated[
        Literal["", "rest", "grpc"], about("how the engine talks to nodes; clients have both")
    ] = ""
    replicas: Annotated[int | None, about("replicas of each pod; 1 unless told", least=0)] = None
    server_type: Annotated[
        Literal["", "rpc", "kafka"], about("where requests come from; here always from clients")
    ] = ""
    oauth_key: Annotated[str, about("for Seldon's former gateway", inert=True)] = msgspec.field(
        default="", name="oauth_key"
    )
    oauth_secret: Annotated[str, about("for Seldon's former gateway", inert=True)] = msgspec.field(
        default="", name="oauth_secret"
    )


class SeldonDeployment(Fields, frozen=True):
    """Models, routers, combiners and transformers as a graph, served under one address."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[SeldonDeploymentSpec, about("the predictors")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "machinelearning.seldon.io/v1"
    )
    kind: Annotated[str, about("name of the type")] = "SeldonDeployment"
    status: Annotated[Any, about("set by the server")] = None


def walk(node: PredictiveUnit, path: Path) -> Iterator[tuple[Path, PredictiveUnit]]:
    """The node and all behind it, each with its path in the manifest, parents first."""
    yield path, node
    for index, child in enumerate(node.children):
        yield from walk(child, (*path, "children", index))
