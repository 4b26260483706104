"""Graphs that go wrong when they are asked so, and manifests of graphs that are refused.

Made for `test_graph_errors.py`. What the steps do is in the first number of the request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

STEPS = """
import time

import numpy as np

BRANCHES = {0: 0, 1: 1, 2: 7, 3: -3, 4: float("nan"), 5: "left", 6: None, 7: [0, 1], 8: 2.5}


def first_of(x):
    return int(np.asarray(x, dtype=np.float64).flat[0])


def pick(x):
    return BRANCHES.get(first_of(x), 0)


def work(x):
    if first_of(x) == 9:
        raise ValueError("unlucky")
    if first_of(x) == 10:
        time.sleep(1)
    return np.asarray(x, dtype=np.float64) * 2


def parts(x):
    return {"low": x} if first_of(x) == 11 else {"low": x, "high": x}


class Router:
    def route(self, X, names):
        return pick(X)


class Worker:
    def predict(self, X, names, meta=None):
        return work(X)
"""
MODEL = """
import numpy as np


class Model:
    inputs = [dict(name="x", datatype="FP64", shape={shape})]
    outputs = [dict(name="y", datatype="{datatype}", shape={shape})]

    def predict(self, x: np.ndarray):
        return {{"y": (x * 2).astype({dtype!r})}}
"""
MODELS = {
    "double": ("[-1, 2]", "FP64", "float64"),
    "narrow": ("[-1, 2]", "FP32", "float32"),
    "wide": ("[-1, 3]", "FP64", "float64"),
    "gone": ("[-1, 2]", "FP64", "float64"),
}
PLACES = {
    "InferenceGraph": ("serving.kserve.io/v1alpha1", "inferencegraphs"),
    "SeldonDeployment": ("machinelearning.seldon.io/v1", "seldondeployments"),
    "Pipeline": ("mlops.seldon.io/v1alpha1", "pipelines"),
    "Experiment": ("mlops.seldon.io/v1alpha1", "experiments"),
    "Model": ("mlops.seldon.io/v1alpha1", "models"),
    "Graph": ("salver.dev/v1", "graphs"),
}


def place(kind: str, name: str = "") -> str:
    version, plural = PLACES[kind]
    return f"/apis/{version}/namespaces/default/{plural}" + (f"/{name}" if name else "")


def declared(kind: str, name: str, **spec: Any) -> Json:
    version, _ = PLACES[kind]
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def native(name: str, *steps: Json, **spec: Any) -> Json:
    return declared("Graph", name, steps=list(steps), **spec)


def pipeline(name: str, *steps: Json, output: list[str], **spec: Any) -> Json:
    return declared("Pipeline", name, steps=list(steps), output={"steps": output}, **spec)


def knots(name: str, **nodes: tuple[str, list[Json]]) -> Json:
    made = {key: {"routerType": kind, "steps": steps} for key, (kind, steps) in nodes.items()}
    return declared("InferenceGraph", name, nodes=made)


def renamed(source: str, target: str) -> Json:
    """A step of a pipeline that takes the answer of another one as its `x`."""
    tensor = f"{source}.outputs.y"
    return {"name": target, "inputs": [tensor], "tensorMap": {tensor: "x"}}


def deployment(name: str, folder: Path) -> Json:
    """A router over two classes, which may take half a second."""
    graph = {
        "name": "pick",
        "type": "ROUTER",
        "children": [{"name": "left", "type": "MODEL"}, {"name": "right", "type": "MODEL"}],
    }
    classes = {"pick": "Router", "left": "Worker", "right": "Worker"}
    annotations = {
        f"salver.dev/class.{node}": f"{folder}/steps.py:{of}" for node, of in classes.items()
    }
    predictor = {"name": "main", "graph": graph, "annotations": annotations}
    timeouts = {"seldon.io/rest-timeout": "500", "seldon.io/grpc-timeout": "500"}
    return declared("SeldonDeployment", name, predictors=[predictor], annotations=timeouts)


def ways(folder: Path) -> Json:
    """The same as a `Graph`."""
    file = f"{folder}/steps.py"

    def branch(name: str, number: int) -> Json:
        when = {"step": "pick", "branch": number}
        return {"name": name, "python": f"{file}:work", "when": when, "timeoutSeconds": 0.5}

    pick = {"name": "pick", "python": f"{file}:pick"}
    return native("ways", pick, branch("left", 0), branch("right", 1), output=["left", "right"])


def graphs(folder: Path) -> list[Json]:
    parts = {"name": "parts", "python": f"{folder}/steps.py:parts"}
    double = {"name": "double", "model": "double", "inputs": ["parts.high as x"]}
    branches = {"branches": ["a", "b"], "conditions": ["instances.#(==1)", "instances.#(==2)"]}
    either = [
        {"name": each, "model": "double", "when": {"step": "choice", "branch": each}}
        for each in "ab"
    ]
    return [
        ways(folder),
        deployment("deployed", folder),
        native("tensors", parts, double),
        native("choices", {"name": "choice", "choose": branches}, *either, output=["a", "b"]),
        native("native-gone", {"name": "asks", "model": "gone"}),
        knots("knots-gone", root=("Sequence", [{"serviceName": "gone"}])),
        pipeline("line-gone", {"name": "double"}, renamed("double", "gone"), output=["gone"]),
    ]


def model(name: str, folder: Path) -> Json:
    return declared("Model", name, storageUri=f"file://{folder / name}", requirements=["python"])


# Refused at apply.


class Refused(NamedTuple):
    """A manifest, and what is said of it: the field of the cause, and a part of the message."""

    obj: Json
    field: str
    says: str


def children(name: str, *of: Json, **more: Any) -> Json:
    return {"name": name, "children": list(of), **more}


def predictors(name: str, *graphs: Json, traffic: tuple[int, ...] = (100,)) -> Json:
    found = [
        {"name": f"p{at}", "traffic": share, "graph": graph}
        for at, (graph, share) in enumerate(zip(graphs, traffic, strict=True))
    ]
    return declared("SeldonDeployment", name, predictors=found)


SIMPLE = {"name": "m", "implementation": "SIMPLE_MODEL"}
TO_B, TO_A = {"nodeName": "b"}, {"nodeName": "root"}
ASKS = {"serviceName": "double"}
HALVES = {"branches": ["a", "b"], "weights": [0, 0]}
EITHER = [
    {"name": each, "model": "double", "when": {"step": "split", "branch": each}} for each in "ab"
]
MINE = {"name": "mine", "model": "double"}
REFUSED = {
    "knots-cycle": Refused(
        knots("knots-cycle", root=("Sequence", [TO_B]), b=("Ensemble", [TO_A])),
        "spec.nodes.b.steps[0].nodeName",
        "leads in a circle: root -> b -> root",
    ),
    "knots-weights": Refused(
        knots("knots-weights", root=("Splitter", [{**ASKS, "weight": 60}, {**ASKS, "weight": 50}])),
        "spec.nodes.root.steps",
        "110",
    ),
    "knots-island": Refused(
        knots("knots-island", root=("Sequence", [ASKS]), island=("Sequence", [ASKS])),
        "spec.nodes.island",
        "is reached by no step",
    ),
    "knots-unknown": Refused(
        knots("knots-unknown", root=("Sequence", [{"nodeName": "bb"}])),
        "spec.nodes.root.steps[0].nodeName",
        "there is no node 'bb'",
    ),
    "tree-twice": Refused(
        predictors("tree-twice", children("m", SIMPLE, implementation="SIMPLE_ROUTER")),
        "spec.predictors[0].graph.children[0].name",
        "'m'",
    ),
    "tree-weights": Refused(
        predictors("tree-weights", SIMPLE, SIMPLE, traffic=(50, 40)),
        "spec.predictors",
        "must sum to 100: p0 50 + p1 40 = 90",
    ),
    "line-cycle": Refused(
        pipeline(
            "line-cycle", renamed("wide", "double"), renamed("double", "wide"), output=["wide"]
        ),
        "spec.steps[0].inputs",
        "double -> wide -> double",
    ),
    "line-unknown": Refused(
        pipeline("line-unknown", renamed("dobule", "double"), output=["double"]),
        "spec.steps[0].inputs[0]",
        "there is no step 'dobule'",
    ),
    "test-weights": Refused(
        declared("Experiment", "test-weights", candidates=[{"name": "double", "weight": 0}]),
        "spec.candidates",
        "have no weight at all",
    ),
    "test-default": Refused(
        declared(
            "Experiment",
            "test-default",
            default="dobule",
            candidates=[{"name": "double", "weight": 1}],
        ),
        "spec.default",
        "did you mean 'double'?",
    ),
    "native-cycle": Refused(
        native(
            "native-cycle",
            {"name": "a", "model": "double", "inputs": ["b"]},
            {"name": "b", "model": "double", "inputs": ["a"]},
        ),
        "spec.steps[0].inputs",
        "waits for itself: a -> b -> a",
    ),
    "native-weights": Refused(
        native("native-weights", {"name": "split", "choose": HALVES}, *EITHER, output=["a", "b"]),
        "spec.steps[0].choose.weights",
        "are all 0",
    ),
    "native-island": Refused(
        native("native-island", {"name": "spare", "model": "double"}, MINE),
        "spec.steps[0]",
        "nothing of 'spare' gets into the answer",
    ),
    "native-unknown": Refused(
        native("native-unknown", {**MINE, "inputs": ["mien"]}),
        "spec.steps[0].inputs[0]",
        "there is no step 'mien'",
    ),
}
