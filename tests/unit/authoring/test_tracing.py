"""Graphs in Python: what tracing finds, and what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import salver
from salver.authoring.declaring import Graph
from salver.errors import GraphError

TOGGLE = {"turns": 0}
KEPT: list[Any] = []


@salver.step
def features(x: Any) -> Any:
    return x + 1


@salver.step
def is_large(x: Any) -> bool:
    return bool((x > 10).any())


@salver.step
def kind_of(x: Any) -> int:
    return int(x.flat[0]) % 3


@salver.step
def minus(left: Any, right: Any) -> Any:
    return left - right


@salver.step(timeout_s=0.5)
def by_name(x: Any, *, scale: float = 1.0) -> Any:
    return x * scale


def steps_of(graph: Graph) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in graph.manifest()["spec"]["steps"]}


def fault_of(body: Callable[[Any], Any]) -> str:
    with pytest.raises(GraphError) as found:
        salver.graph(name="bad")(body).manifest()
    return str(found.value)


@salver.graph
def fraud(x: Any) -> Any:
    f = features(x)
    if is_large(f):
        return salver.average(salver.model("gbm")(f), salver.model("mlp")(f))
    return salver.model("rules")(f)


def test_a_branch_becomes_steps_that_say_when_they_run() -> None:
    manifest = fraud.manifest()
    assert manifest["metadata"] == {"name": "fraud"}
    assert manifest["spec"] == {
        "steps": [
            {"name": "features", "python": f"{__file__}:features"},
            {"name": "is_large", "python": f"{__file__}:is_large", "inputs": ["features"]},
            {
                "name": "gbm",
                "model": "gbm",
                "inputs": ["features"],
                "when": {"step": "is_large", "branch": True},
            },
            {
                "name": "mlp",
                "model": "mlp",
                "inputs": ["features"],
                "when": {"step": "is_large", "branch": True},
            },
            {"name": "average", "combine": "average", "inputs": ["gbm", "mlp"]},
            {
                "name": "rules",
                "model": "rules",
                "inputs": ["features"],
                "when": {"step": "is_large", "branch": False},
            },
        ],
        "output": ["average", "rules"],
    }


def test_several_parameters_are_tensors_of_the_request() -> None:
    @salver.graph
    def graph(age: Any, income: Any) -> Any:
        return salver.model("m")(minus(age, income), years=age)

    steps = steps_of(graph)
    assert steps["minus"]["inputs"] == ["request.age", "request.income"]
    assert steps["m"]["inputs"] == ["minus", "request.age as years"]


def test_a_tensor_is_picked_by_its_name() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        f = features(x)
        return salver.model("m")(f["a"], other=f["b"])

    assert steps_of(graph)["m"]["inputs"] == ["features.a", "features.b as other"]


def test_a_step_that_is_called_twice_is_two_steps() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        return minus(features(x), features(x))

    assert steps_of(graph)["minus"]["inputs"] == ["features", "features-2"]


def test_the_same_question_has_the_same_answer_on_one_way() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        large = is_large(x)
        y = salver.model("a")(x) if large else salver.model("b")(x)
        return features(y) if large else y

    assert graph.manifest()["spec"]["output"] == ["features", "b"]


def test_the_branches_of_a_graph_within_a_graph_come_together() -> None:
    @salver.graph
    def cleaned(x: Any) -> Any:
        return features(x) if is_large(x) else x

    @salver.graph
    def graph(x: Any) -> Any:
        return salver.model("m")(cleaned(cleaned(x)))

    steps = steps_of(graph)
    assert steps["m"]["inputs"] == ["cleaned-4"]
    assert steps["cleaned-4"] == {
        "name": "cleaned-4",
        "combine": "first",
        "inputs": ["features-2", "cleaned-3"],
    }
    assert steps["cleaned"]["when"] == {"step": "is_large", "branch": False}


def test_steps_after_a_branch_need_no_condition_of_their_own() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        return features(features(x)) if is_large(x) else salver.model("m")(x)

    steps = steps_of(graph)
    assert "when" in steps["features"]
    assert "when" not in steps["features-2"]


def test_a_branch_that_answers_what_was_there_before_it_waits_for_the_branch() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        f = features(x)
        return f if is_large(f) else minus(f, x)

    manifest = graph.manifest()
    assert manifest["spec"]["output"] == ["answer", "minus"]
    assert steps_of(graph)["answer"]["when"] == {"step": "is_large", "branch": True}


def test_the_truth_of_one_tensor_is_a_step() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        f = features(x)
        return salver.model("a")(x) if f["flag"] else salver.model("b")(x)

    assert steps_of(graph)["flag-is-true"] == {
        "name": "flag-is-true",
        "decide": "true",
        "inputs": ["features.flag"],
    }


def test_a_hedge_asks_the_next_one_later() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        return salver.first_of("a", "b", "c", after_ms=5)(x)

    steps = steps_of(graph)
    assert "delaySeconds" not in steps["a"]
    assert (steps["b"]["delaySeconds"], steps["c"]["delaySeconds"]) == (0.005, 0.01)
    assert steps["first-of"]["combine"] == "fastest"


def test_a_cascade_asks_the_expensive_one_if_the_cheap_one_is_unsure() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        return salver.cascade("small", "big", threshold=0.9, tensor="p")(x)

    steps = steps_of(graph)
    assert steps["small-confident"]["threshold"] == 0.9
    assert steps["small-confident"]["tensor"] == "p"
    assert steps["big"]["when"] == {"step": "small-confident", "branch": "unsure"}
    assert steps["cascade"]["inputs"] == ["big", "small"]


def test_a_router_has_a_branch_for_each_arm() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        arms = {"plain": "m", "rich": fraud}
        return salver.router("thompson", arms=arms, name="pick", half_life=60, min_share=0.1)(x)

    steps = steps_of(graph)
    assert steps["pick"]["choose"] == {
        "branches": ["plain", "rich"],
        "learned": {"algorithm": "thompson", "parameters": {"half_life": 60, "min_share": 0.1}},
    }
    assert steps["m"]["when"] == {"step": "pick", "branch": "plain"}
    assert steps["features"]["when"] == {"step": "pick", "branch": "rich"}
    assert steps["pick-answer"]["inputs"] == ["m", "fraud"]


def test_a_router_by_weights_and_a_choice_by_number() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        y = salver.router("weights", arms=["a", "b"], weights=[9, 1])(x)
        return salver.choose(kind_of(y), "c", "d", lambda y: features(y))(y)

    steps = steps_of(graph)
    assert steps["router"]["choose"] == {"branches": ["a", "b"], "weights": [9.0, 1.0]}
    assert steps["d"]["when"] == {"step": "kind_of", "branch": 1}


def test_a_quorum_is_a_combination_that_needs_fewer() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        return salver.quorum(2, "a", "b", "c", combine=salver.vote)(x)

    assert steps_of(graph)["vote"]["quorum"] == 2


def test_models_of_the_graph_s_own_and_options() -> None:
    @salver.graph(name="own", timeout_s=2)
    def graph(x: Any) -> Any:
        own = salver.model(uri="models/rules.skops", runtime="sklearn", max_replicas=2)
        return by_name(own(x))

    assert graph.manifest()["spec"]["timeoutSeconds"] == 2
    steps = steps_of(graph)
    assert steps["rules"]["modelUri"] == "models/rules.skops"
    assert steps["by_name"]["timeoutSeconds"] == 0.5
    unit = next(each for each in salver_units(graph) if each.name == "rules")
    assert unit.plan.scaling.max_replicas == 2


def salver_units(graph: Graph) -> Any:
    from salver.authoring.manifest import desire_of

    return desire_of(graph).units


def test_places_count_even_where_parameters_are_called_as_steps_are() -> None:
    @salver.graph
    def graph(x: Any) -> Any:
        return minus(salver.model("right")(x), salver.model("left")(x))

    steps = steps_of(graph)
    assert steps["minus"]["inputs"] == ["right-1", "left-1"]


DEEDS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: features(x) + 1, "calculating with it"),
    (lambda x: 2 - features(x), "calculating with it"),
    (lambda x: -features(x), "calculating with it"),
    (lambda x: features(x) > 3, "comparing it"),
    (lambda x: features(x) == 3, "comparing it"),
    (lambda x: features(x)[0], "indexing it by 0"),
    (lambda x: [each for each in features(x)], "going through it"),  # noqa: C416
    (lambda x: 3 in features(x), "going through it"),
    (lambda x: len(features(x)), "asking for its length"),
    (lambda x: features(x).mean(), "its attribute 'mean'"),
    (lambda x: float(features(x)), "making a number of it"),
    (lambda x: math.sqrt(features(x)), "making a number of it"),
    (lambda x: np.asarray(features(x)), "giving it to NumPy"),
    (lambda x: np.log(features(x)), "giving it to NumPy"),
    (lambda x: np.concatenate([features(x)]), "giving it to NumPy"),
    (lambda x: f"{features(x)}", "writing it into a text"),
    (lambda x: features(x)(), "calling it"),
    (lambda x: features(x) if x else x, "asking for its truth"),
]


@pytest.mark.parametrize(("body", "deed"), DEEDS, ids=[f"{n}" for n in range(len(DEEDS))])
def test_what_needs_data_is_refused_with_its_line(body: Callable[[Any], Any], deed: str) -> None:
    fault = fault_of(body)
    assert deed in fault
    assert fault.startswith(f"test_tracing.py, line {body.__code__.co_firstlineno}: ")
    assert fault.endswith("put it into a function with @salver.step")


def test_a_refusal_cannot_be_caught() -> None:
    def body(x: Any) -> Any:
        try:
            return features(x) + 1
        except Exception:
            return features(x)

    assert "calculating with it" in fault_of(body)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (lambda x: None, "graph bad returns nothing: return the answer of a step"),
        (lambda x: {"a": features(x)}, "graph bad returns a dict"),
        (lambda x: x, "returns its request as it is"),
        (lambda x: minus(features(x), 3), "minus is called with 3, which is no answer"),
        (lambda x: features(), "features cannot be called so: missing a required argument: 'x'"),
        (lambda x: by_name(x, scale=x), "takes 'scale' by name only"),
        (lambda x: salver.model("m")(), "model 'm' is called with nothing"),
        (lambda x: salver.model("m")(a=features(x)), "name the one, as in answer['a']"),
        (lambda x: salver.model(""), "a model needs a name, or a uri"),
        (lambda x: salver.model("m", max_replicas=2)(x), "say how it runs there, not here"),
        (lambda x: salver.quorum(3, "a", "b")(x), "a quorum of 3 of 2 parts"),
        (lambda x: salver.weighted(features(x), weights=[1, 2]), "2 weights for 1 answers"),
        (lambda x: salver.router("ucb1", arms=["a"])(x), "needs two arms or more"),
        (lambda x: salver.router("ucb1", arms=["a", "a"])(x), "two arms are called 'a'"),
        (lambda x: salver.first_of("a", after_ms=1)(x), "two or more models and steps"),
        (lambda x: salver.choose(salver.model("m")(x), "a", "b")(x), "@salver.step that returns"),
        (lambda x: salver.average(), "average is called with nothing"),
        (lambda x: salver.average(3), "average is called with 3"),
        (lambda x: salver.cascade(3, "a", threshold=1)(x), "3 is no model, no step and no graph"),
        (lambda x: salver.step(lambda y: y)(x), "is not at the top of its file"),
        (lambda x: 1 / 0, "tracing the graph failed with ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_a_graph_is_refused(body: Callable[[Any], Any], fault: str) -> None:
    assert fault in fault_of(body)


def test_a_function_that_does_something_else_each_time_is_refused() -> None:
    def body(x: Any) -> Any:
        TOGGLE["turns"] += 1
        y = features(x) if TOGGLE["turns"] % 2 else minus(x, x)
        return salver.model("a")(y) if is_large(y) else salver.model("b")(y)

    assert "graph bad does not do the same each time: it came to features before" in fault_of(body)


def test_an_answer_of_another_tracing_is_refused() -> None:
    def keeps(x: Any) -> Any:
        KEPT.append(features(x))
        return KEPT[-1]

    salver.graph(name="keeps")(keeps).manifest()
    assert "which is of another call" in fault_of(lambda x: minus(x, KEPT[0]))
    with pytest.raises(GraphError, match="of a tracing that is over"):
        bool(KEPT[0])


def test_loops_that_never_end_while_tracing_are_refused() -> None:
    def asks(x: Any) -> Any:
        while is_large(x):
            x = features(x)
        return x

    def calls(x: Any) -> Any:
        while True:
            x = features(x)

    assert "graph bad asks more than 64 questions in a row: a loop" in fault_of(asks)
    assert "graph bad calls more than 1000 steps: a loop" in fault_of(calls)


def test_too_many_ways_are_refused_and_joined_ones_are_not() -> None:
    def body(x: Any) -> Any:
        for _ in range(7):
            x = features(x) if is_large(x) else salver.model("m")(x)
        return x

    assert "more than 64 ways through its branches" in fault_of(body)

    @salver.graph
    def once(x: Any) -> Any:
        return features(x) if is_large(x) else salver.model("m")(x)

    @salver.graph
    def graph(x: Any) -> Any:
        for _ in range(7):
            x = once(x)
        return x

    assert len(graph.flow().steps) == 7 * 6


def test_a_graph_needs_parameters_that_are_tensors() -> None:
    with pytest.raises(GraphError, match="needs one parameter for the request"):
        salver.graph(lambda: None).manifest()
    with pytest.raises(GraphError, match="its parameter 'more' is none"):
        salver.graph(lambda x, *more: None).manifest()


def test_a_name_that_no_resource_may_have_is_refused() -> None:
    with pytest.raises(GraphError, match=r"metadata\.name: may have lower-case letters"):
        salver.graph(name="Not A Name")(lambda x: features(x)).manifest()


def test_a_step_outside_of_a_graph_is_its_function() -> None:
    assert features(1) == 2
    assert by_name(2, scale=3) == 6
    assert features.__name__ == "features"


def test_graphs_that_a_function_makes_may_be_within_each_other() -> None:
    def around(inner: Callable[[Any], Any]) -> Graph:
        return salver.graph(name="around")(lambda x: features(inner(x)))

    assert len(steps_of(around(around(features)))) == 3
