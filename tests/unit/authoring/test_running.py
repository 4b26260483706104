"""Graphs in Python without a server: as the Python that they are, and by their plan, alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import salver
from salver.authoring.declaring import Graph
from salver.authoring.interpreting import interpret
from salver.authoring.manifest import desire_of
from salver.authoring.running import Run, first_arm
from salver.errors import GraphError, ModelFailed, RequestError

ASKED: list[str] = []


@salver.step
def doubled(x: Any) -> Any:
    return x * 2


@salver.step
def minus(left: Any, right: Any) -> Any:
    return left - right


@salver.step
def is_positive(x: Any) -> bool:
    return bool((x > 0).all())


@salver.step
def kind_of(x: Any) -> int:
    return int(abs(x).sum()) % 3


@salver.step
def parts(x: Any) -> dict[str, Any]:
    return {"low": x - 1, "high": x + 1}


@salver.step
def listed(x: list[list[float]]) -> list[list[float]]:
    assert isinstance(x, list)
    return [[value + 1 for value in row] for row in x]


def asked(name: str, factor: float) -> Any:
    def predict(x: Any) -> Any:
        ASKED.append(name)
        return np.asarray(x, dtype=float) * factor

    return predict


def broken(x: Any) -> Any:
    raise ModelFailed("it is broken")


class Tripling:
    def predict(self, x: Any) -> Any:
        return x * 3


MODELS = {"a": asked("a", 0.5), "b": asked("b", -1.0), "c": Tripling()}
FUNCTIONS = {
    name: globals()[name] for name in ("doubled", "minus", "is_positive", "kind_of", "parts")
}
ROW = np.array([[1.0, 2.0]])


def answer_of(body: Any, x: Any = ROW, **extra: Any) -> Any:
    return salver.graph(name="graph")(body).test(x, models={**MODELS, **extra})


def test_a_graph_runs_with_functions_and_estimators_as_its_models() -> None:
    def body(x: Any) -> Any:
        f = doubled(x)
        return salver.average(salver.model("a")(f), salver.model("c")(f)) if is_positive(f) else f

    assert answer_of(body).tolist() == [[3.5, 7.0]]
    assert answer_of(body, -ROW).tolist() == [[-2.0, -4.0]]


def test_a_bound_graph_is_a_function() -> None:
    graph = salver.graph(name="graph")(lambda x: salver.model("m")(x))
    assert graph.bind(m=lambda x: x + 1)(np.zeros(2)).tolist() == [1.0, 1.0]


def test_a_model_that_was_not_given_is_named() -> None:
    graph = salver.graph(name="graph")(lambda x: salver.model("gbm")(x))
    with pytest.raises(GraphError, match=r"there is no model 'gbm' to ask .* did you mean 'gbn'"):
        graph.test(ROW, models={"gbn": None})
    with pytest.raises(GraphError, match="there is no model 'gbm'"):
        graph(ROW)


def test_what_cannot_be_served_cannot_be_tested() -> None:
    with pytest.raises(GraphError, match="calculating with it"):
        answer_of(lambda x: doubled(x) + 1)
    with pytest.raises(GraphError, match="graph graph cannot be called so"):
        salver.graph(name="graph")(lambda x: doubled(x)).test()


def test_functions_get_what_their_hints_ask_for_as_in_a_worker() -> None:
    assert answer_of(lambda x: listed(x)).tolist() == [[2.0, 3.0]]


def test_tensors_go_by_name() -> None:
    def body(age: Any, income: Any) -> Any:
        f = parts(minus(income, age))
        return salver.model("m")(f["high"], other=f["low"])

    def predict(given: Any) -> Any:
        assert sorted(given) == ["high", "other"]
        return given["high"] * 10 + given["other"]

    graph = salver.graph(name="graph")(body)
    answer = graph.test(age=np.array([1.0]), income=np.array([3.0]), models={"m": predict})
    assert answer.tolist() == [31.0]


def test_a_hedge_goes_on_to_the_next_one_that_answers() -> None:
    ASKED.clear()
    hedge = salver.first_of("a", "b", after_ms=1)
    assert answer_of(lambda x: hedge(x)).tolist() == [[0.5, 1.0]]
    assert ASKED == ["a"]
    assert answer_of(lambda x: hedge(x), a=broken).tolist() == [[-1.0, -2.0]]
    with pytest.raises(ModelFailed, match="it is broken"):
        answer_of(lambda x: hedge(x), a=broken, b=broken)


def test_a_cascade_asks_the_expensive_one_only_if_it_is_needed() -> None:
    def body(x: Any) -> Any:
        return salver.cascade("a", "b", threshold=0.9)(x)

    ASKED.clear()
    assert answer_of(body).tolist() == [[0.5, 1.0]]
    assert ASKED == ["a"]
    assert answer_of(body, ROW / 10).tolist() == [[-0.1, -0.2]]


def test_a_quorum_goes_on_with_those_that_answer() -> None:
    def body(x: Any) -> Any:
        return salver.quorum(2, "a", "b", "c")(x)

    assert answer_of(body, a=broken).tolist() == [[1.0, 2.0]]
    with pytest.raises(RequestError, match="only 1 of the 2 answers needed came; a: it is broken"):
        answer_of(body, a=broken, b=broken)


def test_a_router_takes_the_arm_that_it_is_told_to() -> None:
    graph = salver.graph(name="graph")(lambda x: salver.router("ucb1", arms=["a", "b"])(x))

    def second(router: str, arms: Sequence[str]) -> int:
        assert (router, tuple(arms)) == ("router", ("a", "b"))
        return 1

    assert graph.test(ROW, models=MODELS).tolist() == [[0.5, 1.0]]
    assert graph.test(ROW, models=MODELS, choose=second).tolist() == [[-1.0, -2.0]]
    with pytest.raises(GraphError, match="has 2 arms and no number 7"):
        graph.test(ROW, models=MODELS, choose=lambda *_: 7)


def test_a_choice_takes_the_part_of_that_number() -> None:
    def body(x: Any) -> Any:
        return salver.choose(kind_of(x), "a", "b", lambda x: doubled(doubled(x)))(x)

    assert answer_of(body, np.array([3.0])).tolist() == [1.5]
    assert answer_of(body, np.array([2.0])).tolist() == [8.0]
    short = salver.graph(name="graph")(lambda x: salver.choose(kind_of(x), "a", "b")(x))
    with pytest.raises(GraphError, match="choose has 2 parts, and the decision is 2"):
        short.test(np.array([2.0]), models=MODELS)


def test_combinations() -> None:
    x = np.array([[0.2, 0.8]])
    weighted = answer_of(
        lambda x: salver.weighted(salver.model("a")(x), doubled(x), weights=[3, 1]), x
    )
    assert weighted == pytest.approx(x * 0.875)
    assert answer_of(lambda x: salver.stack(x, doubled(x)), x).shape == (1, 4)
    assert answer_of(lambda x: salver.vote(x, doubled(x), soft=True), x).tolist() == [1]


def test_steps_are_called_in_graphs_only() -> None:
    with pytest.raises(GraphError, match="average is called with 1, which is no answer"):
        salver.average(1, 2)
    with pytest.raises(GraphError, match=r"put together in a function with @salver\.graph"):
        salver.router("ucb1", arms=["a", "b"])(1)


# Random graphs: the Python and the plan answer the same.


def build(depth: int) -> st.SearchStrategy[Any]:
    """A random expression, as nested tuples."""
    leaf = st.just(("x",))
    if not depth:
        return leaf
    inner = build(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(st.sampled_from(["doubled", "a", "b", "c", "inner"]), inner),
        st.tuples(st.sampled_from(["average", "minus", "weighted", "quorum"]), inner, inner),
        st.tuples(st.just("if"), inner, inner, inner),
        st.tuples(st.sampled_from(["hedge", "cascade", "router", "choose"]), inner),
        st.tuples(st.just("picked"), inner, st.sampled_from(["low", "high"])),
    )


def evaluated(tree: Any, x: Any) -> Any:
    kind, *rest = tree
    if kind == "x":
        return x
    if kind == "if":
        return evaluated(rest[1 if is_positive(evaluated(rest[0], x)) else 2], x)
    if kind == "inner":
        return salver.graph(name="inner")(lambda y: evaluated(rest[0], y))(x)
    first = evaluated(rest[0], x)
    if kind == "picked":
        return minus(parts(first)[rest[1]], first)
    if kind in ("average", "minus", "weighted"):
        second = evaluated(rest[1], x)
        if kind == "weighted":
            return salver.weighted(first, second, weights=[1, 2])
        return (minus if kind == "minus" else salver.average)(first, second)
    return part_of(kind)(first) if kind != "choose" else chosen(first)


def chosen(x: Any) -> Any:
    return salver.choose(kind_of(x), "a", doubled, lambda x: salver.model("c")(doubled(x)))(x)


def part_of(kind: str) -> Any:
    return {
        "doubled": doubled,
        "a": salver.model("a"),
        "b": salver.model("b"),
        "c": salver.model("c"),
        "quorum": salver.quorum(2, "broken", "b", "c"),
        "hedge": salver.first_of("broken", "b", after_ms=1),
        "cascade": salver.cascade("a", "b", threshold=0.7),
        "router": salver.router("weights", arms=["a", "b"], weights=[1, 1]),
    }[kind]


@settings(max_examples=120, deadline=None)
@given(tree=build(3), values=st.lists(st.integers(-3, 3), min_size=2, max_size=2))
def test_the_plan_of_a_random_graph_answers_what_its_python_answers(
    tree: Any, values: list[int]
) -> None:
    def body(x: Any) -> Any:
        return doubled(evaluated(tree, x))

    graph = Graph(body, "graph", 0.0)
    models = {**MODELS, "broken": broken}
    x = np.array([values], dtype=float)
    try:
        desire = desire_of(graph)
    except GraphError as error:
        assert "more than 64 ways" in str(error)
        return
    planned = interpret(desire, x, functions=FUNCTIONS, run=Run(models, first_arm))
    assert np.asarray(planned).tolist() == np.asarray(graph.test(x, models=models)).tolist()
