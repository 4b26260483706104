"""MLflow models over V1, V2 and gRPC, against `mlflow.pyfunc`; what cannot be loaded."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.e2e.server import Server
from tests.frameworks.mlflow.zoo import FLOWERS, PERSONS

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest, tensor_from_array
from salver.runtimes.mlflow import MlflowRuntime
from salver.runtimes.ports import ModelSource

pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def own(saved: Path) -> Any:
    """MLflow's own answer of a model."""
    import mlflow.pyfunc

    def predict(name: str, data: Any, **more: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mlflow.pyfunc.load_model(str(saved / name)).predict(data, **more)

    return predict


def tensor(name: str, values: Any, datatype: str) -> dict[str, Any]:
    array = np.asarray(values)
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype,
        "data": array.ravel().tolist(),
    }


def persons(rows: int) -> list[dict[str, Any]]:
    kinds = {"age": "FP64", "visits": "INT64", "city": "BYTES", "member": "BOOL"}
    return [tensor(name, PERSONS[name][:rows], kind) for name, kind in kinds.items()]


def test_metadata_is_the_signature_s(server: Server) -> None:
    found = server.get("/v2/models/persons").json()
    assert found["platform"] == "mlflow"
    assert [(each["name"], each["datatype"]) for each in found["inputs"]] == [
        ("age", "FP64"),
        ("visits", "INT64"),
        ("city", "BYTES"),
        ("member", "BOOL"),
    ]
    assert [(each["name"], each["datatype"]) for each in found["outputs"]] == [("predict", "BYTES")]
    flowers = server.get("/v2/models/flowers").json()
    assert flowers["parameters"]["column_names"] == ["sl", "sw", "pl", "pw"]
    assert flowers["inputs"][0]["shape"] == [-1, 4]
    adding = server.get("/v2/models/adding").json()
    assert [(each["name"], each["shape"]) for each in adding["inputs"]] == [
        ("left", [-1, 2]),
        ("right", [-1, 2]),
    ]


def test_v1_and_v2_give_pyfunc_s_answers(server: Server, own: Any) -> None:
    wanted = own("persons", PERSONS[:3]).tolist()
    records = PERSONS[:3].to_dict(orient="records")
    v1 = server.post("/v1/models/persons:predict", {"instances": records})
    assert v1.json() == {"predictions": wanted}
    v2 = server.post("/v2/models/persons/infer", {"inputs": persons(3)})
    assert v2.json()["outputs"][0]["data"] == wanted
    wanted = own("flowers", FLOWERS[:5]).tolist()
    rows = FLOWERS[:5].to_numpy().tolist()
    assert server.post("/v1/models/flowers:predict", {"instances": rows}).json() == {
        "predictions": wanted
    }
    columns = [tensor(name, FLOWERS[name][:5].to_numpy()[:, None], "FP64") for name in FLOWERS]
    for inputs in ([tensor("x", rows, "FP64")], columns):
        answer = server.post("/v2/models/flowers/infer", {"inputs": inputs})
        assert answer.json()["outputs"][0]["data"] == wanted


def test_params_are_the_request_s_parameters(server: Server, own: Any) -> None:
    inputs = [tensor("x", [1.5], "FP64"), tensor("n", [2], "INT64")]
    body = {"inputs": inputs, "parameters": {"scale": 3.0, "label": "b", "other": 1}}
    answer = server.post("/v2/models/scaled/infer", body).json()
    assert answer["parameters"] == {"content_type": "pd"}
    assert [(each["name"], each["data"]) for each in answer["outputs"]] == [
        ("sum", [10.5]),
        ("label", ["b"]),
    ]
    refused = server.post("/v2/models/scaled/infer", {**body, "parameters": {"scale": "x"}})
    assert refused.status_code == 400
    assert "scale" in refused.json()["error"]


def test_tensors_go_over_binary_http_and_grpc(server: Server, own: Any) -> None:
    rows = FLOWERS[:4].to_numpy()
    wanted = own("tensor", rows)
    http = triton_http.InferenceServerClient(server.url.removeprefix("http://"))
    grpc = triton_grpc.InferenceServerClient(server.grpc)
    for kind, client in ((triton_http, http), (triton_grpc, grpc)):
        given = kind.InferInput("input-0", list(rows.shape), "FP64")
        given.set_data_from_numpy(rows)
        with client:
            answer = client.infer("tensor", [given])
        # Another layout in memory may round the last bit otherwise.
        np.testing.assert_allclose(answer.as_numpy("predict"), wanted, rtol=1e-14)


def test_statsmodels_gives_its_own_answer(server: Server, own: Any) -> None:
    rows = FLOWERS[["sl", "sw"]][:6]
    wanted = own("ols", rows)
    answer = server.post("/v1/models/ols:predict", {"instances": rows.to_dict(orient="records")})
    np.testing.assert_array_equal(answer.json()["predictions"], wanted.to_numpy())


def loaded(path: Path, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MlflowRuntime().load(ModelSource("m", path, "mlflow", **more))


def test_stacked_requests_get_the_answers_of_single_ones(saved: Path, own: Any) -> None:
    model = loaded(saved / "persons")
    assert model.metadata.batchable
    assert not loaded(saved / "ols").metadata.batchable
    assert loaded(saved / "ols", batch_requested=True).metadata.batchable
    inputs = tuple(tensor_from_array(name, PERSONS[name].to_numpy()) for name in PERSONS)
    answer = model.predict(InferRequest(inputs)).outputs[0].data
    assert [text.decode() for text in answer] == own("persons", PERSONS).tolist()


def test_columns_that_lack_are_named(saved: Path) -> None:
    model = loaded(saved / "persons")
    inputs = (tensor_from_array("age", np.array([1.0])),)
    with pytest.raises(InvalidInput, match=r"missing inputs \['visits', 'city', 'member'\]"):
        model.predict(InferRequest(inputs))


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("MLmodel", b"", "MLflow could not load"),
        ("MLmodel", b"flavors: {}", "python_function"),
        ("MLmodel", b"flavors: [1", "MLflow could not load"),
        ("MLmodel", b"\x00\xff", "MLflow could not load"),
        ("model.pkl", b"", "MLflow could not load"),
        ("model.pkl", b"\x80\x05", "MLflow could not load"),
    ],
)
def test_a_broken_model_is_refused(
    saved: Path, tmp_path: Path, file: str, content: bytes, reason: str
) -> None:
    folder = shutil.copytree(saved / "flowers", tmp_path / "m")
    (folder / file).write_bytes(content)
    with pytest.raises(LoadFailed, match=reason):
        loaded(folder)


def test_a_folder_without_mlmodel_and_a_missing_module_are_named(
    saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(LoadFailed, match="has no file MLmodel"):
        loaded(tmp_path)
    folder = shutil.copytree(saved / "flowers", tmp_path / "m")
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(text.replace("mlflow.sklearn\n", "nobody_s_module\n"))
    with pytest.raises(LoadFailed, match="needs the module 'nobody_s_module'"):
        loaded(folder)
