"""What runs a component on this machine, by what its manifest says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.graphs.manifests import desire_of, plan_of, resource

from salver.graphs.builtin_runtimes import LOCAL_RUNTIMES
from salver.graphs.plan import CommandRunner, ContainerRunner, EnvReference, ModelRunner
from salver.graphs.selection import PlanError


def runner_of(predictor: str, metadata: str = "{name: iris}", *runtimes: Any) -> Any:
    return plan_of(predictor, metadata, runtimes).runner


def refusal(predictor: str, *runtimes: Any) -> tuple[str, str]:
    with pytest.raises(PlanError) as caught:
        runner_of(predictor, "{name: iris}", *runtimes)
    return caught.value.reason, str(caught.value)


def runtime(
    container: str, formats: str = "[{name: sklearn, autoSelect: true, priority: 9}]"
) -> Any:
    return resource(
        "{apiVersion: serving.kserve.io/v1alpha1, kind: ClusterServingRuntime, "
        f"metadata: {{name: mine}}, spec: {{supportedModelFormats: {formats}, "
        f"containers: [{container}]}}}}"
    )


# Models.


def test_a_model_of_a_known_format_runs_in_a_worker() -> None:
    assert runner_of("{model: {modelFormat: {name: xgboost}, storageUri: gs://m/1}}") == (
        ModelRunner("gs://m/1", runtime="xgboost", format="xgboost")
    )


def test_the_former_spelling_means_the_same() -> None:
    for name in ("sklearn", "lightgbm"):
        fields = "storageUri: s3://m, runtimeVersion: '1.5'"
        new = f"{{model: {{modelFormat: {{name: {name}}}, {fields}}}}}"
        assert runner_of(f"{{{name}: {{storageUri: s3://m, runtimeVersion: '1.5'}}}}") == runner_of(
            new
        )


def test_everything_that_a_model_says_is_in_its_runner() -> None:
    found = runner_of(
        """{serviceAccountName: reader, model: {modelFormat: {name: sklearn}, runtimeVersion: '1.5',
        storage: {key: minio, path: /a/b, parameters: {region: x, bucket: y}},
        env: [{name: CONTENT_TYPE, value: pd}, {name: A, value: '1'},
              {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}],
        envFrom: [{configMapRef: {name: settings}}]}}"""
    )
    assert found == ModelRunner(
        "storage://a/b",
        runtime="sklearn",
        format="sklearn",
        runtime_version="1.5",
        env=(("A", "1"), ("CONTENT_TYPE", "pd")),
        env_from=(
            EnvReference("", "configmaps", "settings"),
            EnvReference("B", "secrets", "s", "k"),
        ),
        storage_key="minio",
        storage_parameters=(("bucket", "y"), ("region", "x")),
        service_account="reader",
        content_type="pd",
    )


def test_a_storage_without_a_key_has_the_default_one() -> None:
    found = runner_of("{model: {modelFormat: {name: sklearn}, storage: {path: a}}}")
    assert found.storage_key == "default"


def test_the_uri_may_come_from_the_environment() -> None:
    found = runner_of(
        "{model: {modelFormat: {name: sklearn}, env: [{name: STORAGE_URI, value: gs://m/1}]}}"
    )
    assert found.uri == "gs://m/1"


def test_a_format_that_only_others_serve_says_which_are_served_here() -> None:
    known = runtime("{name: kserve-container, image: kserve/sklearnserver}", "[{name: paddle}]")
    reason, text = refusal(
        "{model: {modelFormat: {name: paddle}, runtime: mine, storageUri: gs://m}}", known
    )
    assert reason == "NoSupportingRuntime"
    assert f"this machine's workers serve {', '.join(sorted(LOCAL_RUNTIMES))} only" in text


# Runtimes that somebody applied.


def test_a_runtime_of_a_known_servers_image_is_a_worker_with_its_environment() -> None:
    known = runtime(
        "{name: kserve-container, image: 'kserve/sklearnserver:v1', "
        "env: [{name: A, value: '1'}, {name: N, value: '{{.Name}}'}]}"
    )
    found = runner_of(
        "{model: {modelFormat: {name: sklearn}, storageUri: gs://m, env: [{name: B, value: '2'}]}}",
        "{name: iris}",
        known,
    )
    assert isinstance(found, ModelRunner)
    assert dict(found.env)["A"] == "1"
    assert dict(found.env)["B"] == "2"


def test_a_runtime_of_another_image_runs_as_its_container_with_the_models_arguments() -> None:
    other = runtime(
        "{name: kserve-container, image: 'example.com/mine:1', args: ['--name={{.Name}}', "
        "'--team={{.Labels.team}}'], ports: [{containerPort: 9000}], workingDir: /app}"
    )
    found = runner_of(
        "{model: {modelFormat: {name: sklearn}, storageUri: gs://m, args: ['--more'], "
        "image: 'example.com/mine:2'}}",
        "{name: iris, labels: {team: a}}",
        other,
    )
    assert found == ContainerRunner(
        "example.com/mine:2",
        args=("--name=iris", "--team=a", "--more"),
        port=9000,
        uri="gs://m",
        working_dir="/app",
    )


def test_a_template_that_names_what_is_not_there_is_refused() -> None:
    other = runtime("{name: kserve-container, image: x, args: ['{{.Labels.team}}']}")
    reason, text = refusal("{model: {modelFormat: {name: sklearn}, storageUri: gs://m}}", other)
    assert reason == "InvalidPredictorSpec"
    assert "add 'team' to its metadata" in text


def test_a_runtime_with_a_command_runs_as_that_command() -> None:
    other = runtime("{name: kserve-container, image: x, command: [serve], args: [a]}")
    found = runner_of(
        "{model: {modelFormat: {name: sklearn}, storageUri: gs://m}}", "{name: i}", other
    )
    assert found == CommandRunner(("serve", "a"), uri="gs://m", container="x")


def test_a_runtimes_container_needs_the_models_uri() -> None:
    other = runtime("{name: kserve-container, image: x}", "[{name: other, autoSelect: true}]")
    _, text = refusal("{model: {modelFormat: {name: other}}}", other)
    assert "spec.predictor.model of format 'other' has no storageUri" in text


# Containers.


def container(text: str, **predictor: str) -> str:
    more = "".join(f", {key}: {each}" for key, each in predictor.items())
    return f"{{containers: [{text}]{more}}}"


def test_a_container_with_a_command_is_a_process() -> None:
    found = runner_of(
        container(
            "{name: kserve-container, image: 'example.com/x:1', command: [python, -m, app], "
            "args: ['--port', '8080'], workingDir: /app, env: [{name: PROTOCOL, value: v2}], "
            "readinessProbe: {httpGet: {path: /up, port: 8080}}}",
            serviceAccountName="reader",
        )
    )
    assert found == CommandRunner(
        ("python", "-m", "app", "--port", "8080"),
        protocol="v2",
        env=(("PROTOCOL", "v2"),),
        working_dir="/app",
        container="example.com/x:1",
        service_account="reader",
        readiness_path="/up",
    )


def test_a_container_without_a_command_is_its_image() -> None:
    found = runner_of(
        container(
            "{name: kserve-container, image: 'example.com/x:1', args: [a], "
            "ports: [{containerPort: 9000}], env: [{name: STORAGE_URI, value: gs://m}]}"
        )
    )
    assert (found.image, found.args, found.port, found.uri) == (
        "example.com/x:1",
        ("a",),
        9000,
        "gs://m",
    )


def test_the_main_container_is_the_one_called_so_or_the_first() -> None:
    found = runner_of("{containers: [{name: proxy, image: p}, {name: kserve-container, image: x}]}")
    assert found.image == "x"
    assert runner_of("{containers: [{name: a, image: y}]}").image == "y"


def test_a_known_servers_image_with_a_model_is_a_worker() -> None:
    env = "env: [{name: STORAGE_URI, value: gs://m}]"
    found = runner_of(container(f"{{name: c, image: 'kserve/xgbserver:v1', {env}}}"))
    assert (found.runtime, found.uri) == ("xgboost", "gs://m")
    found = runner_of(container(f"{{name: c, image: 'seldonio/mlserver:1', {env}}}"))
    assert (found.runtime, found.format) == ("", "")


def test_the_first_of_several_storage_uris_is_the_model() -> None:
    found = runner_of(
        container("{name: c, image: x, command: [serve]}", storageUris="[{uri: gs://a}]")
    )
    assert found.uri == "gs://a"


def test_variables_may_lie_in_secrets_and_config_maps() -> None:
    found = runner_of(
        container(
            """{name: c, image: x, command: [serve], envFrom: [{prefix: P_, secretRef: {name: s}}],
            env: [{name: K, valueFrom: {configMapKeyRef: {name: m, key: k, optional: true}}},
                  {name: F, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}"""
        )
    )
    assert found.env_from == (
        EnvReference("P_", "secrets", "s"),
        EnvReference("K", "configmaps", "m", "k", True),
    )


def test_an_unknown_protocol_is_refused() -> None:
    text = container(
        "{name: c, image: x, command: [serve]}", annotations="{salver.dev/protocol: soap}"
    )
    assert "the protocol 'soap' is none of v1, v2" in refusal(text)[1]


@pytest.mark.parametrize(
    ("metadata", "own", "env", "protocol"),
    [
        ("{name: i}", "{}", "", "v1"),
        ("{name: i}", "{}", "http", "http"),
        ("{name: i}", "{}", "something", "v1"),
        ("{name: i}", "{salver.dev/protocol: v2}", "http", "v2"),
        ("{name: i, annotations: {salver.dev/protocol: v2}}", "{}", "", "v2"),
    ],
)
def test_the_protocol_behind_a_port_is_told_by_annotation_or_variable(
    metadata: str, own: str, env: str, protocol: str
) -> None:
    variables = f"env: [{{name: PROTOCOL, value: '{env}'}}]" if env else "env: []"
    text = container(f"{{name: c, image: x, command: [serve], {variables}}}", annotations=own)
    assert runner_of(text, metadata).protocol == protocol


# Python classes and addresses.


@pytest.mark.parametrize(
    ("value", "uri", "attribute"),
    [
        ("model.py:Iris", "model.py", "Iris"),
        ("gs://code/model.py:Iris", "gs://code/model.py", "Iris"),
        ("gs://code/model.py", "gs://code/model.py", ""),
        ("/srv/model.py", "/srv/model.py", ""),
    ],
)
def test_a_class_is_named_by_file_or_uri(value: str, uri: str, attribute: str) -> None:
    found = runner_of(
        f"{{annotations: {{salver.dev/class: '{value}'}}, containers: [{{name: c, image: x}}]}}"
    )
    assert (found.uri, found.attribute, found.runtime) == (uri, attribute, "python")


@pytest.mark.parametrize("url", ["10.0.0.7:8080", "http://", "ftp://x"])
def test_an_address_elsewhere_must_be_one(url: str) -> None:
    with pytest.raises(PlanError, match="write http://HOST:PORT"):
        desire_of(
            "{predictor: {sklearn: {storageUri: gs://m}}, "
            f"transformer: {{annotations: {{salver.dev/url: '{url}'}}}}}}"
        )


def test_a_predictor_may_be_served_elsewhere() -> None:
    found = runner_of(
        "{annotations: {salver.dev/url: 'https://x/base', salver.dev/protocol: v2}, "
        "containers: [{name: c, image: x}]}"
    )
    assert (found.url, found.protocol) == ("https://x/base", "v2")
