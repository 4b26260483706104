"""The shipped examples load, and answer what the README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests import models
from tests.unit.runtimes.requests import arrays, matrix, only

from salver.artifacts.layout import discover
from salver.runtimes.ports import ModelSource
from salver.runtimes.registry import runtime_named

EXAMPLES = Path(__file__).parents[3] / "examples"
ROWS, CLASSES = models.iris()


def test_the_folder_of_examples_is_a_folder_of_models() -> None:
    found = discover(str(EXAMPLES))
    assert [(each.name, each.runtime) for each in found] == [
        ("iris", "sklearn"),
        ("iris-scaled", "sklearn"),
        ("my_model", "python"),
    ]


def test_the_examples_know_their_irises() -> None:
    for target in discover(str(EXAMPLES)):
        source = ModelSource(
            name=target.name, path=target.path, runtime=target.runtime, attribute=target.attribute
        )
        model = runtime_named(target.runtime).load(source)
        assert model.metadata.batchable
        if target.runtime == "sklearn":
            right = only(model.predict(matrix(ROWS))) == CLASSES
        else:
            species = arrays(model.predict(matrix(ROWS)))["species"]
            right = species == np.array([b"setosa", b"versicolor", b"virginica"])[CLASSES]
        assert right.mean() > 0.9
