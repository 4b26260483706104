"""The parts of a SeldonDeployment that say how its containers run and scale, and its explainer.

Types only. The graph and the resource itself are in `seldon.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from salver.spec.fields import Fields, about
from salver.spec.kserve_scaling import MetricTarget
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container, EnvVar, PodSpec, Quantity, ResourceRequirements


class Endpoint(Fields, frozen=True):
    """Where a node of the graph is served, if not by a container of the deployment."""

    service_host: Annotated[str, about("host that serves the node")] = msgspec.field(
        default="", name="service_host"
    )
    service_port: Annotated[int | None, about("its port", least=0, most=65535)] = msgspec.field(
        default=None, name="service_port"
    )
    type: Annotated[Literal["", "REST", "GRPC"], about("how the engine talks to the node")] = ""
    http_port: Annotated[int | None, about("its port for HTTP", least=0, most=65535)] = None
    grpc_port: Annotated[
        int | None, about("its port for gRPC; nodes are asked over HTTP here", least=0, most=65535)
    ] = None


class HpaResource(Fields, frozen=True):
    """Use of a resource by the replicas, in either of Kubernetes' spellings."""

    name: Annotated[str, about("which resource: cpu or memory")]
    target_average_utilization: Annotated[
        int | None, about("percent of what replicas request", least=1)
    ] = None
    target_average_value: Annotated[Quantity | None, about("amount per replica")] = None
    target: Annotated[MetricTarget | None, about("what it is kept at, in autoscaling/v2")] = None


class HpaMetric(Fields, frozen=True):
    """One metric that replicas follow; only those of type Resource are followed here."""

    type: Annotated[
        Literal["Resource", "Pods", "Object", "External", "ContainerResource"],
        about("kind of the metric"),
    ]
    resource: Annotated[HpaResource | None, about("for type Resource")] = None
    pods: Annotated[Any, about("for type Pods", inert=True)] = None
    object: Annotated[Any, about("for type Object", inert=True)] = None
    external: Annotated[Any, about("for type External", inert=True)] = None
    container_resource: Annotated[Any, about("for type ContainerResource", inert=True)] = None


class SeldonHpaSpec(Fields, frozen=True):
    """How many replicas, by what they use."""

    max_replicas: Annotated[int, about("the most replicas", least=1)]
    min_replicas: Annotated[int | None, about("the least replicas; 1 unless told", least=0)] = None
    metrics: Annotated[
        tuple[HpaMetric, ...], about("what replicas follow, as autoscaling/v2beta1 spells it")
    ] = ()
    metricsv2: Annotated[
        tuple[HpaMetric, ...], about("what replicas follow, as autoscaling/v2 spells it")
    ] = ()


class SeldonPodSpec(Fields, frozen=True):
    """Containers that implement nodes of the graph: those of the nodes' names."""

    metadata: Annotated[ObjectMeta | None, about("labels and annotations of the pod")] = None
    spec: Annotated[PodSpec, about("the containers")] = PodSpec()
    hpa_spec: Annotated[SeldonHpaSpec | None, about("how the pod's replicas scale")] = None
    replicas: Annotated[int | None, about("replicas, instead of the predictor's", least=0)] = None
    keda_spec: Annotated[Any, about("scaling by KEDA; use hpaSpec", inert=True)] = None
    pdb_spec: Annotated[Any, about("how many replicas may be disrupted", inert=True)] = None


class SvcOrchSpec(Fields, frozen=True):
    """The pod of Seldon's engine, which has no pod here."""

    resources: Annotated[
        ResourceRequirements | None, about("what the engine's pod may take", inert=True)
    ] = None
    env: Annotated[
        tuple[EnvVar, ...], about("the engine's environment variables; Kafka's places among them")
    ] = ()
    replicas: Annotated[int | None, about("engines", least=0, inert=True)] = None


class Explainer(Fields, frozen=True):
    """Who explains the predictor's answers."""

    type: Annotated[str, about("the method, e.g. AnchorTabular")] = ""
    model_uri: Annotated[str, about("where the trained explainer is")] = ""
    service_account_name: Annotated[
        str, about("the ServiceAccount whose Secrets are the credentials for storage")
    ] = ""
    container_spec: Annotated[Container | None, about("a container of its own")] = None
    config: Annotated[dict[str, str], about("arguments of the method")] = {}
    endpoint: Annotated[Endpoint | None, about("where it listens")] = None
    env_secret_ref_name: Annotated[str, about("Secret with the credentials for storage")] = ""
    storage_initializer_image: Annotated[str, about("what fetches the explainer", inert=True)] = ""
    replicas: Annotated[int | None, about("replicas of the explainer", least=0)] = None
    init_parameters: Annotated[str, about("JSON with arguments of the method")] = ""


class SSL(Fields, frozen=True):
    """TLS within the deployment."""

    cert_secret_name: Annotated[str, about("Secret with the certificate", inert=True)] = ""
