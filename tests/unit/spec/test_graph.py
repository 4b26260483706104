"""The kind Graph: what is right is read, what is wrong is told with its path."""

from typing import Any

import pytest
import yaml

from salver.spec.explain import explain
from salver.spec.graph import Source, source_of
from salver.spec.read import parse_object, read_manifests

STEPS = """
- {name: features, python: "fraud.py:features"}
- {name: is_large, python: "fraud.py:is_large", inputs: [features]}
- {name: gbm, model: gbm, inputs: [features], when: {step: is_large, branch: true}}
- {name: mlp, model: mlp, inputs: [features.a as b], when: {step: is_large, branch: true}}
- {name: both, combine: weighted, weights: [1, 2], inputs: [gbm, mlp]}
- {name: sure, decide: confident, threshold: 0.9, inputs: [both]}
- {name: split, choose: {branches: [old, new], weights: [90, 10], stickyHeader: x-user}}
- {name: rules, modelUri: rules.skops, inputs: [split], when: {step: split, branch: new}}
- {name: far, url: "http://far/predict", when: {step: sure, branch: unsure}, timeoutSeconds: 0.5}
- {name: all, combine: first, inputs: [far, both, rules]}
"""


def graph(steps: str | list[Any], **spec: Any) -> dict[str, Any]:
    listed = yaml.safe_load(steps) if isinstance(steps, str) else steps
    return {
        "apiVersion": "salver.dev/v1",
        "kind": "Graph",
        "metadata": {"name": "fraud"},
        "spec": {"steps": listed, **spec},
    }


def faults(steps: str | list[Any], **spec: Any) -> list[str]:
    found = parse_object(graph(steps, **spec)).problems
    return [f"{each.path}: {each.message}" for each in found]


def test_a_graph_with_everything_in_it_is_right() -> None:
    parsed = parse_object(graph(STEPS, timeoutSeconds=2))
    assert parsed.problems == () and parsed.notes == ()
    assert parsed.resource.spec.steps[6].choose.weights == (90, 10)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("features", Source("features")),
        ("features.a", Source("features", "a")),
        ("features.a.b as c", Source("features", "a.b", "c")),
        ("request", Source("request")),
        ("", None),
        ("a b", None),
    ],
)
def test_inputs_are_read(text: str, source: Source | None) -> None:
    assert source_of(text) == source


ONE = "- {name: a, model: m}\n"


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ("[]", "spec.steps: has no steps: name at least one"),
        ("- {name: request, model: m}", "spec.steps[0].name: 'request' is what the graph is asked"),
        ("- {name: a.b, model: m}", "spec.steps[0].name: may have letters, digits, '-' and '_'"),
        (ONE + ONE, "spec.steps[1].name: two steps are named 'a'; the first is steps[0]"),
        ("- {name: a}", "spec.steps[0]: does nothing; give it one of model, modelUri, python"),
        ("- {name: a, model: m, url: 'http://x'}", "spec.steps[0].url: contradicts 'model'"),
        ("- {name: a, modl: m}", "spec.steps[0].modl: unknown field; did you mean 'model'?"),
        ("- {name: a, model: fraud}", "spec.steps[0].model: 'fraud' is this graph itself"),
        ("- {name: a, python: x.py}", "spec.steps[0].python: must be FILE.py:FUNCTION, found"),
        ("- {name: a, url: far}", "spec.steps[0].url: must begin with http:// or https://"),
        ("- {name: a, model: m, runtime: r}", "spec.steps[0].runtime: has a meaning only with"),
        ("- {name: a, combine: stack, soft: true}", "spec.steps[0].soft: has a meaning only with"),
        ("- {name: a, combine: stack, weights: [1]}", "spec.steps[0].weights: have a meaning only"),
        ("- {name: a, combine: weighted}", "spec.steps[0].weights: has 0 for 1 inputs"),
        (
            "- {name: a, combine: weighted, weights: [-1]}",
            "spec.steps[0].weights[0]: must be a number of at least 0, found -1",
        ),
        (
            "- {name: a, combine: weighted, weights: [0]}",
            "spec.steps[0].weights: are all 0: at least one must be more",
        ),
        ("- {name: a, combine: mean}", "spec.steps[0].combine: expected one of average, weighted"),
        (
            ONE + "- {name: b, model: m, inputs: [c]}",
            "spec.steps[1].inputs[0]: there is no step 'c'; there are a, request",
        ),
        (
            "- {name: features, model: m}\n- {name: b, model: m, inputs: [featurse.x]}",
            "spec.steps[1].inputs[0]: there is no step 'featurse'; did you mean 'features'?",
        ),
        ("- {name: a, model: m, inputs: [a b]}", "spec.steps[0].inputs[0]: must be STEP, STEP."),
        (
            "- {name: a, model: m, inputs: [request as x]}",
            "spec.steps[0].inputs[0]: 'as' gives a name to one tensor: request.TENSOR as x",
        ),
        (
            "- {name: a, decide: 'true'}\n- {name: b, model: m, inputs: [a]}",
            "spec.steps[1].inputs[0]: 'a' decides and answers nothing",
        ),
        (
            "- {name: a, choose: {branches: [x, y], weights: [1, 1]}}\n"
            "- {name: b, model: m, inputs: [a]}",
            "spec.steps[1].inputs[0]: 'a' chooses: say with 'when' for which of its branches",
        ),
        (
            ONE + "- {name: b, decide: 'true', inputs: [a, request]}\n"
            "- {name: c, model: m, when: {step: b, branch: true}}",
            "spec.steps[1].inputs: a step that decides has one input, not 2",
        ),
        (
            ONE + "- {name: b, model: m, when: {step: x, branch: true}}",
            "spec.steps[1].when.step: there is no step 'x'; there are a",
        ),
        (
            ONE + "- {name: b, model: m, when: {step: a, branch: yes please}}",
            "spec.steps[1].when.branch: 'a' has no branch 'yes please'; it has false, true",
        ),
        (
            ONE + "- {name: b, model: m, when: {step: a, branch: 2}}",
            "spec.steps[1].when.branch: 'a' has no branch 2; it has false, true",
        ),
        (
            "- {name: a, choose: {branches: [old, new], weights: [1, 1]}}\n"
            "- {name: b, model: m, when: {step: a, branch: nw}}",
            "spec.steps[1].when.branch: 'a' has no branch 'nw'; did you mean 'new'?",
        ),
        (
            "- {name: a, python: 'f.py:f'}\n- {name: b, model: m, when: {step: a, branch: -1}}",
            "spec.steps[1].when.branch: 'a' has no branch -1; write a number from 0 on",
        ),
        (
            "- {name: a, python: 'f.py:f'}\n"
            "- {name: b, model: m, inputs: [a], when: {step: a, branch: 1}}",
            "spec.steps[1].inputs[0]: 'a' decides and answers nothing",
        ),
        ("- {name: a, choose: {branches: [x]}}", "spec.steps[0].choose.branches: must name at lea"),
        (
            "- {name: a, choose: {branches: [x, x], weights: [1, 1]}}",
            "spec.steps[0].choose.branches[1]: two branches are named 'x'",
        ),
        (
            "- {name: a, choose: {branches: [x, y]}}",
            "spec.steps[0].choose: has nothing to choose b",
        ),
        (
            "- {name: a, choose: {branches: [x, y], weights: [1, 1], conditions: [p, q]}}",
            "spec.steps[0].choose.conditions: contradicts 'weights'",
        ),
        (
            "- {name: a, choose: {branches: [x, y], weights: [1]}}",
            "spec.steps[0].choose.weights: has 1 for 2 branches",
        ),
        (
            "- {name: a, choose: {branches: [x, y, z], conditions: [p]}}",
            "spec.steps[0].choose.conditions: has 1 for 3 branches",
        ),
        (
            "- {name: a, choose: {branches: [x, y], conditions: [p], stickyHeader: h}}",
            "spec.steps[0].choose.stickyHeader: has a meaning only with 'weights'",
        ),
        ("- {name: a, model: m, quorum: 2}", "spec.steps[0].quorum: is 2, more than the 1 inputs"),
        (
            "- {name: a, model: m, quorum: 1, join: any}",
            "spec.steps[0].quorum: contradicts 'join: any'",
        ),
        ("- {name: a, model: m, windowSeconds: 1}", "spec.steps[0].windowSeconds: has a meaning"),
        ("- {name: a, model: m, delaySeconds: -1}", "spec.steps[0].delaySeconds: must be at least"),
        (
            "- {name: a, model: m, inputs: [c]}\n- {name: b, model: m, inputs: [a]}\n"
            "- {name: c, model: m, inputs: [b]}",
            "spec.steps[0].inputs: waits for itself: a -> b -> c -> a; take one of these inputs",
        ),
        (
            ONE + "- {name: b, model: m}",
            "spec.steps[0]: nothing of 'a' gets into the answer: name it in the inputs of another",
        ),
    ],
)
def test_a_fault_is_told_with_its_path(steps: str, fault: str) -> None:
    found = faults(steps)
    assert any(each.startswith(fault) for each in found), found


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (["b"], "spec.output[0]: there is no step 'b'; there are a"),
        (["a", "a"], "spec.output[1]: 'a' is named twice"),
    ],
)
def test_outputs_are_steps_that_answer(output: list[str], fault: str) -> None:
    assert fault in faults(ONE, output=output)
    (decides,) = faults("- {name: a, decide: 'true'}", output=["a"])
    assert decides == "spec.output: 'a' decides and answers nothing: name steps that answer"


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    text = yaml.safe_dump(graph("- {name: a, model: m, inputs: [x]}\n- {name: b, inputs: [y]}"))
    assert len(read_manifests(text, "g.yaml").problems) == 4
    assert all(each.line for each in read_manifests(text, "g.yaml").problems)


def test_the_fields_explain_themselves() -> None:
    assert "So many inputs are enough" in explain("graph.spec.steps.quorum")
    assert "weights" in explain("gr.spec.steps.choose")
