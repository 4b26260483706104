"""InferenceServices whose components are commands, containers or URLs, or pooled."""

from __future__ import annotations

from typing import Any

import pytest

from salver.graphs.builtin_runtimes import builtin_runtimes
from salver.graphs.compile import compile_inference_service
from salver.graphs.plan import CommandRunner, ContainerRunner, RemoteRunner, Runner
from salver.graphs.pooled import compile_pooled_service
from salver.graphs.selection import PlanError
from salver.spec.kserve import ClusterServingRuntime, InferenceService
from salver.spec.read import parse_object

SKLEARN = {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://b/iris"}


def parsed(predictor: dict[str, Any], annotations: dict[str, str], **parts: Any) -> Any:
    found = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris", "annotations": annotations, "labels": {"size": "xl"}},
            "spec": {"predictor": predictor, **parts},
        }
    )
    assert not found.problems, found.problems
    assert isinstance(found.resource, InferenceService)
    return found.resource


def runners(*args: Any, **parts: Any) -> list[Runner]:
    desire = compile_inference_service(parsed(*args, **parts), builtin_runtimes())
    return [each.plan.runner for each in desire.components]


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "kserve-container", "image": "example/x:1", **fields}]}


def test_a_service_by_url_needs_nothing_else() -> None:
    url = {"salver.dev/url": "http://h:1/a", "salver.dev/protocol": "v2"}
    assert runners({}, url) == [RemoteRunner("http://h:1/a", "v2")]
    named = {**url, "salver.dev/url-model": "other"}
    assert runners({}, named) == [RemoteRunner("http://h:1/a", "v2", "other")]


def test_a_service_s_url_is_its_predictor_s_and_a_transformer_has_its_own() -> None:
    found = runners(
        {"annotations": {"salver.dev/url": "http://p"}},
        {},
        transformer={"annotations": {"salver.dev/url": "https://t/x"}},
    )
    assert found == [RemoteRunner("http://p"), RemoteRunner("https://t/x")]
    with pytest.raises(PlanError, match=r"spec\.transformer has no container"):
        runners({}, {"salver.dev/url": "http://p"}, transformer={})


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"salver.dev/url": "h:80"}, r"salver.dev/url is 'h:80': write http://HOST:PORT"),
        ({"salver.dev/url": "http://"}, "write http://HOST:PORT"),
        (
            {"salver.dev/url": "http://h", "salver.dev/protocol": "v3"},
            "the protocol 'v3' is none of v1, v2, grpc-v2, http",
        ),
    ],
)
def test_a_url_or_protocol_that_is_none_is_told(annotations: dict[str, str], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        runners({}, annotations)


def test_a_container_s_protocol_is_said_by_an_annotation_or_by_its_variable() -> None:
    def protocol(found: dict[str, Any], annotations: dict[str, str]) -> str:
        (runner,) = runners(found, annotations)
        return runner.protocol if isinstance(runner, ContainerRunner) else ""

    plain = container()
    assert protocol(plain, {}) == "v1"
    assert protocol(plain, {"salver.dev/protocol": "http"}) == "http"
    assert protocol(container(env=[{"name": "PROTOCOL", "value": "v2"}]), {}) == "v2"
    assert protocol(container(env=[{"name": "PROTOCOL", "value": "sftp"}]), {}) == "v1"


def test_a_runtime_s_templates_are_filled_in_with_the_service_s_metadata() -> None:
    runtime = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ClusterServingRuntime",
            "metadata": {"name": "own"},
            "spec": {
                "supportedModelFormats": [{"name": "mine", "version": "1", "autoSelect": True}],
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": "example/mine:1",
                        "command": ["serve"],
                        "args": ["--name={{.Name}}", "--size={{.Labels.size}}"],
                    }
                ],
            },
        }
    ).resource
    assert isinstance(runtime, ClusterServingRuntime)
    model = {"modelFormat": {"name": "mine"}, "storageUri": "gs://b/x", "args": ["--more"]}
    desire = compile_inference_service(parsed({"model": model}, {}), [runtime])
    runner = desire.components[0].plan.runner
    assert isinstance(runner, CommandRunner)
    assert runner.command == ("serve", "--name=iris", "--size=xl", "--more")


def test_a_service_in_modelmesh_s_mode_is_pooled() -> None:
    service = parsed(
        {"model": SKLEARN},
        {
            "serving.kserve.io/deploymentMode": "ModelMesh",
            "salver.dev/min-copies": "1",
            "salver.dev/max-copies": "3",
        },
        transformer=container(),
    )
    desire = compile_inference_service(service, builtin_runtimes())
    assert (desire.pooled, desire.components) == (True, ())
    assert desire.notes == ("spec.transformer has no meaning for models of the shared pool",)
    plan = compile_pooled_service(service, builtin_runtimes())
    assert (plan.name, plan.service, plan.runner.uri) == ("iris", "iris", "gs://b/iris")
    assert (plan.min_copies, plan.max_copies) == (1, 3)


def test_what_runs_elsewhere_cannot_be_pooled() -> None:
    service = parsed(container(), {"serving.kserve.io/deploymentMode": "ModelMesh"})
    with pytest.raises(PlanError, match="only a model in a worker of this machine"):
        compile_pooled_service(service, builtin_runtimes())
