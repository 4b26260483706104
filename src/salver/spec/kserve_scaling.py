"""KServe's `autoScaling` block: metrics, targets and how fast replicas follow them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from salver.spec.fields import Fields, about
from salver.spec.pods import Quantity


class MetricTarget(Fields, frozen=True):
    """The value a metric is kept at."""

    type: Annotated[
        Literal["Utilization", "AverageValue", "Value"], about("which of the others counts")
    ]
    average_utilization: Annotated[
        int | None, about("percent of what replicas request", least=1)
    ] = None
    average_value: Annotated[Quantity | None, about("amount per replica")] = None
    value: Annotated[Quantity | None, about("amount over all replicas")] = None


class ResourceMetric(Fields, frozen=True):
    """Use of a resource by the replicas."""

    name: Annotated[Literal["cpu", "memory", "concurrency", "rps"], about("which resource")]
    target: Annotated[MetricTarget, about("what it is kept at")]


class ExternalMetric(Fields, frozen=True):
    """A metric that another system keeps."""

    metric: Annotated[Any, about("backend, serverAddress, metricName, query, namespace")] = None
    target: Annotated[MetricTarget | None, about("what it is kept at")] = None
    authentication_ref: Annotated[Any, about("credentials for the backend")] = None


class PodMetric(Fields, frozen=True):
    """A metric that the replicas report."""

    metric: Annotated[Any, about("backend, metricNames, query, operationOverTime")] = None
    target: Annotated[MetricTarget | None, about("what it is kept at")] = None


class MetricsSpec(Fields, frozen=True):
    """One metric that replicas follow."""

    type: Annotated[Literal["Resource", "External", "PodMetric"], about("kind of the metric")]
    resource: Annotated[ResourceMetric | None, about("for type Resource")] = None
    external: Annotated[ExternalMetric | None, about("for type External", inert=True)] = None
    podmetric: Annotated[PodMetric | None, about("for type PodMetric", inert=True)] = None


class ScalingRules(Fields, frozen=True):
    """How fast replicas may change in one direction."""

    stabilization_window_seconds: Annotated[
        int | None, about("how long a need must last", least=0, most=3600)
    ] = None
    select_policy: Annotated[
        Literal["Max", "Min", "Disabled"] | None, about("which policy wins", inert=True)
    ] = None
    policies: Annotated[Any, about("replicas or percent per period", inert=True)] = None
    tolerance: Annotated[Quantity | None, about("change that is ignored", inert=True)] = None


class ScalingBehavior(Fields, frozen=True):
    """How fast replicas follow their metrics."""

    scale_up: Annotated[ScalingRules | None, about("when adding replicas")] = None
    scale_down: Annotated[ScalingRules | None, about("when removing replicas")] = None


class AutoScalingSpec(Fields, frozen=True):
    """Metrics that replicas follow; the one that asks for most replicas wins."""

    metrics: Annotated[tuple[MetricsSpec, ...], about("what replicas follow")] = ()
    behavior: Annotated[ScalingBehavior | None, about("how fast they follow")] = None
