"""The tflite runtime: batches, quantised tensors, signatures, refusals, and on a server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.e2e.server import Server, serving
from tests.unit.runtimes.requests import arrays, ask, load, only

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest


def test_any_number_of_rows_is_answered_as_keras_does(zoo: Any) -> None:
    model = load(zoo.folder / "flowers.tflite", "tflite", threads=2)
    (taken,) = model.metadata.inputs
    assert (taken.datatype, taken.shape) == ("FP32", (-1, 4))
    assert model.metadata.batchable
    assert model.metadata.platform == "tflite"
    for count in (1, 6, 2, 1):
        found = only(model.predict(ask(**{taken.name: zoo.rows[:count]})))
        np.testing.assert_allclose(found, zoo.flowers[:count], rtol=1e-5, atol=1e-6)
    doubles = only(model.predict(ask(**{taken.name: zoo.rows.astype(np.float64)})))
    np.testing.assert_allclose(doubles, zoo.flowers, rtol=1e-5, atol=1e-6)


def test_an_answer_stays_what_it_was_when_the_next_comes(zoo: Any) -> None:
    model = load(zoo.folder / "flowers.tflite", "tflite")
    name = model.metadata.inputs[0].name
    first = only(model.predict(ask(**{name: zoo.rows[:1]})))
    kept = first.copy()
    model.predict(ask(**{name: zoo.rows[1:2]}))
    np.testing.assert_array_equal(first, kept)


def test_labels_packed_behind_the_model_are_its_classes(zoo: Any) -> None:
    labels = load(zoo.folder / "flowers.tflite", "tflite").metadata.outputs[0].labels
    assert labels == ("setosa", "versicolor", "virginica")
    given = {"labels": ["a", "b", "c"]}
    model = load(zoo.folder / "flowers.tflite", "tflite", parameters=given)
    assert model.metadata.outputs[0].labels == ("a", "b", "c")


def test_a_model_converted_for_one_row_takes_more(zoo: Any) -> None:
    model = load(zoo.folder / "fixed.tflite", "tflite")
    (taken,) = model.metadata.inputs
    assert taken.shape == (-1, 4)
    assert model.metadata.batchable
    found = only(model.predict(ask(**{taken.name: zoo.rows})))
    np.testing.assert_allclose(found, zoo.flowers, rtol=1e-5, atol=1e-6)
    said = load(zoo.folder / "fixed.tflite", "tflite", parameters={"batchable": False})
    assert said.metadata.inputs[0].shape == (1, 4)
    assert not said.metadata.batchable


def test_a_model_without_signatures_is_known_by_its_tensors(zoo: Any) -> None:
    model = load(zoo.folder / "unsigned.tflite", "tflite")
    (taken,), (given,) = model.metadata.inputs, model.metadata.outputs
    assert (taken.name, taken.shape, given.name) == ("x", (-1, 4), "y")
    for count in (6, 1, 3):
        found = only(model.predict(ask(x=zoo.rows[:count])))
        np.testing.assert_allclose(found, zoo.flowers[:count], rtol=1e-5, atol=1e-6)


def test_quantised_tensors_go_in_and_out_as_they_are(zoo: Any) -> None:
    model = load(zoo.folder / "quantised.tflite", "tflite")
    (taken,), (given,) = model.metadata.inputs, model.metadata.outputs
    assert (taken.datatype, given.datatype) == ("INT8", "INT8")
    rows, wanted = zoo.quantised
    found = only(model.predict(ask(**{taken.name: rows.astype(np.int64)})))
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(InvalidInput, match="has the value 128, the model takes INT8"):
        model.predict(ask(**{taken.name: np.full((1, 4), 128)}))


def test_a_request_chooses_a_signature(zoo: Any) -> None:
    model = load(zoo.folder / "two.tflite", "tflite")
    assert {each.name for each in model.metadata.signatures} == {"double", "serving_default"}
    assert {each.name for each in model.metadata.inputs} == {"a", "b"}
    both = ask(a=np.int64([[1, 2]]), b=np.int64([[3, 4]]))
    assert only(model.predict(both)).tolist() == [[4, 6]]
    asked = ask(x=np.float32([[1, 2], [3, 4]]))
    doubled = model.predict(InferRequest(asked.inputs, (), {"signature_name": "double"}))
    assert arrays(doubled)["y"].tolist() == [[2, 4], [6, 8]]
    with pytest.raises(InvalidInput, match="input 'x' is unknown; the model takes"):
        model.predict(asked)


def refused(path: Path, message: str, **fields: Any) -> None:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(path, "tflite", **fields)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_refused(zoo: Any, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"not a flatbuffer")
    refused(tmp_path / "x.tflite", "no TFLite model .it lacks the mark TFL3")
    (tmp_path / "x.tflite").write_bytes(b"")
    refused(tmp_path / "x.tflite", "no TFLite model")
    refused(zoo.folder / "two.tflite", "no signature 'a'; name", parameters={"signature": "a"})
    refused(zoo.folder / "two.tflite", "no argument 'device'", parameters={"device": "cpu"})
    refused(
        zoo.folder / "flowers.tflite", "but no output has so many", parameters={"labels": ["a"]}
    )


def test_variables_without_values_are_noticed(zoo: Any) -> None:
    # LiteRT itself answers such a model with what happens to be in memory.
    refused(zoo.folder / "unset.tflite", "reads variables that have no values; convert")


TRIAL = """
import sys
from pathlib import Path
from salver.errors import LoadFailed
from tests.unit.runtimes.requests import load
try:
    load(Path(sys.argv[1]), "tflite")
except LoadFailed:
    sys.exit(3)
"""


def tried(path: Path) -> int:
    """In a process of its own: what LiteRT reads as it is may end it."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", TRIAL, str(path)]
    return subprocess.run(command, cwd=root, capture_output=True, timeout=60).returncode


def test_truncated_models_are_refused(zoo: Any, tmp_path: Path) -> None:
    whole = (zoo.folder / "two.tflite").read_bytes()
    for size in (8, 40, len(whole) // 2):
        (tmp_path / "x.tflite").write_bytes(whole[:size])
        assert tried(tmp_path / "x.tflite") == 3


@pytest.fixture(scope="module")
def server(zoo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    for name in ("flowers", "two"):
        shutil.copy(zoo.folder / f"{name}.tflite", folder)
    with serving(str(folder / "flowers.tflite"), str(folder / "two.tflite")) as running:
        yield running


def test_a_server_answers_over_v1_v2_and_tensorflow_servings_rest(server: Server, zoo: Any) -> None:
    rows = zoo.rows.tolist()
    answer = server.post("/v1/models/flowers:predict", {"instances": rows}).json()
    np.testing.assert_allclose(answer["predictions"], zoo.flowers, rtol=1e-4, atol=1e-5)
    name = server.get("/v2/models/flowers").json()["inputs"][0]["name"]
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        tensor = triton_grpc.InferInput(name, [6, 4], "FP32")
        tensor.set_data_from_numpy(zoo.rows)
        found = client.infer("flowers", [tensor])
        output = found.get_response().outputs[0].name
        np.testing.assert_allclose(found.as_numpy(output), zoo.flowers, rtol=1e-5, atol=1e-6)
    body = {"examples": [{name: rows[0]}]}
    (classes,) = server.post("/v1/models/flowers:classify", body).json()["results"]
    assert [label for label, _ in classes] == ["setosa", "versicolor", "virginica"]
    body = {"signature_name": "double", "instances": [[1.0, 2.0]]}
    assert server.post("/v1/models/two:predict", body).json() == {"predictions": [[2.0, 4.0]]}


def test_rows_of_many_callers_are_predicted_together(server: Server, zoo: Any) -> None:
    def call(index: int) -> list[float]:
        body = {"instances": zoo.rows[index : index + 1].tolist()}
        answer = client.post("/v1/models/flowers:predict", json=body)
        predictions: list[list[float]] = answer.json()["predictions"]
        return predictions[0]

    with httpx.Client(base_url=server.url, timeout=30) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(call, list(range(6)) * 40))
    np.testing.assert_allclose(found, np.tile(zoo.flowers, (40, 1)), rtol=1e-4, atol=1e-5)
