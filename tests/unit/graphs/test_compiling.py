"""Annotations on compiling, as arguments of the runtime."""

from __future__ import annotations

import json

import pytest

from salver.graphs.compiling import with_compiling
from salver.graphs.plan import ModelRunner, RemoteRunner
from salver.graphs.selection import PlanError


def test_annotations_become_arguments_of_the_runtime() -> None:
    given = {"salver.dev/compile": "fast", "salver.dev/compile-check": "0.01"}
    runner = with_compiling(ModelRunner("m", runtime="sklearn"), given)
    assert json.loads(runner.options) == {"compile": "fast", "compile_check": 0.01}


def test_what_the_model_says_itself_stands() -> None:
    runner = ModelRunner("m", options='{"compile": "off", "methods": ["predict"]}')
    found = with_compiling(runner, {"salver.dev/compile": "fast"})
    assert json.loads(found.options) == {"compile": "off", "methods": ["predict"]}


@pytest.mark.parametrize("runner", [ModelRunner("m", runtime="torch"), RemoteRunner("http://x")])
def test_what_is_never_compiled_takes_no_notice(runner: ModelRunner | RemoteRunner) -> None:
    assert with_compiling(runner, {"salver.dev/compile": "fast"}) == runner


def test_without_annotations_the_plan_is_as_it_was() -> None:
    runner = ModelRunner("m", runtime="sklearn")
    assert with_compiling(runner, {"other": "x"}) is runner


@pytest.mark.parametrize(
    ("name", "value"), [("compile", "quick"), ("compile-check", "often"), ("compile-check", "nan")]
)
def test_a_word_that_means_nothing_is_refused(name: str, value: str) -> None:
    with pytest.raises(PlanError, match=f"annotation salver.dev/{name} is '{value}': write"):
        with_compiling(ModelRunner("m"), {f"salver.dev/{name}": value})
