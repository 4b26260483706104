"""Seldon v2's Models, Pipelines and Experiments as graphs."""

from __future__ import annotations

from typing import Any

import pytest

from salver.graphs.flow import Edge, FeedJoin, Flow, GraphDesire, Service
from salver.graphs.plan import ModelRunner
from salver.graphs.seldon_v2 import compile_experiment, compile_model, compile_pipeline
from salver.graphs.selection import PlanError
from salver.spec.read import read_manifests


def resources(text: str) -> list[Any]:
    reading = read_manifests(text, "")
    assert not reading.problems
    return [each.resource for each in reading.manifests]


def manifest(kind: str, spec: str, name: str = "it") -> str:
    body = "".join(f"  {line}\n" for line in spec.strip().splitlines())
    return (
        f"apiVersion: mlops.seldon.io/v1alpha1\nkind: {kind}\n"
        f"metadata:\n  name: {name}\nspec:\n{body}---\n"
    )


def pipeline(spec: str, name: str = "it") -> GraphDesire:
    return compile_pipeline(resources(manifest("Pipeline", spec, name))[0])


def flow(spec: str, name: str = "it") -> Flow:
    return pipeline(spec, name).variants[0].flow


def model(spec: str, *others: str) -> GraphDesire:
    found = resources(manifest("Model", spec) + "".join(others))
    servers = [each for each in found if each.kind == "Server"]
    configs = [each for each in found if each.kind == "ServerConfig"]
    return compile_model(found[0], servers, configs)


# Pipelines.


def test_a_chain_gives_all_tensors_on_under_new_names() -> None:
    chain = flow(
        """
steps:
- name: tfsimple1
- name: tfsimple2
  inputs: [tfsimple1]
  tensorMap:
    tfsimple1.outputs.OUTPUT0: INPUT0
    tfsimple1.outputs.OUTPUT1: INPUT1
output: {steps: [tfsimple2]}
"""
    )
    first, second = chain.steps
    assert (first.action, first.inputs) == (Service("default", "tfsimple1"), (Edge(),))
    renames = (("OUTPUT0", "INPUT0"), ("OUTPUT1", "INPUT1"))
    assert second.inputs == (Edge("tfsimple1", renames=renames),)
    assert chain.output == (Edge("tfsimple2"),)
    assert (chain.output_join, chain.merges_output) == ("inner", False)


def test_a_join_takes_one_tensor_of_each() -> None:
    join = flow(
        """
steps:
- name: last
  inputs: [a.outputs.OUTPUT0, b.outputs.OUTPUT1, a.inputs.X]
  tensorMap: {a.outputs.OUTPUT0: INPUT0, b.outputs.OUTPUT1: INPUT1}
  triggers: [check.outputs.OUTPUT]
  triggersJoinType: any
- name: a
- name: b
- name: check
output: {steps: [last]}
"""
    )
    assert [step.name for step in join.steps] == ["a", "b", "check", "last"]
    last = join.steps[-1]
    assert last.inputs == (
        Edge("a", tensor="OUTPUT0", rename="INPUT0"),
        Edge("b", tensor="OUTPUT1", rename="INPUT1"),
        Edge("a", end="inputs", tensor="X"),
    )
    assert last.triggers == (Edge("check", tensor="OUTPUT"),)
    assert (last.join, last.triggers_join, last.path) == ("inner", "any", "spec.steps[0]")


def test_the_pipelines_own_inputs_are_the_request() -> None:
    found = flow(
        """
steps:
- name: mul10
  inputs: [it.inputs.INPUT0]
  tensorMap: {it.inputs.INPUT0: INPUT}
- name: add10
output: {steps: [mul10, add10]}
"""
    )
    assert found.steps[0].inputs == (Edge(tensor="INPUT0", rename="INPUT"),)
    assert found.output == (Edge("mul10"), Edge("add10"))
    assert found.merges_output


def test_an_any_join_of_the_output_merges_nothing() -> None:
    found = flow("steps: [{name: a}, {name: b}]\noutput: {steps: [a, b], stepsJoin: any}")
    assert (found.output_join, found.merges_output) == ("any", False)


def test_a_window_belongs_to_outer_joins_alone() -> None:
    found = pipeline(
        """
steps:
- {name: a}
- {name: b, inputs: [a, it.inputs], inputsJoinType: outer, joinWindowMs: 250}
- {name: c, inputs: [a], joinWindowMs: 1}
output: {steps: [b, c], stepsJoin: outer, joinWindowMs: 50}
"""
    )
    _, b, c, output = found.variants[0].flow.steps
    assert (b.join, b.window_s, c.window_s) == ("outer", 0.25, 0.0)
    assert (output.join, output.window_s) == ("outer", 0.05)
    assert found.variants[0].flow.output == (Edge(output.name),)
    assert any("spec.steps[2].joinWindowMs has no effect" in note for note in found.notes)


def test_steps_of_a_cycle_and_those_after_it_run_again() -> None:
    found = flow(
        """
allowCycles: true
maxStepRevisits: 7
steps:
- {name: before}
- {name: counter, inputs: [before, loop], inputsJoinType: any}
- {name: loop, inputs: [counter.outputs.output], triggers: [counter.outputs.continue]}
- {name: last, inputs: [counter], triggers: [counter.outputs.stop]}
output: {steps: [last.outputs]}
"""
    )
    visits = {step.name: step.max_visits for step in found.steps}
    assert visits == {"before": 1, "counter": 8, "loop": 8, "last": 8}


def test_a_pipeline_answers_to_its_header_and_tells_its_route() -> None:
    found = pipeline("steps: [{name: a}]\noutput: {steps: [a]}", name="chain")
    assert found.addresses == ("model:chain.pipeline",)
    assert found.tells_route
    assert found.variants[0].name == "chain.pipeline"
    assert found.references == (Service("default", "a"),)


def test_a_pipeline_without_output_answers_nobody() -> None:
    found = pipeline("steps: [{name: a}]")
    assert found.variants[0].flow.output == ()
    assert "answers nobody" in found.notes[0]


def test_other_pipelines_feed_it() -> None:
    found = pipeline(
        """
input:
  externalInputs: [one.outputs, two.step.tfsimple1.outputs.X]
  externalTriggers: [three.inputs]
  joinType: outer
  joinWindowMs: 20
  tensorMap: {one.outputs.OUTPUT0: INPUT0, two.step.tfsimple1.outputs.X: Y}
steps: [{name: a}]
output: {steps: [a]}
"""
    )
    first, second, trigger = found.feeds
    assert (first.graph, first.edge) == ("one", Edge(renames=(("OUTPUT0", "INPUT0"),)))
    assert (second.graph, second.edge) == ("two", Edge("tfsimple1", tensor="X", rename="Y"))
    assert (trigger.graph, trigger.edge, trigger.is_trigger) == (
        "three",
        Edge(end="inputs"),
        True,
    )
    assert found.feeds_join == FeedJoin("outer", "inner", 0.02)


# Experiments.


def test_an_experiment_stands_in_for_its_default() -> None:
    (resource,) = resources(
        manifest(
            "Experiment",
            """
default: iris
candidates: [{name: iris, weight: 1}, {name: iris2, weight: 3}]
mirror: {name: iris3, percent: 20}
""",
        )
    )
    found = compile_experiment(resource)
    assert [(each.name, each.percent) for each in found.variants] == [
        ("iris", 25.0),
        ("iris2", 75.0),
    ]
    assert found.variants[0].flow.steps[0].action == Service("default", "iris")
    assert found.shadow is not None
    assert (found.shadow.name, found.shadow_percent) == ("iris3", 20.0)
    assert found.addresses == ("model:it.experiment", "name:iris")


def test_an_experiment_on_pipelines_names_them_as_such() -> None:
    (resource,) = resources(
        manifest(
            "Experiment",
            "default: a\nresourceType: pipeline\n"
            "candidates: [{name: a, weight: 50}, {name: b, weight: 50}]",
        )
    )
    found = compile_experiment(resource)
    assert [each.name for each in found.variants] == ["a.pipeline", "b.pipeline"]
    assert found.references == (
        Service("default", "a.pipeline"),
        Service("default", "b.pipeline"),
    )
    assert found.addresses == ("model:it.experiment", "name:a.pipeline")
    assert found.shadow is None


# Models.


def test_a_model_is_a_graph_of_one_unit() -> None:
    found = model(
        """
storageUri: gs://seldon-models/iris
artifactVersion: 3
requirements: [sklearn]
memory: 1Mi
parameters: [{name: threshold, value: "0.5"}]
"""
    )
    (unit,) = found.units
    runner = unit.plan.runner
    assert isinstance(runner, ModelRunner)
    assert (runner.uri, runner.runtime) == ("gs://seldon-models/iris/3", "")
    assert runner.options == '{"threshold":"0.5"}'
    assert found.exposes_unit == unit.name
    assert (unit.plan.scaling.min_replicas, unit.plan.scaling.max_replicas) == (1, 1)


def test_bounds_of_replicas_make_them_follow_the_load() -> None:
    found = model("storageUri: gs://a/b\nreplicas: 2\nminReplicas: 0\nmaxReplicas: 4")
    scaling = found.units[0].plan.scaling
    assert (scaling.min_replicas, scaling.max_replicas, scaling.initial_scale) == (1, 4, 2)


def test_a_requirement_that_no_server_has_is_named() -> None:
    with pytest.raises(PlanError, match=r"'mlserver' comes closest and lacks 'sklern'.*sklearn"):
        model("storageUri: gs://a/b\nrequirements: [mlserver, sklern]")


def test_requirements_are_not_gathered_from_several_servers() -> None:
    with pytest.raises(PlanError, match="lacks 'tensorflow'"):
        model("storageUri: gs://a/b\nrequirements: [sklearn, tensorflow]")


def test_a_server_may_be_capable_of_more() -> None:
    server = manifest("Server", "serverConfig: mlserver\nextraCapabilities: [fast]", "quick")
    assert model("storageUri: gs://a/b\nrequirements: [sklearn, fast]", server).units
    assert model("storageUri: gs://a/b\nrequirements: [fast]\nserver: quick", server).units
    with pytest.raises(PlanError, match="lacks 'fast'"):
        model("storageUri: gs://a/b\nrequirements: [fast]\nserver: triton", server)
    with pytest.raises(PlanError, match=r"no Server 'quik'.*did you mean 'quick'"):
        model("storageUri: gs://a/b\nserver: quik", server)


def test_a_server_config_says_what_its_agent_says() -> None:
    config = manifest(
        "ServerConfig",
        """
podSpec:
  containers:
  - name: agent
    env: [{name: SELDON_SERVER_CAPABILITIES, value: "tiny, small"}]
""",
        "own",
    )
    server = manifest("Server", "serverConfig: own", "own")
    assert model("storageUri: gs://a/b\nrequirements: [tiny]", server, config).units


def test_a_format_without_a_runtime_is_noted() -> None:
    found = model("storageUri: gs://seldon-models/triton/simple\nrequirements: [dali]")
    assert "'dali' has no runtime of its own here" in found.notes[0]


@pytest.mark.parametrize("field", ["explainer", "llm"])
def test_explainers_and_language_models_are_refused(field: str) -> None:
    with pytest.raises(PlanError, match=f"spec.{field} is not carried out"):
        model(f"storageUri: gs://a/b\n{field}: {{modelRef: iris}}")
