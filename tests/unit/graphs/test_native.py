"""The kind Graph becomes a flow."""

import json
from typing import Any

import yaml

from salver.graphs.flow import (
    OTHERWISE,
    Address,
    Answered,
    Conditions,
    Edge,
    Flow,
    Function,
    GraphDesire,
    Learned,
    Pass,
    Service,
    Unit,
    Weights,
)
from salver.graphs.native import compile_graph
from salver.graphs.plan import ModelRunner, StickyPolicy
from salver.spec.read import parse_object


def compiled(steps: str, annotations: dict[str, str] | None = None, **spec: Any) -> GraphDesire:
    parsed = parse_object(
        {
            "apiVersion": "salver.dev/v1",
            "kind": "Graph",
            "metadata": {"name": "fraud", "namespace": "risk", "annotations": annotations or {}},
            "spec": {"steps": yaml.safe_load(steps), **spec},
        }
    )
    assert parsed.problems == ()
    return compile_graph(parsed.resource)


def flow_of(steps: str, **spec: Any) -> Flow:
    return compiled(steps, **spec).variants[0].flow


def step_of(flow: Flow, name: str) -> Any:
    return next(each for each in flow.steps if each.name == name)


def functions_of(desire: GraphDesire) -> dict[str, dict[str, Any]]:
    found = {}
    for unit in desire.units:
        runner = unit.plan.runner
        assert isinstance(runner, ModelRunner)
        if runner.runtime == "steps":
            found[unit.name] = json.loads(runner.options)["functions"]
    return found


def test_a_graph_asks_services_of_its_namespace() -> None:
    desire = compiled("- {name: a, model: gbm}\n- {name: b, url: 'http://b', inputs: [a]}")
    assert (desire.resource, desire.namespace, desire.name) == (
        ("salver.dev", "graphs"),
        "risk",
        "fraud",
    )
    assert desire.references == (Service("risk", "gbm"),)
    flow = desire.variants[0].flow
    assert step_of(flow, "a").inputs == (Edge(),)
    assert step_of(flow, "b").action == Address("http://b")
    assert flow.output == (Edge("b"),)


def test_sources_come_before_those_who_wait_for_them() -> None:
    flow = flow_of("- {name: b, model: m, inputs: [a]}\n- {name: a, model: m}", output=["b"])
    assert [(each.name, each.path) for each in flow.steps] == [
        ("a", "spec.steps[1]"),
        ("b", "spec.steps[0]"),
    ]


def test_functions_of_one_file_are_one_unit_and_ours_are_with_them() -> None:
    desire = compiled(
        "- {name: f, python: 'lib/My Steps.py:f'}\n- {name: g, python: 'lib/My Steps.py:g'}\n"
        "- {name: h, python: 'other.py:h'}\n"
        "- {name: my-steps, modelUri: 'm.skops'}\n"
        "- {name: w, combine: weighted, weights: [1, 2, 3, 4], inputs: [f, g, h, my-steps]}\n"
    )
    assert functions_of(desire) == {
        "my-steps-2": {
            "f": {"python": "My Steps.py:f"},
            "g": {"python": "My Steps.py:g"},
            "salver.weighted.w": {
                "builtin": "weighted",
                "parameters": {"weights": [1.0, 2.0, 3.0, 4.0]},
            },
        },
        "other": {"h": {"python": "other.py:h"}},
    }
    runners = {each.name: each.plan.runner for each in desire.units}
    assert runners["my-steps-2"].uri == "lib/My Steps.py"  # type: ignore[union-attr]


def test_ours_alone_are_a_unit_without_a_file() -> None:
    desire = compiled("- {name: v, combine: vote, soft: true}")
    assert functions_of(desire) == {
        "builtin": {"salver.vote.v": {"builtin": "vote", "parameters": {"soft": True}}}
    }
    assert desire.units[0].plan.runner.uri == ""  # type: ignore[union-attr]


def test_a_model_of_its_own_is_a_unit() -> None:
    desire = compiled(
        "- {name: a, modelUri: 'gs://m/a', runtime: sklearn, runtimeVersion: '1.3', minReplicas: 0,"
        " maxReplicas: 3}\n- {name: b, modelUri: 'b.py:Model', inputs: [a]}"
    )
    a, b = (each.plan for each in desire.units)
    assert a.runner == ModelRunner("gs://m/a", "sklearn", runtime_version="1.3")
    assert (a.scaling.min_replicas, a.scaling.max_replicas) == (0, 3)
    assert b.runner == ModelRunner("b.py", "python", "Model")
    assert step_of(desire.variants[0].flow, "b").action == Unit("b")


def test_a_truth_value_chooses_by_what_is_true() -> None:
    flow = flow_of(
        "- {name: f, python: 's.py:f'}\n"
        "- {name: large, model: m, inputs: [f.a as b], when: {step: f, branch: true}}\n"
        "- {name: small, model: m, when: {step: f, branch: false}}",
        output=["large", "small"],
    )
    assert [each.name for each in flow.steps] == ["f", "f.truth", "f.branch", "large", "small"]
    assert step_of(flow, "f").action == Function("s", "f", "call")
    assert step_of(flow, "f.truth").action == Function("s", "salver.is_true", "branch")
    assert step_of(flow, "f.branch").action == Answered(2)
    assert step_of(flow, "f.branch").triggers == (Edge("f.truth"),)
    assert step_of(flow, "large").inputs == (Edge("f", tensor="a", rename="b"),)
    assert step_of(flow, "large").triggers == (Edge("f.branch", branch=1),)
    assert step_of(flow, "small").triggers == (Edge("f.branch", branch=0),)
    assert (flow.output, flow.output_join) == ((Edge("large"), Edge("small")), "any")


def test_a_number_chooses_at_once() -> None:
    flow = flow_of(
        "- {name: f, python: 's.py:f'}\n- {name: a, model: m, when: {step: f, branch: 0}}\n"
        "- {name: b, model: m, when: {step: f, branch: 3}}",
        output=["a", "b"],
    )
    assert step_of(flow, "f").action == Function("s", "f", "branch")
    assert step_of(flow, "f.branch").action == Answered(4)
    assert step_of(flow, "f.branch").triggers == (Edge("f"),)


def test_a_decision_of_ours_chooses() -> None:
    flow = flow_of(
        "- {name: c, model: m}\n"
        "- {name: sure, decide: confident, threshold: 0.9, tensor: p, inputs: [c]}\n"
        "- {name: e, model: m, when: {step: sure, branch: unsure}}\n"
        "- {name: both, combine: first, inputs: [e, c]}"
    )
    assert step_of(flow, "sure").action.method == "branch"
    assert step_of(flow, "e").triggers == (Edge("sure.branch", branch=1),)
    assert (step_of(flow, "both").action, step_of(flow, "both").join) == (Pass(), "outer")


def test_choices() -> None:
    weights = flow_of(
        "- {name: c, choose: {branches: [x, y], weights: [90, 10], stickyHeader: X-User}}\n"
        "- {name: a, model: m, inputs: [c], when: {step: c, branch: y}}"
    )
    assert step_of(weights, "c").action == Weights((90.0, 10.0), StickyPolicy(header="x-user"))
    assert step_of(weights, "a").inputs == (Edge("c", branch=1),)
    conditions = flow_of(
        "- {name: c, choose: {branches: [x, y], conditions: [a.b]}}\n"
        "- {name: a, model: m, when: {step: c, branch: y}}"
    )
    assert step_of(conditions, "c").action == Conditions(("a.b",))
    assert step_of(conditions, "a").triggers == (Edge("c", branch=OTHERWISE),)
    learned = flow_of(
        "- {name: c, choose: {branches: [x, y], learned: {algorithm: thompson, parameters: "
        "{min_share: 0.10, prior_alpha: 2, half_life: 1h}}}}\n"
        "- {name: a, model: m, when: {step: c, branch: x}}"
    )
    action = step_of(learned, "c").action
    parameters = (("half_life", "1h"), ("min_share", "0.1"), ("prior_alpha", "2"))
    assert action == Learned("thompson", ("x", "y"), parameters)


def test_joins_and_times() -> None:
    flow = flow_of(
        "- {name: a, model: m}\n- {name: b, model: m, delaySeconds: 0.005, tolerate: true}\n"
        "- {name: f, combine: fastest, inputs: [a, b]}\n"
        "- {name: q, combine: average, quorum: 2, inputs: [a, b, f], timeoutSeconds: 3}\n"
        "- {name: m, combine: merge, join: outer, windowSeconds: 1, inputs: [a, q]}",
        timeoutSeconds=5,
    )
    assert (step_of(flow, "f").action, step_of(flow, "f").join) == (Pass(), "any")
    assert (step_of(flow, "b").delay_s, step_of(flow, "b").tolerates) == (0.005, True)
    assert (step_of(flow, "q").quorum, step_of(flow, "q").timeout_s) == (2, 3)
    merge = step_of(flow, "m")
    assert (merge.action, merge.join, merge.window_s) == (Pass(merges=True), "outer", 1)
    assert flow.timeout_s == 5


def test_a_graph_can_be_stopped() -> None:
    assert compiled("- {name: a, model: m}", {"serving.kserve.io/stop": "true"}).stopped
    assert not compiled("- {name: a, model: m}").stopped


def test_equal_graphs_have_one_digest() -> None:
    steps = "- {name: f, python: 's.py:f'}\n- {name: v, combine: vote, inputs: [f]}"
    assert compiled(steps).digest == compiled(steps).digest
