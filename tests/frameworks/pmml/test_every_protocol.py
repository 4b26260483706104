"""PMML over every protocol: by our reader and on the JVM, as pypmml itself answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pypmml import Model
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving
from tests.frameworks.pmml.documents import naive_bayes
from tests.frameworks.pmml.test_serving import own_document

COLUMNS: dict[str, Any] = {
    "a": np.array([0.5, -3.0, 1.25]),
    "b": np.array([-1.0, 0.5, 2.0]),
    "c": np.array(["red", "blue", "green"], object),
    "n": np.array([2, 0, -1], np.int64),
}
DOCUMENTS = {"tree": own_document, "bayes": naive_bayes}
TAKEN = {"tree": tuple(COLUMNS), "bayes": ("c",)}
GIVEN = {"tree": {"predict": "predicted_y"}}
"""Our reader's names of outputs, and pypmml's."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    for name, document in DOCUMENTS.items():
        (folder / f"{name}.pmml").write_text(document())
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(*(str(folder / f"{name}.pmml") for name in DOCUMENTS)) as running:
        yield running


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_protocol_gives_pypmmls_answer(server: Server, folder: Path, name: str) -> None:
    model = Model.load(str(folder / f"{name}.pmml"))
    inputs = {each: COLUMNS[each] for each in TAKEN[name]}
    values = zip(*inputs.values(), strict=True)
    rows = [dict(zip(inputs, map(_plain, row), strict=True)) for row in values]
    answers = [model.predict(row) for row in rows]
    names = GIVEN.get(name) or {each: each for each in answers[0]}
    expected = {ours: np.array([each[own] for each in answers]) for ours, own in names.items()}
    assert judge(server.url, server.grpc, Question(name, inputs, expected))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
