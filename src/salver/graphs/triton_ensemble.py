"""From a Triton ensemble, whose configuration has been checked, to a manifest of the kind `Graph`.

Pure.

A step of the ensemble is a step of the graph, and gets its tensors from whoever makes them, under
the names that its model has for them. A last step gathers the ensemble's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from graphlib import CycleError, TopologicalSorter
from typing import Any

from salver.graphs.native import SERVED_AS
from salver.spec.graph import REQUEST
from salver.spec.triton_config import EnsembleStep, TritonConfig

API_VERSION, KIND = "salver.dev/v1", "Graph"
ANSWER = "answer"
_MOST_CHARACTERS = 60


def ensemble_manifest(name: str, config: TritonConfig) -> dict[str, Any]:
    """The graph that answers as the ensemble does, under its name."""
    assert config.ensemble_scheduling is not None, "the caller has seen that it is one"
    steps = config.ensemble_scheduling.step
    names = [_step_name(number, step) for number, step in enumerate(steps)]
    makers = {each.name: f"{REQUEST}.{each.name}" for each in config.input}
    for step_name, step in zip(names, steps, strict=True):
        for own, tensor in step.output_map.items():
            makers[tensor] = f"{step_name}.{own}"
    written = [
        {
            "name": step_name,
            "model": step.model_name,
            "inputs": [_renamed(makers[tensor], own) for own, tensor in step.input_map.items()],
        }
        for step_name, step in zip(names, steps, strict=True)
    ]
    outputs = [_renamed(makers[each.name], each.name) for each in config.output]
    written.append({"name": ANSWER, "combine": "merge", "inputs": outputs})
    metadata = {"name": _object_name(name), "annotations": {SERVED_AS: name}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {"steps": written, "output": [ANSWER]},
    }


def ensemble_notes(name: str, config: TritonConfig) -> list[str]:
    """What of the ensemble cannot be kept to the letter."""
    scheduling = config.ensemble_scheduling
    if scheduling is None:
        return []
    pinned = [each for each in scheduling.step if each.model_version > 0]
    notes = [
        f"ensemble '{name}': step '{each.model_name}' names version {each.model_version}: the "
        "version that answers for the model is asked"
        for each in pinned
    ]
    if scheduling.max_inflight_requests:
        notes.append(f"ensemble '{name}': max_inflight_requests has no effect here")
    return notes


def unanswerable_notes(ensembles: Mapping[str, TritonConfig], models: Set[str]) -> list[str]:
    """Which ensembles of a repository cannot answer, by whom they ask; `models` are its others."""
    asked = {
        name: [step.model_name for step in config.ensemble_scheduling.step]
        for name, config in ensembles.items()
        if config.ensemble_scheduling is not None
    }
    notes = [
        f"ensemble '{name}' asks '{each}', which the repository does not have: it answers once "
        "such a model is served"
        for name, steps in asked.items()
        for each in dict.fromkeys(steps)
        if each not in asked and each not in models
    ]
    try:
        TopologicalSorter(asked).prepare()
    except CycleError as error:
        names = ", ".join(sorted(set(error.args[1])))
        notes.append(f"ensembles {names} ask each other in a circle: none of them can answer")
    return notes


def _step_name(number: int, step: EnsembleStep) -> str:
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", step.model_name).strip("-")
    return f"s{number}-{plain}"[:_MOST_CHARACTERS].rstrip("-")


def _renamed(made: str, name: str) -> str:
    return made if made.partition(".")[2] == name else f"{made} as {name}"


def _object_name(name: str) -> str:
    """The name as Kubernetes allows it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "ensemble"
