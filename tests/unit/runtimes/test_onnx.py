"""The ONNX runtime against ONNX Runtime itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests import models
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only

from salver.errors import InvalidInput, LoadFailed
from salver.runtimes.warmup import warmup_request


def save_identity(
    path: Path, datatype: int, shape: list[Any], out: list[Any] | None = None
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", datatype, shape)],
        [helper.make_tensor_value_info("y", datatype, shape if out is None else out)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def test_a_network_answers_like_onnx_runtime(tmp_path: Path) -> None:
    predict = models.save_onnx_mlp(tmp_path / "mlp.onnx", (8, 4, 3))
    model = load(tmp_path / "mlp.onnx", "onnx")
    rows = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    np.testing.assert_array_equal(only(model.predict(matrix(rows))), predict(rows))
    np.testing.assert_array_equal(
        only(model.predict(matrix(rows.astype(np.float64)))), predict(rows)
    )


def test_metadata_is_the_graphs(tmp_path: Path) -> None:
    models.save_onnx_mlp(tmp_path / "mlp.onnx", (8, 4, 3))
    metadata = load(tmp_path / "mlp.onnx", "onnx").metadata
    (pixels,), (scores,) = metadata.inputs, metadata.outputs
    assert (pixels.name, pixels.datatype, pixels.shape) == ("pixels", "FP32", (-1, 8))
    assert (scores.name, scores.datatype, scores.shape) == ("scores", "FP32", (-1, 3))
    assert metadata.batchable
    assert metadata.positional_input


def test_several_inputs_and_outputs_go_by_their_names(tmp_path: Path) -> None:
    predict = models.save_onnx_two_inputs(tmp_path / "pair.onnx")
    model = load(tmp_path / "pair.onnx", "onnx")
    feed = {"a": np.array([[1, 2]], np.float32), "b": np.array([[3, 4]], np.float32)}
    total, product = predict(feed)
    answers = arrays(model.predict(ask(b=feed["b"], a=feed["a"])))
    assert list(answers) == ["sum", "product"]
    np.testing.assert_array_equal(answers["sum"], total)
    np.testing.assert_array_equal(only(model.predict(ask("product", **feed))), product)
    with pytest.raises(InvalidInput, match="'ratio' is unknown"):
        model.predict(ask("ratio", **feed))
    with pytest.raises(InvalidInput, match="input 'c' is unknown"):
        model.predict(ask(c=feed["a"], a=feed["a"]))


def test_maps_of_probabilities_become_a_tensor(tmp_path: Path) -> None:
    predict_proba = models.save_onnx_zipmap(tmp_path / "zip.onnx")
    model = load(tmp_path / "zip.onnx", "onnx")
    rows = models.iris()[0][:6].astype(np.float32)
    answers = arrays(model.predict(matrix(rows)))
    label, probability = answers.values()
    assert label.shape == (6,)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, predict_proba(rows), atol=1e-5)
    assert model.metadata.batchable


@pytest.mark.parametrize(
    ("onnx_type", "datatype", "values"),
    [
        (TensorProto.BOOL, "BOOL", np.array([True, False])),
        (TensorProto.INT8, "INT8", np.array([-1, 2], np.int8)),
        (TensorProto.UINT64, "UINT64", np.array([1, 2], np.uint64)),
        (TensorProto.FLOAT16, "FP16", np.array([1, 2], np.float16)),
        (TensorProto.DOUBLE, "FP64", np.array([1.5, 2])),
        (TensorProto.STRING, "BYTES", np.array([b"a", "é".encode()], dtype=object)),
    ],
)
def test_every_type_of_onnx_passes_through(
    tmp_path: Path, onnx_type: int, datatype: str, values: Any
) -> None:
    save_identity(tmp_path / "same.onnx", onnx_type, ["n"])
    model = load(tmp_path / "same.onnx", "onnx")
    assert model.metadata.inputs[0].datatype == datatype
    assert only(model.predict(matrix(values))).tolist() == values.tolist()
    request = warmup_request(model.metadata)
    assert request is not None
    assert len(only(model.predict(request))) == 1


@pytest.mark.parametrize(
    ("shape", "out", "batchable"),
    [(["n", 2], None, True), ([1, 2], None, False), (["n", 2], [4, 2], False), ([], None, False)],
)
def test_only_graphs_with_a_free_first_dimension_are_batchable(
    tmp_path: Path, shape: list[Any], out: list[Any] | None, batchable: bool
) -> None:
    save_identity(tmp_path / "same.onnx", TensorProto.FLOAT, shape, out)
    assert load(tmp_path / "same.onnx", "onnx").metadata.batchable is batchable


def test_a_wrong_shape_is_the_callers_fault(tmp_path: Path) -> None:
    models.save_onnx_mlp(tmp_path / "mlp.onnx", (8, 4, 3))
    with pytest.raises(InvalidInput, match="refused the input"):
        load(tmp_path / "mlp.onnx", "onnx").predict(matrix(np.ones((1, 9), np.float32)))


def test_a_broken_graph_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x09garbage")
    with pytest.raises(LoadFailed, match="ONNX Runtime could not load"):
        load(tmp_path / "bad.onnx", "onnx")


def test_unloading_frees_the_session(tmp_path: Path) -> None:
    models.save_onnx_mlp(tmp_path / "mlp.onnx", (8, 4, 3))
    model = load(tmp_path / "mlp.onnx", "onnx")
    model.unload()
    with pytest.raises(AttributeError):
        model.predict(matrix(np.ones((1, 8), np.float32)))
