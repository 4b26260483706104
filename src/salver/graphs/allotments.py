"""What a component's pod asks of its machine: what acts here, and what is only reported. Pure.

The processor limit decides how many threads one prediction has, and `autoScaling` what
replicas follow. Memory limits, volumes and fields of the pod mean a container's walls, which a
worker does not have: they are told of, once each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from salver.graphs.plan import ScalingPolicy
from salver.spec.kserve import ComponentExtensionSpec
from salver.spec.kserve_scaling import AutoScalingSpec, MetricsSpec
from salver.spec.pods import Container

_SUFFIXES = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}


def quantity(text: str) -> float:
    """A Kubernetes quantity, which `spec/` has seen to be one, as a number: `500m` as 0.5."""
    digits = text.rstrip("numkKMGTPEi")
    return float(digits) * _SUFFIXES[text[len(digits) :]]


def threads_of(container: Container | None) -> int:
    """Threads for one prediction by the processor limit; 0: the server's default."""
    if container is None or container.resources is None:
        return 0
    limit = container.resources.limits.get("cpu", "")
    return max(1, math.ceil(quantity(limit))) if limit else 0


def notes_of(where: str, spec: ComponentExtensionSpec, container: Container | None) -> list[str]:
    """The fields of the pod that are read and have no effect here. `where` is their path."""
    notes = []
    if spec.volumes:
        notes.append(f"{where}.volumes has no meaning on this backend: name files by their URIs")
    if container is not None:
        notes += _container_notes(where, container)
    if spec.scale_metric_type == "AverageValue":
        notes.append(f"{where}.scaleMetricType AverageValue is taken as Utilization here")
    return notes


def _container_notes(where: str, container: Container) -> Iterator[str]:
    resources = container.resources
    if resources is not None:
        for name in sorted({*resources.limits, *resources.requests}):
            if name == "memory":
                yield (
                    f"{where}: the memory that resources name has no meaning on this backend: "
                    "--worker-memory limits workers"
                )
            elif name != "cpu":
                yield f"{where}: the resource '{name}' has no meaning on this backend"
    if container.volume_mounts:
        yield f"{where}: volumeMounts has no meaning on this backend"
    for each in container.env:
        if each.value_from is not None and each.value_from.field_ref is not None:
            yield f"{where}: the variable {each.name} is not set: there is no pod to take it from"


def followed_metric(auto_scaling: AutoScalingSpec | None) -> tuple[str | None, float | None]:
    """The metric and target of `autoScaling`, the first that this backend knows."""
    for each in auto_scaling.metrics if auto_scaling is not None else ():
        if each.type == "Resource" and each.resource is not None:
            return each.resource.name, _target(each)
    return None, None


def _target(metric: MetricsSpec) -> float | None:
    assert metric.resource is not None, "the caller has seen that there is one"
    target = metric.resource.target
    if target.average_utilization is not None:
        return float(target.average_utilization)
    text = target.average_value or target.value
    return quantity(text) if text else None


def with_behaviour(policy: ScalingPolicy, auto_scaling: AutoScalingSpec | None) -> ScalingPolicy:
    """The policy with the stabilisation windows that `autoScaling.behavior` names."""
    behaviour = auto_scaling.behavior if auto_scaling is not None else None
    if behaviour is None:
        return policy
    for rules, field in (
        (behaviour.scale_up, "scale_up_stabilization_s"),
        (behaviour.scale_down, "scale_down_stabilization_s"),
    ):
        if rules is not None and rules.stabilization_window_seconds is not None:
            seconds = float(rules.stabilization_window_seconds)
            policy = msgspec.structs.replace(policy, **{field: seconds})
    return policy
