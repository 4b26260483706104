"""Triton's ensembles as graphs."""

from __future__ import annotations

from salver.graphs.native import compile_graph
from salver.graphs.triton_ensemble import (
    ensemble_manifest,
    ensemble_notes,
    unanswerable_notes,
)
from salver.spec.read import parse_object
from salver.spec.triton_config import EnsembleScheduling, EnsembleStep, TritonConfig
from salver.spec.triton_read import triton_config

ENSEMBLE = """
platform: "ensemble" max_batch_size: 4
input { name: "IN" data_type: TYPE_FP32 dims: 4 }
output [{ name: "OUT" data_type: TYPE_FP32 dims: 4 }, { name: "IN" data_type: TYPE_FP32 dims: 4 }]
ensemble_scheduling { step [
  { model_name: "last.one" model_version: 3
    input_map { key: "A" value: "MID" } input_map { key: "B" value: "IN" }
    output_map { key: "SUM" value: "OUT" } },
  { model_name: "first_one" model_version: -1
    input_map { key: "IN" value: "IN" } output_map { key: "Y" value: "MID" } } ] }
"""


def test_every_step_gets_its_tensors_under_its_own_names() -> None:
    config = triton_config(ENSEMBLE, "c")
    manifest = ensemble_manifest("My_Ensemble", config)
    assert manifest["metadata"]["name"] == "my-ensemble"
    assert manifest["spec"]["steps"] == [
        {
            "name": "s0-last-one",
            "model": "last.one",
            "inputs": ["s1-first_one.Y as A", "request.IN as B"],
        },
        {"name": "s1-first_one", "model": "first_one", "inputs": ["request.IN"]},
        {"name": "answer", "combine": "merge", "inputs": ["s0-last-one.SUM as OUT", "request.IN"]},
    ]
    assert "names version 3" in ensemble_notes("My_Ensemble", config)[0]


def test_the_graph_answers_under_the_ensembles_name() -> None:
    parsed = parse_object(ensemble_manifest("My_Ensemble", triton_config(ENSEMBLE, "c")))
    assert not parsed.problems
    desire = compile_graph(parsed.resource)
    assert desire.name == "My_Ensemble"
    assert {each.name for each in desire.references} == {"last.one", "first_one"}


def asking(*models: str) -> TritonConfig:
    return TritonConfig(
        ensemble_scheduling=EnsembleScheduling(
            step=tuple(EnsembleStep(model_name=each) for each in models)
        )
    )


def test_ensembles_that_cannot_answer_are_told_of() -> None:
    found = {
        "a": asking("b"),
        "b": asking("scale", "c"),
        "c": asking("a"),
        "d": asking("gone", "gone", "scale"),
        "e": asking("d"),
    }
    assert unanswerable_notes(found, {"scale"}) == [
        "ensemble 'd' asks 'gone', which the repository does not have: it answers once such a "
        "model is served",
        "ensembles a, b, c ask each other in a circle: none of them can answer",
    ]
    assert unanswerable_notes({"a": asking("b"), "b": asking("scale")}, {"scale"}) == []
