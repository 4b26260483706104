"""OpenVINO models of a Triton repository over every protocol: its own answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from tests.e2e.every_protocol import Question, judge
from tests.e2e.server import Server, serving

ROWS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
INPUTS: dict[str, Any] = {
    "flowers": {"flowers": ROWS},
    "pair": {"user": ROWS[:, :2], "item": ROWS[:, 2:]},
}
CONFIGS = {
    "flowers": """
backend: "openvino" max_batch_size: 8
input { name: "flowers" data_type: TYPE_FP32 dims: [4] }
output { name: "scores" data_type: TYPE_FP32 dims: [3] }
dynamic_batching { }
instance_group { count: 2 kind: KIND_CPU }
""",
    "pair": """
platform: "openvino"
input [{ name: "user" data_type: TYPE_FP32 dims: [-1, 2] },
       { name: "item" data_type: TYPE_FP32 dims: [-1, 2] }]
output [{ name: "dot" data_type: TYPE_FP32 dims: [-1] },
        { name: "difference" data_type: TYPE_FP32 dims: [-1, 2] }]
""",
}


def put(folder: Path, models: Path) -> None:
    for name, config in CONFIGS.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        for suffix in ("xml", "bin"):
            (version / f"model.{suffix}").write_bytes((models / f"{name}.{suffix}").read_bytes())


@pytest.fixture(scope="module")
def server(zoo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, zoo.folder)
    with serving(str(folder)) as running:
        yield running


def own(zoo: Any, name: str) -> dict[str, Any]:
    # Else it computes in bfloat16 where the processor can, and Salver does so only if told.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(zoo.folder / f"{name}.xml"), "CPU", exact)
    answer = model({key: np.ascontiguousarray(value) for key, value in INPUTS[name].items()})
    return {port.get_any_name(): np.array(answer[port]) for port in model.outputs}


@pytest.mark.parametrize("name", INPUTS)
def test_every_protocol_gives_openvinos_answer(server: Server, zoo: Any, name: str) -> None:
    without = {"csv": "an input is a vector, which is no field"} if name == "pair" else {}
    assert judge(
        server.url, server.grpc, Question(name, INPUTS[name], own(zoo, name), without=without)
    )


def test_what_the_configuration_contradicts_is_named(zoo: Any, tmp_path: Path) -> None:
    put(tmp_path, zoo.folder)
    wrong = CONFIGS["flowers"].replace("dims: [3]", "dims: [5]")
    (tmp_path / "flowers" / "config.pbtxt").write_text(wrong)
    with serving(str(tmp_path)) as server:
        (found,) = (
            each
            for each in server.post("/v2/repository/index", {}).json()
            if each["name"] == "flowers"
        )
        assert found["state"] == "UNAVAILABLE"
        assert "output 'scores' of config.pbtxt" in found["reason"] or "[-1, 5]" in found["reason"]
