"""KServe's InferenceGraph: which flow it becomes, and what its router's rules give when walked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.flows import AskedCall, Bench, outputs_of, v2_of, v2_request

from salver.engine.call import Call
from salver.engine.flow_ports import Failure
from salver.errors import ErrorKind
from salver.graphs.flow import (
    OTHERWISE,
    Address,
    Conditions,
    Edge,
    Flow,
    GraphDesire,
    Learned,
    Service,
    Weights,
)
from salver.graphs.inference_graph import compile_inference_graph, local_service
from salver.protocol.wire_codes import Codec
from salver.spec.read import parse_object

SUCCESS = {"predictions": [{"message": "SUCCESS"}]}
ERROR_BODY = b'{"detail":"Intentional 404 code"}'
IS_ERROR = "[@this].#(decision_picker==ERROR)"
IS_SUCCESS = "[@this].#(decision_picker==SUCCESS)"
NOT_MATCHED = (
    b'{"error":"Failed to process request",'
    b'"cause":"None of the routes matched with the switch condition"}'
)


def node(kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": kind, "steps": list(steps)}


def desire(
    nodes: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any
) -> GraphDesire:
    parsed = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "InferenceGraph",
            "metadata": {"name": "g", "namespace": "ns", "annotations": annotations or {}},
            "spec": {"nodes": nodes, **spec},
        }
    )
    assert parsed.problems == ()
    return compile_inference_graph(parsed.resource)


def flow_of(nodes: dict[str, Any], **spec: Any) -> Flow:
    return desire(nodes, **spec).variants[0].flow


def bench() -> Bench:
    made = Bench()
    made.add("good", lambda given: SUCCESS)
    made.add("bad", failure=Failure(ErrorKind.MODEL_NOT_FOUND, "said no", 404, ERROR_BODY))
    return made


def ask(nodes: dict[str, Any], request: Any, at: Bench | None = None) -> AskedCall:
    at = at or bench()
    return at.ask(at.of(flow_of(nodes)), request)


GOOD, BAD = {"serviceName": "good"}, {"serviceName": "bad"}
HARD = {"dependency": "Hard"}
PICKS_ERROR = {"decision_picker": "ERROR", "key1": {"name": "abc"}}


def refusal(call: AskedCall) -> tuple[int, bytes]:
    return call.failure.status, call.failure.body


# The scenarios of KServe's own end-to-end tests.


def test_scenario_1_the_last_soft_step_s_failure_is_the_answer() -> None:
    call = ask({"root": node("Sequence", GOOD, BAD | {"data": "$request"})}, {"a": 1})
    assert refusal(call) == (404, ERROR_BODY)


def test_scenario_2_a_sequence_goes_on_after_a_soft_step() -> None:
    call = ask({"root": node("Sequence", BAD, GOOD | {"data": "$request"})}, {"a": 1})
    assert call.json == SUCCESS


def test_scenario_3_a_sequence_ends_with_a_hard_step_that_fails() -> None:
    at = bench()
    call = ask({"root": node("Sequence", BAD | HARD, GOOD)}, {"a": 1}, at)
    assert refusal(call) == (404, ERROR_BODY)
    assert at.models["good"].asked == []  # type: ignore[attr-defined]


def test_scenario_4_a_switch_answers_what_its_first_match_does() -> None:
    nodes = {
        "root": node(
            "Switch",
            BAD | {"name": "rootStep1", "condition": IS_ERROR},
            GOOD | {"name": "rootStep2", "condition": IS_SUCCESS},
        )
    }
    assert refusal(ask(nodes, PICKS_ERROR)) == (404, ERROR_BODY)
    assert ask(nodes, {"decision_picker": "SUCCESS"}).json == SUCCESS
    assert refusal(ask(nodes, {"decision_picker": "NEITHER"})) == (404, NOT_MATCHED)


@pytest.mark.parametrize("kind", ["Switch", "Splitter"])
def test_scenarios_5_and_9_a_soft_step_may_name_a_node_that_fails(kind: str) -> None:
    inner: dict[str, Any] = BAD | {"condition": IS_ERROR}
    inner |= {"weight": 100} if kind == "Splitter" else {}
    nodes = {"root": node("Sequence", {"nodeName": "node1"}, GOOD), "node1": node(kind, inner)}
    assert ask(nodes, PICKS_ERROR).json == SUCCESS


@pytest.mark.parametrize("kind", ["Switch", "Splitter"])
@pytest.mark.parametrize("inner_dependency", [{}, HARD])
def test_scenarios_6_and_10_a_hard_step_may_name_a_node_that_fails(
    kind: str, inner_dependency: dict[str, str]
) -> None:
    inner: dict[str, Any] = BAD | inner_dependency | {"condition": IS_ERROR}
    inner |= {"weight": 100} if kind == "Splitter" else {}
    nodes = {
        "root": node("Sequence", {"nodeName": "node1"} | HARD, GOOD),
        "node1": node(kind, inner),
    }
    assert refusal(ask(nodes, PICKS_ERROR)) == (404, ERROR_BODY)


def test_scenario_7_an_ensemble_gathers_what_soft_steps_answer() -> None:
    steps = (GOOD | {"name": "rootStep1"}, BAD | {"name": "rootStep2"})
    call = ask({"root": node("Ensemble", *steps)}, {"a": 1})
    assert call.json == {"rootStep1": SUCCESS, "rootStep2": {"detail": "Intentional 404 code"}}


def test_scenario_8_an_ensemble_answers_what_a_hard_step_that_fails_does() -> None:
    call = ask({"root": node("Ensemble", BAD | HARD, GOOD, GOOD)}, {"a": 1})
    assert refusal(call) == (404, ERROR_BODY)


# The rest of the router's rules.


def test_steps_of_an_ensemble_without_names_are_told_apart_by_number() -> None:
    assert ask({"root": node("Ensemble", GOOD, GOOD)}, {"a": 1}).json == {
        "0": SUCCESS,
        "1": SUCCESS,
    }


def labelled(label: str) -> Bench:
    made = bench()
    made.add("label", lambda given: {"predictions": [{"label": label}]})
    return made


@pytest.mark.parametrize(
    ("label", "answer"), [("dog", SUCCESS), ("cat", {"predictions": [{"label": "cat"}]})]
)
def test_a_sequence_ends_where_a_condition_does_not_hold_of_the_answer(
    label: str, answer: Any
) -> None:
    first = {"serviceName": "label"}
    nodes = {"root": node("Sequence", first, GOOD | {"condition": 'predictions.#(label=="dog")'})}
    assert ask(nodes, {"instances": [1]}, labelled(label)).json == answer


def test_a_step_with_request_waits_for_the_one_before_and_gets_the_request() -> None:
    at = labelled("dog")
    seen = at.add("seen", lambda given: {"predictions": [given]})
    nodes = {"root": node("Sequence", {"serviceName": "label"}, {"serviceName": "seen"})}
    assert ask(nodes, {"instances": [1]}, at).json == {"predictions": [{"instances": [1]}]}
    (step, after) = flow_of(nodes).steps
    assert after.inputs == (Edge(),)
    assert after.triggers == (Edge(step.name),)
    assert len(seen.asked) == 1


def test_a_condition_sees_v2_outputs_and_the_step_after_gets_inputs() -> None:
    at = Bench()
    at.add("a", v2_of(lambda given: {"y": [x + 1 for x in given["x"]]}))
    at.add("b", v2_of(lambda given: {"z": [y * 10 for y in given["y"]]}))
    condition = "outputs.#(name==y)"
    b = {"serviceName": "b", "data": "$response", "condition": condition}
    nodes = {"root": node("Sequence", {"serviceName": "a"}, b)}
    call = at.ask(at.of(flow_of(nodes)), v2_request(x=[1]), Codec.V2_JSON)
    assert outputs_of(call.json) == {"z": [20]}


def test_predictions_become_instances_where_that_is_asked_for() -> None:
    at = Bench()
    at.add("a", lambda given: {"predictions": [7]})
    at.add("b", lambda given: {"predictions": given})
    b = {"serviceName": "b", "data": "$response"}
    mapped = node("Sequence", {"serviceName": "a"}, b | {"mapPredictionsToInstances": True})
    answer = at.ask(at.of(flow_of({"root": mapped})), {"instances": [1]}).json
    assert answer == {"predictions": {"instances": [7]}}
    steps = {
        "root": node(
            "Sequence",
            {"serviceName": "a"},
            {"nodeName": "n", "data": "$response", "mapPredictionsToInstances": True},
        ),
        "n": node("Ensemble", {"serviceName": "b"}),
    }
    answer = at.ask(at.of(flow_of(steps)), {"instances": [1]}).json
    assert answer == {"0": {"predictions": {"instances": [7]}}}


class Post:
    """Implements `Poster`: every address answers what it was sent."""

    def post(self, url: str, call: Call) -> None:
        body = bytes(call.body).decode()
        call.deliver(b'{"predictions":[%b]}' % body.encode(), 0)


def test_addresses_get_answers_as_requests_too() -> None:
    at = Bench()
    at.add("a", lambda given: {"predictions": [7]})
    to_url = {"serviceUrl": "http://h/", "data": "$response"}
    for step, sent in (
        (to_url, {"predictions": [7]}),
        (to_url | {"mapPredictionsToInstances": True}, {"instances": [7]}),
    ):
        model = at.of(flow_of({"root": node("Sequence", {"serviceName": "a"}, step)}))
        model.bindings.poster = Post()
        assert at.ask(model, {"instances": [1]}).json == {"predictions": [sent]}


def test_a_hard_failure_deep_within_a_soft_node_ends_that_node_only() -> None:
    nodes = {
        "root": node("Sequence", {"nodeName": "inner"}, GOOD),
        "inner": node("Sequence", BAD | HARD, {"serviceName": "never"}),
    }
    at = bench()
    never = at.add("never", lambda given: SUCCESS)
    assert ask(nodes, {"a": 1}, at).json == SUCCESS
    assert never.asked == []


def test_a_hard_failure_in_an_ensemble_within_a_soft_node_is_that_node_s_answer() -> None:
    at = bench()
    seen = at.add("seen", lambda given: {"predictions": [given]})
    nodes = {
        "root": node(
            "Sequence", {"nodeName": "inner"}, {"serviceName": "seen", "data": "$response"}
        ),
        "inner": node("Ensemble", GOOD, BAD | HARD),
    }
    assert ask(nodes, {"a": 1}, at).json == {"predictions": [{"detail": "Intentional 404 code"}]}
    nodes["inner"] = node("Ensemble", GOOD, GOOD | HARD)
    assert ask(nodes, {"a": 1}, at).json == {"predictions": [{"0": SUCCESS, "1": SUCCESS}]}
    assert len(seen.asked) == 2


def test_a_soft_node_in_an_ensemble_is_gathered_however_it_ended() -> None:
    inner = node("Sequence", BAD | HARD, GOOD)
    nodes = {"root": node("Ensemble", {"name": "n", "nodeName": "inner"}, GOOD), "inner": inner}
    expected = {"n": {"detail": "Intentional 404 code"}, "1": SUCCESS}
    assert ask(nodes, {"a": 1}).json == expected
    inner["steps"] = [GOOD | HARD, GOOD | {"condition": "nothing"}]
    assert ask(nodes, {"a": 1}).json == {"n": SUCCESS, "1": SUCCESS}


def test_a_node_that_is_no_json_object_fails_its_ensemble() -> None:
    at = bench()
    at.add("list", lambda given: [1])  # type: ignore[arg-type, return-value]
    call = ask({"root": node("Ensemble", GOOD, {"serviceName": "list"})}, {"a": 1}, at)
    assert call.failure.kind is ErrorKind.MODEL_FAILED


# The flow.


def test_steps_have_readable_names_and_the_paths_of_the_manifest() -> None:
    flow = flow_of(
        {
            "root": node("Sequence", {"nodeName": "pick"}, GOOD | {"name": "then"}),
            "pick": node("Splitter", GOOD | {"weight": 30}, BAD | {"weight": 70}),
        }
    )
    assert [(step.name, step.path) for step in flow.steps] == [
        ("pick", "spec.nodes.pick"),
        ("pick.good", "spec.nodes.pick.steps[0]"),
        ("pick.bad", "spec.nodes.pick.steps[1]"),
        ("root.then", "spec.nodes.root.steps[1]"),
    ]
    assert flow.steps[0].action == Weights((30.0, 70.0))
    assert flow.steps[1].action == Service("ns", "good")
    assert flow.output == (Edge("root.then"),)


def test_a_node_that_two_steps_name_is_there_twice() -> None:
    inner = {"inner": node("Switch", GOOD | {"condition": "a"})}
    flow = flow_of(
        {"root": node("Ensemble", {"nodeName": "inner"}, {"nodeName": "inner"}), **inner}
    )
    names = [step.name for step in flow.steps]
    assert names == ["inner", "inner.good", "inner-2", "inner.good-2", "root"]
    assert flow.steps[2].title == "inner"


def test_a_condition_of_a_sequence_has_two_ways_out() -> None:
    flow = flow_of({"root": node("Sequence", GOOD, BAD | {"condition": "a.b"})})
    (first, tested, last) = flow.steps
    assert tested.action == Conditions(("a.b",))
    assert tested.inputs == (Edge(first.name),)
    assert last.triggers == (Edge(tested.name, branch=0),)
    assert flow.output == (Edge(last.name), Edge(tested.name, branch=OTHERWISE))
    assert tested.path == "spec.nodes.root.steps[1].condition"


def test_time_limits_are_of_steps_and_of_the_whole() -> None:
    limits = {"serviceClient": 3, "serverWrite": 20, "serverIdle": 9}
    nodes = {"root": node("Switch", GOOD | {"condition": "a"})}
    flow = flow_of(nodes, timeout=30, routerTimeouts=limits)
    assert flow.timeout_s == 20.0
    assert [step.timeout_s for step in flow.steps] == [0.0, 3.0]
    assert flow_of(nodes).timeout_s == 0.0


def test_addresses_within_a_cluster_mean_services_here() -> None:
    within = "http://iris-predictor.models.svc.cluster.local/v1/models/iris:predict"
    made = desire(
        {"root": node("Sequence", {"serviceUrl": within}, {"serviceUrl": "http://h:1/p?q=1"})}
    )
    actions = [step.action for step in made.variants[0].flow.steps]
    assert actions == [Service("models", "iris"), Address("http://h:1/p?q=1")]
    assert any("models/iris" in note for note in made.notes)
    assert local_service("http://iris.models.svc") == Service("models", "iris")
    assert local_service("http://iris.models.svc/metrics") is None
    assert local_service("http://iris.models.example.com/") is None
    assert made.references == (Service("models", "iris"),)


def test_a_splitter_may_learn() -> None:
    text = '{"algorithm": "thompson", "parameters": {"min_share": 0.05, "half_life": "1h"}}'
    steps = (GOOD | {"weight": 50}, BAD | {"weight": 50, "name": "b"})
    made = desire({"root": node("Splitter", *steps)}, {"salver.dev/router.root": text})
    assert made.variants[0].flow.steps[0].action == Learned(
        "thompson", ("good", "b"), (("half_life", "1h"), ("min_share", "0.05"))
    )


def test_headers_are_those_of_the_trace_and_those_named() -> None:
    nodes = {"root": node("Sequence", GOOD)}
    assert desire(nodes).headers == ("^traceparent$", "^tracestate$")
    named = desire(nodes, {"salver.dev/propagate-headers": "Authorization, ^X-.*"})
    assert named.headers[2:] == ("Authorization", "^X-.*")
    assert desire(nodes, {"serving.kserve.io/stop": "true"}).stopped


def test_what_is_written_and_has_no_effect_is_noted() -> None:
    made = desire(
        {
            "root": node("Ensemble", {"nodeName": "s", "weight": 3}, GOOD | {"data": "$response"}),
            "s": node("Switch", GOOD | {"condition": "a.#(b==1)#"}, GOOD | {"name": "x"}),
        }
    )
    notes = " | ".join(made.notes)
    for said in (
        "spec.nodes.root.steps[0].weight has no effect: this is no Splitter",
        "spec.nodes.root.steps[1].data has no effect",
        "spec.nodes.s.steps[0].condition always holds",
        "spec.nodes.s.steps[1] has no condition",
    ):
        assert said in notes
