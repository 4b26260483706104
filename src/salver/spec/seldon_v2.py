"""Seldon Core v2's Model, Server, ServerConfig, SeldonRuntime, SeldonConfig and Experiment,
`mlops.seldon.io/v1alpha1`, field by field.

Types only: reading is `read.py`'s, what contradicts what `seldon_v2_checks.py`'s. The Pipeline is
in `seldon_v2_pipeline.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import PodSpec, Quantity

_METADATA = about("name, namespace, labels, annotations")
_API_VERSION = about("group and version of the type")
_KIND = about("name of the type")
_STATUS = about("set by the server")
API_VERSION = "mlops.seldon.io/v1alpha1"


class Scaling(Fields, frozen=True):
    """How many replicas there are."""

    replicas: Annotated[int | None, about("how many replicas; 1 unless told", least=0)] = None
    min_replicas: Annotated[
        int | None, about("fewest replicas; given, their number follows the load", least=0)
    ] = None
    max_replicas: Annotated[
        int | None, about("most replicas; given, their number follows the load", least=0)
    ] = None


class ModelLogger(Fields, frozen=True):
    """Which payloads are logged."""

    percent: Annotated[int | None, about("share of requests", least=0, most=100)] = None


class ModelExplainer(Fields, frozen=True):
    """Makes the model an explainer of another one."""

    type: Annotated[str, about("the method, e.g. anchor_tabular")] = ""
    model_ref: Annotated[str | None, about("the Model that is explained")] = None
    pipeline_ref: Annotated[str | None, about("the Pipeline that is explained")] = None


class ModelLlm(Fields, frozen=True):
    """Makes the model a language model that uses another one."""

    model_ref: Annotated[str | None, about("the Model it uses")] = None
    pipeline_ref: Annotated[str | None, about("the Pipeline it uses")] = None


class ModelParameter(Fields, frozen=True):
    """One argument that the model is loaded with."""

    name: Annotated[str, about("its name")]
    value: Annotated[str, about("its value")] = ""


class ModelSpec(Scaling, frozen=True, kw_only=True):
    """An artifact, and what a server must be able to do to serve it."""

    storage_uri: Annotated[str, about("where the model is, e.g. gs://bucket/path")]
    model_type: Annotated[str | None, about("one more requirement: the kind of model")] = None
    artifact_version: Annotated[
        int | None, about("which of the artifact's version folders", least=0)
    ] = None
    schema_uri: Annotated[str | None, about("a description of the model's tensors", inert=True)] = (
        None
    )
    secret_name: Annotated[
        str | None,
        about("a Secret with rclone's settings; here the Secret `storage-config`", inert=True),
    ] = None
    requirements: Annotated[
        tuple[str, ...], about("what a server must be capable of, e.g. sklearn")
    ] = ()
    memory: Annotated[
        Quantity,
        about("memory it takes; workers of this machine take what they need", inert=True),
    ] = ""
    server: Annotated[str | None, about("the Server it runs on; any that suits unless told")] = None
    preloaded: Annotated[
        bool, about("the server has it already; here it is loaded anyway", inert=True)
    ] = False
    dedicated: Annotated[
        bool, about("a server of its own; here each model has its own workers", inert=True)
    ] = False
    logger: Annotated[
        ModelLogger | None,
        about("payloads to a topic; here the last ones of graphs are kept", inert=True),
    ] = None
    explainer: Annotated[ModelExplainer | None, about("makes it an explainer")] = None
    parameters: Annotated[
        tuple[ModelParameter, ...], about("arguments that the model is loaded with")
    ] = ()
    llm: Annotated[ModelLlm | None, about("makes it a language model of another")] = None
    dataflow: Annotated[
        Any, about("what becomes of Kafka topics; there are none here", inert=True)
    ] = None


class Model(Fields, frozen=True):
    """A model that is asked by its name, and by Pipelines and Experiments."""

    metadata: Annotated[ObjectMeta, _METADATA]
    spec: Annotated[ModelSpec, about("the model")]
    api_version: Annotated[str, _API_VERSION] = API_VERSION
    kind: Annotated[str, _KIND] = "Model"
    status: Annotated[Any, _STATUS] = None


class ServerSpec(Scaling, frozen=True, kw_only=True):
    """What a server is made from, and what it can do."""

    server_config: Annotated[str, about("the ServerConfig it is made from: mlserver, triton")]
    capabilities: Annotated[
        tuple[str, ...], about("what it is capable of, instead of its ServerConfig's")
    ] = ()
    extra_capabilities: Annotated[
        tuple[str, ...], about("what it is capable of besides its ServerConfig's")
    ] = ()
    image_overrides: Annotated[
        Any, about("other containers of the server; here Salver's workers stand in", inert=True)
    ] = None
    pod_spec: Annotated[
        Any, about("how its pods differ; here Salver's workers stand in", inert=True)
    ] = None
    stateful_set_persistent_volume_claim_retention_policy: Annotated[
        Any, about("what becomes of its volumes", inert=True)
    ] = None
    disable_auto_update: Annotated[
        bool, about("it keeps its pods when its ServerConfig changes", inert=True)
    ] = False


class Server(Fields, frozen=True):
    """A server for Models; here it says which requirements there are."""

    metadata: Annotated[ObjectMeta, _METADATA]
    spec: Annotated[ServerSpec, about("what it is made from")]
    api_version: Annotated[str, _API_VERSION] = API_VERSION
    kind: Annotated[str, _KIND] = "Server"
    status: Annotated[Any, _STATUS] = None


class ServerConfigSpec(Fields, frozen=True):
    """The pods that Servers are made from."""

    pod_spec: Annotated[
        PodSpec, about("the pod; SELDON_SERVER_CAPABILITIES of its container `agent` is read")
    ] = PodSpec()
    volume_claim_templates: Annotated[Any, about("volumes of its pods", inert=True)] = None


class ServerConfig(Fields, frozen=True):
    """A kind of server; mlserver and triton are there without being applied."""

    metadata: Annotated[ObjectMeta, _METADATA]
    spec: Annotated[ServerConfigSpec, about("its pods")] = ServerConfigSpec()
    api_version: Annotated[str, _API_VERSION] = API_VERSION
    kind: Annotated[str, _KIND] = "ServerConfig"
    status: Annotated[Any, _STATUS] = None


_NO_COMPONENTS = about("Seldon's own components; here Salver does their work", inert=True)


class SeldonRuntimeSpec(Fields, frozen=True):
    """An installation of Seldon's components in a namespace."""

    seldon_config: Annotated[str, about("the SeldonConfig it is made from", inert=True)] = ""
    overrides: Annotated[Any, _NO_COMPONENTS] = None
    config: Annotated[Any, about("Kafka, tracing, agents; there are none", inert=True)] = None
    disable_auto_update: Annotated[
        bool, about("it stays as it is when its SeldonConfig changes", inert=True)
    ] = False


class SeldonRuntime(Fields, frozen=True):
    """An installation of Seldon: kept, and without effect, since Salver is what runs."""

    metadata: Annotated[ObjectMeta, _METADATA]
    spec: Annotated[SeldonRuntimeSpec, about("the installation")] = SeldonRuntimeSpec()
    api_version: Annotated[str, _API_VERSION] = API_VERSION
    kind: Annotated[str, _KIND] = "SeldonRuntime"
    status: Annotated[Any, _STATUS] = None


class SeldonConfigSpec(Fields, frozen=True):
    """What installations of Seldon have in common."""

    components: Annotated[Any, _NO_COMPONENTS] = None
    config: Annotated[Any, about("Kafka, tracing, agents; there are none", inert=True)] = None


class SeldonConfig(Fields, frozen=True):
    """Settings of installations of Seldon: kept, and without effect."""

    metadata: Annotated[ObjectMeta, _METADATA]
    spec: Annotated[SeldonConfigSpec, about("the settings")] = SeldonConfigSpec()
    api_version: Annotated[str, _API_VERSION] = API_VERSION
    kind: Annotated[str, _KIND] = "SeldonConfig"
    status: Annotated[Any, _STATUS] = None


class ExperimentCandidate(Fields, frozen=True):
    """One of those that share the requests."""

    name: Annotated[str, about("the Model or Pipeline")]
    weight: Annotated[int, about("its share, relative to the others' weights", least=0)]


class ExperimentMirror(Fields, frozen=True):
    """Who gets copies of requests, and never answers."""

    name: Annotated[str, about("the Model or Pipeline")]
    percent: Annotated[int, about("share of the requests that is copied", least=0, most=100)]


class ExperimentSpec(Fields, frozen=True):
    """Who shares the requests."""

    candidates: Annotated[
        tuple[ExperimentCandidate, ...], about("those that share the requests, by weight")
    ]
    default: Annotated[
        str | None, about("the candidate whose own requests go through the experiment")
    ] = None
    mirror: Annotated[ExperimentMirror | None, about("who gets copies of requests")] = None
    resource_type: Annotated[
        Literal["model", "pipeline"], about("what the names are; model unless told")
    ] = "model"


class Experiment(Fields, frozen=True):
    """Shares requests among Models or Pipelines."""

    metadata: Annotated[ObjectMeta, _METADATA]
    spec: Annotated[ExperimentSpec, about("who shares the requests")]
    api_version: Annotated[str, _API_VERSION] = API_VERSION
    kind: Annotated[str, _KIND] = "Experiment"
    status: Annotated[Any, _STATUS] = None
