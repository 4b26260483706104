"""InferenceGraphs that cannot be meant: refused, with the path in the graph."""

from __future__ import annotations

from typing import Any

import pytest

from salver.spec.gjson_faults import always_exists, fault
from salver.spec.read import parse_object, read_manifests

A, B = {"serviceName": "a"}, {"serviceName": "b"}


def problems(
    nodes: dict[str, Any], annotations: dict[str, str] | None = None, name: str = "g"
) -> list[str]:
    parsed = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "InferenceGraph",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"nodes": nodes},
        }
    )
    return [f"{each.path}: {each.message}" for each in parsed.problems]


def node(kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": kind, "steps": list(steps)}


def root(kind: str, *steps: dict[str, Any], **others: Any) -> list[str]:
    return problems({"root": node(kind, *steps), **others})


def test_a_graph_as_in_the_documentation_has_no_problems() -> None:
    nodes = {
        "root": node("Sequence", {"nodeName": "kind"}, A | {"data": "$response"}),
        "kind": node("Switch", A | {"condition": "[@this].#(x==1)"}, {"nodeName": "split"}),
        "split": node("Splitter", A | {"weight": 20}, {"serviceUrl": "http://h/x", "weight": 80}),
    }
    assert problems(nodes) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            problems({"Root": node("Sequence", A)}),
            "spec.nodes: has no node 'root', at which requests begin: is it 'Root'?",
        ),
        (
            root("Sequence", {"nodeName": "inner"}, inner2=node("Sequence", A)),
            "spec.nodes.root.steps[0].nodeName: there is no node 'inner'; did you mean 'inner2'?",
        ),
        (
            root("Sequence", {"name": "x"}),
            "spec.nodes.root.steps[0]: asks nobody; give it one of nodeName, serviceName, "
            "serviceUrl",
        ),
        (
            root("Sequence", A | {"serviceUrl": "http://h"}),
            "spec.nodes.root.steps[0].serviceUrl: contradicts 'serviceName'; keep one of the two",
        ),
        (
            root("Sequence", {"serviceUrl": "h:80/x"}),
            "spec.nodes.root.steps[0].serviceUrl: is no http(s) address: 'h:80/x'; write e.g. http://HOST:PORT/PATH",
        ),
        (
            root("Sequence", {"serviceUrl": "http://h:x/"}),
            "spec.nodes.root.steps[0].serviceUrl: is no http(s) address: 'http://h:x/'; write e.g. "
            "http://HOST:PORT/PATH",
        ),
        (
            root("Ensemble"),
            "spec.nodes.root.steps: is required: without any, the Ensemble asks nobody",
        ),
        (
            root("Splitter", A | {"weight": 30}, B | {"weight": 60}),
            "spec.nodes.root.steps: the weights add up to 30 + 60 = 90, not to 100",
        ),
        (
            root("Splitter", A | {"weight": 30}, B),
            "spec.nodes.root.steps[1].weight: is required in a Splitter: percent of requests",
        ),
        (
            root("Ensemble", A | {"name": "x"}, B | {"name": "x"}),
            "spec.nodes.root.steps[1].name: two steps are named 'x'; see steps[0]",
        ),
        (
            root("Sequence", A, B | {"data": "$respones"}),
            "spec.nodes.root.steps[1].data: must be '$request' or '$response', found '$respones', "
            "which KServe's router takes for '$request'; did you mean '$response'?",
        ),
        (
            root("Sequence", A | {"condition": "x"}),
            "spec.nodes.root.steps[0].condition: has no answer to look into: it is the Sequence's "
            "first step",
        ),
        (
            root("Switch", A | {"condition": "x.#(y==1"}),
            "spec.nodes.root.steps[0].condition: has no ')' for '(y==1'",
        ),
        (
            root("Sequence", A, other=node("Sequence", A)),
            "spec.nodes.other: is reached by no step; name it in a step, or remove it",
        ),
        (
            root("Sequence", {"serviceName": "g"}),
            "spec.nodes.root.steps[0].serviceName: is this graph itself: a request would never end",
        ),
        (
            problems({"root": node("Sequence", A)}, {"salver.dev/router.root": "{}"}),
            "metadata.annotations['salver.dev/router.root']: node 'root' is of type Sequence; only "
            "a Splitter can learn",
        ),
        (
            problems({"root": node("Sequence", A)}, {"salver.dev/router.rot": "{}"}),
            "metadata.annotations['salver.dev/router.rot']: there is no node 'rot'; did you mean "
            "'root'?",
        ),
        (
            problems({"root": node("Sequence", A)}, {"salver.dev/propagate-headers": "x,["}),
            "metadata.annotations['salver.dev/propagate-headers']: has '[', no regular expression: "
            "unterminated character set at position 0",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(found: list[str], said: str) -> None:
    assert said in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "must be an object with 'algorithm'"),
        ('{"algorithm": "x", "floor": 1}', "has an unknown field 'floor'; put it into"),
        ('{"algorithm": "x", "parameters": {"a": []}}', "must have texts or numbers"),
    ],
)
def test_a_router_that_learns_says_how(text: str, said: str) -> None:
    nodes = {"root": node("Splitter", A | {"weight": 100})}
    (found,) = problems(nodes, {"salver.dev/router.root": text})
    assert said in found


def test_a_circle_is_shown_with_its_nodes() -> None:
    nodes = {
        "root": node("Sequence", A, {"nodeName": "x"}),
        "x": node("Ensemble", {"nodeName": "y"}, B),
        "y": node("Sequence", {"nodeName": "x"}),
    }
    assert problems(nodes) == [
        "spec.nodes.y.steps[0].nodeName: leads in a circle: x -> y -> x; a request would never end"
    ]
    nodes["x"]["steps"] = [{"nodeName": "x"}]
    del nodes["y"]
    assert problems(nodes) == [
        "spec.nodes.x.steps[0].nodeName: leads in a circle: x -> x; a request would never end"
    ]


def test_nodes_that_multiply_are_refused_before_they_do() -> None:
    nodes = {
        f"n{level}": node("Ensemble", *[{"nodeName": f"n{level + 1}"}] * 2) for level in range(60)
    }
    nodes |= {"root": node("Sequence", {"nodeName": "n0"}), "n60": node("Sequence", A)}
    (found,) = problems(nodes)
    assert found.startswith("spec.nodes: have ")
    assert "at most 1000 are allowed" in found


def test_a_long_chain_of_nodes_is_fine() -> None:
    nodes = {f"n{at}": node("Sequence", {"nodeName": f"n{at + 1}"}) for at in range(62)}
    nodes |= {"root": node("Sequence", {"nodeName": "n0"}), "n62": node("Sequence", A)}
    assert problems(nodes) == []


def test_names_are_as_kserve_allows_them() -> None:
    nodes = {"root": node("Sequence", A)}
    assert problems(nodes, name="my-graph") == []
    for bad in ("1g", "a.b", "A"):
        (found,) = problems(nodes, name=bad)
        assert found.startswith("metadata.name: ")


def test_an_unknown_field_names_the_nearest_known_one() -> None:
    (found,) = root("Sequence", {"servicename": "a"})
    assert "did you mean 'serviceName'?" in found


def test_problems_have_the_lines_of_the_yaml() -> None:
    text = """\
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata:
  name: g
spec:
  resources: {limits: {cpu: 1}}
  nodes:
    root:
      routerType: Switch
      steps:
      - serviceName: a
        condition: "{ .input.userId == 1 }"
"""
    reading = read_manifests(text, "g.yaml")
    (problem,) = reading.problems
    assert (problem.line, problem.path) == (12, "spec.nodes.root.steps[0].condition")
    assert "write '[@this].#(input.userId==1)'" in problem.message
    assert [note.path for note in reading.notes] == ["spec.resources"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "is empty"),
        ("a..b", "has an empty part"),
        ("a.", "has an empty part"),
        ("a==1", "compares outside of a query, in 'a==1': write '[@this].#(a==1)'"),
        ("rows.@revers", "has no modifier '@revers'; did you mean '@reverse'?"),
        ("$.a", "is JSONPath"),
        ("a.#(b~1)", ""),
        ("a.#()", "has a query without a question"),
        ("a.#(b c)", ""),
        ("[a,]", "has an empty path"),
        ("a.#(b==1)x", "where '.', '|' or its end is expected"),
        ("!yes", "has no JSON behind the '!'"),
        ("a" * 5000, "is longer than 4096 characters"),
        ("[" * 40 + "a" + "]" * 40, "is nested deeper than 32 levels"),
    ],
)
def test_paths_that_cannot_be_meant_say_what_to_write(path: str, said: str) -> None:
    assert (said in fault(path)) if said else fault(path) == ""


@pytest.mark.parametrize(
    ("path", "always"),
    [("a.#(b==1)#", True), ("a.#.b", True), ("a.#(b==1)", False), ("a", False), ("#(", False)],
)
def test_paths_that_find_something_where_nothing_matches_are_known(path: str, always: bool) -> None:
    assert always_exists(path) is always
