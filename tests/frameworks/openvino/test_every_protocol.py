"""OpenVINO over every protocol: its own answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import openvino
import pytest
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving

ROWS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
INPUTS: dict[str, Any] = {
    "flowers": {"flowers": ROWS},
    "pair": {"user": ROWS[:, :2], "item": ROWS[:, 2:]},
    "whole": {"whole": np.arange(6, dtype=np.int64).reshape(2, 3)},
}
CSV = {"csv": "an input is a vector, which is no field"}


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    with serving(*(str(zoo.folder / f"{name}.xml") for name in INPUTS)) as running:
        yield running


def own(zoo: Any, name: str) -> dict[str, Any]:
    # Else it computes in bfloat16 where the processor can, and Salver does so only if told.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(zoo.folder / f"{name}.xml"), "CPU", exact)
    given = {key: np.ascontiguousarray(value) for key, value in INPUTS[name].items()}
    answer = model(given)
    return {port.get_any_name(): np.array(answer[port]) for port in model.outputs}


@pytest.mark.parametrize("name", INPUTS)
def test_every_protocol_gives_openvinos_answer(server: Server, zoo: Any, name: str) -> None:
    without = CSV if name == "pair" else {}
    assert judge(
        server.url, server.grpc, Question(name, INPUTS[name], own(zoo, name), without=without)
    )
