"""Seldon v2's addresses: headers, Experiments in place of what they are about, Pipelines' names."""

from __future__ import annotations

import pytest
from tests.fakes import FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory, ServiceEntry
from salver.errors import ModelNotFound


def test_a_pipelines_step_asks_the_experiment_and_the_experiment_asks_the_model() -> None:
    directory = ModelDirectory(FakeCatalog())
    model, experiment = FakeModel("iris"), FakeModel("ab")
    directory.expose(ServiceEntry("default", "iris", model))
    directory.expose(ServiceEntry("default", "ab", experiment, addresses=("name:iris",)))
    assert directory.asked_as_by_callers("default", "iris") is experiment
    assert directory.asked("default", "iris") is model
    directory.withdraw("default", "ab")
    assert directory.asked_as_by_callers("default", "iris") is model


def test_a_pipeline_can_be_told_from_a_model_of_its_name() -> None:
    directory = ModelDirectory(FakeCatalog())
    pipeline = FakeModel("chain")
    entry = ServiceEntry("default", "chain", pipeline, addresses=("model:chain.pipeline",))
    directory.expose(entry)
    assert directory.asked("default", "chain.pipeline") is pipeline
    with pytest.raises(ModelNotFound):
        directory.asked("other", "chain.pipeline")


def test_a_header_shows_one_model_whatever_the_path_calls_it() -> None:
    directory = ModelDirectory(FakeCatalog())
    pipeline = FakeModel("chain")
    entry = ServiceEntry("default", "chain", pipeline, addresses=("model:chain.pipeline",))
    directory.expose(entry)
    view = directory.view("model:chain.pipeline")
    assert view.find("whatever", "7") is pipeline
    assert [status.name for status in view.statuses()] == ["chain.pipeline"]
    assert view.is_ready
    with pytest.raises(ModelNotFound):
        directory.view("model:nothing.pipeline")
