"""What a pod's fields do here, and what is only told of."""

from __future__ import annotations

import pytest

from salver.graphs.allotments import (
    followed_metric,
    notes_of,
    quantity,
    threads_of,
    with_behaviour,
)
from salver.graphs.plan import ScalingPolicy
from salver.spec.kserve import InferenceService
from salver.spec.pods import Container, ResourceRequirements
from salver.spec.read import parse_object


def service(**predictor: object) -> InferenceService:
    parsed = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris"},
            "spec": {
                "predictor": {
                    "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://a/b"},
                    **predictor,
                }
            },
        }
    )
    assert parsed.problems == ()
    return parsed.resource


def limited(**limits: str) -> Container:
    return Container(resources=ResourceRequirements(limits=limits))


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("2", 2.0), ("1.5", 1.5), ("2Gi", 2.0**31), ("3k", 3000.0), ("1E", 1e18)],
)
def test_quantities_are_numbers(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize(("limit", "threads"), [("500m", 1), ("1", 1), ("1500m", 2), ("4", 4)])
def test_the_processor_limit_is_the_number_of_threads(limit: str, threads: int) -> None:
    assert threads_of(limited(cpu=limit)) == threads


def test_without_a_processor_limit_threads_are_the_servers_to_choose() -> None:
    assert threads_of(None) == 0
    assert threads_of(Container()) == 0
    assert threads_of(limited(memory="2Gi")) == 0


def test_what_has_no_effect_is_told_of_once() -> None:
    container = limited(**{"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"})
    notes = notes_of("spec.predictor", service().spec.predictor, container)
    assert len(notes) == 2
    assert "--worker-memory" in notes[0] and "nvidia.com/gpu" in notes[1]


def test_volumes_and_fields_of_the_pod_are_told_of() -> None:
    spec = service(
        volumes=[{"name": "data", "emptyDir": {}}],
        scaleMetric="cpu",
        scaleMetricType="AverageValue",
        model={
            "modelFormat": {"name": "sklearn"},
            "storageUri": "gs://a/b",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        },
    ).spec.predictor
    text = "\n".join(notes_of("spec.predictor", spec, spec.model))
    assert "volumes" in text and "volumeMounts" in text and "POD" in text and "Utilization" in text
    assert notes_of("spec.predictor", service().spec.predictor, None) == []


def test_autoscaling_names_what_replicas_follow() -> None:
    spec = service(
        autoScaling={
            "metrics": [
                {"type": "External", "external": {}},
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 60},
                    },
                },
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
        }
    ).spec.predictor
    assert followed_metric(spec.auto_scaling) == ("cpu", 60.0)
    assert followed_metric(None) == (None, None)
    policy = with_behaviour(ScalingPolicy(), spec.auto_scaling)
    assert policy.scale_down_stabilization_s == 30.0
    assert policy.scale_up_stabilization_s == 0.0
    assert with_behaviour(ScalingPolicy(), None) == ScalingPolicy()


@pytest.mark.parametrize(
    ("target", "number"),
    [
        ({"type": "AverageValue", "averageValue": "4"}, 4.0),
        ({"type": "Value", "value": "500m"}, 0.5),
    ],
)
def test_a_target_may_be_an_amount(target: dict[str, str], number: float) -> None:
    metric = {"type": "Resource", "resource": {"name": "concurrency", "target": target}}
    spec = service(autoScaling={"metrics": [metric]}).spec.predictor
    assert followed_metric(spec.auto_scaling) == ("concurrency", number)
