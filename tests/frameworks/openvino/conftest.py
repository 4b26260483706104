"""Models made with OpenVINO and ONNX, saved once for all tests."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as ops


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`folder` with `flowers.xml`, `pair.xml`, `whole.xml`, `flowers.onnx`; and the weights."""
    folder = tmp_path_factory.mktemp("zoo")
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    flowers = ops.parameter([-1, 4], np.float32, name="flowers")
    scores = ops.softmax(ops.matmul(flowers, ops.constant(weights), False, False), 1)
    _save(folder / "flowers.xml", [flowers], {"scores": scores})
    user = ops.parameter([-1, 2], np.float32, name="user")
    item = ops.parameter([-1, 2], np.float32, name="item")
    total = ops.reduce_sum(ops.multiply(user, item), np.int64(1), False)
    _save(folder / "pair.xml", [user, item], {"dot": total, "difference": ops.subtract(user, item)})
    whole = ops.parameter([2, 3], np.int64, name="whole")
    _save(folder / "whole.xml", [whole], {"twice": ops.add(whole, whole)})
    _save_onnx(folder / "flowers.onnx", weights)
    return SimpleNamespace(folder=folder, weights=weights)


def _save(path: Path, inputs: list[Any], outputs: dict[str, Any]) -> None:
    model = openvino.Model(list(outputs.values()), inputs, path.stem)
    for port, given in zip(model.inputs, inputs, strict=True):
        port.tensor.set_names({given.get_friendly_name()})
    for port, name in zip(model.outputs, outputs, strict=True):
        port.tensor.set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)


def _save_onnx(path: Path, weights: Any) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["flowers", "w"], ["sums"]),
            helper.make_node("Softmax", ["sums"], ["scores"], axis=1),
        ],
        "flowers",
        [helper.make_tensor_value_info("flowers", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
