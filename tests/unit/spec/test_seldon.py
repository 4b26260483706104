"""SeldonDeployments as they are read: versions, fields, and all that is said of faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from salver.spec.explain import explain
from salver.spec.kinds import resource_type
from salver.spec.read import parse_object, read_manifests
from salver.spec.schema import schema_of
from salver.spec.seldon import Parameter, SeldonDeployment
from salver.spec.seldon_node_checks import parameter_value

GOOD = sorted((Path(__file__).parents[2] / "manifests" / "seldon").glob("*.yaml"))
MODEL: dict[str, Any] = {"name": "m", "type": "MODEL"}
BOX: dict[str, Any] = {"spec": {"containers": [{"name": "m", "image": "x"}]}}
SERVER: dict[str, Any] = {"implementation": "SKLEARN_SERVER", "modelUri": "gs://b/m"}


def predictor(graph: dict[str, Any], name: str = "p", **fields: Any) -> dict[str, Any]:
    return {"name": name, "graph": graph, "componentSpecs": [BOX], **fields}


def said(*predictors: dict[str, Any], version: str = "v1", **spec: Any) -> list[str]:
    """All problems of a deployment, as `path: message`."""
    parsed = parse_object(
        {
            "apiVersion": f"machinelearning.seldon.io/{version}",
            "kind": "SeldonDeployment",
            "metadata": {"name": "d"},
            "spec": {"predictors": list(predictors), **spec},
        }
    )
    return [f"{each.path}: {each.message}" for each in parsed.problems]


def of_graph(graph: dict[str, Any], **fields: Any) -> list[str]:
    prefix = "spec.predictors[0]."
    return [each.removeprefix(prefix) for each in said(predictor(graph, **fields))]


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_manifests_of_published_shapes_are_read(path: Path) -> None:
    reading = read_manifests(path.read_text(), path.name)
    assert not reading.problems
    (manifest,) = reading.manifests
    assert isinstance(manifest.resource, SeldonDeployment)
    version = manifest.object["apiVersion"].rpartition("/")[2]
    # What is null is absent, which a schema cannot say.
    jsonschema.validate(_without_nulls(manifest.object), schema_of(manifest.type, version))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def test_there_are_many_of_them() -> None:
    assert len(GOOD) >= 30


@pytest.mark.parametrize("version", ["v1", "v1alpha3", "v1alpha2"])
def test_each_version_is_read_as_itself_and_kept(version: str) -> None:
    api_version = f"machinelearning.seldon.io/{version}"
    obj = {
        "apiVersion": api_version,
        "kind": "SeldonDeployment",
        "metadata": {"name": "d"},
        "spec": {"predictors": [predictor(MODEL)]},
    }
    parsed = parse_object(obj)
    assert parsed.resource.api_version == parsed.object["apiVersion"] == api_version


def test_a_version_that_never_was_is_refused_with_those_there_are() -> None:
    (problem,) = said(predictor(MODEL), version="v1alpha1")
    assert problem.startswith("apiVersion: there is no SeldonDeployment in")
    assert "did you mean 'machinelearning.seldon.io/v1alpha" in problem


def test_short_name_and_explanation() -> None:
    assert resource_type("machinelearning.seldon.io", "v1alpha2", "SeldonDeployment") is not None
    assert "children <[]PredictiveUnit>" in explain("sdep.spec.predictors.graph")
    assert "implementation <string>" in explain("sdep.spec.predictors.graph.children.children")
    assert "PredictiveUnit" in explain("sdep", recursive=True)


def test_an_unknown_field_names_the_nearest_known_one_at_any_depth() -> None:
    graph = {**MODEL, "children": [{**MODEL, "name": "m2", **SERVER, "modelURL": "x"}]}
    assert of_graph(graph) == [
        "graph.children[0].modelURL: unknown field; did you mean 'modelUri'?"
    ]


def test_a_field_of_the_deployment_within_a_predictor_is_told_where_it_belongs() -> None:
    assert said(predictor(MODEL, protocol="v2")) == [
        "spec.predictors[0].protocol: unknown field; it belongs in 'spec'"
    ]


def test_values_outside_of_the_lists_name_the_nearest() -> None:
    assert of_graph({"name": "m", "type": "MODLE"}) == [
        "graph.type: expected one of UNKNOWN_TYPE, ROUTER, COMBINER, MODEL, TRANSFORMER, "
        "OUTPUT_TRANSFORMER; found the text 'MODLE'; did you mean 'MODEL'?"
    ]
    assert said(predictor(MODEL), transport="http")[0].startswith("spec.transport: expected one of")


@pytest.mark.parametrize(
    ("predictors", "problem"),
    [
        ([], "spec.predictors: is empty: name at least one predictor"),
        (
            [predictor(MODEL), predictor(MODEL)],
            "spec.predictors[1].name: two predictors are named 'p'; the first is predictors[0]",
        ),
        (
            [predictor(MODEL, traffic=50), predictor(MODEL, "q", traffic=20)],
            "spec.predictors: the traffic of predictors that answer must sum to 100: "
            "p 50 + q 20 = 70",
        ),
        (
            [predictor(MODEL), predictor(MODEL, "q")],
            "spec.predictors: the traffic of predictors that answer must sum to 100: p 0 + q 0 = 0",
        ),
        (
            [predictor(MODEL, traffic=40)],
            "spec.predictors[0].traffic: is 40, but the only predictor gets all requests; write "
            "100 or leave it out",
        ),
        (
            [predictor(MODEL, traffic=101)],
            "spec.predictors[0].traffic: must be between 0 and 100, found 101",
        ),
        (
            [predictor(MODEL, shadow=True)],
            "spec.predictors[0].shadow: a shadow cannot be the only predictor: it never answers",
        ),
        (
            [
                predictor(MODEL),
                predictor(MODEL, "q", shadow=True),
                predictor(MODEL, "r", shadow=True),
            ],
            "spec.predictors[2].shadow: only one predictor may be a shadow, and predictors[1] is "
            "one",
        ),
        (
            [predictor(MODEL, "P")],
            "spec.predictors[0].name: may have lower-case letters, digits and '-' only, found "
            "'P'; try 'p'",
        ),
    ],
)
def test_predictors_that_cannot_share_the_requests(
    predictors: list[dict[str, Any]], problem: str
) -> None:
    assert problem in said(*predictors)


@pytest.mark.parametrize(
    ("graph", "problem"),
    [
        (
            {"name": "n", "type": "MODEL"},
            "graph.name: there is no container 'n'; name a container of componentSpecs so, or "
            "give the node an implementation, an endpoint or the annotation salver.dev/class.n",
        ),
        (
            {"name": "mm", "type": "MODEL"},
            "graph.name: there is no container 'mm'; did you mean 'm'?",
        ),
        (
            {"name": "m", "type": "UNKNOWN_TYPE"},
            "graph.type: says not what the node does: name another type, or its 'methods'",
        ),
        (
            {"name": "n", "implementation": "SKLEARN_SERVER"},
            "graph.modelUri: is required for SKLEARN_SERVER: where the model is",
        ),
        (
            {"name": "n", "implementation": "SKLEARN_SERVR", "modelUri": "gs://b/m"},
            "graph.implementation: unknown implementation 'SKLEARN_SERVR'; did you mean "
            "'SKLEARN_SERVER'?",
        ),
        (
            {"name": "n", "implementation": "RANDOM_ABTEST", "children": [MODEL]},
            "graph.children: RANDOM_ABTEST needs exactly two children, found 1",
        ),
        (
            {"name": "m", "type": "ROUTER"},
            "graph.children: is empty: a ROUTER chooses among its children; name at least one",
        ),
        (
            {"name": "m", "type": "COMBINER"},
            "graph.children: is empty: a COMBINER combines its children; name at least one",
        ),
        (
            {"name": "n", "implementation": "UCB1", "children": [MODEL]},
            "graph.children: UCB1 needs two children or more to choose among, found 1",
        ),
        (
            {**MODEL, "children": [{**MODEL, **SERVER}]},
            "graph.children[0].name: two nodes of the graph are named 'm'; the first is "
            "spec.predictors[0].graph",
        ),
        (
            {**MODEL, "parameters": [{"name": "a", "value": "x", "type": "INT"}]},
            "graph.parameters[0].value: is no INT: 'x'; write a whole number",
        ),
        (
            {**MODEL, "parameters": [{"name": "a", "value": "1"}]},
            "graph.parameters[0].type: is required, but missing",
        ),
        (
            {**MODEL, "parameters": [{"name": "a", "value": "1", "type": "INT"}] * 2},
            "graph.parameters[1].name: two parameters are named 'a'",
        ),
        (
            {
                "name": "m",
                "type": "ROUTER",
                "children": [{"name": "n", **SERVER}],
                "parameters": [{"name": "n_branches", "value": "2", "type": "INT"}],
            },
            "graph.parameters[0].value: is 2, but the node has 1 child",
        ),
        (
            {
                "name": "n",
                "implementation": "RANDOM_ABTEST",
                "children": [MODEL, {"name": "o", **SERVER}],
                "parameters": [{"name": "ratioA", "value": "1.5", "type": "FLOAT"}],
            },
            "graph.parameters[0].value: must be a number from 0 to 1, found '1.5'",
        ),
        (
            {**MODEL, "logger": {"url": "http://h"}},
            "graph.logger.mode: is required: all, request or response",
        ),
        (
            {"name": "n", "type": "MODEL", "endpoint": {"service_host": "h"}},
            "graph.endpoint.service_port: is required beside 'service_host'",
        ),
    ],
)
def test_nodes_that_cannot_be_run(graph: dict[str, Any], problem: str) -> None:
    assert of_graph(graph) == [problem]


def test_the_types_of_endpoints_must_agree_with_each_other_and_with_the_transport() -> None:
    mixed = {
        **MODEL,
        "endpoint": {"type": "REST"},
        "children": [{"name": "n", **SERVER, "endpoint": {"type": "GRPC"}}],
    }
    path = "spec.predictors[0].graph.children[0].endpoint.type"
    assert said(predictor(mixed)) == [
        f"{path}: is GRPC, but other nodes have REST; use spec.transport for all"
    ]
    assert said(predictor({**MODEL, "endpoint": {"type": "REST"}}), transport="grpc") == [
        "spec.predictors[0].graph.endpoint.type: is REST, but other nodes have GRPC; remove it, "
        "spec.transport says it for all"
    ]


def test_kafka_needs_its_places() -> None:
    env = [{"name": "KAFKA_BROKER", "value": "b"}]
    assert said(predictor(MODEL, svcOrchSpec={"env": env}), serverType="kafka") == [
        "spec.predictors[0].svcOrchSpec.env: lacks KAFKA_INPUT_TOPIC, KAFKA_OUTPUT_TOPIC, which "
        "serverType kafka needs"
    ]


def test_packaged_servers_do_not_speak_tensorflow() -> None:
    assert said(predictor({"name": "n", **SERVER}), protocol="tensorflow") == [
        "spec.predictors[0].graph.implementation: SKLEARN_SERVER does not speak spec.protocol "
        "tensorflow"
    ]


def test_without_an_engine_there_is_one_node_only() -> None:
    graph = {**MODEL, "children": [{"name": "n", **SERVER}]}
    assert of_graph(graph, annotations={"seldon.io/no-engine": "true"}) == [
        "graph: has 2 nodes, but seldon.io/no-engine allows one only"
    ]


def test_annotations_that_name_no_node_or_cannot_be_read() -> None:
    annotations = {
        "salver.dev/class.mm": "a.py:A",
        "salver.dev/url.m": "localhost:9000",
        "seldon.io/rest-timeout": "5s",
    }
    assert sorted(of_graph(MODEL, annotations=annotations)) == [
        "annotations['salver.dev/class.mm']: there is no node 'mm' in the graph; did you mean 'm'?",
        "annotations['salver.dev/url.m']: must be http://HOST:PORT, found 'localhost:9000'",
        "annotations['seldon.io/rest-timeout']: must be a number of milliseconds, found '5s'",
    ]


def test_pods_scale_within_their_limits_by_metrics_that_are_complete() -> None:
    hpa = {
        "minReplicas": 4,
        "maxReplicas": 2,
        "metrics": [{"type": "Resource", "resource": {"name": "disk"}}, {"type": "Resource"}],
    }
    prefix = "spec.predictors[0].componentSpecs[0].hpaSpec"
    assert said(predictor(MODEL, componentSpecs=[{**BOX, "hpaSpec": hpa}])) == [
        f"{prefix}.minReplicas: is 4, more than maxReplicas, which is 2",
        f"{prefix}.metrics[0].resource.name: must be cpu or memory, found 'disk'",
        f"{prefix}.metrics[0].resource: names no target: give targetAverageUtilization",
        f"{prefix}.metrics[1].resource: is required for type Resource",
    ]


def test_a_container_s_name_is_unique_in_the_predictor() -> None:
    (problem,) = said(predictor(MODEL, componentSpecs=[BOX, BOX]))
    assert problem == (
        "spec.predictors[0].componentSpecs[1].spec.containers[0].name: 'm' is the name of a "
        "container of componentSpecs[0] too"
    )


def test_problems_of_a_text_are_on_their_lines() -> None:
    text = yaml.safe_dump({"kind": "SeldonDeployment"}) + (
        "apiVersion: machinelearning.seldon.io/v1\nmetadata: {name: d}\nspec:\n  predictors:\n"
        "  - name: p\n    graph:\n      name: m\n      type: ROUTER\n"
    )
    lines = {each.path: each.line for each in read_manifests(text, "t").problems}
    assert lines["spec.predictors[0].graph.name"] == 8
    assert lines["spec.predictors[0].graph.children"] == 7


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("INT", "3", 3),
        ("FLOAT", "0.5", 0.5),
        ("DOUBLE", "1e3", 1000.0),
        ("STRING", "3", "3"),
        ("BOOL", "True", True),
        ("BOOL", "off", False),
        ("BOOL", "1", True),
    ],
)
def test_parameters_are_read_by_their_type(kind: Any, text: str, value: object) -> None:
    found = parameter_value(Parameter("p", text, kind))
    assert found == value
    assert type(found) is type(value)
