"""Seldon v2's documented pipelines and experiments, with models in plain Python that do what the
documentation's Triton models do."""

from __future__ import annotations

from pathlib import Path

MODELS = {
    "tfsimple": """
class Simple:
    inputs = [dict(name=n, datatype="INT32", shape=[-1, 16]) for n in ("INPUT0", "INPUT1")]
    outputs = [dict(name=n, datatype="INT32", shape=[-1, 16]) for n in ("OUTPUT0", "OUTPUT1")]

    def predict(self, INPUT0: np.ndarray, INPUT1: np.ndarray):
        return {"OUTPUT0": INPUT0 + INPUT1, "OUTPUT1": INPUT0 - INPUT1}
""",
    "conditional": """
class Conditional:
    inputs = [dict(name="CHOICE", datatype="INT32", shape=[1]),
              dict(name="INPUT0", datatype="FP32", shape=[4]),
              dict(name="INPUT1", datatype="FP32", shape=[4])]
    outputs = [dict(name=n, datatype="FP32", shape=[4], optional=True)
               for n in ("OUTPUT0", "OUTPUT1")]

    def predict(self, CHOICE: np.ndarray, INPUT0: np.ndarray, INPUT1: np.ndarray):
        return {"OUTPUT0": INPUT0} if CHOICE[0] == 0 else {"OUTPUT1": INPUT1}
""",
    "mul10": """
class Mul10:
    inputs = [dict(name="INPUT", datatype="FP32", shape=[4])]
    outputs = [dict(name="OUTPUT", datatype="FP32", shape=[4])]

    def predict(self, INPUT: np.ndarray):
        return {"OUTPUT": (INPUT * 10).astype(np.float32)}
""",
    "add10": """
class Add10:
    inputs = [dict(name="INPUT", datatype="FP32", shape=[4])]
    outputs = [dict(name="OUTPUT", datatype="FP32", shape=[4])]

    def predict(self, INPUT: np.ndarray):
        return {"OUTPUT": (INPUT + 10).astype(np.float32)}
""",
    "add20": """
class Add20:
    inputs = [dict(name="INPUT", datatype="FP32", shape=[4])]
    outputs = [dict(name="OUTPUT", datatype="FP32", shape=[4])]

    def predict(self, INPUT: np.ndarray):
        return {"OUTPUT": (INPUT + 20).astype(np.float32)}
""",
    "check": """
from salver.errors import InvalidInput

class Check:
    inputs = [dict(name="INPUT", datatype="INT32", shape=[-1, 16])]
    outputs = [dict(name="OUTPUT", datatype="INT32", shape=[1])]

    def predict(self, INPUT: np.ndarray):
        if INPUT.max() > 100:
            raise InvalidInput("an outlier")
        return {"OUTPUT": np.array([1], dtype=np.int32)}
""",
    "counter": """
class Counter:
    def predict(self, output: np.ndarray):
        value = output + 1
        word = "continue" if value.item() < 10 else "stop"
        return {"output": value, word: np.array([""], dtype=object)}
""",
    "identity": """
class Identity:
    outputs = [dict(name="output", datatype="INT32"),
               dict(name="stop", datatype="BYTES", optional=True)]

    def predict(self, output: np.ndarray, stop: np.ndarray = None):
        return {"output": output} if stop is None else {"output": output, "stop": stop}
""",
}
"""By the folder that has them."""
NAMED = {
    "tfsimple1": "tfsimple",
    "tfsimple2": "tfsimple",
    "tfsimple3": "tfsimple",
    "conditional": "conditional",
    "mul10": "mul10",
    "add10": "add10",
    "add20": "add20",
    "check": "check",
    "counter": "counter",
    "identity-loop": "identity",
    "identity-output": "identity",
}
"""The Models, and the folder of each."""
HEAD = "apiVersion: mlops.seldon.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n"

PIPELINES = {
    "tfsimples": """
  steps:
  - name: tfsimple1
  - name: tfsimple2
    inputs: [tfsimple1]
    tensorMap:
      tfsimple1.outputs.OUTPUT0: INPUT0
      tfsimple1.outputs.OUTPUT1: INPUT1
  output: {steps: [tfsimple2]}
""",
    "tfsimples-input": """
  steps:
  - name: tfsimple1
  - name: tfsimple2
    inputs: [tfsimple1.inputs.INPUT0, tfsimple1.outputs.OUTPUT1]
    tensorMap: {tfsimple1.outputs.OUTPUT1: INPUT1}
  output: {steps: [tfsimple2]}
""",
    "join": """
  steps:
  - name: tfsimple1
  - name: tfsimple2
  - name: tfsimple3
    inputs: [tfsimple1.outputs.OUTPUT0, tfsimple2.outputs.OUTPUT1]
    tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT0, tfsimple2.outputs.OUTPUT1: INPUT1}
  output: {steps: [tfsimple3]}
""",
    "joincheck": """
  steps:
  - name: tfsimple1
  - name: tfsimple2
  - name: check
    inputs: [tfsimple1.outputs.OUTPUT0]
    tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT}
  - name: tfsimple3
    inputs: [tfsimple1.outputs.OUTPUT0, tfsimple2.outputs.OUTPUT1]
    tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT0, tfsimple2.outputs.OUTPUT1: INPUT1}
    triggers: [check.outputs.OUTPUT]
  output: {steps: [tfsimple3]}
""",
    "tfsimple-conditional": """
  steps:
  - name: conditional
  - name: mul10
    inputs: [conditional.outputs.OUTPUT0]
    tensorMap: {conditional.outputs.OUTPUT0: INPUT}
  - name: add10
    inputs: [conditional.outputs.OUTPUT1]
    tensorMap: {conditional.outputs.OUTPUT1: INPUT}
  output: {steps: [mul10, add10], stepsJoin: any}
""",
    "pipeline-inputs": """
  steps:
  - name: mul10
    inputs: [pipeline-inputs.inputs.INPUT0]
    tensorMap: {pipeline-inputs.inputs.INPUT0: INPUT}
  - name: add10
    inputs: [pipeline-inputs.inputs.INPUT1]
    tensorMap: {pipeline-inputs.inputs.INPUT1: INPUT}
  output: {steps: [mul10, add10]}
""",
    "trigger-joins": """
  steps:
  - name: mul10
    inputs: [trigger-joins.inputs.INPUT]
    triggers: [trigger-joins.inputs.ok1, trigger-joins.inputs.ok2]
    triggersJoinType: any
  - name: add10
    inputs: [trigger-joins.inputs.INPUT]
    triggers: [trigger-joins.inputs.ok3]
  output: {steps: [mul10, add10], stepsJoin: any}
""",
    "counter-pipeline": """
  allowCycles: true
  maxStepRevisits: 100
  steps:
  - name: counter
    inputsJoinType: any
    inputs: [counter-pipeline.inputs, identity-loop.outputs]
  - name: identity-output
    joinWindowMs: 1
    inputs: [counter.outputs]
    triggers: [counter.outputs.stop]
  - name: identity-loop
    joinWindowMs: 1
    inputs: [counter.outputs.output]
    triggers: [counter.outputs.continue]
  output: {steps: [identity-output.outputs]}
""",
    "tfsimple": "  steps: [{name: tfsimple1}]\n  output: {steps: [tfsimple1]}\n",
    "tfsimple-extended": """
  input:
    externalInputs: [tfsimple.outputs]
    tensorMap: {tfsimple.outputs.OUTPUT0: INPUT0, tfsimple.outputs.OUTPUT1: INPUT1}
  steps: [{name: tfsimple2}]
  output: {steps: [tfsimple2]}
""",
    "tfsimple-extended2": """
  input:
    externalInputs: [tfsimple.outputs]
    tensorMap: {tfsimple.outputs.OUTPUT0: INPUT0, tfsimple.outputs.OUTPUT1: INPUT1}
  steps: [{name: tfsimple2}]
  output: {steps: [tfsimple2]}
""",
    "tfsimple-combined": """
  input:
    externalInputs: [tfsimple-extended.outputs.OUTPUT0, tfsimple-extended2.outputs.OUTPUT1]
    tensorMap:
      tfsimple-extended.outputs.OUTPUT0: INPUT0
      tfsimple-extended2.outputs.OUTPUT1: INPUT1
  steps: [{name: tfsimple2}]
  output: {steps: [tfsimple2]}
""",
    "tfsimple-extended-step": """
  input:
    externalInputs: [tfsimple.step.tfsimple1.outputs]
    tensorMap:
      tfsimple.step.tfsimple1.outputs.OUTPUT0: INPUT0
      tfsimple.step.tfsimple1.outputs.OUTPUT1: INPUT1
  steps: [{name: tfsimple2}]
  output: {steps: [tfsimple2]}
""",
    "pipeline-mul10": "  steps: [{name: mul10}]\n  output: {steps: [mul10]}\n",
    "pipeline-add10": "  steps: [{name: add10}]\n  output: {steps: [add10]}\n",
}
"""The documented pipelines, by name."""

EXPERIMENTS = {
    "addmul10": """
  default: pipeline-add10
  resourceType: pipeline
  candidates: [{name: pipeline-add10, weight: 50}, {name: pipeline-mul10, weight: 50}]
""",
    "add1020": """
  default: add10
  candidates: [{name: add10, weight: 50}, {name: add20, weight: 50}]
""",
    "addmul10-mirror": """
  default: pipeline-add10
  resourceType: pipeline
  candidates: [{name: pipeline-add10, weight: 100}]
  mirror: {name: pipeline-mul10, percent: 100}
""",
}


def write_models(folder: Path) -> None:
    """One folder for each model, with its class."""
    for name, source in MODELS.items():
        path = folder / name / "model.py"
        path.parent.mkdir(parents=True)
        path.write_text(f"import numpy as np\n{source}")


def model_manifests(folder: Path) -> str:
    return "---\n".join(
        HEAD.format(kind="Model", name=name)
        + f"  storageUri: file://{folder / source}\n  requirements: [triton, python]\n"
        for name, source in NAMED.items()
    )


def pipeline_manifests() -> str:
    return "---\n".join(
        HEAD.format(kind="Pipeline", name=name) + spec for name, spec in PIPELINES.items()
    )


def experiment_manifest(name: str) -> str:
    return HEAD.format(kind="Experiment", name=name) + EXPERIMENTS[name]
