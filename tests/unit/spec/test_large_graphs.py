"""Graphs of a thousand steps, and objects nested a thousand deep: read at once, or refused."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from salver.control.graph_compiling import compiled_alone
from salver.spec.read import parse_object, read_manifests
from salver.spec.steps import MOST_STEPS, way_text

PATIENCE_S = 10.0
"""Far more than any of these takes, far less than what grows with the square of the steps."""


def graph(api: str, kind: str, spec: dict[str, Any], name: str = "large") -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def chain(count: int) -> dict[str, Any]:
    """Written from the last step to the first, the worst order for those who sort them."""
    steps = [
        {"name": f"s{at}", "model": "iris", "inputs": [f"s{at - 1}"] if at else ["request"]}
        for at in range(count)
    ]
    last = f"s{count - 1}"
    return graph("salver.dev/v1", "Graph", {"steps": steps[::-1], "output": [last]})


def pipeline(count: int) -> dict[str, Any]:
    steps = [
        {"name": f"s{at}", "inputs": [f"s{at - 1}.outputs.X"] if at else ["large.inputs"]}
        for at in range(count)
    ]
    output = {"steps": [f"s{count - 1}"]}
    spec = {"steps": steps[::-1], "output": output}
    return graph("mlops.seldon.io/v1alpha1", "Pipeline", spec)


def inference_graph(count: int) -> dict[str, Any]:
    """A chain of nodes of 25 steps each, the last of which goes on with the next node."""
    size = 25
    nodes: dict[str, Any] = {}
    for at in range(0, count, size):
        steps = [{"serviceName": "iris"}] * (size - 1) + [{"nodeName": f"n{at + size}"}]
        nodes[f"n{at}" if at else "root"] = {"routerType": "Sequence", "steps": steps}
    steps[-1] = {"serviceName": "iris"}
    return graph("serving.kserve.io/v1alpha1", "InferenceGraph", {"nodes": nodes})


def seldon(count: int) -> dict[str, Any]:
    """As wide as there are nodes: it cannot be deep."""
    nodes = [{"name": f"n{at}", "implementation": "SIMPLE_MODEL"} for at in range(count - 1)]
    root = {"name": "root", "implementation": "AVERAGE_COMBINER", "children": nodes}
    predictors = [{"name": "main", "graph": root}]
    return graph("machinelearning.seldon.io/v1", "SeldonDeployment", {"predictors": predictors})


def experiment(count: int) -> dict[str, Any]:
    candidates = [{"name": f"m{at}", "weight": 1} for at in range(count)]
    return graph("mlops.seldon.io/v1alpha1", "Experiment", {"candidates": candidates})


KINDS = [chain, pipeline, inference_graph, seldon, experiment]
Maker = Callable[[int], dict[str, Any]]


def problems_within_patience(obj: dict[str, Any]) -> list[str]:
    begun = time.perf_counter()
    found = [str(each) for each in parse_object(obj).problems]
    assert time.perf_counter() - begun < PATIENCE_S
    return found


@pytest.mark.parametrize("make", KINDS)
def test_a_graph_of_a_thousand_steps_is_read_and_compiled(make: Maker) -> None:
    obj = make(MOST_STEPS)
    assert problems_within_patience(obj) == []
    begun = time.perf_counter()
    desire = compiled_alone(obj)
    assert time.perf_counter() - begun < PATIENCE_S
    assert desire is not None


@pytest.mark.parametrize("make", KINDS)
def test_a_graph_of_more_is_refused(make: Maker) -> None:
    found = problems_within_patience(make(20 * MOST_STEPS))
    assert any("20000" in problem and "1000" in problem for problem in found)
    assert len(found) <= 2


def deep_inference_graph(count: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {
        f"n{at}" if at else "root": {
            "routerType": "Sequence",
            "steps": [{"nodeName": f"n{at + 1}"} if at < count - 1 else {"serviceName": "iris"}],
        }
        for at in range(count)
    }
    return graph("serving.kserve.io/v1alpha1", "InferenceGraph", {"nodes": nodes})


def test_nodes_may_lead_to_nodes_so_deep_and_no_deeper() -> None:
    deep = deep_inference_graph(64)
    assert problems_within_patience(deep) == []
    assert compiled_alone(deep) is not None
    (problem,) = problems_within_patience(deep_inference_graph(1000))
    assert problem.startswith("spec.nodes: lead from one to the next for 1000 nodes; at most 64")


def test_a_long_circle_is_shown_with_its_middle_left_out() -> None:
    obj = chain(MOST_STEPS)
    obj["spec"]["steps"][-1]["inputs"] = ["s999"]
    (problem,) = problems_within_patience(obj)
    assert "waits for itself: s999 -> s0 -> s1 -> s2 -> s3 -> s4 -> ... 990 more ... -> " in problem
    assert len(problem) < 250


def test_a_way_of_a_few_steps_is_shown_whole() -> None:
    assert way_text(["a", "b", "a"]) == "a -> b -> a"
    assert way_text(["a", "two\nlines", ""]) == "a -> 'two\\nlines' -> ''"


@pytest.mark.parametrize("make", [chain, pipeline, inference_graph])
def test_a_thousand_unknown_names_are_told_a_hundred_times_in_bounded_time(make: Maker) -> None:
    text = json.dumps(make(MOST_STEPS))
    for number in range(MOST_STEPS):
        text = text.replace(f'["s{number}"', f'["z{number}"')
        text = text.replace(f'["s{number}.', f'["z{number}.')
        text = text.replace(f'"nodeName": "n{number}"', f'"nodeName": "zz{number}"')
    found = problems_within_patience(json.loads(text))
    assert 0 < len(found) <= 100
    assert all("\n" not in each for each in found)


def nested(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"name": "n0", "implementation": "SIMPLE_MODEL"}
    for level in range(1, levels):
        node = {"name": f"n{level}", "implementation": "SIMPLE_MODEL", "children": [node]}
    predictors = [{"name": "main", "graph": node}]
    return graph("machinelearning.seldon.io/v1", "SeldonDeployment", {"predictors": predictors})


def test_a_tree_of_twenty_levels_is_read_and_compiled() -> None:
    assert problems_within_patience(nested(20)) == []
    assert compiled_alone(nested(20)) is not None


@pytest.mark.parametrize("levels", [40, 150, 400])
def test_a_tree_too_deep_is_refused_at_its_place(levels: int) -> None:
    (problem,) = problems_within_patience(nested(levels))
    assert problem.startswith("spec.predictors[0].graph.children[0].children[0].")
    assert problem.endswith(": is nested deeper than 64 levels")


@pytest.mark.parametrize("levels", [30, 400, 100_000])
def test_a_text_too_deep_is_refused_on_its_line(levels: int) -> None:
    head = "apiVersion: salver.dev/v1\nkind: Graph\nmetadata: {name: deep}\nspec:\n  steps: "
    text = head + "[" * levels * 2 + "]" * levels * 2
    (problem,) = read_manifests(text, "deep.yaml").problems
    assert str(problem).startswith("deep.yaml:5: ") and "\n" not in str(problem)


def test_anchors_multiply_steps_only_within_bounds() -> None:
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{at}: &a{at + 1} [{', '.join([f'*a{at}'] * 10)}]" for at in range(8)]
    (problem,) = read_manifests("\n".join(lines), "bomb.yaml").problems
    assert "aliases stand for more than" in str(problem)


def test_steps_made_of_anchors_are_steps() -> None:
    text = """
apiVersion: salver.dev/v1
kind: Graph
metadata: {name: anchored}
spec:
  steps:
  - &base {name: a, model: iris, timeoutSeconds: 2}
  - {<<: *base, name: b, inputs: [a]}
"""
    reading = read_manifests(text, "anchored.yaml")
    assert reading.problems == ()
    assert [each.timeout_seconds for each in reading.manifests[0].resource.spec.steps] == [2, 2]
