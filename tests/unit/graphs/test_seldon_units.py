"""Who runs the nodes of SeldonDeployments: workers, processes, containers, URLs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.graphs.seldon_manifests import desire_of, node, predictor

from salver.graphs.flow import Function, GraphDesire, Unit
from salver.graphs.plan import (
    CommandRunner,
    ComponentPlan,
    ContainerRunner,
    EnvReference,
    LogPolicy,
    ModelRunner,
    RemoteRunner,
    ScalingPolicy,
)
from salver.graphs.selection import PlanError


def contained(
    graph: dict[str, Any], *containers: dict[str, Any], pod: Any = None, **fields: Any
) -> dict[str, Any]:
    """A predictor with its containers in one pod."""
    specs = [{"spec": {"containers": list(containers)}, **(pod or {})}]
    return {"name": "p", "graph": graph, "componentSpecs": specs, **fields}


def plan_of(graph: dict[str, Any], *containers: dict[str, Any], **fields: Any) -> ComponentPlan:
    spec = fields.pop("spec", {})
    (unit,) = desire_of(contained(graph, *containers, **fields), **spec).units
    return unit.plan


def functions_of(plan: ComponentPlan) -> dict[str, Any]:
    assert isinstance(plan.runner, ModelRunner)
    assert plan.runner.runtime == "steps"
    functions: dict[str, Any] = json.loads(plan.runner.options)["functions"]
    return functions


def env_of(plan: ComponentPlan) -> dict[str, str]:
    assert not isinstance(plan.runner, RemoteRunner)
    return dict(plan.runner.env)


def units_of(desire: GraphDesire) -> dict[str, list[str]]:
    return {each.name: sorted(functions_of(each.plan)) for each in desire.units}


# Python classes.

PARAMETERS = [
    {"name": "depth", "value": "3", "type": "INT"},
    {"name": "rate", "value": "0.5", "type": "DOUBLE"},
    {"name": "label", "value": "7", "type": "STRING"},
    {"name": "is_loud", "value": "false", "type": "BOOL"},
]
VALUES = {"depth": 3, "rate": 0.5, "label": "7", "is_loud": False}


@pytest.mark.parametrize(
    ("written", "uri", "component"),
    [
        ("/srv/shop/c.py:Model", "/srv/shop", "c.py:Model"),
        ("s3://bucket/code/c.py:Model", "s3://bucket/code", "c.py:Model"),
        ("c.py:Model", ".", "c.py:Model"),
        ("/c.py:Model", "/", "c.py:Model"),
    ],
)
def test_a_class_by_annotation_is_loaded_from_its_folder(
    written: str, uri: str, component: str
) -> None:
    annotations = {"salver.dev/class.m": written}
    graph = node("m", parameters=PARAMETERS)
    plan = desire_of({"name": "p", "graph": graph, "annotations": annotations}).units[0].plan
    assert isinstance(plan.runner, ModelRunner)
    assert plan.runner.uri == uri
    assert functions_of(plan) == {"m": {"component": component, "parameters": VALUES}}


@pytest.mark.parametrize(
    ("fields", "component"),
    [
        ({"command": ["seldon-core-microservice", "Model", "--service-type", "MODEL"]}, "Model"),
        ({"command": ["/usr/bin/seldon-core-microservice"], "args": ["Model", "REST"]}, "Model"),
        (
            {"command": ["seldon-core-microservice", "--workers", "4", "--tracing", "Model"]},
            "Model",
        ),
        ({"command": ["python", "-m", "seldon_core.microservice", "Model"]}, "Model"),
        ({"command": ["seldon-core-microservice", "shop.best.Model"]}, "shop/best.py:Model"),
        ({"env": [{"name": "MODEL_NAME", "value": "Model"}], "image": "x"}, "Model"),
    ],
)
def test_a_wrapped_class_with_its_folder_is_loaded_by_a_worker(
    fields: dict[str, Any], component: str
) -> None:
    expected = component if ":" in component else f"{component}.py:{component}"
    container = {"name": "m", "workingDir": "/srv/m", **fields}
    plan = plan_of(node("m", parameters=PARAMETERS), container)
    assert isinstance(plan.runner, ModelRunner)
    assert plan.runner.uri == "/srv/m"
    assert functions_of(plan) == {"m": {"component": expected, "parameters": VALUES}}


def test_parameters_on_the_command_line_go_before_those_of_the_graph() -> None:
    given = '[{"name": "depth", "value": "9", "type": "INT"}]'
    command = ["seldon-core-microservice", "Model", "--parameters", given]
    container = {"name": "m", "workingDir": "/srv/m", "command": command}
    plan = plan_of(node("m", parameters=PARAMETERS), container)
    assert functions_of(plan)["m"]["parameters"] == {"depth": 9}
    with pytest.raises(PlanError, match="container 'm' has --parameters that cannot be read"):
        plan_of(node("m"), {**container, "command": [*command[:3], "[1]"]})


def test_a_class_has_the_variables_that_seldon_gives_it_and_its_own() -> None:
    container = {
        "name": "m",
        "image": "shop/model:3",
        "workingDir": "/srv/m",
        "command": ["seldon-core-microservice", "Model"],
        "env": [{"name": "SIZE", "value": "xl"}],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
    }
    plan = plan_of(
        node("m", parameters=PARAMETERS[:1], envSecretRefName="keys", serviceAccountName="reader"),
        container,
        labels={"tier": "gold"},
    )
    env = env_of(plan)
    assert env["SIZE"] == "xl"
    assert env["SELDON_DEPLOYMENT_ID"] == "d"
    assert env["PREDICTOR_ID"] == "p"
    assert json.loads(env["PREDICTOR_LABELS"]) == {"version": "p", "tier": "gold"}
    assert env["PREDICTIVE_UNIT_ID"] == "m"
    assert env["PREDICTIVE_UNIT_IMAGE"] == "shop/model:3"
    assert json.loads(env["PREDICTIVE_UNIT_PARAMETERS"]) == PARAMETERS[:1]
    assert isinstance(plan.runner, ModelRunner)
    assert plan.runner.env_from == (
        EnvReference("", "secrets", "keys"),
        EnvReference("", "configmaps", "settings"),
    )
    assert plan.runner.service_account == "reader"
    assert plan.labels == (("team", "a"), ("tier", "gold"))


def test_classes_that_follow_one_another_share_a_worker_and_siblings_do_not() -> None:
    tree = node(
        "out", "OUTPUT_TRANSFORMER", node("scale", "TRANSFORMER", node("a"), node("b", "MODEL"))
    )
    desire = desire_of(predictor(tree))
    assert units_of(desire) == {"p-out": ["out", "scale"], "p-a": ["a"], "p-b": ["b"]}
    shared, alone = (env_of(each.plan) for each in desire.units[:2])
    assert "PREDICTIVE_UNIT_ID" not in shared
    assert shared["PREDICTOR_ID"] == "p"
    assert alone["PREDICTIVE_UNIT_ID"] == "a"


def test_classes_of_other_folders_or_variables_have_workers_of_their_own() -> None:
    tree = node("out", "OUTPUT_TRANSFORMER", node("scale", "TRANSFORMER", node("m")))
    elsewhere = {"salver.dev/class.scale": "/other/c.py:C"}
    assert list(units_of(desire_of(predictor(tree, annotations=elsewhere)))) == [
        "p-out",
        "p-scale",
        "p-m",
    ]
    pods = [{"spec": {"containers": [{"name": "m", "env": [{"name": "A", "value": "1"}]}]}}]
    assert units_of(desire_of(predictor(tree, componentSpecs=pods))) == {
        "p-out": ["out", "scale"],
        "p-m": ["m"],
    }
    apart = {"salver.dev/workers-apart": "true"}
    assert len(desire_of(predictor(tree, annotations=apart)).units) == 3


def test_functions_of_salver_s_own_go_into_the_worker_beside_them() -> None:
    graph = {
        "name": "mean",
        "implementation": "AVERAGE_COMBINER",
        "children": [{"name": "simple", "implementation": "SIMPLE_MODEL"}, node("m")],
    }
    outer = node("out", "OUTPUT_TRANSFORMER", graph)
    classes = {"salver.dev/class.out": "/srv/c.py:C", "salver.dev/class.m": "/srv/c.py:C"}
    desire = desire_of({"name": "p", "graph": outer, "annotations": classes})
    assert units_of(desire) == {"p-out": ["mean", "out"], "p-simple": ["simple"], "p-m": ["m"]}
    shared, simple = desire.units[0].plan, desire.units[1].plan
    assert functions_of(shared)["mean"] == {"builtin": "average", "parameters": {}}
    assert env_of(shared)["PREDICTIVE_UNIT_ID"] == "out"
    assert functions_of(simple) == {"simple": {"builtin": "simple_model", "parameters": {}}}
    assert isinstance(simple.runner, ModelRunner)
    assert simple.runner.uri == ""


# Packaged servers.


def server(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": "m", "implementation": name, "modelUri": "gs://b/m", **fields}


def options_of(graph: dict[str, Any], **spec: Any) -> Any:
    runner = desire_of({"name": "p", "graph": graph}, **spec).units[0].plan.runner
    assert isinstance(runner, ModelRunner)
    return json.loads(runner.options) if runner.options else None


@pytest.mark.parametrize(
    ("implementation", "runtime"),
    [
        ("SKLEARN_SERVER", "sklearn"),
        ("XGBOOST_SERVER", "xgboost"),
        ("LIGHTGBM_SERVER", "lightgbm"),
        ("ONNX_SERVER", "onnx"),
        ("HUGGINGFACE_SERVER", "huggingface"),
    ],
)
def test_a_packaged_server_is_a_worker_with_the_runtime(implementation: str, runtime: str) -> None:
    desire = desire_of({"name": "p", "graph": server(implementation)})
    runner = desire.units[0].plan.runner
    assert isinstance(runner, ModelRunner)
    assert (runner.uri, runner.runtime) == ("gs://b/m", runtime)
    (step,) = desire.variants[0].flow.steps
    assert step.action == Unit("p-m")
    assert step.image == implementation


def test_seldon_s_scikit_learn_server_answers_with_probabilities_unless_told_otherwise() -> None:
    def told(method: str) -> list[dict[str, str]]:
        return [{"name": "method", "value": method, "type": "STRING"}]

    graph = server("SKLEARN_SERVER")
    assert options_of(graph) == {"methods": ["predict_proba", "predict"]}
    assert options_of({**graph, "parameters": told("predict")}) == {"methods": ["predict"]}
    assert options_of({**graph, "parameters": told("decision_function")}) == {
        "methods": ["decision_function"]
    }
    assert options_of(graph, protocol="v2") is None
    assert options_of(server("XGBOOST_SERVER")) is None


@pytest.mark.parametrize(
    "implementation",
    ["TEMPO_SERVER"],
)
def test_a_server_that_nothing_here_stands_in_for_is_named(implementation: str) -> None:
    with pytest.raises(PlanError, match=f"no runtime that stands in for {implementation}") as error:
        desire_of({"name": "p", "graph": server(implementation)})
    assert str(error.value).startswith("spec.predictors[0].graph: ")
    assert error.value.reason == "NoSupportingRuntime"
    command = {"name": "m", "command": ["serve"]}
    assert isinstance(plan_of(server(implementation), command).runner, CommandRunner)
    image = {"name": "m", "image": "their/server:1"}
    assert isinstance(plan_of(server(implementation), image).runner, ContainerRunner)
    elsewhere = {"salver.dev/url.m": "http://h:1"}
    graph = {"name": "p", "graph": server(implementation), "annotations": elsewhere}
    assert desire_of(graph).units[0].plan.runner == RemoteRunner("http://h:1", "seldon", "m")


def test_a_container_of_a_packaged_server_gives_it_variables_and_threads() -> None:
    container = {
        "name": "m",
        "env": [{"name": "A", "value": "1"}],
        "resources": {"limits": {"cpu": "3"}},
    }
    plan = plan_of(server("SKLEARN_SERVER"), container)
    assert env_of(plan) == {"A": "1"}
    assert plan.threads == 3


def test_a_server_of_one_s_own_is_its_container_with_the_model_mounted() -> None:
    container = {"name": "m", "image": "shop/server:1"}
    plan = plan_of(server("SHOP_SERVER"), container)
    assert isinstance(plan.runner, ContainerRunner)
    assert plan.runner.uri == "gs://b/m"
    parameters = json.loads(env_of(plan)["PREDICTIVE_UNIT_PARAMETERS"])
    assert parameters == [{"name": "model_uri", "value": "/mnt/models", "type": "STRING"}]


# Programs.


def test_a_command_is_a_process_that_speaks_the_deployment_s_protocol() -> None:
    container = {
        "name": "m",
        "image": "shop/model:1",
        "command": ["python", "serve.py"],
        "args": ["--deep"],
        "workingDir": "/srv",
        "env": [{"name": "A", "value": "1"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 9000}},
    }
    plan = plan_of(node("m"), container)
    runner = plan.runner
    assert isinstance(runner, CommandRunner)
    assert runner.command == ("python", "serve.py", "--deep")
    assert (runner.protocol, runner.working_dir, runner.container) == (
        "seldon",
        "/srv",
        "shop/model:1",
    )
    assert runner.readiness_path == "/ready"
    env = env_of(plan)
    assert env["A"] == "1"
    assert env["PREDICTIVE_UNIT_SERVICE_PORT"] == "$(PORT)"
    assert env["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"] == "$(PORT)"
    assert env["PREDICTIVE_UNIT_GRPC_SERVICE_PORT"] == "0"
    for protocol, wire in (("v2", "v2"), ("kfserving", "v2"), ("tensorflow", "v1")):
        other = plan_of(node("m"), container, spec={"protocol": protocol}).runner
        assert isinstance(other, CommandRunner)
        assert (other.protocol, other.model) == (wire, "m")


@pytest.mark.parametrize(
    ("ports", "endpoint", "port"),
    [
        ([], None, 9000),
        ([{"containerPort": 8501, "name": "http"}], None, 8501),
        ([{"containerPort": 1, "name": "grpc"}, {"containerPort": 7000}], None, 7000),
        ([], {"service_port": 8501}, 8501),
        ([{"containerPort": 5, "name": "metrics"}], {"httpPort": 6}, 6),
    ],
)
def test_an_image_is_a_container_on_its_port(ports: Any, endpoint: Any, port: int) -> None:
    graph = node("m", **({"endpoint": endpoint} if endpoint else {}))
    plan = plan_of(graph, {"name": "m", "image": "shop/m:1", "ports": ports})
    assert isinstance(plan.runner, ContainerRunner)
    assert (plan.runner.image, plan.runner.port, plan.runner.protocol) == (
        "shop/m:1",
        port,
        "seldon",
    )


def test_an_endpoint_without_a_container_is_asked_where_it_is() -> None:
    def runner(**endpoint: Any) -> Any:
        graph = {"name": "p", "graph": node("m", endpoint={"service_host": "h", **endpoint})}
        return desire_of(graph).units[0].plan.runner

    assert runner(service_port=1) == RemoteRunner("http://h:1", "seldon", "m")
    assert runner(service_port=1, httpPort=2, type="REST").url == "http://h:2"
    assert runner(httpPort=2, grpcPort=3, type="GRPC").url == "http://h:2"
    with pytest.raises(PlanError, match="is served over gRPC only"):
        runner(service_port=1, type="GRPC")


def test_programs_that_speak_seldon_s_protocol_are_asked_by_method() -> None:
    graph = node("t", "TRANSFORMER", node("m"))
    containers = [{"name": each, "image": "x"} for each in ("t", "m")]
    desire = desire_of(contained(graph, *containers))
    assert [each.action for each in desire.variants[0].flow.steps] == [
        Function("p-t", "t", "transform_input"),
        Function("p-m", "m", "predict"),
    ]
    other = desire_of(contained(graph, *containers), protocol="v2")
    assert [each.action for each in other.variants[0].flow.steps] == [Unit("p-t"), Unit("p-m")]


def test_over_v2_no_program_can_say_which_child_it_chooses() -> None:
    graph = node("r", "ROUTER", node("a"), node("b"))
    containers = [{"name": each, "image": "x"} for each in ("r", "a", "b")]
    with pytest.raises(PlanError, match="router 'r' cannot say over V1 or V2"):
        desire_of(contained(graph, *containers), protocol="v2")


def test_a_model_within_the_graph_logs_for_itself() -> None:
    logger = {"url": "file:///log.jsonl", "mode": "all"}
    graph = node("t", "TRANSFORMER", server("SKLEARN_SERVER", logger=logger))
    desire = desire_of(contained(graph, {"name": "t", "image": "x"}))
    logging = {each.name: each.plan.logging for each in desire.units}
    assert logging == {"p-t": None, "p-m": LogPolicy("file:///log.jsonl", "all")}


# Names and replicas.


def test_names_of_units_can_be_parts_of_names_and_are_unique() -> None:
    first = predictor(node("b-C_d"), "a")
    second = predictor(node("c-d"), "a-b")
    desire = desire_of({**first, "traffic": 50}, {**second, "traffic": 50})
    assert [each.name for each in desire.units] == ["a-b-c-d", "a-b-c-d-2"]
    actions = [each.flow.steps[0].action for each in desire.variants]
    assert [each.unit for each in actions if isinstance(each, Function)] == [
        "a-b-c-d",
        "a-b-c-d-2",
    ]


@pytest.mark.parametrize(
    ("pod", "own", "outer", "expected"),
    [
        ({}, {}, {}, (1, 1)),
        ({}, {}, {"replicas": 2}, (2, 2)),
        ({}, {"replicas": 3}, {"replicas": 2}, (3, 3)),
        ({"replicas": 4}, {"replicas": 3}, {"replicas": 2}, (4, 4)),
        ({}, {"replicas": 0}, {}, (0, 1)),
    ],
)
def test_replicas_are_the_pod_s_the_predictor_s_or_the_deployment_s(
    pod: Any, own: Any, outer: Any, expected: tuple[int, int]
) -> None:
    scaling = plan_of(node("m"), {"name": "m", "image": "x"}, pod=pod, **own, spec=outer).scaling
    assert (scaling.min_replicas, scaling.max_replicas) == expected


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, ScalingPolicy(2, 5, "cpu")),
        (
            {
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "targetAverageUtilization": 70},
                    }
                ]
            },
            ScalingPolicy(2, 5, "cpu", 70.0),
        ),
        (
            {
                "metricsv2": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "memory",
                            "target": {"type": "Utilization", "averageUtilization": 60},
                        },
                    }
                ]
            },
            ScalingPolicy(2, 5, "memory", 60.0),
        ),
    ],
)
def test_an_hpa_spec_lets_replicas_follow_its_metric(metrics: Any, expected: ScalingPolicy) -> None:
    pod = {"hpaSpec": {"minReplicas": 2, "maxReplicas": 5, **metrics}}
    plan = plan_of(node("m"), {"name": "m", "image": "x"}, pod=pod, replicas=9)
    assert plan.scaling == expected


def test_pods_are_told_of_what_has_no_effect_and_sidecars_of_not_being_run() -> None:
    desire = desire_of(
        contained(
            node("m"),
            {"name": "m", "image": "x", "resources": {"limits": {"memory": "1Gi"}}},
            {"name": "helper", "image": "y"},
        )
    )
    assert desire.notes == (
        "spec.predictors[0].graph: the memory that resources name has no meaning on this "
        "backend: --worker-memory limits workers",
        "spec.predictors[0].componentSpecs[0]: container 'helper' is no node of the graph and is "
        "not run",
    )
