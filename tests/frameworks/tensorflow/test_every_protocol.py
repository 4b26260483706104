"""SavedModel, .keras and .h5 over every protocol: TensorFlow's and Keras's own answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving
from tests.frameworks.tensorflow.networks import tf
from tests.frameworks.tensorflow.test_models import NAMES, expected

VECTORS = {"csv": "an input has more than one value a row and no columns"}


@pytest.fixture(scope="module", params=["", ".keras", ".h5"])
def server(zoo: Any, request: pytest.FixtureRequest) -> Iterator[Server]:
    targets = [str(zoo.folder / f"{name}{request.param}") for name in NAMES]
    with serving(*targets, start_timeout_s=120) as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_gives_kerass_answer(server: Server, zoo: Any, name: str) -> None:
    inputs = {key: data[:4] for key, data in zoo.rows[name].items()}
    outputs = sorted(each["name"] for each in server.get(f"/v2/models/{name}").json()["outputs"])
    answers = dict(zip(outputs, expected(zoo, name, inputs), strict=True))
    without = VECTORS if len(inputs) > 1 else {}
    assert judge(server.url, server.grpc, Question(name, inputs, answers, without=without))


def test_every_protocol_gives_the_answer_of_a_signature_of_a_saved_model(
    zoo: Any, tmp_path: Any
) -> None:
    rows = np.float32([[1, 2], [3, -4], [0, 0.5]])
    wanted = tf.saved_model.load(str(zoo.folder / "texts")).signatures["serving_default"](
        x=tf.constant(rows)
    )
    with serving(str(zoo.folder / "texts")) as server:
        question = Question("texts", {"x": rows}, {"y": wanted["y"].numpy()})
        assert judge(server.url, server.grpc, question)
