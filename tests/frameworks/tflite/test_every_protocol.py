"""TFLite models over every protocol: what TensorFlow answered when they were made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving

NAMES = ("flowers", "fixed", "unsigned", "quantised", "two")


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    with serving(*(str(zoo.folder / f"{name}.tflite") for name in NAMES)) as running:
        yield running


def question(server: Server, zoo: Any, name: str) -> Question:
    if name == "two":
        a, b = np.int64([[1, 2], [5, 6]]), np.int64([[3, 4], [7, 8]])
        csv = {"csv": "an input is a vector, which is no field"}
        (output,) = server.get("/v2/models/two").json()["outputs"]
        return Question(name, {"a": a, "b": b}, {output["name"]: a + b}, without=csv)
    metadata = server.get(f"/v2/models/{name}").json()
    (given,), (output,) = metadata["inputs"], metadata["outputs"]
    rows, answer = zoo.quantised if name == "quantised" else (zoo.rows, zoo.flowers)
    return Question(name, {given["name"]: rows}, {output["name"]: answer})


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_gives_tensorflows_answer(server: Server, zoo: Any, name: str) -> None:
    assert judge(server.url, server.grpc, question(server, zoo, name))
