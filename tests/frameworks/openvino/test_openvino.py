"""The OpenVINO runtime: in this process, and on a running server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.e2e.server import Server, serving
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only

from salver.errors import LoadFailed

ROWS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


def scores(weights: Any, rows: Any) -> Any:
    powers = np.exp(rows @ weights)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["flowers.xml", "flowers.onnx"])
@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_it_predicts_as_the_formula_does(zoo: Any, name: str, hint: str) -> None:
    model = load(zoo.folder / name, "openvino", parameters={"hint": hint})
    for count in (1, 5):
        found = only(model.predict(matrix(ROWS[:count])))
        np.testing.assert_allclose(found, scores(zoo.weights, ROWS[:count]), rtol=1e-5)
    assert [each.name for each in model.metadata.inputs] == ["flowers"]
    assert model.metadata.outputs[0].shape == (-1, 3)
    assert model.metadata.batchable


def test_other_numbers_are_converted_before_it_reads_their_memory(zoo: Any) -> None:
    model = load(zoo.folder / "flowers.xml", "openvino")
    wanted = scores(zoo.weights, ROWS)
    for rows in (ROWS.astype(np.float64), np.asfortranarray(ROWS)):
        np.testing.assert_allclose(only(model.predict(matrix(rows))), wanted, rtol=1e-5)


def test_inputs_and_outputs_go_by_name(zoo: Any) -> None:
    model = load(zoo.folder / "pair.xml", "openvino")
    user, item = ROWS[:, :2], ROWS[:, 2:]
    found = arrays(model.predict(ask(item=item, user=user)))
    np.testing.assert_allclose(found["dot"], (user * item).sum(axis=1), rtol=1e-5)
    found = arrays(model.predict(ask("difference", item=item, user=user)))
    assert list(found) == ["difference"]
    np.testing.assert_allclose(found["difference"], user - item, rtol=1e-6)


def test_a_fixed_shape_is_not_batched(zoo: Any) -> None:
    model = load(zoo.folder / "whole.xml", "openvino")
    assert model.metadata.inputs[0].shape == (2, 3)
    assert model.metadata.inputs[0].accepts == ()
    assert not model.metadata.batchable
    rows = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(only(model.predict(ask(whole=rows))), rows * 2)


def test_a_folder_with_one_model_is_that_model(zoo: Any, tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copy(zoo.folder / f"flowers{suffix}", tmp_path)
    assert only(load(tmp_path, "openvino").predict(matrix(ROWS))).shape == (6, 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hint": "speed"}, "hint is 'speed'.*latency or throughput"),
        ({"precision": "f8"}, "precision 'f8'"),
        ({"device": "NPU.7"}, "no device NPU.7 here; choose from AUTO, CPU"),
        ({"config": {"NO_SUCH": 1}}, "NO_SUCH"),
        ({"config": 3}, "an argument of the openvino runtime"),
    ],
)
def test_a_wrong_argument_is_named(zoo: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadFailed, match=message):
        load(zoo.folder / "flowers.xml", "openvino", parameters=parameters)


def test_broken_files_are_refused(zoo: Any, tmp_path: Path) -> None:
    text = (zoo.folder / "flowers.xml").read_text()
    weights = (zoo.folder / "flowers.bin").read_bytes()
    (tmp_path / "m.xml").write_text(text)
    with pytest.raises(LoadFailed, match=r"put m\.bin beside it"):
        load(tmp_path / "m.xml", "openvino")
    (tmp_path / "m.bin").write_bytes(weights[:10])
    with pytest.raises(LoadFailed, match="weights"):
        load(tmp_path / "m.xml", "openvino")
    (tmp_path / "m.bin").write_bytes(weights)
    for at in range(50, len(text) - 20, len(text) // 8):
        (tmp_path / "m.xml").write_text(text[:at])
        with pytest.raises(LoadFailed):
            load(tmp_path / "m.xml", "openvino")
    (tmp_path / "m.xml").write_text(text.replace('type="MatMul"', 'type="NoSuch"'))
    with pytest.raises(LoadFailed, match="NoSuch"):
        load(tmp_path / "m.xml", "openvino")


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    with serving(str(zoo.folder / "flowers.xml"), str(zoo.folder / "pair.xml")) as running:
        yield running


def test_v1_and_v2_rest_answer(server: Server, zoo: Any) -> None:
    wanted = scores(zoo.weights, ROWS)
    answer = server.post("/v1/models/flowers:predict", {"instances": ROWS.tolist()})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["predictions"], wanted, rtol=1e-4)
    answer = server.infer("flowers", ROWS.tolist(), "FP32")
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["outputs"][0]["data"], wanted.ravel(), rtol=1e-4)
    answer = server.infer("flowers", [[1.0, 2.0]], "FP32")
    assert answer.status_code == 400


def test_v2_grpc_answers(server: Server) -> None:
    user, item = ROWS[:, :2], ROWS[:, 2:]
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        given = []
        for name, data in (("user", user), ("item", item)):
            tensor = triton_grpc.InferInput(name, data.shape, "FP32")
            tensor.set_data_from_numpy(np.ascontiguousarray(data))
            given.append(tensor)
        found = client.infer("pair", given, client_timeout=20).as_numpy("dot")
    np.testing.assert_allclose(found, (user * item).sum(axis=1), rtol=1e-5)
