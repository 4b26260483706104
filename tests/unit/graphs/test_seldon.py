"""SeldonDeployments as flows: the order in which a tree is gone through, and what shares requests.

Who runs a node is in `test_seldon_units.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.graphs.seldon_manifests import desire_of, node, predictor

from salver.graphs.flow import (
    NO_BRANCH,
    Answered,
    Edge,
    Flow,
    Function,
    Learned,
    Pass,
    Step,
    Unit,
    Weights,
)
from salver.graphs.seldon import compile_seldon_deployment
from salver.spec.read import read_manifests

GOOD = sorted((Path(__file__).parents[2] / "manifests" / "seldon").glob("*.yaml"))


def flow_of(graph: dict[str, Any], **fields: Any) -> Flow:
    return desire_of(predictor(graph, **fields)).variants[0].flow


def told(flow: Flow) -> list[str]:
    """The steps as `name: action(sources) join`, to be read."""
    return [f"{each.name}: {_action(each)}({_sources(each)}) {each.join}" for each in flow.steps]


def _action(step: Step) -> str:
    action = step.action
    if isinstance(action, Function):
        return action.method
    return type(action).__name__


def _sources(step: Step) -> str:
    edges = [_edge(each) for each in step.inputs]
    return ", ".join([*edges, *(f"if {_edge(each)}" for each in step.triggers)])


def _edge(edge: Edge) -> str:
    name = edge.source or "request"
    return name if edge.branch is None else f"{name}[{edge.branch}]"


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_manifests_of_published_shapes_compile(path: Path) -> None:
    (manifest,) = read_manifests(path.read_text(), path.name).manifests
    desire = compile_seldon_deployment(manifest.resource)
    assert desire == compile_seldon_deployment(manifest.resource)
    assert sum(each.percent for each in desire.variants) == 100
    flows = [each.flow for each in desire.variants]
    flows += [desire.shadow.flow] if desire.shadow is not None else []
    units = {each.name for each in desire.units}
    for flow in flows:
        known = {""}
        for step in flow.steps:
            assert step.name not in known
            assert {each.source for each in (*step.inputs, *step.triggers)} <= known
            if isinstance(step.action, Function | Unit):
                assert step.action.unit in units
            known.add(step.name)
        assert {each.source for each in flow.output} <= known


def test_the_tree_is_gone_through_as_seldon_s_engine_does() -> None:
    tree = node(
        "out",
        "OUTPUT_TRANSFORMER",
        node(
            "scale",
            "TRANSFORMER",
            node("mean", "COMBINER", node("choose", "ROUTER", node("a"), node("b")), node("c")),
        ),
    )
    flow = flow_of(tree)
    assert told(flow) == [
        "scale: transform_input(request) inner",
        "choose: route(scale) inner",
        "choose/choice: Answered(scale, if choose) inner",
        "a: predict(choose/choice[0]) inner",
        "b: predict(choose/choice[1]) inner",
        f"choose/answer: Pass(a, b, choose/choice[{NO_BRANCH}]) outer",
        "c: predict(scale) inner",
        "mean: aggregate(choose/answer, c) inner",
        "out: transform_output(mean) inner",
    ]
    assert flow.output == (Edge("out"),)
    assert all(each.as_request == "mapped" for each in flow.steps)


def test_a_model_feeds_its_children() -> None:
    assert told(flow_of(node("one", "MODEL", node("two")))) == [
        "one: predict(request) inner",
        "two: predict(one) inner",
    ]


def test_without_a_combiner_the_first_child_s_answer_counts_once_all_have_answered() -> None:
    assert told(flow_of(node("t", "TRANSFORMER", node("a"), node("b")))) == [
        "t: transform_input(request) inner",
        "a: predict(t) inner",
        "b: predict(t) inner",
        "t/answer: Pass(a, b) inner",
    ]


def test_methods_add_to_what_the_type_does() -> None:
    router = node("r", "ROUTER", node("a"), node("b"), methods=["AGGREGATE", "TRANSFORM_OUTPUT"])
    assert told(flow_of(router)) == [
        "r: route(request) inner",
        "r/choice: Answered(request, if r) inner",
        "a: predict(r/choice[0]) inner",
        "b: predict(r/choice[1]) inner",
        "r/aggregate: aggregate(a, b) outer",
        f"r/answer: Pass(r/aggregate, r/choice[{NO_BRANCH}]) outer",
        "r/output: transform_output(r/answer) inner",
    ]


def test_a_model_that_is_to_transform_its_input_does_not_predict() -> None:
    (step,) = flow_of(node("m", methods=["TRANSFORM_INPUT"])).steps
    assert step.action == Function("p-m", "m", "transform_input")


def test_methods_alone_are_enough() -> None:
    unknown = {"name": "n", "methods": ["TRANSFORM_INPUT", "TRANSFORM_OUTPUT"]}
    assert told(flow_of({**unknown, "children": [node("m")]})) == [
        "n: transform_input(request) inner",
        "m: predict(n) inner",
        "n/output: transform_output(m) inner",
    ]
    assert told(flow_of({**unknown, "type": "UNKNOWN_TYPE"})) == [
        "n: transform_input(request) inner",
        "n/output: transform_output(n) inner",
    ]


def test_a_node_of_no_type_is_a_model() -> None:
    assert told(flow_of({"name": "m"})) == ["m: predict(request) inner"]


def ab_test(*parameters: dict[str, str]) -> dict[str, Any]:
    children = [
        {"name": each, "implementation": "XGBOOST_SERVER", "modelUri": f"gs://b/{each}"}
        for each in ("a", "b")
    ]
    return {
        "name": "ab",
        "implementation": "RANDOM_ABTEST",
        "children": children,
        "parameters": list(parameters),
    }


def test_an_ab_test_chooses_by_its_ratio_which_is_a_half_unless_told() -> None:
    (choice, a, b, answer) = desire_of({"name": "p", "graph": ab_test()}).variants[0].flow.steps
    assert choice.name == "ab"
    assert choice.action == Weights((50.0, 50.0))
    assert (a.inputs, b.inputs) == ((Edge("ab", branch=0),), (Edge("ab", branch=1),))
    assert answer.inputs == (Edge("a"), Edge("b"))
    assert answer.join == "outer"
    told_ratio = ab_test({"name": "ratioA", "value": "0.75", "type": "FLOAT"})
    flow = desire_of({"name": "p", "graph": told_ratio}).variants[0].flow
    assert flow.steps[0].action == Weights((75.0, 25.0))


def test_a_simple_router_always_takes_the_first_child() -> None:
    graph = {**ab_test(), "implementation": "SIMPLE_ROUTER"}
    assert desire_of({"name": "p", "graph": graph}).variants[0].flow.steps[0].action == Weights(
        (1.0, 0.0)
    )


@pytest.mark.parametrize(
    "name", ["EPSILON_GREEDY", "UCB1", "THOMPSON_SAMPLING", "LIN_UCB", "LIN_TS"]
)
def test_routers_that_learn_choose_among_their_children_by_name(name: str) -> None:
    parameters = [
        {"name": "n_branches", "value": "2", "type": "INT"},
        {"name": "min_share", "value": "0.1", "type": "FLOAT"},
    ]
    graph = {**ab_test(*parameters), "implementation": name}
    flow = desire_of({"name": "p", "graph": graph}).variants[0].flow
    assert flow.steps[0].action == Learned(name.lower(), ("a", "b"), (("min_share", "0.1"),))
    assert flow.steps[0].name == "ab"
    assert flow.tree is not None
    assert (flow.tree.router, flow.tree.hears_feedback) == ("ab", False)


def test_seldon_s_images_of_routers_that_learn_are_salver_s_own() -> None:
    path = next(each for each in GOOD if each.stem == "epsilon-greedy")
    (manifest,) = read_manifests(path.read_text(), path.name).manifests
    desire = compile_seldon_deployment(manifest.resource)
    (learned,) = (
        step.action for step in desire.variants[0].flow.steps if isinstance(step.action, Learned)
    )
    assert learned == Learned("epsilon_greedy", ("forest", "boosted"), (("epsilon", "0.1"),))
    assert [each.name for each in desire.units] == ["bandit-forest", "bandit-boosted"]


def test_the_tree_says_who_hears_of_feedback_and_who_chooses() -> None:
    children = (node("a"), node("b", methods=["SEND_FEEDBACK"]))
    tree = flow_of(
        node("t", "TRANSFORMER", node("r", "ROUTER", *children), methods=["SEND_FEEDBACK"])
    ).tree
    assert tree is not None
    (router,) = tree.children
    assert (tree.name, tree.router, tree.hears_feedback) == ("t", "", True)
    assert (router.router, router.function, router.hears_feedback) == ("r/choice", "r", True)
    assert [(each.name, each.hears_feedback) for each in router.children] == [
        ("a", True),
        ("b", True),
    ]
    silent = flow_of(node("t", "TRANSFORMER", node("m"))).tree
    assert silent is not None
    assert not silent.hears_feedback


def test_a_packaged_server_hears_of_no_feedback() -> None:
    graph = {"name": "m", "implementation": "SKLEARN_SERVER", "modelUri": "gs://b/m"}
    flow = desire_of({"name": "p", "graph": graph}).variants[0].flow
    assert flow.tree is not None
    assert not flow.tree.hears_feedback
    assert flow.steps[0].action == Unit("p-m")


def test_steps_know_their_place_and_what_people_call_them() -> None:
    steps = flow_of(node("r", "ROUTER", node("a"), node("b"))).steps
    assert [(each.name, each.title) for each in steps] == [
        ("r", ""),
        ("r/choice", "r"),
        ("a", ""),
        ("b", ""),
        ("r/answer", "r"),
    ]
    assert steps[2].path == "spec.predictors[0].graph.children[0]"
    assert isinstance(steps[1].action, Answered)
    assert isinstance(steps[4].action, Pass)


@pytest.mark.parametrize(("transport", "seconds"), [("", 1.5), ("rest", 1.5), ("grpc", 0.25)])
def test_timeouts_are_those_of_single_nodes(transport: str, seconds: float) -> None:
    annotations = {"seldon.io/rest-timeout": "1500", "seldon.io/grpc-timeout": "250"}
    deployment = predictor(node("t", "TRANSFORMER", node("m")), annotations=annotations)
    flow = desire_of(deployment, transport=transport).variants[0].flow
    assert [each.timeout_s for each in flow.steps] == [seconds, seconds]
    assert flow.timeout_s == 0


def test_a_predictor_s_annotation_overrules_the_deployment_s() -> None:
    own = predictor(node("m"), annotations={"seldon.io/rest-timeout": "100"})
    outer = {"seldon.io/rest-timeout": "9000"}
    assert desire_of(own, annotations=outer).variants[0].flow.steps[0].timeout_s == 0.1
    other = predictor(node("m"))
    assert desire_of(other, annotations=outer).variants[0].flow.steps[0].timeout_s == 9.0


def test_predictors_share_the_requests_and_a_shadow_gets_copies() -> None:
    desire = desire_of(
        predictor(node("m"), "a", traffic=75),
        predictor(node("m"), "b", traffic=25),
        predictor(node("m"), "c", shadow=True, traffic=10),
    )
    assert [(each.name, each.percent) for each in desire.variants] == [("a", 75), ("b", 25)]
    assert desire.shadow is not None
    assert (desire.shadow.name, desire.shadow_percent) == ("c", 10)
    assert [each.name for each in desire.units] == ["a-m", "b-m", "c-m"]


def test_one_predictor_gets_all_requests_and_a_shadow_all_copies_unless_told() -> None:
    desire = desire_of(predictor(node("m"), "a"), predictor(node("m"), "b", shadow=True))
    assert [each.percent for each in desire.variants] == [100]
    assert desire.shadow_percent == 100


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("", "seldon"), ("seldon", "seldon"), ("tensorflow", "v1"), ("v2", "v2"), ("kfserving", "v2")],
)
def test_the_protocol_is_the_default_one(protocol: str, expected: str) -> None:
    desire = desire_of(predictor(node("m")), protocol=protocol)
    assert desire.default_protocol == expected
    assert desire.resource == ("machinelearning.seldon.io", "seldondeployments")


def test_the_first_node_s_logger_is_the_graph_s() -> None:
    logger = {"url": "http://sink", "mode": "request"}
    desire = desire_of(predictor(node("m", logger=logger)))
    assert desire.logging is not None
    assert (desire.logging.url, desire.logging.mode) == ("http://sink", "request")
    inner = desire_of(predictor(node("t", "TRANSFORMER", node("m", logger=logger))))
    assert inner.logging is None
    assert "graph.children[0].logger is not followed" in inner.notes[0]


def test_what_has_no_effect_is_told_of() -> None:
    explained = predictor(node("m", logger={"mode": "all"}), explainer={"type": "AnchorTabular"})
    annotations = {"seldon.io/rest-timeot": "1", "seldon.io/svc-name": "x"}
    notes = desire_of(explained, annotations=annotations).notes
    assert notes == (
        "spec.annotations: seldon.io/rest-timeot is unknown and has no effect; did you mean "
        "'seldon.io/rest-timeout'?",
        "spec.annotations: seldon.io/svc-name has no meaning on this backend: the address is that "
        "of the deployment",
        "spec.predictors[0].explainer: explainers of SeldonDeployments are not served yet",
        "spec.predictors[0].graph.logger names no url, so nothing is logged: give one",
    )
