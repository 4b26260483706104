"""Valid manifests of all dialects of graphs, and what can be done to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

Json = dict[str, Any]
FOLDER = Path(__file__).parents[2] / "manifests" / "seldon"

INFERENCE_GRAPH = """
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata:
  name: dogs
  annotations:
    salver.dev/router.chance: '{"algorithm": "thompson", "parameters": {"min_share": 0.05}}'
    salver.dev/propagate-headers: "x-.*,authorization"
spec:
  timeout: 30
  routerTimeouts: {serviceClient: 10, serverWrite: 20}
  nodes:
    root:
      routerType: Sequence
      steps:
      - {serviceName: cats, name: cats, dependency: Hard}
      - {nodeName: kind, data: $request}
      - {nodeName: all, data: $response, condition: "predictions.#(==1)"}
    kind:
      routerType: Switch
      steps:
      - {serviceName: one, condition: "[@this].#(kind==1)"}
      - {nodeName: chance, condition: "instances.0"}
    chance:
      routerType: Splitter
      steps:
      - {serviceName: one, weight: 40}
      - {serviceUrl: "http://two:80/v1/models/two:predict", weight: 60}
    all:
      routerType: Ensemble
      steps:
      - {serviceName: one, name: one}
      - {serviceName: two, mapPredictionsToInstances: true}
"""
PIPELINE = """
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: joined}
spec:
  allowCycles: true
  maxStepRevisits: 5
  input:
    externalInputs: [other.step.a.outputs.OUT, other.inputs]
    externalTriggers: [third.outputs]
    joinType: outer
    joinWindowMs: 50
    tensorMap: {other.step.a.outputs.OUT: IN}
  steps:
  - name: a
    inputs: [joined.inputs.X, c.outputs.Y]
    inputsJoinType: any
    tensorMap: {c.outputs.Y: X}
  - name: b
    inputs: [a]
    triggers: [a.outputs.FLAG]
    batch: {size: 3, windowMs: 10, rolling: true}
  - name: c
    inputs: [a.inputs.X, b.outputs.OUT]
    inputsJoinType: outer
    joinWindowMs: 100
  output:
    steps: [b, c.outputs.OUT]
    stepsJoin: any
    tensorMap: {c.outputs.OUT: score}
"""
OTHERS = """
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {name: ab}
spec:
  default: iris1
  candidates: [{name: iris1, weight: 50}, {name: iris2, weight: 50}]
  mirror: {name: iris3, percent: 10}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: iris}
spec:
  storageUri: gs://bucket/iris
  requirements: [sklearn]
  memory: 100Ki
  replicas: 1
  minReplicas: 1
  maxReplicas: 3
  parameters: [{name: a, value: "1"}]
"""
GRAPH = """
apiVersion: salver.dev/v1
kind: Graph
metadata: {name: fraud}
spec:
  timeoutSeconds: 5
  steps:
  - {name: features, python: "fraud.py:features"}
  - {name: gbm, model: gbm, inputs: [features], timeoutSeconds: 0.5, tolerate: true}
  - {name: mlp, modelUri: gs://b/mlp, runtime: onnx, minReplicas: 1, inputs: [features.x as y]}
  - {name: mean, combine: weighted, weights: [1, 2], inputs: [gbm, mlp]}
  - {name: sure, decide: confident, threshold: 0.8, inputs: [mean]}
  - {name: costly, url: "http://h/x", when: {step: sure, branch: unsure}}
  - name: pick
    choose: {branches: [a, b], learned: {algorithm: ucb1, parameters: {alpha: 0.5}}}
  - {name: left, model: left, when: {step: pick, branch: a}, delaySeconds: 0.1}
  - name: odd
    choose: {branches: [first, second], conditions: ["[@this].#(x==1)"]}
    when: {step: pick, branch: b}
  - {name: right, model: right, when: {step: odd, branch: 1}, inputs: [odd]}
  - {name: votes, combine: vote, soft: true, quorum: 1, inputs: [gbm, mlp]}
  output: [costly, mean, left, right, votes]
"""


def _documents(text: str) -> list[Json]:
    # Through JSON, since that has no values that are in two places at once.
    found: list[Json] = json.loads(json.dumps(list(yaml.safe_load_all(text))))
    return found


def _deployments() -> Iterator[Json]:
    for path in sorted(FOLDER.glob("*.yaml")):
        yield from (
            each for each in _documents(path.read_text()) if each["kind"] == "SeldonDeployment"
        )


SEEDS: dict[str, list[Json]] = {
    "InferenceGraph": _documents(INFERENCE_GRAPH),
    "SeldonDeployment": list(_deployments()),
    "v2": _documents(f"{PIPELINE}---{OTHERS}"),
    "Graph": _documents(GRAPH),
}

SCALARS: list[Any] = [None, True, False, 0, -1, 1, 101, 2**63, 1e308, -0.5, "", " ", "1", "null"]
TEXTS = ["a", "root", "request", "two\nlines", "größe", "a.outputs.", "x as y", "\x00", "\ud800"]
SYNTAX = ["{", "((", "#(", "@", "...", "a" * 300, "http://h:99999/x", "gs:/b", "{ .a == 1 }"]
CONTAINERS: list[Any] = [[], {}, [[]], {"a": 1}, ["a", "a"], [None], [{}], {"": ""}]
VALUES = st.one_of(
    st.sampled_from([*SCALARS, *TEXTS, *SYNTAX, *CONTAINERS]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values below this one."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from places(value[key], (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def mutated(draw: Any, kind: str) -> Json:
    """A valid manifest, some values of which are others, gone, twice there or elsewhere."""
    obj: Json = json.loads(json.dumps(draw(st.sampled_from(SEEDS[kind]))))
    for _ in range(draw(st.integers(1, 5))):
        # What says which kind it is mostly stays: else nothing of the dialect is read.
        paths = [each for each in places(obj) if each[0] in ("spec", "metadata")]
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        parent, key = at(obj, path[:-1]), path[-1]
        how = draw(st.sampled_from(["other", "gone", "copy", "rename", "twice", "inside"]))
        other = json.loads(json.dumps(at(obj, draw(st.sampled_from(paths)))))
        if how == "other":
            parent[key] = json.loads(json.dumps(draw(VALUES)))
        elif how == "gone":
            del parent[key]
        elif how == "copy":
            parent[key] = other
        elif how == "twice" and isinstance(parent, list):
            parent.append(json.loads(json.dumps(parent[key])))
        elif how == "inside" and isinstance(parent[key], dict):
            parent[key][draw(st.sampled_from(["children", "steps", "x", "name"]))] = [other]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(st.text(max_size=6))] = parent.pop(key)
    return obj
